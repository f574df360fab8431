// Warn two minutes before the session ends, and say so when it has ended.

const WARNING = 120;
const CHECK_AFTER_END = 2;
let timer = null;
let box = null;

const seconds = async (options) => {
  const answer = await fetch("/session", { credentials: "same-origin", ...options });
  if (answer.redirected || answer.status === 401) return null;
  if (!answer.ok) throw new Error(answer.status);
  return (await answer.json()).seconds;
};

const show = (text, ...controls) => {
  box?.remove();
  box = document.createElement("div");
  box.className = "notice warn session-end";
  box.setAttribute("role", "alert");
  const line = document.createElement("span");
  line.textContent = text;
  box.append(line, ...controls);
  document.body.append(box);
};

const schedule = (left) => {
  clearTimeout(timer);
  // A session shorter than the warning is announced halfway.
  const delay = left > WARNING ? left - WARNING : left / 2;
  timer = setTimeout(check, delay * 1000);
};

const ended = () => {
  const link = document.createElement("a");
  link.className = "button primary";
  link.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
  link.textContent = "Sign in";
  show("You are signed out. If you submit a form now, your entries are kept until you have signed in again.", link);
};

const extend = async () => {
  const body = new URLSearchParams({ csrf: document.querySelector("input[name=csrf]")?.value ?? "" });
  try {
    const left = await seconds({ method: "POST", body });
    if (left === null) { ended(); return; }
    box?.remove();
    schedule(left);
  } catch { location.reload(); }
};

const warn = (left) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "primary";
  button.textContent = "Stay signed in";
  button.addEventListener("click", extend);
  const minutes = Math.max(1, Math.round(left / 60));
  show(`You will be signed out in ${minutes} minute${minutes === 1 ? "" : "s"}.`, button);
};

// Another tab may have prolonged the session, or ended it.
const check = async () => {
  try {
    const left = await seconds();
    if (left === null) { ended(); return; }
    if (left > WARNING + 1) { box?.remove(); schedule(left); return; }
    warn(left);
    clearTimeout(timer);
    timer = setTimeout(check, (left + CHECK_AFTER_END) * 1000);
  } catch { timer = setTimeout(check, 15000); }
};

const left = Number(document.body.dataset.session);
if (left > 0) {
  schedule(left);
  // Timers of a hidden page may be late.
  document.addEventListener("visibilitychange", () => { if (!document.hidden && box) check(); });
}

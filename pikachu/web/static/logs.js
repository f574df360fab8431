// Refresh the lines of the log page every few seconds.

const log = document.querySelector("[data-log]");
const state = document.querySelector("[data-log-state]");
const pause = document.querySelector("[data-log-pause]");
const indicator = document.querySelector("[data-log-follow]");
const every = document.getElementById("every");
let paused = false;
let failed = false;
let timer = 0;

const bottom = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
const down = () => { log.scrollTop = log.scrollHeight; };

// Whether new lines come by themselves, and whether they are in sight.
const indicate = () => {
  const [text, kind] = failed ? ["Disconnected", "bad"] : paused ? ["Paused", "warn"]
    : bottom() ? ["Following", "good"] : ["Updating, scrolled up", "info"];
  if (indicator.textContent !== text) indicator.textContent = text;
  indicator.className = `badge ${kind}`;
};

const show = (lines) => {
  const follow = bottom();
  log.replaceChildren(...lines.flatMap((line) => {
    const span = document.createElement("span");
    span.className = line.level.toLowerCase();
    span.textContent = line.text;
    return [span, "\n"];
  }));
  if (follow) down();
};

const refresh = async () => {
  try {
    const answer = await fetch(log.dataset.log, { credentials: "same-origin", redirect: "error" });
    if (!answer.ok) throw new Error(String(answer.status));
    const { lines } = await answer.json();
    show(lines);
    failed = false;
    state.textContent = `${lines.length} lines at ${new Date().toISOString().slice(11, 19)} UTC`;
  } catch {
    failed = true;
    state.textContent = "The lines could not be fetched; you may have been signed out.";
  }
  indicate();
};

const seconds = () => Math.min(3600, Math.max(1, Number(every.value) || Number(log.dataset.every)));
const next = () => {
  clearTimeout(timer);
  if (!paused) timer = setTimeout(async () => { if (!document.hidden) await refresh(); next(); }, seconds() * 1000);
};

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  pause.setAttribute("aria-pressed", String(paused));
  state.textContent = paused ? "Paused" : "Resumed";
  indicate();
  next();
});
every.addEventListener("change", next);
log.addEventListener("scroll", indicate, { passive: true });
down();
indicator.hidden = false;
indicate();
next();

// Refresh the lines of the log page every few seconds.

const log = document.querySelector("[data-log]");
const state = document.querySelector("[data-log-state]");
const pause = document.querySelector("[data-log-pause]");
const every = document.getElementById("every");
let paused = false;
let timer = 0;

const bottom = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
const down = () => { log.scrollTop = log.scrollHeight; };

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
    state.textContent = `${lines.length} lines at ${new Date().toISOString().slice(11, 19)} UTC`;
  } catch {
    state.textContent = "The lines could not be fetched; you may have been signed out.";
  }
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
  next();
});
every.addEventListener("change", next);
down();
next();

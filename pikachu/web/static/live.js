// Update a page's panels while the page is visible.

const root = document.querySelector("[data-live]");
const badge = document.querySelector("[data-live-badge]");
let source = null;
let waiting = false;
let again = false;

const known = () => Number(root.querySelector("[data-newest]")?.dataset.newest ?? 0);

const refresh = async () => {
  if (waiting) { again = true; return; }
  waiting = true;
  try {
    const answer = await fetch(root.dataset.panels, { credentials: "same-origin" });
    if (answer.redirected) { location.reload(); return; }
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = [...root.querySelectorAll("details")].map((one) => one.open);
      const focused = root.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      root.replaceChildren(...page.body.childNodes);
      if (root.querySelector("[data-ended]")) { location.reload(); return; }
      root.querySelectorAll("details").forEach((one, index) => { one.open = open[index] ?? false; });
      if (focused) root.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
      root.dispatchEvent(new Event("shown", { bubbles: true }));
    }
  } catch { /* the next event tries again */ }
  setTimeout(() => {
    waiting = false;
    if (again) { again = false; refresh(); }
  }, 1000);
};

const listen = () => {
  if (source || document.hidden) return;
  source = new EventSource(root.dataset.live);
  source.addEventListener("open", () => { badge.hidden = false; });
  source.addEventListener("error", () => { badge.hidden = true; });
  // A count that ended before this connection was open is not announced again.
  source.addEventListener("hello", (event) => {
    if (JSON.parse(event.data).newest !== known() || root.querySelector("[data-uncounted]")) refresh();
  });
  source.addEventListener("changed", refresh);
  source.addEventListener("end", () => location.reload());
};

const disconnect = () => {
  source?.close();
  source = null;
  badge.hidden = true;
};

if (root && badge) {
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : listen()));
  // A page in the back/forward cache must not hold a connection.
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", listen);
  listen();
}

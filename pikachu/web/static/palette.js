// The palette (Ctrl+K) and keyboard shortcuts; without this script the page /search does the same.

const root = document.documentElement;
const isTyping = (element) => element.closest("input, textarea, select, [contenteditable]") !== null;
const DELAY = 120;

let palette;

const make = () => {
  const dialog = document.createElement("dialog");
  dialog.className = "palette";
  dialog.setAttribute("aria-label", "Search");
  dialog.innerHTML = `<input type="text" role="combobox" aria-label="Search certificates, devices, users, pages, actions and the guide"
    aria-controls="palette-list" aria-expanded="false" aria-autocomplete="list" autocomplete="off" spellcheck="false" maxlength="100"
    placeholder="Search certificates, devices, users, pages…"><div role="listbox" id="palette-list" aria-label="Results" hidden></div><p class="mute" hidden>Nothing matches.</p>
    <p class="help"><kbd>↑</kbd> <kbd>↓</kbd> to choose, <kbd>Enter</kbd> to open, <kbd>Esc</kbd> to close</p><p class="sr" role="status"></p>`;
  document.body.append(dialog);
  const input = dialog.querySelector("input");
  const list = dialog.querySelector("[role=listbox]");
  const none = dialog.querySelector(".mute");
  const status = dialog.querySelector("[role=status]");
  let request, timer, opener;
  const options = () => [...list.querySelectorAll("[role=option]")];
  const choose = (option) => {
    options().forEach((one) => one.setAttribute("aria-selected", String(one === option)));
    if (option) {
      input.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  };
  const load = async () => {
    request?.abort();
    request = new AbortController();
    const text = input.value.trim();
    try {
      const answer = await fetch(`/search/results?q=${encodeURIComponent(text)}`, { credentials: "same-origin", signal: request.signal });
      if (answer.redirected || !answer.ok) throw new Error(answer.status);
      list.innerHTML = await answer.text();
      const found = options();
      list.hidden = !found.length;
      none.hidden = Boolean(found.length);
      input.setAttribute("aria-expanded", String(!list.hidden));
      choose(found[0]);
      status.textContent = found.length === 1 ? "1 result" : `${found.length} results`;
    } catch (error) {
      if (error.name !== "AbortError") location.assign(`/search?q=${encodeURIComponent(text)}`);
    }
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(load, DELAY); });
  input.addEventListener("keydown", (event) => {
    const found = options();
    const index = found.findIndex((one) => one.getAttribute("aria-selected") === "true");
    const next = { ArrowDown: (index + 1) % found.length, ArrowUp: (index - 1 + found.length) % found.length }[event.key];
    if (next !== undefined && found.length) {
      event.preventDefault();
      choose(found[next]);
    } else if (event.key === "Enter" && found[index]) {
      event.preventDefault();
      found[index].click();
    }
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { clearTimeout(timer); request?.abort(); opener?.focus(); });
  return {
    open: () => {
      if (dialog.open) return;
      opener = document.activeElement;
      input.value = "";
      dialog.showModal();
      input.focus();
      load();
    },
  };
};
const open = () => { palette ??= make(); palette.open(); };

document.querySelectorAll("[data-palette]").forEach((link) => link.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open();
}));

// The list of shortcuts.
const showShortcuts = () => {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "shortcuts-title");
  const rows = [["Ctrl K", "Open the search"], ["/", "Search this list"], ["?", "Show these shortcuts"]];
  document.querySelectorAll("nav [data-key]").forEach((link) => rows.push([`g ${link.dataset.key}`, link.firstChild.data.trim()]));
  dialog.innerHTML = `<h2 id="shortcuts-title">Keyboard shortcuts</h2><dl class="facts keys"></dl><form method="dialog"><button>Close</button></form>`;
  for (const [keys, label] of rows) {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    term.append(...keys.split(" ").flatMap((key) => {
      const kbd = document.createElement("kbd");
      kbd.textContent = key;
      return [kbd, " "];
    }));
    const text = document.createElement("dd");
    text.textContent = label;
    row.append(term, text);
    dialog.querySelector("dl").append(row);
  }
  const opener = document.activeElement;
  dialog.addEventListener("close", () => { dialog.remove(); opener?.focus(); });
  document.body.append(dialog);
  dialog.showModal();
};

let goingUntil = 0;
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    open();
    return;
  }
  if (root.dataset.shortcuts === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (event.timeStamp < goingUntil) {
    goingUntil = 0;
    const link = document.querySelector(`nav [data-key="${CSS.escape(event.key)}"]`);
    if (link) {
      event.preventDefault();
      link.click();
      return;
    }
  }
  if (event.key === "g") goingUntil = event.timeStamp + 1500;
  else if (event.key === "?") { event.preventDefault(); showShortcuts(); }
  else if (event.key === "/") {
    event.preventDefault();
    const field = document.querySelector("main #q");
    if (field) field.focus();
    else open();
  }
});

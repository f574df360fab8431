// Conveniences; every page works without them.

const each = (selector, work, within = document) => within.querySelectorAll(selector).forEach(work);

// A link to something that is folded up opens it.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.matches("details[data-target]")) target.open = true;
};
unfold();
window.addEventListener("hashchange", unfold);

// The menu on a phone.
each("[data-menu]", (button) => {
  const nav = document.getElementById("nav");
  button.addEventListener("click", () => {
    button.setAttribute("aria-expanded", String(nav.classList.toggle("open")));
  });
});

// Theme: light or dark, by default the system's.
each("[data-theme-toggle]", (button) => {
  const root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const system = () => matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const name = () => {
    button.title = `Switch to ${dark() ? "light" : "dark"} theme`;
    button.setAttribute("aria-label", button.title);
  };
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    const theme = dark() ? "light" : "dark";
    root.dataset.theme = theme;
    // The system's own theme is not stored, so that the pages follow the system again.
    try {
      if (theme === system()) localStorage.removeItem("theme");
      else localStorage.setItem("theme", theme);
    } catch { /* storage may be turned off */ }
    name();
  });
});

const localTimes = document.documentElement.dataset.times === "local";
const showLocal = (time, at) => {
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const minute = `${two(at.getHours())}:${two(at.getMinutes())}`;
  const under = time.querySelector(".under");
  if (under) under.textContent = minute;
  // Elsewhere the element may show the time only, with its zone.
  const text = time.firstChild.data;
  const shown = /^\d{4}-/.test(text) ? (under ? `${day} ` : `${day} ${minute}`) : `${minute}:${two(at.getSeconds())} local`;
  time.firstChild.data = shown;
  const zone = time.querySelector(".utc");
  if (zone) zone.textContent = " local";
};
const prepare = (within) => {
  // Times are UTC, and the tooltip adds the local time; or the other way round, where the account has chosen that.
  each("time[datetime]", (time) => {
    const at = new Date(time.getAttribute("datetime"));
    if (Number.isNaN(at.valueOf())) return;
    time.title = `${time.getAttribute("datetime")} · local: ${at.toLocaleString()}`;
    if (localTimes) showLocal(time, at);
  }, within);
  if (localTimes) each("th, td[data-label], label, .facts dt", (element) => {
    if (element.dataset.label) element.dataset.label = element.dataset.label.replace("(UTC)", "(local)");
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (element.tagName !== "TD" && walker.nextNode()) {
      walker.currentNode.data = walker.currentNode.data.replace("(UTC)", "(local)");
    }
  }, within);
  each("[data-copy]", (element) => {
    element.hidden = false;
    if (element.tagName !== "BUTTON") {
      element.tabIndex = 0;
      element.setAttribute("role", "button");
      element.setAttribute("aria-label", `Copy ${element.dataset.copy}`);
    }
  }, within);
  each("[data-copy-from]", (button) => { button.hidden = false; }, within);
  // A dangerous action is disabled until the confirmation word is typed.
  each("input[data-typed]", (input) => {
    const button = input.form.querySelector("button:not([type=button])");
    const update = () => { button.disabled = input.value.trim() !== input.dataset.typed; };
    input.addEventListener("input", update);
    update();
  }, within);
};
prepare(document);
// Elements that another script has inserted.
document.addEventListener("shown", (event) => prepare(event.target));

// Says what a click has done where nothing else on the page changes.
const told = document.createElement("div");
told.className = "told";
told.setAttribute("aria-live", "polite");
document.body.append(told);
const tell = (text) => {
  told.textContent = text;
  setTimeout(() => { told.textContent = ""; }, 1500);
};
const copy = async (element) => {
  const label = element.textContent;
  try {
    await navigator.clipboard.writeText(element.dataset.copy);
    if (element.tagName === "BUTTON") element.textContent = "Copied";
    else tell("Copied");
  } catch {
    if (element.tagName === "BUTTON") element.textContent = "Press Ctrl+C";
    else getSelection().selectAllChildren(element);
  }
  if (element.tagName === "BUTTON") setTimeout(() => { element.textContent = label; }, 1500);
};
// A secret that a list does not contain is fetched when it is copied.
const copyFrom = async (button) => {
  try {
    const answer = await fetch(button.dataset.copyFrom, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error(answer.status);
    button.dataset.copy = await answer.text();
    await copy(button);
    delete button.dataset.copy;
  } catch {
    location.assign(button.dataset.copyFrom.replace(/\/text$/, ""));
  }
};
document.addEventListener("click", (event) => {
  const element = event.target.closest("[data-copy], [data-copy-from]");
  if (!element) return;
  if (element.dataset.copyFrom) copyFrom(element);
  else copy(element);
});
document.addEventListener("keydown", (event) => {
  if ((event.key === "Enter" || event.key === " ") && event.target.matches("[data-copy]:not(button)")) {
    event.preventDefault();
    copy(event.target);
  }
});

// A filter above a list applies immediately.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});
// Empty filters are left out of the URL.
each("form[data-tools]", (form) => form.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
}));

// The headings of a list stay in sight unless it is wider than its frame, in which it then scrolls.
const frames = new ResizeObserver((entries) => {
  // All are measured before any is changed: a change in between would lay out the page again for each.
  const fits = entries.map(({ target }) => target.firstElementChild.offsetWidth <= target.clientWidth);
  entries.forEach(({ target }, index) => { target.classList.toggle("fits", fits[index]); });
});
each(".scroll:has(> .list)", (frame) => frames.observe(frame));

// A choice of many is searched: the options with all words stay, the first of them is chosen unless the present one is.
const FEW = 15;
each("select[data-find]", (select) => {
  const groups = [...select.children].map((group) => [group, [...group.querySelectorAll("option")]]);
  if (select.options.length <= FEW) return;
  const input = document.createElement("input");
  const said = document.createElement("span");
  input.type = "search";
  input.className = "find";
  input.maxLength = 100;
  input.autocomplete = "off";
  input.placeholder = `Find among ${select.options.length}`;
  input.setAttribute("aria-label", `Find in ${select.labels[0].textContent.trim()}`);
  said.className = "help";
  said.setAttribute("role", "status");
  select.before(input);
  select.after(said);
  const show = (matches) => {
    select.replaceChildren(...groups.flatMap(([group, options]) => {
      const left = options.filter(matches);
      if (!options.length) return matches(group) ? [group] : [];
      group.replaceChildren(...left);
      return left.length ? [group] : [];
    }));
    return select.options.length;
  };
  input.addEventListener("input", (event) => {
    event.stopPropagation();
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = select.value;
    const isFound = show((option) => words.every((word) => option.textContent.toLowerCase().includes(word)));
    if (!isFound) show(() => true);
    said.textContent = isFound ? "" : "Nothing matches.";
    select.value = chosen;
    if (select.selectedIndex >= 0) return;
    select.selectedIndex = 0;
    for (const type of ["input", "change"]) select.dispatchEvent(new Event(type, { bubbles: true }));
  });
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
});

// The selection of rows: one box for all of the page, and the number of those that are ticked.
each("form[data-bulk]", (form) => {
  const rows = form.elements.rows;
  const boxes = [...document.querySelectorAll(`input[type=checkbox][form="${form.getAttribute("id")}"]`)];
  const every = document.querySelector("[data-select-all]");
  const update = () => {
    const count = boxes.filter((box) => box.checked).length;
    rows.options[0].textContent = count === 1 ? "1 selected row" : `${count} selected rows`;
    every.checked = count === boxes.length;
    every.indeterminate = count > 0 && !every.checked;
    rows.setCustomValidity(rows.value === "selected" && !count ? "Select at least one row." : "");
  };
  every.hidden = false;
  every.addEventListener("change", () => {
    boxes.forEach((box) => { box.checked = every.checked; });
    update();
  });
  boxes.forEach((box) => box.addEventListener("change", () => { rows.value = "selected"; update(); }));
  rows.addEventListener("change", update);
  update();
});

// A file that the server would refuse for its size is not sent.
document.addEventListener("change", ({ target }) => {
  if (target.type !== "file") return;
  const limit = Number(document.body.dataset.limit);
  const isLarge = [...target.files].some((file) => file.size > limit);
  target.setCustomValidity(isLarge ? `This file is too large. The server accepts ${Math.floor(limit / 1024)} KiB.` : "");
  target.reportValidity();
});

// A linked form opens as a dialog on this page. Before secrets, the form for the password does.
const readMain = async (answer) =>
  new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
const passwordForm = (within) => within?.querySelector("form[action='/confirm']");
const showDialog = (main, link) => {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", main.querySelector("h1").textContent.trim());
  dialog.append(...main.childNodes);
  each("script", (script) => script.remove(), dialog);
  each("form", (form) => { if (!form.getAttribute("action")) form.action = link.href; }, dialog);
  let cancel = dialog.querySelector("[data-cancel]");
  if (!cancel) {
    cancel = document.createElement("button");
    cancel.type = "button";
    cancel.className = "plain";
    cancel.textContent = "Close";
    dialog.append(cancel);
  }
  cancel.addEventListener("click", (press) => { press.preventDefault(); dialog.close(); });
  dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
  document.body.append(dialog);
  prepare(dialog);
  dialog.showModal();
  return dialog;
};
const askPassword = (main, link) => {
  const dialog = showDialog(main, link);
  passwordForm(dialog).addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const answer = await fetch("/confirm", {
        method: "POST",
        credentials: "same-origin",
        redirect: "manual",
        body: new URLSearchParams(new FormData(event.target)),
      });
      const again = answer.type === "opaqueredirect" ? null : await readMain(answer);
      dialog.close();
      if (passwordForm(again)) askPassword(again, link);
      else if (link.matches("[data-dialog]")) await openDialog(link);
      else location.assign(link.href);
    } catch {
      location.assign(link.href);
    }
  });
};
const openDialog = async (link) => {
  const path = link.matches("[data-dialog]") ? link.href : `/confirm?${new URLSearchParams({ next: link.getAttribute("href") })}`;
  const answer = await fetch(path, { credentials: "same-origin", redirect: "follow" });
  const main = await readMain(answer);
  if (answer.ok && new URL(answer.url).pathname === "/confirm" && passwordForm(main)) {
    askPassword(main, link);
    return;
  }
  if (!answer.ok || answer.redirected || !main?.querySelector("form[method=post]")) throw new Error("no form");
  showDialog(main, link);
};
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-dialog], a[data-confirm]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  try {
    await openDialog(link);
  } catch {
    location.assign(link.href);
  }
});

// Subject alternative names as chips over their text area, which works without scripts.  The server checks the names:
// its preview says of each what it is, or what is wrong.

document.querySelectorAll("textarea[data-chips]").forEach((area) => {
  const separators = /[\s,;]+/;
  let names = area.value.split(separators).filter(Boolean);
  let known = new Map();

  const box = document.createElement("div");
  box.className = "chips";
  const list = document.createElement("ul");
  list.setAttribute("aria-label", "Entered names");
  const entry = document.createElement("input");
  entry.type = "text";
  entry.id = `${area.id}-entry`;
  entry.autocomplete = "off";
  entry.spellcheck = false;
  entry.setAttribute("autocapitalize", "off");
  entry.setAttribute("aria-describedby", area.getAttribute("aria-describedby") ?? "");
  document.querySelector(`label[for="${area.id}"]`).htmlFor = entry.id;
  const help = document.getElementById(area.getAttribute("aria-describedby"));
  if (help) help.textContent = "Host names, IP addresses, e-mail addresses or URIs. Press Enter after each.";
  const messages = document.createElement("div");
  messages.className = "chip-errors";
  messages.setAttribute("role", "status");
  box.append(list, entry);
  area.hidden = true;
  area.after(box, messages);

  const store = () => {
    area.value = [...names, ...entry.value.split(separators).filter(Boolean)].join("\n");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };

  // A chip stays the same element, so that a click on it is not lost when the list changes meanwhile.
  const chips = new Map();
  const chipOf = (text) => {
    if (chips.has(text)) return chips.get(text);
    const chip = document.createElement("li");
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove ${text}`);
    remove.addEventListener("click", () => {
      names = names.filter((other) => other !== text);
      show();
      store();
      entry.focus();
    });
    chip.append(document.createElement("span"), remove);
    chips.set(text, chip);
    return chip;
  };

  const show = () => {
    for (const [text, chip] of chips) if (!names.includes(text)) { chip.remove(); chips.delete(text); }
    for (const text of names) {
      const chip = chipOf(text);
      const found = known.get(text);
      chip.className = found?.error ? "chip bad" : found?.name ? "chip good" : "chip";
      chip.firstChild.textContent = found?.name || text;
      if (!chip.parentNode) list.append(chip);
    }
    list.hidden = names.length === 0;
    const typed = [...names, entry.value.trim()];
    messages.replaceChildren(...typed.filter((text) => known.get(text)?.error).map((text) => {
      const line = document.createElement("p");
      line.textContent = `${text}: ${known.get(text).error}`;
      return line;
    }));
    entry.setAttribute("aria-invalid", String(Boolean(known.get(entry.value.trim())?.error)));
  };

  const add = () => {
    const typed = entry.value.split(separators).filter(Boolean);
    if (!typed.length) return false;
    names = [...new Set([...names, ...typed])];
    entry.value = "";
    show();
    store();
    return true;
  };

  entry.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" || event.key === "," || event.key === ";" || event.key === " ") {
      if (event.key !== "Enter" || entry.value.trim()) event.preventDefault();
      add();
    } else if (event.key === "Backspace" && !entry.value && names.length) {
      // The last name can be corrected.
      event.preventDefault();
      entry.value = names[names.length - 1];
      names = names.slice(0, -1);
      show();
      store();
    }
  });
  entry.addEventListener("paste", () => setTimeout(() => { if (separators.test(entry.value.trim())) add(); }));
  entry.addEventListener("input", (event) => {
    event.stopPropagation();
    store();
  });
  entry.addEventListener("change", add);

  area.form.addEventListener("previewed", (event) => {
    const typed = event.detail.querySelector("[data-typed-names]");
    if (!typed) return;
    known = new Map([...typed.children].map((one) => [one.dataset.text, one.dataset]));
    typed.remove();
    show();
  });
  const first = document.querySelector("#preview [data-typed-names]");
  if (first) {
    known = new Map([...first.children].map((one) => [one.dataset.text, one.dataset]));
    first.remove();
  }
  show();
});

// Show an answer while a language model composes it; without scripts, the form shows the whole answer on a page.
// Everything is text: no HTML of the model or of a name ever becomes an element.

const form = document.querySelector("form[data-stream]");
const answer = document.getElementById("answer");
const button = form.querySelector("button");

const make = (name, className = "", ...children) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
};

// Only paths of this server become links.
const link = (path, text) => {
  if (!/^\/(?![\/\\])/.test(path)) return document.createTextNode(text);
  const element = make("a", "", text);
  element.setAttribute("href", path);
  return element;
};

const factItem = (fact) => {
  const item = make("li", "", link(fact.path, fact.text));
  if (fact.command) {
    const command = make("pre", "", make("code", "", fact.command));
    command.tabIndex = 0;
    item.append(command);
  }
  return item;
};

class Answer {
  constructor() {
    this.section = make("section");
    this.section.setAttribute("aria-label", "Answer");
    this.prose = make("p", "prose", "…");
    this.about = make("p", "mute");
    this.panel = make("div", "panel composed", this.prose, this.about);
    this.panel.setAttribute("aria-busy", "true");
    this.facts = make("ul", "panel facts-now");
    this.facts.hidden = true;
    this.section.append(this.panel);
    answer.replaceChildren(this.section);
    this.isDone = false;
  }

  addFacts(facts) {
    this.facts.append(...facts.map(factItem));
    this.facts.hidden = !this.facts.children.length;
  }

  sources({ pages, facts, passages }) {
    if (pages.length) {
      this.section.append(make("ul", "panel facts-now",
        ...pages.map((page) => make("li", "", "Page ", link(page.path, page.label), `: ${page.purpose}`))));
    }
    this.section.append(this.facts);
    this.addFacts(facts);
    if (passages.length) this.section.append(make("p", "", "From the guide:"));
    passages.forEach((passage) => {
      const source = make("p", "mute", "From ", link(passage.path, passage.title));
      this.section.append(make("div", "panel", ...(passage.excerpt ? [make("p", "", passage.excerpt)] : []), source));
    });
    this.isEmpty = !passages.length;
  }

  text({ text }) {
    this.prose.textContent = text || "…";
  }

  done({ text, facts, note }) {
    this.isDone = true;
    this.panel.removeAttribute("aria-busy");
    this.addFacts(facts);
    this.prose.replaceChildren(...text.map((part) => (part.path ? link(part.path, part.text) : part.text)));
    this.about.textContent = `Composed by the language model at ${form.dataset.host}. Check it against its sources below.`;
    if (!text.length) this.panel.remove();
    if (note) this.section.prepend(make("p", "notice warn", note));
    if (this.isEmpty && !text.length) {
      this.section.append(make("div", "empty", make("p", "",
        "The documentation doesn't say. Try other words, or browse ", link("/help", "the guide"), ".")));
    }
  }
}

const ask = async () => {
  const response = await fetch(form.dataset.stream, {
    method: "POST",
    credentials: "same-origin",
    redirect: "error",
    body: new URLSearchParams(new FormData(form)),
  });
  if (!response.ok || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) return false;
  const shown = new Answer();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (buffer + part.value).split("\n\n");
    buffer = events.pop();
    events.forEach((event) => {
      const [, name, data] = /^event: (sources|text|done)\ndata: (.*)$/.exec(event) ?? [];
      if (name) shown[name](JSON.parse(data));
    });
  }
  return shown.isDone;
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  try {
    if (!(await ask())) form.submit();
  } catch {
    form.submit();
  } finally {
    button.disabled = false;
  }
});

// Preview a form while the user fills it in; its button "Preview" does the same without scripts.

document.querySelectorAll("form[data-preview]").forEach((form) => {
  const target = document.getElementById("preview");
  let waiting = 0;
  let last = 0;

  const show = async () => {
    const sequence = ++last;
    try {
      const answer = await fetch(form.dataset.preview, {
        method: "POST",
        credentials: "same-origin",
        body: form.enctype === "multipart/form-data" ? new FormData(form) : new URLSearchParams(new FormData(form)),
      });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok || answer.redirected || sequence !== last) return;
      form.dispatchEvent(new CustomEvent("previewed", { detail: page.body }));
      target.replaceChildren(...page.body.childNodes);
      target.dispatchEvent(new Event("shown", { bubbles: true }));
    } catch { /* the server is unreachable: keep the last preview */ }
  };

  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 250);
  });
  form.querySelectorAll("[name=action][value=preview]").forEach((button) => { button.hidden = true; });
});

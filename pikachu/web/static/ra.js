// The validity follows the policy that is chosen, until somebody writes another one.

const form = document.querySelector("form[data-sign]");
const policy = form.elements.policy;
const days = form.elements.days;
const own = () => policy.selectedOptions[0]?.dataset.days ?? "";
let followed = days.value === own() || days.value === "";

days.addEventListener("input", () => { followed = days.value === ""; });
policy.addEventListener("change", () => { if (followed) days.value = own(); });

// The validity follows the selected policy until the user edits it.

const form = document.querySelector("form[data-sign]");
const policy = form.elements.policy;
const days = form.elements.days;
const policyDays = () => policy.selectedOptions[0]?.dataset.days ?? "";
let followed = days.value === policyDays() || days.value === "";

days.addEventListener("input", () => { followed = days.value === ""; });
policy.addEventListener("change", () => { if (followed) days.value = policyDays(); });

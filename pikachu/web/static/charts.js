// Show the number of a bar when it is touched, or chosen by the arrow keys; a mouse has its tooltip.

const barsOf = (chart) => [...chart.querySelectorAll("rect")];

const show = (chart, bar) => {
  barsOf(chart).forEach((one) => one.classList.toggle("current", one === bar));
  let value = chart.nextElementSibling;
  if (!value?.matches("[data-bar]")) {
    value = document.createElement("p");
    value.dataset.bar = "";
    value.setAttribute("role", "status");
    chart.after(value);
  }
  value.textContent = bar.querySelector("title").textContent;
};

const charts = () => document.querySelectorAll("svg.chart").forEach((chart) => { chart.tabIndex = 0; });

let touched = false;
document.addEventListener("pointerdown", (event) => { touched = event.pointerType === "touch"; });

document.addEventListener("click", (event) => {
  const bar = touched && event.target.closest("svg.chart rect");
  if (!bar || bar.classList.contains("current")) return;
  // The first touch shows the number, another one of the same bar opens its list.
  event.preventDefault();
  show(bar.closest("svg"), bar);
});

document.addEventListener("keydown", (event) => {
  const chart = event.target.closest?.("svg.chart");
  if (!chart || event.altKey || event.ctrlKey || event.metaKey) return;
  const bars = barsOf(chart);
  const at = bars.findIndex((one) => one.classList.contains("current"));
  if (event.key === "Enter") {
    bars[at]?.closest("a")?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    return;
  }
  const last = bars.length - 1;
  const next = { ArrowRight: Math.min(at + 1, last), ArrowDown: Math.min(at + 1, last), Home: 0, End: last,
    ArrowLeft: Math.max(at - 1, 0), ArrowUp: Math.max(at - 1, 0) }[event.key];
  if (next === undefined || !bars.length) return;
  event.preventDefault();
  show(chart, bars[next]);
});

charts();
// The dashboard replaces its panels.
document.addEventListener("shown", charts);

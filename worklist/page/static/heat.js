// The heat map over a picture: shown or not, and how strong.

const heat = { shown: true, strength: 100 };

function apply() {
  const box = document.querySelector("[data-heat]");
  if (!box) return;
  box.checked = heat.shown;
  document.querySelector("[data-strength]").value = heat.strength;
  document.documentElement.style.setProperty("--heat", heat.strength / 100);
}

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-heat]")) heat.shown = event.target.checked;
  if (event.target.matches("[data-strength]")) heat.strength = Number(event.target.value);
  apply();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "h" || event.ctrlKey || event.metaKey || event.altKey || !document.querySelector("[data-heat]")) return;
  if (event.target.matches("input:not([type=checkbox], [type=range]), select, textarea")) return;
  heat.shown = !heat.shown;
  apply();
});

document.addEventListener("fresh", apply);

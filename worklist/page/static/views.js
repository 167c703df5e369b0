// Saved views, and which columns are shown.

import { send } from "./forms.js";

const VIEWS = "/api/v1/worklist/views";
const dialog = document.querySelector("[data-views-form]");

document.querySelector("[data-views]")?.addEventListener("click", () => {
  dialog.querySelector("output").textContent = "";
  dialog.showModal();
});

dialog?.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-view-do]");
  if (!button) return;
  const row = button.closest("[data-view]");
  const wish = {
    rename: ["PATCH", { name: row.querySelector("input").value }],
    replace: ["PATCH", { query: JSON.parse(dialog.dataset.query) }],
    default: ["PATCH", { default: button.getAttribute("aria-pressed") !== "true" }],
    delete: ["DELETE"],
  }[button.dataset.viewDo];
  await change(wish[0], `${VIEWS}/${row.dataset.view}`, wish[1]);
});

dialog?.querySelector("form").addEventListener("submit", async (event) => {
  if (event.submitter?.value === "close") return;
  event.preventDefault();
  const fields = new FormData(event.target);
  const body = { name: fields.get("name"), default: fields.has("default"), query: JSON.parse(dialog.dataset.query) };
  await change("POST", VIEWS, body);
});

async function change(method, url, body) {
  const refused = await send(method, url, body);
  dialog.querySelector("output").textContent = refused;
  if (!refused) location.assign(location.search || "/?status=OPEN");
}

const columns = document.querySelector("[data-columns]");

columns?.addEventListener("change", () => {
  const hidden = [...columns.querySelectorAll("input:not(:checked)")].map((box) => box.value);
  document.cookie = `hidden_columns=${hidden.join(".")}; path=/; max-age=31536000; samesite=strict`;
  for (const table of document.querySelectorAll(".cases")) table.dataset.hidden = hidden.join(" ");
});

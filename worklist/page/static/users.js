// Users and tokens: each button is one request of the API; the tables are fetched anew after it.

import { localTimes } from "./times.js";

const people = document.querySelector("[data-people]");
const said = document.querySelector("[data-said]");
const secret = document.querySelector("[data-secret]");
const DAY_MS = 86400000;

async function ask(method, path, body) {
  said.hidden = true;
  const options = { method };
  if (body !== undefined) Object.assign(options, { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    return tell("The connection to firstread is lost; nothing is known to have changed.");
  }
  if (answer.status === 401) { location.reload(); return null; }
  const told = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) return tell([told.detail, told.next_step].filter(Boolean).join(" "));
  await refreshPeople();
  return told;
}

async function tell(problem) {
  await refreshPeople().catch(() => {}); // a choice that was refused goes back to what is; without connection it waits
  said.textContent = problem;
  said.hidden = false;
  return null;
}

async function refreshPeople() {
  const answer = await fetch(people.dataset.people, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (answer.status === 401 || answer.status === 403) { location.reload(); return; }
  if (!answer.ok) return;
  const focused = document.activeElement?.getAttribute("aria-label");
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
  localTimes(fresh);
  people.replaceChildren(...fresh.childNodes);
  if (focused) people.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

function fields(form) {
  const given = Object.fromEntries([...new FormData(form)].filter(([name]) => name !== "scopes" && name !== "days"));
  if (form.elements.days) {
    given.scopes = [...form.querySelectorAll("[name=scopes]:checked")].map((box) => box.value);
    const days = Number(form.elements.days.value);
    given.expires_at = days ? new Date(Date.now() + days * DAY_MS).toISOString() : null;
  }
  return given;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const path = form.dataset.post ?? form.dataset.put;
  if (!path) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true; // hashing takes its time; a second click would ask twice
  secret.hidden = true;
  const told = await ask(form.dataset.post ? "POST" : "PUT", path, fields(form));
  button.disabled = false;
  if (!told) return;
  form.reset();
  if (told.token) {
    document.querySelector("[data-secret-text]").textContent = told.token;
    secret.hidden = false;
  }
});

document.addEventListener("change", (event) => {
  const choice = event.target.closest("select[data-patch]");
  if (choice) ask("PATCH", choice.dataset.patch, { [choice.dataset.field]: choice.value });
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-patch], button[data-delete]");
  if (!button) return;
  if (button.dataset.patch) ask("PATCH", button.dataset.patch, { [button.dataset.field]: button.dataset.value === "true" });
  else if (confirm(button.dataset.ask)) ask("DELETE", button.dataset.delete);
});

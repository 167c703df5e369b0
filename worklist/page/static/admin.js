// Forms of the administrator: JSON with the version that was seen. Answers that take a worker come by the live part.

import { localTimes } from "./times.js";

const said = document.querySelector("[data-said]");
const busy = new WeakSet();
let saidTimer = null;

function say(text, bad) {
  clearTimeout(saidTimer);
  said.textContent = text;
  said.classList.toggle("bad", bad);
  said.hidden = false;
  if (!bad) saidTimer = setTimeout(() => { said.hidden = true; }, 6000);
}

function valueOf(field) {
  if (field.type === "number") return Number(field.value);
  if (field.dataset.as === "boolean") return field.type === "checkbox" ? field.checked : field.value === "true";
  return field.value;
}

function bodyOf(form) {
  const fields = [...form.elements].filter((field) => field.name && field.value !== "");
  const single = fields.filter((field) => field.dataset.as !== "list");
  const body = Object.fromEntries(single.map((field) => [field.name, valueOf(field)]));
  for (const box of fields.filter((field) => field.dataset.as === "list")) {
    body[box.name] ??= []; // none ticked is an empty list, not "as it was"
    if (box.checked) body[box.name].push(box.value);
  }
  return body;
}

async function send(form) {
  const headers = { "Content-Type": "application/json" };
  if (form.dataset.seen) headers["If-Match"] = `"${form.dataset.seen}"`;
  const answer = await fetch(form.action, { method: form.dataset.admin, headers, body: JSON.stringify(bodyOf(form)) });
  if (answer.ok) return answer.status;
  if (answer.status === 401) location.reload();
  const problem = await answer.json();
  throw new Error([problem.detail, problem.next_step].filter(Boolean).join(" "));
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.admin) return;
  event.preventDefault();
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) return;
  if (busy.has(form)) return; // a disabled button would lose the focus
  busy.add(form);
  try {
    const status = await send(form);
    if (form.dataset.then) { location.assign(form.dataset.then); return; }
    form.reset();
    say(status === 202 ? "Asked; the answer appears here as soon as it is there." : "Done.", false);
  } catch (error) {
    say(error instanceof TypeError ? "firstread did not answer." : error.message, true);
  } finally {
    busy.delete(form);
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.trial) return;
  event.preventDefault();
  const place = document.querySelector("[data-trial-answer]");
  place.textContent = "Trying …";
  try {
    const answer = await fetch(form.dataset.trial, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/html" },
      body: JSON.stringify(bodyOf(form)),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error("It could not be tried; look at the number of days.");
    const fresh = new DOMParser().parseFromString(text, "text/html").body;
    localTimes(fresh);
    place.replaceChildren(...fresh.childNodes);
  } catch (error) {
    place.textContent = error instanceof TypeError ? "firstread did not answer." : error.message;
  }
});

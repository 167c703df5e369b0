// What a person does, sent to the API as JSON; a refusal comes back in words.

import { refreshNow, region, signIn } from "./live.js";

/** "" when it was done, else why not. `version`: of the case as it was seen; `changed` is told the one it has then. */
export async function send(method, url, body = {}, { version, changed } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (version) headers["If-Match"] = `"${version}"`;
  try {
    const answer = await fetch(url, { method, headers, body: method === "DELETE" ? undefined : JSON.stringify(body) });
    if (answer.ok) {
      changed?.((answer.headers.get("ETag") ?? "").replaceAll('"', ""));
      return "";
    }
    if (answer.status === 401) { signIn(); return "Signed out."; }
    const told = await answer.json();
    if (version && answer.status === 409 && told.detail.includes("If-Match")) return "The case has changed just now. Look again, then repeat.";
    return told.next_step ? `${told.detail} ${told.next_step}` : told.detail;
  } catch {
    return "firstread did not answer; nothing was changed as far as this page knows.";
  }
}

const refusal = document.querySelector("[data-refusal]");

/** Say why something was not done, wherever the page is scrolled, until the next step: a part of the page that is
 * made anew would take a message inside it along. "" takes it away. */
export function refuse(words) {
  refusal.querySelector("span").textContent = words;
  refusal.hidden = !words;
}

refusal.querySelector("button").addEventListener("click", () => refuse(""));

/** What the live part shows of a case: its version, and how to tell it the one after a change. */
export function seenVersion() {
  const seen = region?.querySelector("[data-version]");
  return { version: seen?.dataset.version, changed: (now) => { if (seen && now) seen.dataset.version = now; } };
}

const busy = new Set(); // what is being asked for: a double click asks once, also when the button was made anew

async function submit(form) {
  if (busy.has(form.action)) return;
  busy.add(form.action);
  try {
    await take(form);
  } finally {
    busy.delete(form.action);
  }
}

async function take(form) {
  if (form.dataset.ask && !confirm(form.dataset.ask)) return;
  const fields = [...new FormData(form)].map(([name, value]) => [name, value === "" ? null : value]);
  const { version, changed } = seenVersion();
  const tell = region?.contains(form) ? refuse : (words) => { form.querySelector("output").textContent = words; };
  tell("");
  const refused = await send(form.dataset.json, form.action, Object.fromEntries(fields), {
    version: form.hasAttribute("data-versioned") ? version : "", changed,
  });
  tell(refused);
  if (!refused) form.reset();
  if (region) refreshNow();
}

document.addEventListener("submit", (event) => {
  if (!event.target.dataset.json) return;
  event.preventDefault();
  submit(event.target);
});

// After the first click of a double click another button may stand under the pointer: "Mark as read" where "Claim" was.
document.addEventListener("click", (event) => {
  if (event.detail > 1 && event.target.closest?.("[data-json] button, [data-do]")) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

document.addEventListener("click", (event) => {
  if (event.target.closest?.("[data-close]")) event.target.closest("dialog")?.close();
});

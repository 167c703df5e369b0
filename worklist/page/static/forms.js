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

async function submit(form) {
  const fields = [...new FormData(form)].map(([name, value]) => [name, value === "" ? null : value]);
  const output = form.querySelector("output");
  output.textContent = "";
  output.textContent = await send(form.dataset.json, form.action, Object.fromEntries(fields));
  if (!output.textContent) form.reset();
  if (region) refreshNow();
}

document.addEventListener("submit", (event) => {
  if (!event.target.dataset.json) return;
  event.preventDefault();
  submit(event.target);
});

document.addEventListener("click", (event) => {
  if (event.target.closest?.("[data-close]")) event.target.closest("dialog")?.close();
});

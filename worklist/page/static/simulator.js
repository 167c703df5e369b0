"use strict";
// Sliders that play again a moment after they rest. Without this script the button does the same.

const REST_MS = 300;

const form = document.querySelector("[data-simulator]");
const waits = document.querySelector("[data-waits]");
let resting = null;
let asked = null;

// Only what somebody has set: the rest stays as the scenario has it.
function address() {
  const query = new URLSearchParams({ source: form.elements.source.value });
  for (const input of form.querySelectorAll("[data-given]")) query.set(input.name, input.value);
  return query;
}

async function play() {
  const query = address();
  history.replaceState(null, "", `/simulator?${query}`);
  asked?.abort();
  asked = new AbortController();
  waits.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(`/fragment/simulator?${query}`, { headers: { Accept: "text/html" }, signal: asked.signal });
    if (answer.status === 401) { location.reload(); return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    const problem = fresh.querySelector(".problem"); // a whole page: of a field that cannot be understood
    waits.replaceChildren(...(problem ? problem.querySelectorAll("p:not(.hint)") : fresh.childNodes));
    waits.removeAttribute("aria-busy");
  } catch (error) {
    if (error.name === "AbortError") return;
    waits.textContent = "firstread did not answer.";
    waits.removeAttribute("aria-busy");
  }
}

form.addEventListener("input", (event) => {
  const input = event.target;
  if (input.name === "source") { location.assign(`/simulator?source=${input.value}`); return; }
  input.toggleAttribute("data-given", true);
  const output = input.parentElement.querySelector("output");
  if (output) output.textContent = `${Number((input.value * input.dataset.scale).toFixed(1))}${input.dataset.unit}`;
  clearTimeout(resting);
  resting = setTimeout(play, REST_MS);
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(resting);
  play();
});

// The case page: its viewer, what a reader says of the findings, and keys for both. page.js keeps the facts live.

import { refuse, seenVersion, send } from "./forms.js";
import { refreshNow } from "./live.js";
import { Viewer } from "./viewer.js";

const page = document.querySelector("[data-case]");
const live = page.querySelector("[data-live]");
const study = page.dataset.case;
const url = `/api/v1/studies/${study}`;
const viewer = new Viewer(page.querySelector("[data-viewer=case]"), study, page.dataset.first);
const beside = page.querySelector("[data-viewer=prior]");
let prior = null; // the viewer of another study of the patient
const said = page.querySelector("[data-said]");
window.firstreadViewer = viewer; // for a look from the console, and for tests

viewer.open();

// --- another study beside it ------------------------------------------------------------------------------------------

function compare({ compare: other, compareName: name }) {
  closePrior();
  beside.hidden = false;
  page.classList.add("besides-shown");
  beside.querySelector("[data-part=title]").textContent = name;
  prior = new Viewer(beside, other, "");
  prior.open();
  beside.querySelector("[data-part=image]").focus();
}

function closePrior() {
  prior?.close();
  prior = null;
  beside.hidden = true;
  page.classList.remove("besides-shown");
}

beside.querySelector("[data-unbeside]").addEventListener("click", closePrior);

// --- what a reader says of a finding ---------------------------------------------------------------------------------

const opinion = document.querySelector("[data-opinion-form]");
const missed = document.querySelector("[data-missed-form]");

/** "" when it was kept, else why not. */
async function keep(path, body, done) {
  refuse("");
  const refused = await send("POST", url + path, body, { changed: seenVersion().changed });
  if (!refused) said.textContent = done;
  refreshNow();
  return refused;
}

function findingOf(element) {
  return element?.closest?.("[data-finding]") ?? null;
}

/** The finding that the keys are about: the one with the focus, or the one last chosen, or the first. */
function chosen() {
  const all = [...live.querySelectorAll("[data-finding]")];
  return findingOf(document.activeElement) ?? all.find((one) => one.dataset.finding === remembered.finding) ?? all[0];
}

async function give(finding, verdict) {
  if (!finding) return;
  remembered.finding = finding.dataset.finding;
  const name = finding.dataset.meaning;
  if (verdict === "AGREE") {
    refuse(await keep(`/findings/${finding.dataset.finding}/verdict`, { verdict }, `You agree: ${name}.`));
    return;
  }
  opinion.dataset.finding = finding.dataset.finding;
  opinion.dataset.verdict = verdict;
  opinion.querySelector("h2").textContent = verdict === "DISAGREE" ? `Disagree with ${name}` : `Cannot tell about ${name}`;
  opinion.querySelector("form").reset();
  opinion.querySelector("output").textContent = "";
  opinion.showModal();
}

function fields(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value === "" ? null : value]));
}

opinion.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { reason, comment } = fields(event.target);
  const { finding, verdict } = opinion.dataset;
  const output = opinion.querySelector("output");
  output.textContent = await keep(`/findings/${finding}/verdict`, { verdict, reason, comment: comment ?? "" }, "Your verdict is kept.");
  if (!output.textContent) opinion.close();
});

missed?.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { key, laterality, text } = fields(event.target);
  const output = missed.querySelector("output");
  output.textContent = await keep("/missed", { key, laterality, text: text ?? "" }, "The missed finding is kept.");
  if (!output.textContent) missed.close();
});

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => { if (event.target.closest("[data-close]")) dialog.close(); });
}

live.addEventListener("click", (event) => {
  const finding = findingOf(event.target);
  const other = event.target.closest("[data-compare]");
  if (other) compare(other.dataset);
  else if (event.target.closest("[data-missed]")) { missed.querySelector("form").reset(); missed.showModal(); }
  else if (finding && event.target.closest("[data-opinion]")) give(finding, event.target.closest("[data-opinion]").dataset.opinion);
  else if (finding && event.target.closest("[data-show]")) {
    remembered.finding = finding.dataset.finding;
    viewer.showFinding(finding.dataset.findingKey);
  }
});

// --- keys ------------------------------------------------------------------------------------------------------------

const COMMANDS = {
  i: "invert", f: "fit", 1: "one-to-one", 0: "reset", h: "heat", l: "outline", k: "key", "[": "narrower", "]": "wider",
  ",": "darker", ".": "brighter", p: "play", "<": "slower", ">": "faster",
};
const OPINIONS = { a: "AGREE", d: "DISAGREE", t: "CANNOT_TELL" };

/** Press the button of a step of the case, or say why it is not offered. */
function press(step) {
  const { reading, reader } = live.querySelector("[data-reading]").dataset;
  if (reading === "READ") refuse(`${reader} has read this case.`);
  else if (reading === "CLAIMED" && reader !== document.body.dataset.who) refuse(`${reader} has claimed this case.`);
  else {
    const path = step === "claim" && reading === "CLAIMED" ? "release" : step;
    const button = live.querySelector(`.head form[action$="/${path}"] button`);
    if (button) button.click();
    else refuse("Your account may look at cases, and take no steps through them.");
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox], [type=range], [type=radio]), select, textarea")) return;
  if (document.querySelector("dialog[open]")) return;
  // Closed, it has the focus until the browser next draws.
  if (COMMANDS[event.key]) (prior && beside.contains(event.target) ? prior : viewer).command(COMMANDS[event.key]);
  else if (event.repeat) return; // held down, a step is taken once
  else if (OPINIONS[event.key]) give(chosen(), OPINIONS[event.key]);
  else if (event.key === "m" && missed) live.querySelector("[data-missed]")?.click();
  else if (event.key === "v") viewer.canvas.focus();
  else if (event.key === "c") press("claim");
  else if (event.key === "r") press("read");
  else if (event.key === "o") page.querySelector("[data-open]")?.click();
  else return;
  event.preventDefault();
});

// --- what a refresh of the facts must not take -----------------------------------------------------------------------

const remembered = { finding: "", focus: "", open: new Set(), shown: live.querySelector("[data-shown]")?.dataset.shown };

live.addEventListener("focusin", (event) => { remembered.focus = focusName(event.target); });
live.addEventListener("focusout", (event) => { if (event.relatedTarget) remembered.focus = ""; });
live.addEventListener("toggle", (event) => {
  const { kept } = event.target.dataset;
  if (kept) remembered.open[event.target.open ? "add" : "delete"](kept);
}, true);

/** A name by which the same control is found again after it was rendered anew. */
function focusName(element) {
  const finding = findingOf(element)?.dataset.finding;
  const control = element.dataset.opinion ?? (element.hasAttribute("data-show") ? "show" : element.hasAttribute("data-missed") ? "missed" : "");
  return control && JSON.stringify([finding ?? "", control]);
}

new MutationObserver(() => {
  for (const details of live.querySelectorAll("details[data-kept]")) details.open = remembered.open.has(details.dataset.kept);
  if (remembered.focus && document.activeElement === document.body) {
    const same = [...live.querySelectorAll("button")].find((button) => focusName(button) === remembered.focus);
    same?.focus({ preventScroll: true });
  }
  const shown = live.querySelector("[data-shown]")?.dataset.shown;
  if (shown !== remembered.shown) {
    remembered.shown = shown;
    viewer.open(); // an image or a finding has come
  }
}).observe(live, { childList: true });

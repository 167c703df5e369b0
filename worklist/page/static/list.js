// The reading list: rows that keep their place while somebody is at them, what is new, and every step by key or button.

import { announce, countInTitle, say } from "./announce.js";
import { refuse, send } from "./forms.js";
import { key, typing } from "./keys.js";
import { placeWith, refreshNow, region } from "./live.js";
import { moveTo, movedFrom, Rows } from "./rows.js";
import "./views.js";

const KEPT_MS = 15000; // after the last sign of a reader at the rows they settle into their order
const TOAST_MS = 20000;
const SETTLING_MS = 5000; // after a refusal the row comes to show the state that it is about

const me = document.body.dataset.who;
const rows = new Rows(region);
const pill = document.querySelector("[data-new]");
const toast = document.querySelector("[data-toast]");
const dialog = document.querySelector("[data-class-form]");
const undoing = document.querySelector("[data-undo-form]");

// --- is somebody at the rows? --------------------------------------------------------------------------------------

let touched = 0;
let over = false;
let fingered = false; // the last touch was at the rows: a finger has left the screen before it comes again

document.addEventListener("pointermove", (event) => {
  if (event.pointerType === "touch") return;
  over = Boolean(event.target.closest?.("[data-rows]"));
  if (over) touched = Date.now();
});
document.addEventListener("pointerdown", (event) => {
  if (event.pointerType !== "touch") return;
  fingered = Boolean(event.target.closest?.("[data-rows]"));
  if (fingered) touched = Date.now();
});
document.documentElement.addEventListener("pointerleave", () => { over = false; });
for (const sign of ["keydown", "focusin"]) {
  document.addEventListener(sign, () => { if (rows.focused()) touched = Date.now(); });
}

function occupied() {
  if (document.querySelector("dialog[open]")) return true;
  return (over || fingered || rows.focused() !== null) && Date.now() - touched < KEPT_MS;
}

// --- a fresh list ----------------------------------------------------------------------------------------------------

const stats = () => Number(document.querySelector("[data-count-of=STAT]")?.dataset.count ?? 0);
let openStats = stats();
let known = rows.classes();

placeWith((fresh) => {
  const news = rows.place(fresh, { keep: occupied() });
  const classes = rows.classes();
  const newStats = [...classes].filter(([one, urgency]) => urgency === "STAT" && known.get(one) !== "STAT").length;
  for (const [one, urgency] of classes) known.set(one, urgency);
  const elsewhere = Math.max(0, stats() - openStats - newStats);
  openStats = stats();
  const said = [];
  if (newStats) said.push(`${newStats} new STAT on the list`);
  if (elsewhere) said.push(`${elsewhere} new STAT outside this view`);
  if (said.length) announce(said.join(", "));
  countInTitle(openStats);
  showNews(news, elsewhere);
  tellMessages();
});
countInTitle(openStats);

/** "3 new above – show": what came and is not seen, because the rows stand still or the page is scrolled. */
function showNews(news, elsewhere = 0) {
  const outside = Math.min(Number(pill.dataset.outside ?? 0) + elsewhere, openStats);
  pill.dataset.outside = outside || "";
  const parts = [];
  if (news.stat) parts.push(`${news.stat} new STAT`);
  if (news.count - news.stat) parts.push(`${news.count - news.stat} new`);
  let words = parts.join(", ");
  if (words) words += news.above ? " above – show" : " – show";
  else if (news.waiting) words = "The order has changed – show";
  if (outside) words = words ? `${words}; ${outside} new STAT outside this view` : `${outside} new STAT outside this view – show`;
  pill.hidden = !words;
  if (words && pill.textContent !== words) pill.textContent = words;
  pill.dataset.kind = news.stat || outside ? "stat" : "";
}

function showNew() {
  if (pill.hidden) return;
  if (pill.dataset.outside && !rows.news().count) { location.assign("/?urgency=STAT"); return; }
  const row = rows.settle({ follow: false }) ?? rows.all()[0];
  rows.unseen.clear();
  showNews(rows.news());
  scrollTo({ top: 0 });
  if (row) moveTo(row);
}

pill.addEventListener("click", showNew);
addEventListener("scroll", () => { if (rows.seen()) showNews(rows.news()); }, { passive: true });
setInterval(() => {
  if (rows.waiting() && !occupied()) {
    rows.settle();
    tellMessages();
    showNews(rows.news());
  }
}, 500);

// --- what a row is told ----------------------------------------------------------------------------------------------

const messages = new Map(); // of a case: words, when they were said, and the state of the case that they stand beside

function tell(one, words) {
  if (words) messages.set(one, { words, at: Date.now() }); else messages.delete(one);
  tellMessages();
}

/** "dr-b has claimed this case" is true until the row says something else. */
function tellMessages() {
  for (const row of rows.all()) {
    const { key: one, reading, reader } = row.dataset;
    const message = messages.get(one);
    const state = [reading, reader, row.querySelector("[data-finding]")?.dataset.finding].join();
    if (message && Date.now() - message.at < SETTLING_MS) message.beside = state;
    else if (message && (message.beside ??= state) !== state) messages.delete(one);
    const words = messages.get(one)?.words ?? "";
    const place = row.querySelector("output");
    if (place && place.textContent !== words) place.textContent = words;
  }
}

let undoRead = null;
let toastTimer = null;

function showToast(words, undo) {
  toast.querySelector("span").textContent = words;
  toast.querySelector("button").hidden = !undo;
  toast.hidden = false;
  undoRead = undo;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hideToast, TOAST_MS);
}

function hideToast() {
  toast.hidden = true;
  undoRead = null;
}

toast.querySelector("button").addEventListener("click", () => undoRead?.());

// --- steps through a case ----------------------------------------------------------------------------------------------

const nameOf = (row) => row.querySelector(".patient a").textContent;
const urlOf = (row) => `/api/v1/studies/${row.dataset.key}`;

const underWay = new Set(); // steps that are being asked for: impatience behind a slow line does not ask again

/** Do it, and tell the row what came of it. */
async function step(row, method, path, body, how = {}) {
  const asked = `${row.dataset.key} ${path}`;
  if (underWay.has(asked)) return false;
  underWay.add(asked);
  try {
    return await take(row, method, path, body, how);
  } finally {
    underWay.delete(asked);
  }
}

async function take(row, method, path, body, { version = "", done = "" }) {
  const one = row.dataset.key;
  tell(one, "");
  const changed = (now) => { const here = rows.byKey(one); if (here && now) here.dataset.version = now; };
  const refused = await send(method, urlOf(row) + path, body, { version, changed });
  if (refused) tell(one, refused);
  else if (done) say(done);
  refreshNow();
  return !refused;
}

const steps = {
  claim(row) {
    const mine = row.dataset.reading === "CLAIMED" && row.dataset.reader === me;
    return step(row, "POST", mine ? "/release" : "/claim", {}, { done: `${nameOf(row)} ${mine ? "released" : "claimed"}` });
  },

  async read(row) {
    const [one, name, beside] = [row.dataset.key, nameOf(row), rows.beside(row)];
    if (!(await step(row, "POST", "/read", {}, { version: row.dataset.version }))) return;
    const next = beside.find((other) => other.isConnected && !other.classList.contains("gone"));
    if (next && rows.last === one && !typing(document.activeElement)) moveTo(next);
    showToast(`${name} marked as read.`, async () => {
      hideToast();
      const refused = await send("POST", `/api/v1/studies/${one}/release`);
      showToast(refused || `${name} is to be read again.`, null);
      refreshNow();
    });
  },

  urgency(row) {
    const form = dialog.querySelector("form");
    form.reset();
    form.querySelector("output").textContent = "";
    dialog.querySelector("[data-about]").textContent = `${nameOf(row)}: ${row.querySelector(".why > span").textContent}`;
    form.elements.urgency.value = row.dataset.urgency;
    form.querySelector("[data-withdraw]").hidden = !row.dataset.manualBy;
    dialog.dataset.key = row.dataset.key;
    dialog.dataset.version = row.dataset.version;
    dialog.showModal();
    form.querySelector("[name=urgency]:checked")?.focus(); // not the first one: a space would choose it
  },

  undo(row) {
    const by = row.dataset.manualBy;
    if (by && by !== me) {
      undoing.querySelector("[data-about]").textContent = `${by} set ${nameOf(row)} to ${row.dataset.urgency}. Undo that?`;
      undoing.dataset.key = row.dataset.key;
      undoing.dataset.version = row.dataset.version;
      undoing.showModal();
      return;
    }
    step(row, "POST", "/priority/undo", {}, { version: row.dataset.version, done: `${nameOf(row)}: class by hand undone` });
  },

  agree: (row) => judge(row, "AGREE"),
  disagree: (row) => judge(row, "DISAGREE"),
};

function judge(row, verdict) {
  const finding = row.querySelector("[data-finding]");
  if (!finding) { tell(row.dataset.key, "No finding over its threshold to agree or disagree with."); return; }
  const words = `${verdict === "AGREE" ? "You agree" : "You disagree"}: ${finding.dataset.meaning}`;
  step(row, "POST", `/findings/${finding.dataset.finding}/verdict`, { verdict }, { done: words });
}

region.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  event.preventDefault();
  steps[button.dataset.do](button.closest("[data-key]"));
});

/** The dialogs give the focus back to the row that they were about. */
function backToRow(form) {
  const row = rows.byKey(form.dataset.key);
  if (row) moveTo(row);
}

for (const form of [dialog, undoing]) form.addEventListener("close", () => backToRow(form));

dialog.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { urgency, reason } = Object.fromEntries(new FormData(event.target));
  const { key: one, version } = dialog.dataset;
  const output = event.target.querySelector("output");
  output.textContent = await send("PATCH", `/api/v1/studies/${one}/priority`, { urgency: urgency || null, reason }, { version });
  refreshNow();
  if (output.textContent) dialog.dataset.version = ""; // having read that, they may insist
  else dialog.close();
});

undoing.querySelector("form").addEventListener("submit", (event) => {
  if (event.submitter.value !== "undo") return;
  const row = rows.byKey(undoing.dataset.key);
  if (row) step(row, "POST", "/priority/undo", {}, { version: undoing.dataset.version });
});

// --- keys --------------------------------------------------------------------------------------------------------------

const current = () => rows.current();
region.addEventListener("focusin", () => refuse("")); // a case is chosen

function withRow(action) {
  return () => {
    const row = current();
    if (!row) { refuse("Choose a case first: j goes to the first one, a click on a row to that one."); return; }
    row.scrollIntoView({ block: "nearest" });
    if (!row.querySelector("[data-do]")) refuse("Your account may look at cases, and take no steps through them.");
    else action(row);
  };
}

key("j", "next case", () => movedFrom(rows, 1), { repeats: true });
key("k", "case before", () => movedFrom(rows, -1), { repeats: true });
key("Enter", "open the case", null);
key("c", "claim the case, or give back your own", withRow(steps.claim));
key("r", "mark as read (can be undone)", withRow(steps.read));
key("u", "set the class by hand, with a reason", withRow(steps.urgency));
key("z", "undo: the case just marked as read, else the class set by hand", () => { undoRead ? undoRead() : withRow(steps.undo)(); });
key("a", "agree with the first finding over its threshold", withRow(steps.agree));
key("d", "disagree with it", withRow(steps.disagree));
key("n", "show what is new", showNew);
key("/", "find", () => { const find = document.querySelector("[data-search]"); find.focus(); find.select(); });
key("Escape", "close, or back to the list", () => { hideToast(); if (current()) tell(current().dataset.key, ""); });

document.querySelector("[data-search]").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.preventDefault();
  const row = current() ?? rows.all()[0];
  if (row) moveTo(row); else event.target.blur();
});

// Addresses that people share name what they filter by and nothing else.
document.querySelector("form.filters").addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) {
    if (value === "" || (name === "status" && value === "OPEN")) event.formData.delete(name);
  }
  if (![...event.formData].length) event.formData.set("status", "OPEN");
});

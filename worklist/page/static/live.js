// The live part of a page, [data-live]: fetched anew when the event stream says that something happened, and every
// REFRESH_MS anyway. A stream that is lost, silent, or slept through is said with its time and opened again.

import { clock, localTimes } from "./times.js";

const REFRESH_MS = 20000; // waits and due times move even when nothing happens
const TOGETHER_MS = 40; // the events of one transaction are one refresh
const SPREAD_MS = 400; // two hundred pages hear the same; where answers are slow they do not all ask at once
const QUIET_MS = 250; // and two refreshes are at least this far apart
const LONGEST_PAUSE_MS = 5000;
const POINTER_MS = 1200; // buttons do not move under a pointer that is about to click
const PRESSED_MS = 5000; // a press whose end was never told, as of a menu of the browser's
const ANSWER_MS = 15000; // or the refresh counts as lost
const OLD_MS = 45000; // since the last refresh: the stream may be alive and the list not
const RECONNECT_MS = 2000;
const AGAIN_MS = 3000; // after a refresh that failed, give or take a half: many pages do not ask together
const SILENT_MS = 30000; // the server pings every 10 s: a stream that says nothing for so long is dead
const TICK_MS = 2000;
const ASLEEP_MS = 10000; // between two ticks: the machine slept
const HIDDEN_MS = 60000; // a tab in the background gives its connection back: a browser has six for one server

export const region = document.querySelector("[data-live]");
const indicator = document.querySelector("[data-live-state]");
const staleBanner = document.querySelector("[data-stale]");

// --- state of the stream -------------------------------------------------------------------------------------------

let lastGood = new Date();

function showLive() {
  lastGood = new Date();
  if (!indicator) return;
  indicator.dataset.liveState = "live";
  if (indicator.textContent !== "live") indicator.textContent = "live";
  staleBanner.hidden = true;
}

function showStale(why = "The connection to firstread is lost; trying again.") {
  if (!indicator || indicator.dataset.liveState === "stale") return;
  indicator.dataset.liveState = "stale";
  indicator.textContent = "not live";
  staleBanner.textContent = `Order stale since ${clock.format(lastGood)}. ${why}`;
  staleBanner.hidden = false;
}

// --- refreshing ----------------------------------------------------------------------------------------------------

let timer = null;
let fetching = false;
let again = false;
let pointerMoved = 0;
let pressed = 0; // when the button went down; 0: it is up
let pause = QUIET_MS; // grows with the answer time, so that many pages do not weigh down a busy server
let answered = 0; // how long the last answer took, in ms
let refreshed = 0;
let place = replaceParts;

/** Let another function put a fresh fragment in place; it gets the parsed body. */
export function placeWith(placer) {
  place = placer;
}

export function refreshSoon(delay = Math.max(TOGETHER_MS + spread(), refreshed + pause - performance.now())) {
  if (timer === null) timer = setTimeout(refresh, delay);
}

function spread() {
  return Math.random() * Math.min(2 * answered, SPREAD_MS);
}

/** After what the reader did: whatever the pointer does. */
export function refreshNow() {
  pointerMoved = 0;
  clearTimeout(timer);
  timer = null;
  refreshSoon(0);
}

async function refresh() {
  timer = null;
  if (fetching) { again = true; return; }
  const wait = Date.now() - pressed < PRESSED_MS ? POINTER_MS : POINTER_MS - (Date.now() - pointerMoved);
  if (wait > 0) { refreshSoon(wait); return; }
  fetching = true;
  const asked = performance.now();
  try {
    const answer = await fetch(region.dataset.live, {
      headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS),
    });
    if (answer.status === 401) { signIn(); return; }
    if (!answer.ok && !answer.headers.get("Content-Type")?.startsWith("text/html")) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    if (!answer.ok && !fresh.querySelector("[data-key=lost]")) throw new Error(String(answer.status));
    localTimes(fresh);
    place(fresh);
    if (answer.ok && stream?.readyState === EventSource.OPEN) showLive();
    else if (!answer.ok) showStale("The database does not answer; trying again.");
  } catch {
    showStale();
    setTimeout(() => refreshSoon(), AGAIN_MS * (0.5 + Math.random())); // beside whatever else may ask sooner
  } finally {
    fetching = false;
    refreshed = performance.now();
    answered = refreshed - asked;
    pause = Math.min(Math.max(QUIET_MS, 2 * answered), LONGEST_PAUSE_MS); // the machine may have slept meanwhile
    if (again) { again = false; refreshSoon(); }
  }
}

export function signIn() {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** By which a control is found again after it was made anew. */
function controlName(element) {
  const where = element.closest("form")?.getAttribute("action") ?? element.closest("[data-key]")?.dataset.key;
  return [where, element.getAttribute("href"), element.name, element.getAttribute("aria-label"), element.textContent.trim()].join("\n");
}

/** Keeps every element that did not change, so that focus, selection and the reader's eye stay where they are. */
function replaceParts(fresh) {
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  const part = focused?.closest("[data-key]")?.dataset.key;
  const name = focused && controlName(focused);
  const known = new Map([...region.querySelectorAll("[data-key]")].map((element) => [element.dataset.key, element]));
  for (const element of fresh.querySelectorAll("[data-key]")) {
    if (!fresh.contains(element)) continue; // inside one that was kept
    const old = known.get(element.dataset.key);
    if (old && old.outerHTML === element.outerHTML) element.replaceWith(old);
  }
  region.replaceChildren(...fresh.childNodes);
  if (focused && document.activeElement === document.body) {
    const same = [...region.querySelectorAll(focused.tagName)].find((one) => controlName(one) === name);
    (same ?? (part && region.querySelector(`[data-key="${CSS.escape(part)}"] a`)))?.focus({ preventScroll: true });
  }
  document.dispatchEvent(new Event("fresh"));
}

// --- the stream ----------------------------------------------------------------------------------------------------

let stream = null;
let heard = Date.now();

function listen() {
  stream?.close();
  heard = Date.now();
  const opened = stream = new EventSource("/api/v1/worklist/events");
  opened.onopen = () => { heard = Date.now(); refreshSoon(); }; // what was missed is in the list that it asks for
  opened.addEventListener("ping", () => { heard = Date.now(); });
  opened.onmessage = (message) => {
    heard = Date.now();
    const notice = JSON.parse(message.data);
    const study = region.dataset.study;
    if (!study || !notice.study_instance_uid || notice.study_instance_uid === study) refreshSoon();
  };
  opened.onerror = () => {
    if (opened !== stream) return;
    showStale();
    refreshSoon(); // says why, and finds out whether to sign in
    if (opened.readyState === EventSource.CLOSED) setTimeout(() => { if (opened === stream) listen(); }, RECONNECT_MS);
  };
}

let ticked = Date.now();
let hiddenSince = null;
let shownSince = Date.now();

function tick() {
  const now = Date.now();
  const slept = now - ticked > ASLEEP_MS;
  ticked = now;
  if (hiddenSince !== null && !document.hidden) shownSince = now;
  hiddenSince = document.hidden ? hiddenSince ?? now : null;
  if (hiddenSince !== null && now - hiddenSince > HIDDEN_MS && !region.hasAttribute("data-live-hidden")) {
    stream?.close();
    stream = null;
    return;
  }
  if (stream === null) listen();
  else if (slept || now - heard > SILENT_MS) {
    showStale(slept ? "This computer slept; catching up." : "firstread is silent; trying again.");
    listen();
  }
  if (hiddenSince === null && now - Math.max(lastGood, shownSince) > OLD_MS) showStale("firstread does not send the list; trying again.");
}

/** Begin, where the page has a live part. */
export function start() {
  if (!region) return;
  listen();
  setInterval(() => { if (!document.hidden || region.hasAttribute("data-live-hidden")) refreshSoon(0); }, REFRESH_MS);
  setInterval(tick, TICK_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { tick(); refreshSoon(); } });
  addEventListener("online", () => { listen(); });
  addEventListener("pageshow", (event) => { if (event.persisted) { listen(); refreshSoon(); } });
  document.addEventListener("pointermove", (event) => { if (event.target.closest?.(".do")) pointerMoved = Date.now(); });
  document.addEventListener("pointerdown", (event) => {
    pressed = event.button === 0 && region.contains(event.target) ? Date.now() : 0;
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { pressed = 0; });
}

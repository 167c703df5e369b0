"use strict";
// Live list and case view without a build step. The server renders; this fetches fragments and puts them in place.

const REFRESH_MS = 20000; // waits and due times move even when nothing happens
const TOGETHER_MS = 40; // the events of one transaction are one refresh
const QUIET_MS = 250; // and two refreshes are at least this far apart
const POINTER_MS = 1200; // rows do not move under a pointer that is about to click
const RECONNECT_MS = 2000;

const region = document.querySelector("[data-live]");
const indicator = document.querySelector("[data-live-state]");
const staleBanner = document.querySelector("[data-stale]");
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const stamp = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat([], { day: "2-digit", month: "short" });

function localTimes(root) {
  const today = day.format(new Date());
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    const other = day.format(moment) === today ? "" : `${day.format(moment)} `;
    element.textContent = other + (element.hasAttribute("data-stamp") ? stamp : clock).format(moment);
    element.title = element.dateTime;
  }
}

// --- state of the stream -------------------------------------------------------------------------------------------

let lastGood = new Date();

function showLive() {
  lastGood = new Date();
  if (!indicator) return;
  indicator.dataset.liveState = "live";
  if (indicator.textContent !== "live") indicator.textContent = "live";
  staleBanner.hidden = true;
}

function showStale() {
  if (!indicator || indicator.dataset.liveState === "stale") return;
  const since = clock.format(lastGood);
  indicator.dataset.liveState = "stale";
  indicator.textContent = "not live";
  staleBanner.textContent = `Order stale since ${since}. The connection to firstread is lost; trying again.`;
  staleBanner.hidden = false;
}

// --- refreshing ----------------------------------------------------------------------------------------------------

let timer = null;
let fetching = false;
let again = false;
let pointerMoved = 0;
let pause = QUIET_MS; // grows with the answer time, so that many pages do not weigh down a busy server

let refreshed = 0;

function refreshSoon(delay = Math.max(TOGETHER_MS, refreshed + pause - performance.now())) {
  if (timer === null) timer = setTimeout(refresh, delay);
}

async function refresh() {
  timer = null;
  if (fetching) { again = true; return; }
  const wait = POINTER_MS - (Date.now() - pointerMoved);
  if (wait > 0) { refreshSoon(wait); return; }
  fetching = true;
  const asked = performance.now();
  try {
    const answer = await fetch(region.dataset.live, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) { location.reload(); return; }
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    localTimes(fresh);
    replace(fresh);
    if (stream && stream.readyState === EventSource.OPEN) showLive();
  } catch {
    showStale();
  } finally {
    fetching = false;
    refreshed = performance.now();
    pause = Math.max(QUIET_MS, 4 * (refreshed - asked));
    if (again) { again = false; refreshSoon(); }
  }
}

// Keeps every element that did not change, so that focus, selection and the reader's eye stay where they are.
function replace(fresh) {
  const rows = region.querySelector("[data-rows]");
  const freshRows = fresh.querySelector("[data-rows]");
  const before = rows ? [...rows.children].map((row) => row.dataset.key) : [];
  const focused = document.activeElement?.closest("[data-key]")?.dataset.key;
  const known = new Map([...region.querySelectorAll("[data-key]")].map((element) => [element.dataset.key, element]));
  for (const element of fresh.querySelectorAll("[data-key]")) {
    if (!fresh.contains(element)) continue; // inside one that was kept
    const old = known.get(element.dataset.key);
    if (old && old.outerHTML === element.outerHTML) element.replaceWith(old);
  }
  region.replaceChildren(...fresh.childNodes);
  if (freshRows) markMoved(before, freshRows);
  if (focused && document.activeElement === document.body) {
    region.querySelector(`[data-key="${CSS.escape(focused)}"] a`)?.focus({ preventScroll: true });
  }
  applyHeat();
}

function markMoved(before, rows) {
  const place = new Map(before.map((key, index) => [key, index]));
  let newStat = 0;
  for (const [index, row] of [...rows.children].entries()) {
    const was = place.get(row.dataset.key);
    row.classList.toggle("moved", was === undefined || index < was && row.dataset.urgency !== "ROUTINE");
    if (was === undefined && row.dataset.urgency === "STAT") newStat += 1;
  }
  if (newStat) document.querySelector("[data-announce]").textContent = `${newStat} new STAT on the list`;
}

// --- the stream ----------------------------------------------------------------------------------------------------

let stream = null;

function listen() {
  stream = new EventSource("/api/v1/worklist/events");
  stream.onopen = () => { showLive(); refreshSoon(); };
  stream.onmessage = (message) => {
    lastGood = new Date();
    const notice = JSON.parse(message.data);
    const study = region.dataset.study;
    if (!study || !notice.study_instance_uid || notice.study_instance_uid === study) refreshSoon();
  };
  stream.onerror = () => {
    showStale();
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, RECONNECT_MS);
  };
}

// --- forms that speak JSON -----------------------------------------------------------------------------------------

async function submitJson(form) {
  const fields = [...new FormData(form)].map(([name, value]) => [name, value === "" ? null : value]);
  const output = form.querySelector("output");
  output.textContent = "";
  try {
    const answer = await fetch(form.action, {
      method: form.dataset.json,
      headers: { "Content-Type": "application/json" },
      body: fields.length ? JSON.stringify(Object.fromEntries(fields)) : "{}",
    });
    if (!answer.ok) output.textContent = (await answer.json()).detail;
    else form.reset();
  } catch {
    output.textContent = "firstread did not answer.";
  }
  pointerMoved = 0;
  refreshSoon(0);
}

// --- heat map ------------------------------------------------------------------------------------------------------

const heat = { shown: true, strength: 100 };

function applyHeat() {
  const box = document.querySelector("[data-heat]");
  if (!box) return;
  box.checked = heat.shown;
  document.querySelector("[data-strength]").value = heat.strength;
  document.documentElement.style.setProperty("--heat", heat.strength / 100);
}

// --- what people do ------------------------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  if (!event.target.dataset.json) return;
  event.preventDefault();
  submitJson(event.target);
});

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-heat]")) heat.shown = event.target.checked;
  if (event.target.matches("[data-strength]")) heat.strength = Number(event.target.value);
  applyHeat();
});

document.addEventListener("pointermove", (event) => {
  if (event.target.closest?.("[data-rows], .do")) pointerMoved = Date.now();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const links = [...document.querySelectorAll("[data-rows] .patient a")];
  const step = { j: 1, k: -1 }[event.key];
  if (step && links.length) {
    const here = links.indexOf(document.activeElement);
    links[Math.min(links.length - 1, Math.max(0, here + step))].focus();
  } else if (event.key === "/" && document.querySelector("[data-search]")) {
    event.preventDefault();
    document.querySelector("[data-search]").focus();
  } else if (event.key === "h" && document.querySelector("[data-heat]")) {
    heat.shown = !heat.shown;
    applyHeat();
  }
});

document.querySelector("[data-theme-switch]").addEventListener("click", (event) => {
  const theme = document.documentElement.dataset.theme === "light" ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=strict`;
  event.target.textContent = theme === "light" ? "Dark" : "Light";
});

localTimes(document);
if (region) {
  listen();
  setInterval(() => refreshSoon(0), REFRESH_MS);
}

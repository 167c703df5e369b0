// New STAT cases are announced: politely in words for screen readers and in the title, and by sound or desktop
// notification for who has asked for it on this browser. The notification names no patient: others see the screen.

const NOTES_HZ = [660, 880];
const NOTE_S = 0.16;

const announcer = document.querySelector("[data-announce]");
const title = document.title;
let audio = null;

const wanted = {
  get: (what) => localStorage.getItem(`announce-${what}`) === "yes",
  set: (what, on) => localStorage.setItem(`announce-${what}`, on ? "yes" : "no"),
};

function awake() {
  audio ??= new AudioContext();
  if (audio.state === "suspended") audio.resume();
  return audio;
}

function play() {
  const context = awake();
  for (const [index, pitch] of NOTES_HZ.entries()) {
    const [tone, loudness] = [context.createOscillator(), context.createGain()];
    const from = context.currentTime + index * NOTE_S;
    tone.frequency.value = pitch;
    loudness.gain.setValueAtTime(0, from);
    loudness.gain.linearRampToValueAtTime(0.15, from + 0.02);
    loudness.gain.linearRampToValueAtTime(0, from + NOTE_S);
    tone.connect(loudness).connect(context.destination);
    tone.start(from);
    tone.stop(from + NOTE_S);
  }
  document.dispatchEvent(new CustomEvent("announced", { detail: "sound" }));
}

function notify(words) {
  const shown = new Notification("firstread", { body: words, tag: "stat" });
  shown.onclick = () => { focus(); shown.close(); };
  document.dispatchEvent(new CustomEvent("announced", { detail: "notification" }));
}

export function announce(words) {
  announcer.textContent = ""; // the same words again are news again
  announcer.textContent = words;
  if (wanted.get("sound")) play();
  if (wanted.get("notification") && "Notification" in window && Notification.permission === "granted") notify(words);
}

/** What a screen reader shall say, and nobody else needs to hear. */
export function say(words) {
  announcer.textContent = "";
  announcer.textContent = words;
}

export function countInTitle(open) {
  document.title = open ? `(${open} STAT) ${title}` : title;
}

const SWITCHES = {
  sound: async (on) => { if (on) play(); return on; },
  notification: async (on) => on && "Notification" in window && (await Notification.requestPermission()) === "granted",
};

for (const button of document.querySelectorAll("[data-switch]")) {
  const what = button.dataset.switch;
  button.setAttribute("aria-pressed", String(wanted.get(what)));
  button.addEventListener("click", async () => {
    const asked = !wanted.get(what);
    const on = await SWITCHES[what](asked);
    wanted.set(what, on);
    button.setAttribute("aria-pressed", String(on));
    if (asked && !on) say("This browser does not allow notifications from firstread.");
  });
}
// A browser plays nothing before the first gesture on a page.
if (wanted.get("sound")) {
  for (const gesture of ["pointerdown", "keydown"]) document.addEventListener(gesture, awake, { once: true });
}

// The open page of a case that its reader has claimed keeps the claim, as long as somebody is there.

import { region } from "./live.js";
import { send } from "./forms.js";

const RENEW_MS = 60000;
const THERE_MS = 30 * 60000; // since the last move of pointer or key on this page

let active = Date.now();

async function renew() {
  const mine = region.querySelector(`[data-claimed-by="${CSS.escape(document.body.dataset.who)}"]`);
  if (!mine || document.hidden || Date.now() - active > THERE_MS) return;
  await send("POST", `/api/v1/studies/${region.dataset.study}/claim/renew`); // a lost claim shows by itself, live
}

if (region?.dataset.study) {
  for (const sign of ["pointermove", "keydown", "wheel", "touchstart"]) {
    document.addEventListener(sign, () => { active = Date.now(); }, { passive: true });
  }
  setInterval(renew, RENEW_MS);
  document.addEventListener("visibilitychange", renew);
}

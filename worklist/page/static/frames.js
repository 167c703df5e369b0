// The frames of a case in memory: fetched when somebody comes near them, the oldest forgotten.

import { heatColours } from "./painting.js";

const KEPT_BYTES = 384 * 2 ** 20;
const TOGETHER = 3; // fetches at a time

export class Frames {
  /**
   * @param {AbortSignal} ended nothing is kept any more
   * @param {(url: string) => void} arrived is told of each address that was fetched, or refused
   */
  constructor(ended, arrived) {
    this.ended = ended;
    this.arrived = arrived;
    this.words = new Map(); // by URL, oldest first: Uint16Array of a grey frame, Uint8Array of a colour one
    this.refused = new Map(); // by URL: why
    this.heats = new Map(); // by URL: a canvas, or null where there is none (yet)
    this.fetching = new Set();
  }

  get(url) { return url ? this.words.get(url) : undefined; }

  /** Fetch what is not here of some views, in their order; `shown` is not forgotten. */
  fetchSome(views, shown) {
    for (const view of views) {
      if (this.fetching.size >= TOGETHER) return;
      const known = [this.words, this.fetching, this.refused].some((some) => some.has(view.url));
      if (view.url && !known) this.fetch(view, shown);
    }
  }

  async fetch({ url, frame }, shown) {
    this.fetching.add(url);
    try {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error((await answer.json()).detail);
      const bytes = await answer.arrayBuffer();
      const words = frame.samples === 1 ? new Uint16Array(bytes) : new Uint8Array(bytes);
      if (words.length !== frame.rows * frame.columns * frame.samples) throw new Error("it came incomplete");
      if (this.ended.aborted) return;
      this.words.set(url, words);
      this.forgetOld(shown());
    } catch (error) {
      if (this.ended.aborted) return;
      this.refused.set(url, error.message); // not again until the case is opened again
    }
    this.fetching.delete(url);
    this.arrived(url);
  }

  forgetOld(shown) {
    let bytes = 0;
    for (const words of this.words.values()) bytes += words.byteLength;
    for (const [url, words] of this.words) {
      if (bytes <= KEPT_BYTES) return;
      if (url === shown) continue;
      bytes -= words.byteLength;
      this.words.delete(url);
    }
  }

  /** The heat map of a mark as a canvas; asked for when it is not here. */
  heat(url) {
    if (!this.heats.has(url)) this.fetchHeat(url);
    return this.heats.get(url);
  }

  async fetchHeat(url) {
    this.heats.set(url, null);
    try {
      const answer = await fetch(url);
      if (answer.ok) this.heats.set(url, heatColours(await createImageBitmap(await answer.blob())));
    } catch { /* the outline still says where */ }
    if (!this.ended.aborted) this.arrived(url);
  }
}

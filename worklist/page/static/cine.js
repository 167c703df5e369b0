// A stack as a film: one image after the other at a rate, from the last on to the first. It waits for an image that is
// not here yet and skips none; going anywhere by hand stops it.

const SLOWEST = 1;
const FASTEST = 60;
const LOOK_MS = 40; // for an image that is not here yet
const USUAL = 10; // images a second where the object asks for no rate: slices of a CT or MR

export class Cine {
  /** @param {Viewer} viewer whose stack is played */
  constructor(viewer) {
    this.viewer = viewer;
    this.chosen = null; // images a second, by hand; null: what the object asks for
    this.playing = false;
    this.timer = 0;
  }

  get rate() {
    const asked = this.chosen ?? this.viewer.image?.rate ?? USUAL;
    return Math.min(FASTEST, Math.max(SLOWEST, Math.round(asked)));
  }

  choose(rate) {
    if (Number.isFinite(rate) && rate > 0) this.chosen = rate;
    this.tell();
  }

  faster(by) { this.choose(this.rate + by); }

  toggle() { this.playing ? this.stop() : this.play(); }

  play() {
    if (this.viewer.stack.length < 2) return;
    this.playing = true;
    this.due = performance.now() + 1000 / this.rate;
    this.wait();
    this.tell();
  }

  stop() {
    this.playing = false;
    clearTimeout(this.timer);
    this.tell();
  }

  wait() { this.timer = setTimeout(() => this.next(), Math.max(0, this.due - performance.now())); }

  next() {
    if (!this.playing) return;
    const { viewer } = this;
    const next = (viewer.at.image + 1) % viewer.stack.length;
    const now = performance.now();
    if (viewer.isKnown(viewer.stack[next])) {
      this.due = Math.max(now, this.due + 1000 / this.rate); // late once, not late for ever
      viewer.showImage(next);
    } else {
      this.due = now + LOOK_MS;
      viewer.fetchNear();
      viewer.askFrames();
    }
    this.wait();
  }

  tell() {
    const button = this.viewer.part("play");
    button.setAttribute("aria-pressed", this.playing);
    button.textContent = this.playing ? "Stop" : "Play";
    const field = this.viewer.part("rate");
    if (document.activeElement !== field) field.value = this.rate;
  }
}

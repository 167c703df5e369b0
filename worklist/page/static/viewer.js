// A viewer for the images of one case: windowed from the image's own values, on two canvases, without dependencies.
// The lower canvas shows the image, the upper one what the AI marked; neither changes the other's pixels.
// For orientation, not for diagnosis: large images come smaller than they are, and no monitor is calibrated here.

import { Cine } from "./cine.js";
import { Frames } from "./frames.js";
import { listenToHands } from "./gestures.js";
import { fillColour, fillGrey, greyTable, paintOutline } from "./painting.js";
import { Stacks } from "./stacks.js";
import { shortNumber, windowChoices } from "./windows.js";

const POLL_MS = 120; // first look for what a worker makes; later ones wait longer
const POLL_LONGEST_MS = 1500;
const AHEAD = 10; // neighbouring images that are fetched before anybody scrolls there

const NAMED = 3; // of what is marked in an image; the findings beside it have them all

const someOf = (names) => names.slice(0, NAMED).join(", ") + (names.length > NAMED ? ` and ${names.length - NAMED} more` : "");
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class Viewer {
  /**
   * @param {HTMLElement} root with the parts that case.html gives it
   * @param {string} study Study Instance UID
   * @param {string} first SOP Instance UID of the image to show first, or ""
   */
  constructor(root, study, first) {
    this.root = root;
    this.base = `/api/v1/studies/${study}`;
    this.first = first;
    this.canvas = this.part("image");
    this.marks = this.part("marks");
    this.stacks = new Stacks();
    this.at = { series: 0, image: 0 };
    this.finding = null; // the finding whose heat map is shown; null: the most urgent of the image
    this.view = { zoom: 1, x: 0, y: 0 };
    this.ratio = window.devicePixelRatio || 1; // pixels of the canvas for one of CSS, as last painted
    this.window = null; // {centre, width}; null: what the image asks for
    this.flipped = false;
    this.toolChosen = false; // by a person
    this.turn = 0; // of asking: the latest one counts
    this.frame = null; // a canvas with the pixels of what is shown, as large as that
    this.drawn = ""; // what the frame holds
    this.asking = false; // for frames of a multi-frame image
    this.ended = new AbortController(); // of listening: the same parts may show another study later
    this.frames = new Frames(this.ended.signal, (url) => this.arrived(url));
    this.cine = new Cine(this);
    this.listen(this.ended);
    this.resized = new ResizeObserver(() => this.paint());
    this.resized.observe(this.canvas.parentElement);
  }

  /** Let go of the parts. */
  close() {
    this.turn += 1;
    this.cine.stop();
    this.ended.abort();
    this.resized.disconnect();
    this.frames.words.clear();
    this.say(""); // the parts may show another study next: nothing of this one stays under its title
    this.part("poster").hidden = true;
    this.part("poster").removeAttribute("src");
    this.root.dataset.shown = "";
    for (const canvas of [this.canvas, this.marks]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }

  part(name) { return this.root.querySelector(`[data-part="${name}"]`); }

  // --- what there is ------------------------------------------------------------------------------------------------

  /** Have the images made and show them as they come. */
  async open() {
    const turn = ++this.turn;
    this.frames.refused.clear();
    let wait = POLL_MS;
    let answer = await this.ask("POST", "views", this.first ? { first: this.first } : {});
    while (answer && this.turn === turn) {
      this.take(answer);
      if (!answer.pending) return;
      wait = await this.pause(wait);
      answer = await this.ask("GET", "views");
    }
  }

  async ask(method, path, body) {
    try {
      const headers = { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) };
      const answer = await fetch(`${this.base}/${path}`, { method, headers, body: body && JSON.stringify(body) });
      if (!answer.ok) throw new Error((await answer.json()).detail);
      return await answer.json();
    } catch (error) {
      if (this.ended.signal.aborted) return null;
      this.say(`The images cannot be asked for: ${error.message}`);
      return null;
    }
  }

  async pause(wait) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    return Math.min(wait * 1.4, POLL_LONGEST_MS);
  }

  take({ series }) {
    const shown = this.image ?? { sop_instance_uid: this.first, number: 1 };
    this.stacks.take(series);
    this.at = this.stacks.find(shown.sop_instance_uid, shown.number) ?? this.at;
    this.at.series = clamp(this.at.series, 0, Math.max(0, this.series.length - 1));
    this.at.image = clamp(this.at.image, 0, Math.max(0, this.stack.length - 1));
    this.listSeries();
    this.show();
  }

  /** Have the frames made that somebody is near, while that is a multi-frame image and they are missing. */
  async askFrames() {
    if (this.asking) return;
    this.asking = true;
    let wait = POLL_MS;
    let near = null; // for which it was asked last
    for (let missing = this.missing(); missing.length; missing = this.missing()) {
      const { sop_instance_uid: uid, number } = this.image;
      const asks = number !== near && missing.some((view) => view === this.image || view.status === null);
      const path = `instances/${uid}/frames`;
      const answer = asks ? await this.ask("POST", path, { near: number }) : await this.ask("GET", `${path}?near=${number}`);
      if (!answer) break;
      if (asks) [near, wait] = [number, POLL_MS];
      this.stacks.takeFrames(uid, answer.frames);
      this.show();
      wait = await this.pause(wait);
      if (this.ended.signal.aborted) return;
    }
    this.asking = false;
  }

  /** Frames near the one that is shown, of the same image, of which nothing is known yet or that are being made. */
  missing() {
    const { frames = 1, sop_instance_uid: uid } = this.image ?? {};
    if (frames === 1) return [];
    return this.near().filter((view) => view.sop_instance_uid === uid && !view.url && view.status !== "FAILED");
  }

  get series() { return this.stacks.series; }
  get stack() { return this.series[this.at.series]?.images ?? []; }
  get image() { return this.stack[this.at.image]; }

  listSeries() {
    const list = this.part("series");
    const names = this.series.map((each) => {
      const count = each.images.length > 1 ? ` (${each.images.length})` : each.images[0].view_position ? ` ${each.images[0].view_position}` : "";
      return `${each.modality || "Images"} ${each.description || ""}${count}`;
    });
    if (names.join("\n") !== [...list.options].map((option) => option.text).join("\n")) {
      list.replaceChildren(...names.map((name, index) => new Option(name, index)));
    }
    list.value = this.at.series;
    list.closest("label").hidden = this.series.length < 2;
    this.part("key").hidden = !this.stacks.marked(null).length || this.series.length < 2 && this.stack.length < 2;
    for (const name of ["slice", "scroll"]) this.part(name).closest("label").hidden = this.stack.length < 2;
    this.part("cine").hidden = this.stack.length < 2;
    this.cine.tell();
    this.chooseTool();
  }

  /** A finger scrolls a stack unless somebody chose otherwise; where there is none, nothing is left to scroll. */
  chooseTool() {
    const isStack = this.stack.length > 1;
    const tool = this.root.querySelector(`[data-tool][value=${isStack ? "scroll" : "window"}]`);
    if (!isStack && this.tool === "scroll") tool.checked = true;
    else if (isStack && !this.toolChosen && matchMedia("(pointer: coarse)").matches) tool.checked = true;
  }

  // --- going there --------------------------------------------------------------------------------------------------

  step(by) { this.goTo(this.at.series, this.at.image + by); }

  toSeries(series) { this.goTo(clamp(series, 0, this.series.length - 1), 0); }

  goTo(series, image) {
    if (!this.series[series]) return;
    this.cine.stop();
    if (series !== this.at.series) this.reset();
    this.at = { series, image: clamp(image, 0, this.series[series].images.length - 1) };
    this.listSeries();
    this.show();
  }

  /** Another image of the same series. */
  showImage(image) {
    this.at.image = image;
    this.show();
  }

  /** There is nothing to wait for: it is here, or will not come. */
  isKnown(view) {
    return Boolean(this.frames.get(view.url)) || view.status === "FAILED" || this.frames.refused.has(view.url);
  }

  /** The next image with a mark of this finding, or with any; wraps round. */
  toKey(key = null) {
    const marked = this.stacks.marked(key);
    if (!marked.length) return;
    const now = marked.findIndex(({ series, image }) => series === this.at.series && image === this.at.image);
    const next = marked[(now + 1) % marked.length];
    this.goTo(next.series, next.image);
  }

  /** Show where this finding was seen. */
  showFinding(key) {
    this.finding = key;
    if (!this.image?.marks.some((mark) => mark.key === key)) this.toKey(key);
    this.paint();
  }

  // --- fetching -----------------------------------------------------------------------------------------------------

  show() {
    const image = this.image;
    const words = this.frames.get(image?.url);
    this.part("slice").max = Math.max(1, this.stack.length);
    this.part("slice").value = this.at.image + 1;
    this.say(words ? "" : this.whyNot(image));
    const poster = this.part("poster");
    poster.hidden = Boolean(words) || !image?.preview_url;
    if (!poster.hidden && poster.getAttribute("src") !== image.preview_url) poster.src = image.preview_url;
    this.root.dataset.shown = words ? image.sop_instance_uid : "";
    this.root.dataset.frame = words ? image.number : "";
    this.listWindows();
    this.fetchNear();
    this.paint();
    this.askFrames();
  }

  whyNot(image) {
    if (!image) return "No image of this case is here.";
    const reason = image.reason || this.frames.refused.get(image.url);
    if (image.status === "FAILED" || reason) return `This image cannot be shown: ${reason.replace(/\.$/, "")}.`;
    return image.url ? "The image is on its way." : "The image is being made ready.";
  }

  /** The view that is shown and its neighbours in the stack, nearest first; of a film the ones that come. */
  near() {
    const views = [this.image];
    if (this.cine.playing) {
      const ahead = Math.min(2 * AHEAD, this.stack.length - 1);
      for (let away = 1; away <= ahead; away++) views.push(this.stack[(this.at.image + away) % this.stack.length]);
      return views;
    }
    for (let away = 1; away <= AHEAD; away++) views.push(this.stack[this.at.image + away], this.stack[this.at.image - away]);
    return views.filter(Boolean);
  }

  fetchNear() { this.frames.fetchSome(this.near(), () => this.image?.url); }

  arrived(url) {
    if (this.image?.url === url) this.show();
    else {
      this.fetchNear();
      this.paint(); // a heat map, perhaps
    }
  }

  // --- windowing ----------------------------------------------------------------------------------------------------

  /** Colours are shown as they were sent: they have no window. */
  get isColour() { return this.image?.frame?.samples === 3; }

  get grey() {
    const own = this.image?.frame?.windows[0];
    return own && (this.window ?? { centre: own.centre, width: own.width });
  }

  setWindow(centre, width) {
    this.window = { centre, width: Math.max(width, Math.abs(this.image?.frame?.slope ?? 1)) };
    this.listWindows();
    this.paint();
  }

  /** Brighter (by < 0) or darker by a share of the width; wider or narrower by a factor. */
  shiftWindow(by, factor) {
    if (this.grey) this.setWindow(this.grey.centre + by * this.grey.width, this.grey.width * factor);
  }

  listWindows() {
    const list = this.part("window");
    const frame = this.image?.frame;
    list.disabled = !frame || this.isColour;
    this.root.querySelector("[data-tool][value=window]").disabled = this.isColour;
    if (!frame) return;
    const choices = this.isColour ? [] : windowChoices(frame, this.frames.get(this.image.url));
    const named = this.isColour || choices.find(([, c, w]) => c === this.grey.centre && w === this.grey.width);
    if (!named) choices.push(["by hand", this.grey.centre, this.grey.width]);
    const unit = frame.unit && ` ${frame.unit}`;
    const options = choices.map(([name, c, w]) => new Option(`${name} ${shortNumber(c)} / ${shortNumber(w)}${unit}`, `${c} ${w}`));
    if (this.isColour) options.push(new Option("colour: no window", ""));
    const texts = (some) => [...some].map((option) => option.text).join("\n");
    if (texts(list.options) !== texts(options)) list.replaceChildren(...options);
    list.value = this.isColour ? "" : `${this.grey.centre} ${this.grey.width}`;
  }

  // --- painting -----------------------------------------------------------------------------------------------------

  paint() {
    if (this.painting) return;
    this.painting = true;
    requestAnimationFrame(() => {
      this.painting = false;
      if (!this.ended.signal.aborted) this.paintNow();
    });
  }

  paintNow() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.parentElement.getBoundingClientRect();
    const image = this.image;
    const shownWide = () => (image?.frame ? this.place(image.frame).width / this.ratio : 1);
    const before = shownWide();
    this.ratio = ratio;
    for (const canvas of [this.canvas, this.marks]) {
      const [wide, high] = [Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio))];
      if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    }
    const grown = shownWide() / before; // a phone that was turned shows the same place in the middle
    this.view.x *= grown;
    this.view.y *= grown;
    const words = this.frames.get(image?.url);
    if (words) {
      this.fill(image, words);
      const place = this.place(image.frame);
      const context = this.canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(this.frame, place.x, place.y, place.width, place.height);
      this.paintMarks(image, place, ratio);
    }
    this.tell();
  }

  /** The frame's pixels: only when the image or its window has changed. */
  fill(image, words) {
    const { rows, columns } = image.frame;
    const holds = [image.url, this.grey?.centre, this.grey?.width, this.flipped].join(" ");
    if (holds === this.drawn) return;
    if (this.frame?.width !== columns || this.frame.height !== rows) {
      this.frame = new OffscreenCanvas(columns, rows);
      this.pixels = new ImageData(columns, rows);
    }
    const pixels = new Uint32Array(this.pixels.data.buffer);
    if (this.isColour) fillColour(pixels, words, this.flipped);
    else fillGrey(pixels, words, greyTable(image.frame, this.grey.centre, this.grey.width, this.flipped));
    this.frame.getContext("2d").putImageData(this.pixels, 0, 0);
    this.drawn = holds;
  }

  /** Where the image lies on the canvas, in its pixels, and how large one pixel of the source is there. */
  place({ source_rows: rows, source_columns: columns, aspect }) {
    const scale = Math.min(this.canvas.width / columns, this.canvas.height / (rows * aspect)) * this.view.zoom;
    const [width, height] = [columns * scale, rows * aspect * scale];
    const { ratio } = this;
    return {
      x: (this.canvas.width - width) / 2 + this.view.x * ratio, y: (this.canvas.height - height) / 2 + this.view.y * ratio,
      width, height, column: scale, row: scale * aspect,
    };
  }

  paintMarks(image, place, ratio) {
    const context = this.marks.getContext("2d");
    const chosen = image.marks.find((mark) => mark.key === this.finding) ?? image.marks[0];
    if (this.part("heat").checked && chosen?.heat_url) {
      const heat = this.frames.heat(chosen.heat_url);
      if (heat) {
        context.globalAlpha = Number(this.part("opacity").value) / 100;
        context.imageSmoothingQuality = "high";
        context.drawImage(heat, place.x, place.y, place.width, place.height);
        context.globalAlpha = 1;
      }
    }
    if (!this.part("outline").checked) return;
    for (const mark of image.marks) {
      if (mark.outline.length > 2) paintOutline(context, mark, place, ratio, mark === chosen);
    }
  }

  tell() {
    const image = this.image;
    const parts = [];
    if (this.stack.length > (image?.frames ?? 1)) parts.push(`${this.at.image + 1} of ${this.stack.length}`);
    if (image?.frames > 1) parts.push(`frame ${image.number} of ${image.frames}`);
    if (image?.marks.length) parts.push(`marked: ${someOf(image.marks.map((mark) => mark.meaning))}`);
    if (image?.frame) {
      const { columns, source_columns, source_rows, unit } = image.frame;
      if (this.isColour) parts.push("colour, as sent: no window");
      else parts.push(`C ${shortNumber(this.grey.centre)} W ${shortNumber(this.grey.width)}${unit && ` ${unit}`}${image.frame.function === "SIGMOID" ? " sigmoid" : ""}`);
      parts.push(`${Math.round(this.view.zoom * 100)} %`);
      if (this.flipped) parts.push("inverted");
      if (this.cine.playing) parts.push(`${this.cine.rate} a second`);
      parts.push(`${source_columns} × ${source_rows}${columns < source_columns ? `, shown at ${Math.round(columns / source_columns * 100)} % of its pixels` : ""}`);
    }
    const text = parts.join(" · ");
    const line = this.part("state");
    if (line.textContent !== text) line.textContent = text;
    this.part("invert").setAttribute("aria-pressed", this.flipped);
  }

  say(text) {
    const line = this.part("message");
    line.textContent = text;
    line.hidden = !text;
  }

  // --- what people do -----------------------------------------------------------------------------------------------

  reset() {
    this.view = { zoom: 1, x: 0, y: 0 };
    this.window = null;
    this.flipped = false;
  }

  fit() { this.view = { zoom: 1, x: 0, y: 0 }; this.paint(); }

  /** Zoom by a factor about a point of the canvas in CSS pixels; its middle by default. */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const next = clamp(this.view.zoom * factor, 0.2, 40);
    const real = next / this.view.zoom;
    const [fromX, fromY] = [x - this.canvas.clientWidth / 2 - this.view.x, y - this.canvas.clientHeight / 2 - this.view.y];
    this.view = { zoom: next, x: this.view.x + fromX * (1 - real), y: this.view.y + fromY * (1 - real) };
    this.paint();
  }

  pan(x, y) { this.view.x += x; this.view.y += y; this.paint(); }

  /** One pixel of the image on one of the screen. */
  oneToOne() {
    if (!this.image?.frame) return;
    this.view.zoom = 1;
    this.view.zoom = (1 / this.place(this.image.frame).column);
    this.paint();
  }

  command(name) {
    const steps = {
      invert: () => { this.flipped = !this.flipped; this.paint(); },
      fit: () => this.fit(),
      "one-to-one": () => this.oneToOne(),
      reset: () => { this.reset(); this.listWindows(); this.paint(); },
      key: () => this.toKey(),
      play: () => this.cine.toggle(),
      faster: () => this.cine.faster(1),
      slower: () => this.cine.faster(-1),
      heat: () => { this.part("heat").checked = !this.part("heat").checked; this.paint(); },
      outline: () => { this.part("outline").checked = !this.part("outline").checked; this.paint(); },
      narrower: () => this.shiftWindow(0, 1 / 1.15),
      wider: () => this.shiftWindow(0, 1.15),
      brighter: () => this.shiftWindow(-0.08, 1),
      darker: () => this.shiftWindow(0.08, 1),
    };
    steps[name]?.();
  }

  /** What a drag does; where there is no window, it moves the image. */
  get tool() {
    const chosen = this.root.querySelector("[data-tool]:checked")?.value ?? "window";
    return chosen === "window" && this.isColour ? "pan" : chosen;
  }

  listen({ signal }) {
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-command]");
      if (button) this.command(button.dataset.command);
    }, { signal });
    this.root.addEventListener("input", (event) => {
      const part = event.target.dataset.part;
      if (part === "slice") this.goTo(this.at.series, Number(event.target.value) - 1);
      else if (part === "rate") this.cine.choose(Number(event.target.value));
      else if (part === "series") this.toSeries(Number(event.target.value));
      else if (part === "window") this.setWindow(...event.target.value.split(" ").map(Number));
      else if (["heat", "opacity", "outline"].includes(part)) this.paint();
      else if ("tool" in event.target.dataset) this.toolChosen = true;
    }, { signal });
    this.part("rate").addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.canvas.focus(); // the keys are the image's again
    }, { signal });
    listenToHands(this, this.canvas.parentElement, signal);
  }
}

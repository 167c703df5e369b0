// A viewer for the images of one case: windowed from the image's own values, on two canvases, without dependencies.
// The lower canvas shows the image, the upper one what the AI marked; neither changes the other's pixels.
// For orientation, not for diagnosis: large images come smaller than they are, and no monitor is calibrated here.

const POLL_MS = 120; // first look for what a worker makes; later ones wait longer
const POLL_LONGEST_MS = 1500;
const KEPT_BYTES = 384 * 2 ** 20;
const AHEAD = 10; // neighbouring images that are fetched before anybody scrolls there
const TOGETHER = 3; // fetches at a time
const HU_WINDOWS = [
  ["brain", 40, 80], ["blood", 75, 215], ["stroke", 32, 8], ["soft tissue", 40, 400], ["lung", -600, 1500],
  ["bone", 600, 2800],
];
// From no to full activation, as in the picture that goes to the PACS; below VISIBLE_FROM there is no colour.
const HEAT = [[200, 70, 0], [255, 120, 0], [255, 200, 0]];
const VISIBLE_FROM = 0.25;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Grey (0xAABBGGRR) of each of the 65 536 words: PS3.3 C.11.2.1.2, LINEAR. */
export function greyTable({ slope, intercept, inverted }, centre, width, flipped = false) {
  const table = new Uint32Array(65536);
  const extent = Math.max(width - 1, 1e-9);
  const turned = inverted !== flipped;
  for (let word = 0; word < 65536; word++) {
    const shade = clamp((word * slope + intercept - (centre - 0.5)) / extent + 0.5, 0, 1);
    const grey = Math.round((turned ? 1 - shade : shade) * 255);
    table[word] = 0xff000000 | grey << 16 | grey << 8 | grey;
  }
  return table;
}

function heatColours(picture) {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = image.data;
  for (let at = 0; at < pixels.length; at += 4) {
    const activation = pixels[at] / 255;
    const place = activation * (HEAT.length - 1);
    const below = Math.min(HEAT.length - 2, Math.floor(place));
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [HEAT[below][channel], HEAT[below + 1][channel]];
      pixels[at + channel] = from + (to - from) * (place - below);
    }
    pixels[at + 3] = 255 * clamp((activation - VISIBLE_FROM) / (1 - VISIBLE_FROM), 0, 1);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

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
    this.series = [];
    this.at = { series: 0, image: 0 };
    this.words = new Map(); // by URL, oldest first
    this.fetching = new Set();
    this.refused = new Map(); // by URL: why
    this.heats = new Map();
    this.finding = null; // the finding whose heat map is shown; null: the most urgent of the image
    this.view = { zoom: 1, x: 0, y: 0 };
    this.window = null; // {centre, width}; null: what the image asks for
    this.flipped = false;
    this.turn = 0; // of asking: the latest one counts
    this.frame = new OffscreenCanvas(1, 1);
    this.drawn = ""; // what the frame holds
    this.ended = new AbortController(); // of listening: the same parts may show another study later
    this.listen(this.ended);
    this.resized = new ResizeObserver(() => this.paint());
    this.resized.observe(this.canvas.parentElement);
  }

  /** Let go of the parts. */
  close() {
    this.turn += 1;
    this.ended.abort();
    this.resized.disconnect();
    this.words.clear();
    this.say(""); // the parts may show another study next: nothing of this one stays under its title
    this.part("poster").hidden = true;
    this.part("poster").removeAttribute("src");
    this.root.dataset.shown = "";
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  part(name) { return this.root.querySelector(`[data-part="${name}"]`); }

  // --- what there is ------------------------------------------------------------------------------------------------

  /** Have the images made and show them as they come. */
  async open() {
    const turn = ++this.turn;
    this.refused.clear();
    let wait = POLL_MS;
    let answer = await this.ask("POST", this.first ? { first: this.first } : {});
    while (answer && this.turn === turn) {
      this.take(answer);
      if (!answer.pending) return;
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(wait * 1.4, POLL_LONGEST_MS);
      answer = await this.ask("GET");
    }
  }

  async ask(method, body) {
    try {
      const headers = { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) };
      const answer = await fetch(`${this.base}/views`, { method, headers, body: body && JSON.stringify(body) });
      if (!answer.ok) throw new Error((await answer.json()).detail);
      return await answer.json();
    } catch (error) {
      if (this.ended.signal.aborted) return null;
      this.say(`The images cannot be asked for: ${error.message}`);
      return null;
    }
  }

  take({ series }) {
    const shown = this.image?.sop_instance_uid ?? this.first;
    this.series = series.filter((each) => each.images.length);
    for (const [index, each] of this.series.entries()) {
      const image = each.images.findIndex((one) => one.sop_instance_uid === shown);
      if (image >= 0) this.at = { series: index, image };
    }
    this.at.series = clamp(this.at.series, 0, Math.max(0, this.series.length - 1));
    this.at.image = clamp(this.at.image, 0, Math.max(0, this.stack.length - 1));
    this.listSeries();
    this.show();
  }

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
    const keys = this.series.flatMap((each) => each.images).filter((image) => image.marks.length).length;
    this.part("key").hidden = !keys || this.series.length < 2 && this.stack.length < 2;
    for (const name of ["slice", "scroll"]) this.part(name).closest("label").hidden = this.stack.length < 2;
  }

  // --- going there --------------------------------------------------------------------------------------------------

  step(by) { this.goTo(this.at.series, this.at.image + by); }

  goTo(series, image) {
    if (!this.series[series]) return;
    if (series !== this.at.series) this.reset();
    this.at = { series, image: clamp(image, 0, this.series[series].images.length - 1) };
    this.listSeries();
    this.show();
  }

  /** The next image with a mark of this finding, or with any; wraps round. */
  toKey(key = null) {
    const all = this.series.flatMap((each, s) => each.images.map((image, i) => ({ image, s, i })));
    const marked = all.filter(({ image }) => image.marks.some((mark) => key === null || mark.key === key));
    if (!marked.length) return;
    const now = marked.findIndex(({ s, i }) => s === this.at.series && i === this.at.image);
    const next = marked[(now + 1) % marked.length];
    this.goTo(next.s, next.i);
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
    this.part("slice").max = Math.max(1, this.stack.length);
    this.part("slice").value = this.at.image + 1;
    if (!image) this.say("No image of this case is here.");
    else if (image.status === "FAILED" || image.reason) this.say(`This image cannot be shown: ${image.reason}.`);
    else if (this.refused.has(image.url)) this.say(`This image cannot be shown: ${this.refused.get(image.url)}.`);
    else if (!image.url) this.say("The image is being made ready.");
    else if (!this.words.has(image.url)) this.say("The image is on its way.");
    else this.say("");
    const poster = this.part("poster");
    const covered = image?.url && this.words.has(image.url);
    poster.hidden = covered || !image?.preview_url;
    if (!poster.hidden && poster.getAttribute("src") !== image.preview_url) poster.src = image.preview_url;
    this.root.dataset.shown = covered ? image.sop_instance_uid : "";
    this.listWindows();
    this.fetchNear();
    this.paint();
  }

  fetchNear() {
    const wanted = [this.image];
    for (let away = 1; away <= AHEAD; away++) wanted.push(this.stack[this.at.image + away], this.stack[this.at.image - away]);
    for (const image of wanted) {
      if (this.fetching.size >= TOGETHER) return;
      const { url } = image ?? {};
      if (url && ![this.words, this.fetching, this.refused].some((known) => known.has(url))) this.fetch(image);
    }
  }

  async fetch({ url, frame }) {
    this.fetching.add(url);
    try {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error((await answer.json()).detail);
      const words = new Uint16Array(await answer.arrayBuffer());
      if (words.length !== frame.rows * frame.columns) throw new Error("it came incomplete");
      if (this.ended.signal.aborted) return;
      this.words.set(url, words);
      this.forgetOld();
    } catch (error) {
      if (this.ended.signal.aborted) return;
      this.refused.set(url, error.message); // not again until the case is opened again
    }
    this.fetching.delete(url);
    if (this.image?.url === url) this.show();
    else this.fetchNear();
  }

  forgetOld() {
    let bytes = 0;
    for (const words of this.words.values()) bytes += words.byteLength;
    for (const [url, words] of this.words) {
      if (bytes <= KEPT_BYTES) return;
      if (url === this.image?.url) continue;
      bytes -= words.byteLength;
      this.words.delete(url);
    }
  }

  async heatOf(mark) {
    if (!this.heats.has(mark.heat_url)) {
      this.heats.set(mark.heat_url, null);
      try {
        const answer = await fetch(mark.heat_url);
        if (answer.ok) this.heats.set(mark.heat_url, heatColours(await createImageBitmap(await answer.blob())));
      } catch { /* the outline still says where */ }
      this.paint();
    }
    return this.heats.get(mark.heat_url);
  }

  // --- windowing ----------------------------------------------------------------------------------------------------

  get grey() {
    const own = this.image?.frame?.windows[0];
    return this.window ?? (own && { centre: own.centre, width: own.width });
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
    list.disabled = !frame;
    if (!frame) return;
    const own = frame.windows.map(({ centre, width, name }, index) => [name || (index ? `window ${index + 1}` : "as sent"), centre, width]);
    const all = [frame.intercept, frame.intercept + 65535 * frame.slope];
    const choices = [...own, ...(frame.unit === "HU" ? HU_WINDOWS : []), ["full range", ...this.fullRange(all)]];
    const named = choices.find(([, c, w]) => c === this.grey.centre && w === this.grey.width);
    if (!named) choices.push(["by hand", this.grey.centre, this.grey.width]);
    const options = choices.map(([name, c, w]) => new Option(`${name} ${number(c)} / ${number(w)}${frame.unit && ` ${frame.unit}`}`, `${c} ${w}`));
    const texts = (some) => [...some].map((option) => option.text).join("\n");
    if (texts(list.options) !== texts(options)) list.replaceChildren(...options);
    list.value = `${this.grey.centre} ${this.grey.width}`;
  }

  fullRange([low, high]) {
    const words = this.words.get(this.image.url);
    const { slope, intercept } = this.image.frame;
    if (words) {
      let [least, most] = [65535, 0];
      for (const word of words) { if (word < least) least = word; if (word > most) most = word; }
      [low, high] = [least * slope + intercept, most * slope + intercept].sort((a, b) => a - b);
    }
    return [(low + high + 1) / 2, high - low + 1];
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
    for (const canvas of [this.canvas, this.marks]) {
      const [wide, high] = [Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio))];
      if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    }
    const image = this.image;
    const words = image?.url && this.words.get(image.url);
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

  /** The frame in grey: only when the image or its window has changed. */
  fill(image, words) {
    const { rows, columns } = image.frame;
    const holds = [image.url, this.grey.centre, this.grey.width, this.flipped].join(" ");
    if (holds === this.drawn) return;
    if (this.frame.width !== columns || this.frame.height !== rows) {
      this.frame = new OffscreenCanvas(columns, rows);
      this.pixels = new ImageData(columns, rows);
      this.greys = new Uint32Array(this.pixels.data.buffer);
    }
    const table = greyTable(image.frame, this.grey.centre, this.grey.width, this.flipped);
    const greys = this.greys;
    for (let at = 0; at < words.length; at++) greys[at] = table[words[at]];
    this.frame.getContext("2d").putImageData(this.pixels, 0, 0);
    this.drawn = holds;
  }

  /** Where the image lies on the canvas, in its pixels, and how large one pixel of the source is there. */
  place({ source_rows: rows, source_columns: columns, aspect }) {
    const scale = Math.min(this.canvas.width / columns, this.canvas.height / (rows * aspect)) * this.view.zoom;
    const [width, height] = [columns * scale, rows * aspect * scale];
    const ratio = window.devicePixelRatio || 1;
    return {
      x: (this.canvas.width - width) / 2 + this.view.x * ratio, y: (this.canvas.height - height) / 2 + this.view.y * ratio,
      width, height, column: scale, row: scale * aspect,
    };
  }

  paintMarks(image, place, ratio) {
    const context = this.marks.getContext("2d");
    const chosen = image.marks.find((mark) => mark.key === this.finding) ?? image.marks[0];
    if (this.part("heat").checked && chosen?.heat_url) {
      const heat = this.heats.get(chosen.heat_url);
      if (heat) {
        context.globalAlpha = Number(this.part("opacity").value) / 100;
        context.imageSmoothingQuality = "high";
        context.drawImage(heat, place.x, place.y, place.width, place.height);
        context.globalAlpha = 1;
      } else this.heatOf(chosen);
    }
    if (!this.part("outline").checked) return;
    for (const mark of image.marks) {
      if (mark.outline.length > 2) this.paintOutline(context, mark, place, ratio, mark === chosen);
    }
  }

  paintOutline(context, mark, place, ratio, chosen) {
    const at = ([column, row]) => [place.x + column * place.column, place.y + row * place.row];
    const points = mark.outline.map(at);
    context.beginPath();
    points.forEach(([x, y], index) => index ? context.lineTo(x, y) : context.moveTo(x, y));
    context.closePath();
    for (const [colour, width] of [["rgb(0 0 0 / .75)", 4], [chosen ? "#6ee7ff" : "#9db4bd", chosen ? 2 : 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.stroke();
    }
    const top = points.reduce((best, point) => point[1] < best[1] ? point : best);
    const text = `${mark.meaning} ${mark.score.toFixed(2)}`;
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    const wide = context.measureText(text).width;
    const x = clamp(top[0] - wide / 2, 4 * ratio, Math.max(4 * ratio, this.marks.width - wide - 4 * ratio));
    const y = clamp(top[1] - 8 * ratio, 16 * ratio, this.marks.height - 6 * ratio);
    context.lineWidth = 4 * ratio;
    context.strokeStyle = "rgb(0 0 0 / .85)";
    context.lineJoin = "round";
    context.strokeText(text, x, y);
    context.fillStyle = chosen ? "#c4f4ff" : "#d5dfe3";
    context.fillText(text, x, y);
  }

  tell() {
    const image = this.image;
    const parts = [];
    if (this.stack.length > 1) parts.push(`${this.at.image + 1} of ${this.stack.length}`);
    if (image?.marks.length) parts.push(`marked: ${image.marks.map((mark) => mark.meaning).join(", ")}`);
    if (image?.frame && this.grey) {
      const { columns, source_columns, source_rows, unit } = image.frame;
      parts.push(`C ${number(this.grey.centre)} W ${number(this.grey.width)}${unit && ` ${unit}`}`);
      parts.push(`${Math.round(this.view.zoom * 100)} %`);
      if (this.flipped) parts.push("inverted");
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
      heat: () => { this.part("heat").checked = !this.part("heat").checked; this.paint(); },
      outline: () => { this.part("outline").checked = !this.part("outline").checked; this.paint(); },
      narrower: () => this.shiftWindow(0, 1 / 1.15),
      wider: () => this.shiftWindow(0, 1.15),
      brighter: () => this.shiftWindow(-0.08, 1),
      darker: () => this.shiftWindow(0.08, 1),
    };
    steps[name]?.();
  }

  get tool() { return this.root.querySelector("[data-tool]:checked")?.value ?? "window"; }

  listen({ signal }) {
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-command]");
      if (button) this.command(button.dataset.command);
    }, { signal });
    this.root.addEventListener("input", (event) => {
      const part = event.target.dataset.part;
      if (part === "slice") this.goTo(this.at.series, Number(event.target.value) - 1);
      else if (part === "series") this.goTo(Number(event.target.value), 0);
      else if (part === "window") this.setWindow(...event.target.value.split(" ").map(Number));
      else if (["heat", "opacity", "outline"].includes(part)) this.paint();
    }, { signal });
    const film = this.canvas.parentElement;
    film.addEventListener("wheel", (event) => {
      event.preventDefault();
      const along = event.deltaY || event.deltaX;
      if (event.ctrlKey || this.stack.length < 2) {
        const box = film.getBoundingClientRect();
        this.zoom(Math.exp(-along / 400), event.clientX - box.left, event.clientY - box.top);
      } else {
        this.rolled = (this.rolled ?? 0) + along / (event.deltaMode ? 1 : 60); // a trackpad sends many small ones
        const whole = Math.trunc(this.rolled);
        this.rolled -= whole;
        if (whole) this.step(whole);
      }
    }, { passive: false, signal });
    film.addEventListener("dblclick", () => this.fit(), { signal });
    film.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
    this.listenToPointers(film, signal);
    this.canvas.addEventListener("keydown", (event) => this.key(event), { signal });
  }

  listenToPointers(film, signal) {
    const down = new Map();
    film.addEventListener("pointerdown", (event) => {
      this.canvas.focus({ preventScroll: true });
      film.setPointerCapture(event.pointerId);
      down.set(event.pointerId, { x: event.clientX, y: event.clientY, button: event.shiftKey ? 1 : event.button });
      this.dragged = 0;
    }, { signal });
    const up = (event) => down.delete(event.pointerId);
    film.addEventListener("pointerup", up, { signal });
    film.addEventListener("pointercancel", up, { signal });
    film.addEventListener("pointermove", (event) => {
      const was = down.get(event.pointerId);
      if (!was) return;
      const [dx, dy] = [event.clientX - was.x, event.clientY - was.y];
      if (down.size === 2) {
        const other = [...down].find(([id]) => id !== event.pointerId)[1];
        const distance = (x, y) => Math.hypot(x - other.x, y - other.y) || 1;
        const box = film.getBoundingClientRect();
        const middle = [(event.clientX + other.x) / 2 - box.left, (event.clientY + other.y) / 2 - box.top];
        this.zoom(distance(event.clientX, event.clientY) / distance(was.x, was.y), ...middle);
        this.pan(dx / 2, dy / 2);
      } else if (was.button === 1 || this.tool === "pan" && was.button === 0) this.pan(dx, dy);
      else if (was.button === 2) this.zoom(Math.exp(-dy / 200));
      else if (this.tool === "scroll") {
        this.dragged += dy / Math.max(4, Math.min(20, film.clientHeight / this.stack.length));
        const whole = Math.trunc(this.dragged);
        this.dragged -= whole;
        if (whole) this.step(whole);
      } else this.shiftWindow(dy / 400, Math.exp(dx / 250));
      Object.assign(was, { x: event.clientX, y: event.clientY });
    }, { signal });
  }

  /** Keys of the image itself, while it has the focus. */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const away = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (away && (event.shiftKey || this.stack.length < 2)) this.pan(-40 * away[0], -40 * away[1]);
    else if (away && away[1]) this.step(away[1]);
    else if (away && this.series.length > 1) this.goTo(clamp(this.at.series + away[0], 0, this.series.length - 1), 0);
    else if (event.key === "PageUp" || event.key === "PageDown") this.step(event.key === "PageUp" ? -10 : 10);
    else if (event.key === "Home" || event.key === "End") this.goTo(this.at.series, event.key === "Home" ? 0 : 1e9);
    else if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(1 / 1.25);
    else return;
    event.preventDefault();
  }
}

function number(value) {
  return String(Number(value.toFixed(Math.abs(value) < 10 && value % 1 ? 2 : Math.abs(value) < 1000 && value % 1 ? 1 : 0)));
}

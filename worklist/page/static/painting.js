// What a frame and the marks in it look like on a canvas. Nothing here asks or remembers anything.

// From no to full activation, as in the picture that goes to the PACS; below VISIBLE_FROM there is no colour.
const HEAT = [[200, 70, 0], [255, 120, 0], [255, 200, 0]];
const VISIBLE_FROM = 0.25;

/** Shade, 0 to 1 and beyond, of a value: PS3.3 C.11.2.1.2 and C.11.2.1.3. */
const VOI_FUNCTIONS = {
  LINEAR: (centre, width) => (value) => (value - (centre - 0.5)) / Math.max(width - 1, 1e-9) + 0.5,
  LINEAR_EXACT: (centre, width) => (value) => (value - centre) / width + 0.5,
  SIGMOID: (centre, width) => (value) => 1 / (1 + Math.exp(-4 * (value - centre) / width)),
};


/** Grey (0xAABBGGRR) of each of the 65 536 words: as the window and the image's VOI LUT Function ask. */
export function greyTable({ slope, intercept, inverted, function: name }, centre, width, flipped = false) {
  const table = new Uint32Array(65536);
  const shadeOf = VOI_FUNCTIONS[name](centre, width);
  const turned = inverted !== flipped;
  for (let word = 0; word < 65536; word++) {
    const shade = clamp(shadeOf(word * slope + intercept), 0, 1);
    const grey = Math.round((turned ? 1 - shade : shade) * 255);
    table[word] = 0xff000000 | grey << 16 | grey << 8 | grey;
  }
  return table;
}

/** Fill pixels (0xAABBGGRR) with words, by a grey table. */
export function fillGrey(pixels, words, table) {
  for (let at = 0; at < words.length; at++) pixels[at] = table[words[at]];
}

/** Fill pixels (0xAABBGGRR) with bytes of red, green and blue. */
export function fillColour(pixels, bytes, flipped) {
  const turn = flipped ? 0x00ffffff : 0;
  for (let at = 0, from = 0; at < pixels.length; at++, from += 3) {
    pixels[at] = (0xff000000 | bytes[from + 2] << 16 | bytes[from + 1] << 8 | bytes[from]) ^ turn;
  }
}

/** A picture of activation as colours that can be laid over an image. */
export function heatColours(picture) {
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

/**
 * The outline of a mark with its name.
 * @param {{x, y, column, row}} place where the image lies, and how large one of its pixels is
 * @param {number} ratio pixels of the canvas to one of CSS
 * @param {boolean} chosen it is the finding whose heat map is shown
 */
export function paintOutline(context, mark, place, ratio, chosen) {
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
  const x = clamp(top[0] - wide / 2, 4 * ratio, Math.max(4 * ratio, context.canvas.width - wide - 4 * ratio));
  const y = clamp(top[1] - 8 * ratio, 16 * ratio, context.canvas.height - 6 * ratio);
  context.lineWidth = 4 * ratio;
  context.strokeStyle = "rgb(0 0 0 / .85)";
  context.lineJoin = "round";
  context.strokeText(text, x, y);
  context.fillStyle = chosen ? "#c4f4ff" : "#d5dfe3";
  context.fillText(text, x, y);
}

function clamp(value, low, high) { return Math.min(high, Math.max(low, value)); }

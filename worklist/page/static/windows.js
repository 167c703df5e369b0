// The windows that a frame can be looked at with: its own, those that people know, and all that it holds.

const HU_WINDOWS = [
  ["brain", 40, 80], ["blood", 75, 215], ["stroke", 32, 8], ["soft tissue", 40, 400], ["lung", -600, 1500],
  ["bone", 600, 2800],
];

/** [name, centre, width] each; the first is what the image asks for. `words` are undefined until they are here. */
export function windowChoices(frame, words) {
  const own = frame.windows.map(({ centre, width, name }, index) => [name || (index ? `window ${index + 1}` : "as sent"), centre, width]);
  return [...own, ...(frame.unit === "HU" ? HU_WINDOWS : []), ["full range", ...fullRange(frame, words)]];
}

function fullRange({ slope, intercept }, words) {
  let [least, most] = words ? [65535, 0] : [0, 65535];
  for (const word of words ?? []) { if (word < least) least = word; if (word > most) most = word; }
  const [low, high] = [least * slope + intercept, most * slope + intercept].sort((a, b) => a - b);
  return [(low + high + 1) / 2, high - low + 1];
}

/** A value of an image, short. */
export function shortNumber(value) {
  return String(Number(value.toFixed(Math.abs(value) < 10 && value % 1 ? 2 : Math.abs(value) < 1000 && value % 1 ? 1 : 0)));
}

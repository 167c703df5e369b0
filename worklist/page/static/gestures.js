// Hands on the image: wheel, mouse, fingers and the keys of the image itself. They call what the viewer can do.

const DECIDED = 14; // CSS pixels that two fingers move before it is clear what they are after

export function listenToHands(viewer, film, signal) {
  listenToWheel(viewer, film, signal);
  listenToPointers(viewer, film, signal);
  film.addEventListener("dblclick", () => viewer.fit(), { signal });
  film.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
  viewer.canvas.addEventListener("keydown", (event) => key(viewer, event), { signal });
}

function listenToWheel(viewer, film, signal) {
  const rolled = steps(viewer);
  film.addEventListener("wheel", (event) => {
    event.preventDefault();
    const along = event.deltaY || event.deltaX;
    if (event.ctrlKey || viewer.stack.length < 2) viewer.zoom(Math.exp(-along / 400), ...onFilm(film, event));
    else rolled(along / (event.deltaMode ? 1 : 60)); // a trackpad sends many small ones
  }, { passive: false, signal });
}

function listenToPointers(viewer, film, signal) {
  const down = new Map(); // by pointer: where it was last
  let dragged = steps(viewer);
  let two = null; // what two fingers are after: "" until it is clear, then "scroll" or "pinch"
  let after = false; // two fingers were down: the one that is lifted last does nothing of its own
  let start = null; // where both were then

  film.addEventListener("pointerdown", (event) => {
    viewer.canvas.focus({ preventScroll: true });
    film.setPointerCapture(event.pointerId);
    down.set(event.pointerId, { x: event.clientX, y: event.clientY, button: event.shiftKey ? 1 : event.button });
    dragged = steps(viewer);
    if (down.size !== 2) return;
    [two, after, start] = ["", true, pair([...down.values()])];
  }, { signal });
  const up = (event) => {
    down.delete(event.pointerId);
    two = null;
    if (!down.size) after = false;
  };
  film.addEventListener("pointerup", up, { signal });
  film.addEventListener("pointercancel", up, { signal });
  film.addEventListener("pointermove", (event) => {
    const was = down.get(event.pointerId);
    if (!was) return;
    const before = down.size === 2 && pair([...down.values()]);
    const [dx, dy] = [event.clientX - was.x, event.clientY - was.y];
    Object.assign(was, { x: event.clientX, y: event.clientY });
    if (before) twoFingers(before, pair([...down.values()]));
    else if (!after) oneDrag(was.button, dx, dy);
  }, { signal });

  function twoFingers(before, now) {
    if (two === "") two = intent(start, now, viewer.stack.length > 1);
    if (two === "scroll") dragged((now.y - before.y) / perStep(viewer, film));
    if (two !== "pinch") return;
    const box = film.getBoundingClientRect();
    viewer.zoom(now.apart / before.apart, now.x - box.left, now.y - box.top);
    viewer.pan(now.x - before.x, now.y - before.y);
  }

  function oneDrag(button, dx, dy) {
    if (button === 1 || viewer.tool === "pan" && button === 0) viewer.pan(dx, dy);
    else if (button === 2) viewer.zoom(Math.exp(-dy / 200));
    else if (viewer.tool === "scroll") dragged(dy / perStep(viewer, film));
    else viewer.shiftWindow(dy / 400, Math.exp(dx / 250));
  }
}

/** Two fingers: the point between them, and how far apart they are. */
function pair([one, other]) {
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2, apart: Math.hypot(one.x - other.x, one.y - other.y) || 1 };
}

/** What two fingers are after: along a stack with both, or to zoom and move. */
function intent(start, now, isStack) {
  const [apart, across, along] = [now.apart - start.apart, now.x - start.x, now.y - start.y].map(Math.abs);
  if (Math.max(apart, across, along) < DECIDED) return "";
  return isStack && along > 2 * apart && along > across ? "scroll" : "pinch";
}

/** Collects parts of a step; whole ones are taken. */
function steps(viewer) {
  let left = 0;
  return (by) => {
    left += by;
    const whole = Math.trunc(left);
    left -= whole;
    if (whole) viewer.step(whole);
  };
}

/** CSS pixels of a drag that are one image: a film's height goes through the stack, within reason. */
function perStep(viewer, film) { return Math.max(4, Math.min(20, film.clientHeight / viewer.stack.length)); }

function onFilm(film, event) {
  const box = film.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/** Keys of the image itself, while it has the focus. */
function key(viewer, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const away = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
  if (away && (event.shiftKey || viewer.stack.length < 2)) viewer.pan(-40 * away[0], -40 * away[1]);
  else if (away && away[1]) viewer.step(away[1]);
  else if (away && viewer.series.length > 1) viewer.toSeries(viewer.at.series + away[0]);
  else if (event.key === "PageUp" || event.key === "PageDown") viewer.step(event.key === "PageUp" ? -10 : 10);
  else if (event.key === "Home" || event.key === "End") viewer.goTo(viewer.at.series, event.key === "Home" ? 0 : Infinity);
  else if (event.key === "+" || event.key === "=") viewer.zoom(1.25);
  else if (event.key === "-") viewer.zoom(1 / 1.25);
  else return;
  event.preventDefault();
}

// The rows of the list on the screen. A fresh list changes what rows say at once; it moves them only when nobody is at
// them, and then around the row that has the focus or stands first on the screen, so that nothing jumps.

/** Put the focus on a case. */
export function moveTo(row) {
  const link = row.querySelector(".patient a");
  link.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

export function movedFrom(rows, by) {
  const all = rows.all();
  const here = rows.current();
  const from = here ? all.indexOf(here) : all.indexOf(rows.byKey(rows.heir)) - (by > 0 ? 1 : 0);
  const row = all[Math.min(all.length - 1, Math.max(0, from + by))];
  if (row) moveTo(row);
}

export class Rows {
  constructor(region) {
    this.region = region;
    this.last = ""; // key of the case that keys are about: it had the focus last, or was clicked
    this.heir = ""; // key of the case that took its place when it left the list
    this.said = new WeakMap(); // of a row what the server said last
    this.fresh = null; // a list that waits to be put in order
    this.unseen = new Set(); // keys of rows that came and were not on the screen yet
    for (const row of this.all()) this.said.set(row, row.outerHTML);
    region.addEventListener("focusin", (event) => { this.choose(event.target); });
    region.addEventListener("click", (event) => { this.choose(event.target); });
  }

  body() { return this.region.querySelector("[data-rows]"); }
  all() { return [...(this.body()?.children ?? [])]; }
  byKey(key) { return key ? this.region.querySelector(`tr[data-key="${CSS.escape(key)}"]`) : null; }
  focused() { return this.body()?.contains(document.activeElement) ? document.activeElement.closest("tr") : null; }
  waiting() { return this.fresh !== null; }

  /** The row that keys are about, with the focus or without; none when it has left the list. */
  current() { return this.focused() ?? this.byKey(this.last); }

  choose(element) {
    const row = element.closest("[data-rows] > tr");
    if (!row) return;
    this.last = row.dataset.key;
    this._mark();
  }

  /** Rows that can take the place of one: those below it, then those above it, the nearest first. */
  beside(row) {
    const all = this.all();
    const at = all.indexOf(row);
    return [...all.slice(at + 1), ...all.slice(0, at).reverse()];
  }

  /** Class of every case, of those too that wait to be shown. */
  classes() {
    return new Map([...this.all(), ...(this.fresh ?? [])].map((row) => [row.dataset.key, row.dataset.urgency]));
  }

  /** Take over a fresh fragment; with `keep` rows stay where they are. Returns news(). */
  place(fragment, { keep }) {
    const body = this.body();
    const freshBody = fragment.querySelector("[data-rows]");
    this._parts(fragment);
    if (!body || !freshBody) {
      if (body || freshBody) this._whole(fragment);
      return this.news();
    }
    this.fresh = [...freshBody.children];
    this._contents();
    const same = this._keys(this.all()) === this._keys(this.fresh);
    if (same) this.fresh = null;
    else if (!keep) this.settle();
    return this.news();
  }

  /** Put the rows into their order. Returns the first row that is new. */
  settle({ follow = true } = {}) {
    if (!this.fresh) return null;
    const [body, before] = [this.body(), new Map(this.all().map((row, index) => [row.dataset.key, index]))];
    const anchor = follow ? this._anchor(new Set(this.fresh.map((row) => row.dataset.key))) : null;
    const top = anchor?.getBoundingClientRect().top;
    let first = null;
    const wanted = this.fresh.map((row) => {
      const known = this.byKey(row.dataset.key);
      if (known) return known;
      this.said.set(row, row.outerHTML);
      this.unseen.add(row.dataset.key);
      first ??= row;
      return row;
    });
    this.fresh = null;
    const leaves = this.current() ?? this.byKey(this.heir);
    if (leaves && !wanted.includes(leaves)) this.heir = this.beside(leaves).find((row) => wanted.includes(row))?.dataset.key ?? "";
    this._arrange(body, wanted, this.focused());
    this._mark();
    for (const [index, row] of wanted.entries()) {
      const was = before.get(row.dataset.key);
      row.classList.toggle("moved", was === undefined || (index < was && row.dataset.urgency !== "ROUTINE"));
    }
    if (anchor?.isConnected) scrollBy({ top: anchor.getBoundingClientRect().top - top, behavior: "instant" });
    this.seen();
    return first;
  }

  /** What came and is not seen: how many, how many of them STAT, whether above the screen, whether rows wait. */
  news() {
    const here = new Set(this.all().map((row) => row.dataset.key));
    const waiting = (this.fresh ?? []).filter((row) => !here.has(row.dataset.key));
    const hidden = this.all().filter((row) => this.unseen.has(row.dataset.key));
    const unseen = [...waiting, ...hidden];
    return {
      count: unseen.length,
      stat: unseen.filter((row) => row.dataset.urgency === "STAT").length,
      above: hidden.length > 0 || this._above(waiting),
      waiting: this.fresh !== null,
    };
  }

  /** Forget as unseen what is on the screen now; true when that was something. */
  seen() {
    const before = this.unseen.size;
    for (const key of this.unseen) {
      const row = this.byKey(key);
      if (!row || row.getBoundingClientRect().bottom > 40) this.unseen.delete(key);
    }
    return this.unseen.size !== before;
  }

  _above(waiting) {
    const focused = this.focused()?.dataset.key;
    const order = this.fresh?.map((row) => row.dataset.key) ?? [];
    return waiting.length > 0 && (!focused || order.indexOf(waiting[0].dataset.key) < order.indexOf(focused));
  }

  /** What keys do has to be seen before, also while something else has the focus. */
  _mark() {
    for (const row of this.all()) {
      if (row.dataset.key === this.last) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  _keys(rows) { return rows.map((row) => row.dataset.key).join(); }

  /** What rows say, without moving any; a row that has left the list says so until it goes. */
  _contents() {
    const fresh = new Map(this.fresh.map((row) => [row.dataset.key, row]));
    for (const row of this.all()) {
      const now = fresh.get(row.dataset.key);
      if (!now) {
        if (!row.classList.contains("gone")) {
          row.classList.add("gone");
          row.querySelector(".status").append(Object.assign(document.createElement("span"), { className: "state", textContent: "no longer in this list" }));
          this.said.delete(row);
        }
        continue;
      }
      const html = now.outerHTML;
      if (this.said.get(row) === html) continue;
      this.said.set(row, html);
      const control = row.contains(document.activeElement) ? document.activeElement.dataset.do ?? "" : null;
      for (const { name, value } of now.attributes) row.setAttribute(name, value);
      for (const [index, cell] of [...now.cells].entries()) { // mostly only the waiting time has changed
        if (row.cells[index].outerHTML !== cell.outerHTML) row.cells[index].replaceWith(cell.cloneNode(true));
      }
      if (control !== null && !row.contains(document.activeElement)) {
        const again = (control && row.querySelector(`[data-do="${control}"]`)) || row.querySelector(".patient a");
        again.focus({ preventScroll: true });
      }
    }
  }

  /** What stands around the table. */
  _parts(fragment) {
    for (const fresh of fragment.querySelectorAll("[data-part]")) {
      const old = this.region.querySelector(`[data-part="${fresh.dataset.part}"]`);
      if (old && old.outerHTML !== fresh.outerHTML) old.replaceWith(fresh.cloneNode(true));
    }
  }

  _whole(fragment) {
    this.fresh = null;
    this.region.replaceChildren(...fragment.childNodes);
    for (const row of this.all()) {
      this.said.set(row, row.outerHTML);
      row.classList.add("moved");
    }
    this._mark();
  }

  _anchor(keys) {
    const staying = (row) => row && keys.has(row.dataset.key);
    if (staying(this.focused())) return this.focused();
    if (scrollY < 1) return null;
    return this.all().find((row) => row.getBoundingClientRect().top >= 0 && staying(row)) ?? null;
  }

  /** As few moves as may be, and none of `still`: a row that is moved loses the focus. */
  _arrange(body, wanted, still) {
    const keep = new Set(wanted);
    for (const row of [...body.children]) if (!keep.has(row)) row.remove();
    let at = body.firstElementChild;
    for (const row of wanted) {
      while (row === still && at !== still) {
        const next = at.nextElementSibling;
        body.append(at);
        at = next;
      }
      if (row === at) at = at.nextElementSibling;
      else body.insertBefore(row, at);
    }
  }
}

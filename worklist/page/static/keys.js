// Keys of a page in one table: what they do, and the dialog under "?" that lists them.

const table = [];

/**
 * Let a key do something; `shown` is how the help names it ("j"), none: another way to do the same. Held down it does so
 * once, unless it `repeats`: a step through a case must not go on to the next one and the next.
 */
export function key(name, words, action, { shown = name, repeats = false } = {}) {
  table.push({ name, words, action, shown, repeats });
}

export function typing(element) {
  return element.matches("input:not([type=checkbox], [type=range], [type=radio]), select, textarea");
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  const known = table.find((entry) => entry.name === event.key);
  if (!known?.action) return;
  event.preventDefault();
  if (!event.repeat || known.repeats) known.action(event);
});

function help() {
  const dialog = document.createElement("dialog");
  dialog.className = "panel";
  dialog.setAttribute("aria-labelledby", "keys-title");
  const title = document.createElement("h2");
  title.id = "keys-title";
  title.textContent = "Keys";
  const list = document.createElement("dl");
  list.className = "keytable";
  for (const entry of table.filter((one) => one.shown)) {
    const [name, words] = [document.createElement("dt"), document.createElement("dd")];
    name.append(Object.assign(document.createElement("kbd"), { textContent: entry.shown }));
    words.textContent = entry.words;
    list.append(name, words);
  }
  const close = Object.assign(document.createElement("button"), { textContent: "Close", className: "first" });
  const form = Object.assign(document.createElement("form"), { method: "dialog" });
  form.append(close);
  dialog.append(title, list, form);
  dialog.addEventListener("close", () => { dialog.remove(); });
  document.body.append(dialog);
  dialog.showModal();
}

for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", help);
if (document.querySelector("[data-help]")) key("?", "this list of keys", help);

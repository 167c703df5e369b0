// One's own account: sessions are ended by a request of the API each; the page is loaded anew after it.

const said = document.querySelector("[data-said]");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-delete]");
  if (!button || !confirm(button.dataset.ask)) return;
  said.hidden = true;
  try {
    const answer = await fetch(button.dataset.delete, { method: "DELETE" });
    if (answer.ok || answer.status === 401 || answer.status === 404) { location.reload(); return; }
    const told = await answer.json();
    said.textContent = [told.detail, told.next_step].filter(Boolean).join(" ");
  } catch {
    said.textContent = "The connection to firstread is lost; nothing is known to have changed.";
  }
  said.hidden = false;
});

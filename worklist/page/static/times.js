// Times in the reader's own zone; the server says them in UTC.

export const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const stamp = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat([], { day: "2-digit", month: "short" });

export function localTimes(root) {
  const today = day.format(new Date());
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    const other = day.format(moment) === today ? "" : `${day.format(moment)} `;
    element.textContent = other + (element.hasAttribute("data-stamp") ? stamp : clock).format(moment);
    element.title = element.dateTime;
  }
}

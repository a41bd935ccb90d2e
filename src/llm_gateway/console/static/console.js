// Enhances the pages; every page works without it, except the playground's stream.
"use strict";

// Times are sent in UTC and shown in the reader's zone, with the zone named.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const format = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  hourCycle: "h23", timeZoneName: "short",
});

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-shown])")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    time.title = time.dateTime;
    time.textContent = format.format(moment);
    time.dataset.shown = "";
  }
}

function showZone() {
  for (const place of document.querySelectorAll("[data-zone]")) place.textContent = zone;
}

// A conversation that this tab keeps is not for whoever signs in next.
document.querySelector('form[action$="/console/sign-out"]')?.addEventListener("submit", () => {
  for (const name of Object.keys(sessionStorage)) {
    if (name.startsWith("playground ")) sessionStorage.removeItem(name);
  }
});

// A button that was pressed says so until the next page is there, and cannot be pressed twice.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button || !button.dataset.busy || event.defaultPrevented) return;
  button.dataset.text = button.textContent;
  button.textContent = button.dataset.busy;
  button.setAttribute("aria-busy", "true");
  setTimeout(() => { button.disabled = true; });
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[data-text]")) {
    button.textContent = button.dataset.text;
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
});

function addCopyButtons(root) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

// The menu is open on wide screens, and closed on narrow ones until it is asked for.
const menu = document.querySelector(".menu");
const narrow = window.matchMedia("(max-width: 55rem)");
function fitMenu() { if (menu) menu.open = !narrow.matches; }
narrow.addEventListener("change", fitMenu);

// Replaces what is in `place`. What is open stays open, what is scrolled stays there, and the focus stays where it is.
const FOCUSABLE = "a[href], button, summary, input, select, textarea, [tabindex]";
function swap(place, html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  for (const details of place.querySelectorAll("details[id]")) {
    const next = holder.content.getElementById(details.id);
    if (next) next.open = details.open;
  }
  const scrolled = [...place.querySelectorAll(".table, pre")].map((one) => [one.scrollLeft, one.scrollTop]);
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const at = focused ? [...place.querySelectorAll(FOCUSABLE)].indexOf(focused) : -1;
  place.replaceChildren(holder.content);
  enhance(place);
  place.querySelectorAll(".table, pre").forEach((one, index) => {
    if (scrolled[index]) [one.scrollLeft, one.scrollTop] = scrolled[index];
  });
  if (!focused) return;
  const ones = [...place.querySelectorAll(FOCUSABLE)];
  const same = focused.getAttribute("href") && ones.find((one) => one.getAttribute("href") === focused.getAttribute("href"));
  (same || ones[at])?.focus({ preventScroll: true });
}

// Parts of a page that follow the gateway: <div data-live="URL"> gets the HTML of each server-sent event. The server
// ends a stream now and then; EventSource connects again by itself.
function follow(place) {
  let source = null;
  const start = () => {
    if (source) return;
    source = new EventSource(place.dataset.live);
    source.addEventListener("message", (event) => {
      swap(place, event.data);
    });
    source.addEventListener("done", () => { source.close(); });
  };
  const stop = () => { if (source) { source.close(); source = null; } };
  document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else start(); });
  window.addEventListener("pagehide", stop);
  if (!document.hidden) start();
}

function enhance(root) {
  showTimes(root);
  addCopyButtons(root);
}

fitMenu();
showZone();
enhance(document);
for (const place of document.querySelectorAll("[data-live]")) follow(place);

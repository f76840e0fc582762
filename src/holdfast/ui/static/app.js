// Times in the viewer's zone, the switch of light and dark, live numbers, the slider through time.
// Every page works without this file; it only saves steps.

const dayAndTime = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
});
const dayOnly = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    const midnightHere = moment.getHours() === 0 && moment.getMinutes() === 0;
    const format = "day" in time.dataset && midnightHere ? dayOnly : dayAndTime;
    time.textContent = format.format(moment);
  }
}

function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}

// Light, dark, or as the system is; kept in a cookie so that the server sends the right page at once.

function startTheme() {
  const button = document.getElementById("theme");
  if (!button) return;
  const root = document.documentElement;
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", dark() ? "Switch to light" : "Switch to dark");
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    document.cookie = `holdfast-theme=${root.dataset.theme};path=/;max-age=31536000;samesite=strict`;
    name();
  });
  name();
}

// One stream a page, closed while nobody looks: a browser has few connections to one host.

let stream = null;

function showLive(state, text) {
  const place = document.getElementById("live");
  if (!place) return;
  place.hidden = false;
  place.dataset.state = state;
  place.lastElementChild.textContent = text;
}

function openStream() {
  if (stream || document.hidden || !document.body.dataset.live) return;
  stream = new EventSource(new URL("../live", import.meta.url));
  stream.addEventListener("open", () => showLive("on", "Live"));
  stream.addEventListener("error", () => {
    const gone = stream && stream.readyState === EventSource.CLOSED;
    showLive("off", gone ? "Not live" : "Connecting");
    if (gone) closeStream();
  });
  stream.addEventListener("numbers", (event) => {
    for (const [name, text] of Object.entries(JSON.parse(event.data))) {
      for (const place of document.querySelectorAll(`[data-number="${CSS.escape(name)}"]`)) place.textContent = text;
    }
  });
  stream.addEventListener("changed", () => reload());
  stream.addEventListener("ended", () => {
    closeStream();
    location.reload();
  });
}

function closeStream() {
  if (stream) stream.close();
  stream = null;
}

// Take over a new state of the page unless somebody is in the middle of writing or comparing.

async function reload(address = location.href, quietly = false) {
  const main = document.querySelector("main");
  const writing = document.activeElement && document.activeElement.closest("form, [data-keep]");
  const typed = [...main.querySelectorAll("textarea, input[type=text]")].some((one) => one.value !== one.defaultValue);
  if (!quietly && (writing || typed || document.body.dataset.live !== "page")) return;
  const open = [...main.querySelectorAll("details")].map((one) => one.open);
  const focused = document.activeElement ? document.activeElement.id : "";
  const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok || answer.redirected) {
    if (answer.redirected) location.reload();
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (!fresh) return;
  main.replaceChildren(...fresh.childNodes);
  main.querySelectorAll("details").forEach((one, number) => { if (open[number]) one.open = true; });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  showTimes(main);
  startSlider();
  if (!quietly) say("The page has been brought up to date.");
}

// The slider through time asks the server for each window that it comes to, one at a time.

let asked = null;
let asking = false;

async function follow(address) {
  asked = address;
  if (asking) return;
  asking = true;
  while (asked) {
    const next = asked;
    asked = null;
    history.replaceState(null, "", next);
    await reload(next, true);
  }
  asking = false;
}

function startSlider() {
  const slider = document.getElementById("window");
  if (!slider) return;
  slider.form.querySelector("button").hidden = true;
  const go = () => {
    const query = new URLSearchParams(new FormData(slider.form));
    follow(`${slider.form.getAttribute("action")}?${query}`);
  };
  slider.addEventListener("input", go);
  if (slider.value !== slider.defaultValue) go(); // moved before this file had come
}

document.body.classList.add("scripted");
const current = document.querySelector(".top nav [aria-current]");
if (current) current.closest("ul").scrollLeft = current.offsetLeft - innerWidth / 2 + current.offsetWidth / 2;
showTimes(document);
startTheme();
startSlider();
openStream();
document.addEventListener("visibilitychange", () => (document.hidden ? closeStream() : openStream()));
addEventListener("pagehide", closeStream);

// The review queue by keyboard: one prediction at a time, 1 to 9 for the classes, s to skip, b to go back.

const list = document.getElementById("queue");
const items = list ? [...list.children] : [];
let at = 0;

function show(number) {
  at = Math.max(0, Math.min(number, items.length));
  items.forEach((item, place) => item.classList.toggle("at", place === at));
  const left = document.getElementById("left");
  if (left) left.textContent = at < items.length ? `${at + 1} of ${items.length}` : `all ${items.length} seen`;
  const end = document.getElementById("end");
  if (end) end.hidden = at < items.length;
  items[at]?.querySelector("h2")?.focus({ preventScroll: true });
}

async function send(form, label) {
  const fields = new URLSearchParams(new FormData(form));
  fields.set("label", label);
  const said = document.getElementById("said");
  const answer = await fetch(form.getAttribute("action"), {
    method: "POST", body: fields, credentials: "same-origin", redirect: "manual",
  });
  if (answer.type !== "opaqueredirect" && !answer.ok) {
    const why = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".say");
    const text = `Not taken. ${why ? why.textContent : "Load the page again."}`;
    said.textContent = text;
    form.querySelector(".outcome").textContent = text;
    return;
  }
  form.querySelector(".outcome").textContent = `Labelled ${label}`;
  said.textContent = `Labelled ${label}`;
  show(at + 1);
}

for (const item of items) {
  const form = item.querySelector("form");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const label = event.submitter?.value || form.querySelector("input[name=label]")?.value || "";
    if (label) send(form, label);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const form = items[at]?.querySelector("form");
  if (event.key === "s") show(at + 1);
  else if (event.key === "b") show(at - 1);
  else if (/^[1-9]$/.test(event.key) && form) {
    const button = form.querySelectorAll("button[name=label]")[Number(event.key) - 1];
    if (button) send(form, button.value);
  } else return;
  event.preventDefault();
});

if (items.length) show(0);

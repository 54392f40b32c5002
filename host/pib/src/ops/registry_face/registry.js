// What the pages of a registry do beside being read. Without it they work, too.
"use strict";

// Search as you type: the server's own page of results, in the place of the one before.
const input = document.querySelector("form.search input");
const index = input?.form.dataset.index;
let timer, running;

// Pages in files have a list of all stages instead of a server that searches.
const listed = document.getElementById("results");
let stages;

function element(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function shown(stage) {
  const link = element("a", stage.name);
  link.href = `stages/${stage.name}.html`;
  const version = element("span", stage.version + (stage.yanked ? " (yanked)" : ""));
  version.className = "version";
  return element("li", "", element("h2", "", link, version), element("p", stage.description));
}

async function searchFiles() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  stages ??= fetch(index).then((answer) => answer.json());
  const all = (await stages).stages;
  const fits = (stage) => words.every((word) => `${stage.name} ${stage.description}`.toLowerCase().includes(word));
  const isNamed = (stage) => words.some((word) => stage.name.includes(word));
  const found = all.filter(fits).sort((one, other) => isNamed(other) - isNamed(one));
  const list = element("ul", "", ...found.slice(0, 60).map(shown));
  list.className = "stages";
  const counted = found.length === 0 ? `No stage matches; there are ${all.length}` : `${found.length} of ${all.length} stages`;
  const status = element("p", counted);
  status.className = "quiet";
  status.role = "status";
  const results = element("div", "", status, list);
  results.id = "results";
  document.getElementById("results").replaceWith(words.length === 0 ? listed : results);
}

async function search() {
  if (index) return searchFiles().catch((error) => console.warn(error));
  running?.abort();
  running = new AbortController();
  const address = new URL(input.form.action);
  address.search = input.value.trim() === "" ? "" : new URLSearchParams({ q: input.value });
  try {
    const answer = await fetch(address, { signal: running.signal });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("results").replaceWith(page.getElementById("results"));
    history.replaceState(null, "", address);
  } catch (error) {
    // A newer search, or a server that is away: the form itself still works.
    if (error.name !== "AbortError") console.warn(error);
  }
}

if (index) {
  input.form.hidden = false;
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
}

input?.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, 120);
});

// "/" goes to the search, arrows go through what it found.
document.addEventListener("keydown", (event) => {
  if (!input || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && document.activeElement !== input) {
    event.preventDefault();
    input.focus();
    return;
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const links = [...document.querySelectorAll("ul.stages a")];
  const at = links.indexOf(document.activeElement);
  if (!step || (at < 0 && document.activeElement !== input)) return;
  const next = at + step < 0 ? input : links[at + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
});

// The address of this registry, as the browser knows it.
for (const place of document.querySelectorAll("[data-address]")) {
  place.textContent = new URL(place.dataset.address, location.href).href.replace(/\/$/, "");
}

// Buttons that copy.
for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    let copied = true;
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // Without https there is no clipboard but by the selection.
      copied = document.execCommand("copy");
    }
    document.getElementById("copied").textContent = copied ? "Copied" : "Press Ctrl+C to copy";
    button.textContent = copied ? "Copied" : "Copy";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

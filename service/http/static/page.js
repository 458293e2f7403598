// The page: reads the form, asks the student and then the teacher if there is one, shows the answers.

import { ask } from "./api.js";
import { Live } from "./live.js";
import { count, milliseconds, times } from "./numbers.js";
import { answerable, Column, link } from "./ranking.js";
import { EXAMPLES, address, copy, curl, divide, fromAddress, undivide } from "./share.js";

// The longest that the server allows: a teacher is slow.
const TIMEOUT_MS = 60_000;
// How long to wait for a model that loads.
const RETRY_MS = 1000;

const at = (id) => document.getElementById(id);
const form = at("form");
const student = new Column(at("student"));
const teacher = new Column(at("teacher"));
const key = () => at("key").value.trim();
const live = new Live(key, wantKey);
let running = new AbortController();
/** The request that was sent last. */
let asked = null;

/** The passages, and by what they are parted. */
const divided = () => divide(at("passages").value);

function countPassages() {
  const { byBlankLines, passages } = divided();
  const many = passages.length;
  const how = many > 1 ? (byBlankLines ? ", by blank lines" : ", one per line") : "";
  at("count").textContent = `${count(many)} ${many === 1 ? "passage" : "passages"}${how}`;
}

/** Put a question into the form. */
function fill({ query, passages }) {
  at("query").value = query;
  at("passages").value = undivide(passages);
  countPassages();
}

function wantKey() {
  at("key-field").hidden = false;
}

/** Show an error's sentence, and focus the field where it can be mended. */
function fail(sentence, field) {
  at("error").textContent = sentence;
  if (!field) return;
  field.setAttribute("aria-invalid", "true");
  field.focus();
}

/** Hide the answers to another question. */
function hide() {
  for (const id of ["columns", "tabs", "legend", "alone", "tools"]) at(id).hidden = true;
  at("verdict").textContent = at("answerable").textContent = "";
}

/** The request in the form; null, and a sentence, if something is missing. */
function read() {
  at("error").textContent = at("waiting").textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
  }
  const query = at("query").value.trim();
  const { passages } = divided();
  if (query && passages.length) return { query, passages, highlight: true, timeout_ms: TIMEOUT_MS };
  hide();
  if (!query) fail("Type a question first.", at("query"));
  else fail("Paste at least one passage.", at("passages"));
  return null;
}

/** Resolve after so many milliseconds; reject if `signal` says so before. */
function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** As `ask`, but while the server is still loading its model, wait and ask again. */
async function patiently(path, options) {
  for (;;) {
    try {
      const answer = await ask(path, options);
      at("waiting").textContent = "";
      return answer;
    } catch (error) {
      if (error.type !== "not_ready" || (await status()) !== "loading") throw error;
      at("waiting").textContent = "The model is still loading; the ranking comes when it is ready …";
      await sleep(RETRY_MS, options.signal);
    }
  }
}

/** What the server says of itself; null if it does not answer. */
async function status() {
  const reply = await fetch("readyz", { cache: "no-store" }).catch(() => null);
  return reply && (await reply.json().catch(() => ({}))).status;
}

async function rank() {
  running.abort();
  const request = read();
  if (!request) return;
  running = new AbortController();
  const { signal } = running;
  const score = (mode) => patiently("score", { body: { ...request, mode }, key: key(), signal });
  asked = request;
  at("verdict").textContent = at("answerable").textContent = "";
  at("copied").textContent = "";
  at("shared").hidden = true;
  form.setAttribute("aria-busy", "true");
  try {
    // One after the other: two models that share a processor would both look slow.
    const quick = await score("student");
    if (!live.known) await live.refresh();
    const both = Boolean(live.known?.modes.includes("teacher"));
    open(both);
    student.show(quick, request.passages);
    at("answerable").textContent = answerable(quick);
    if (both) await askTeacher(score, request.passages);
    at("verdict").textContent = verdict();
    live.refresh().catch(() => {});
  } catch (error) {
    if (signal.aborted) return;
    hide();
    at("waiting").textContent = "";
    fail(error.message, error.type === "unauthorized" ? at("key") : null);
  } finally {
    if (!signal.aborted) form.removeAttribute("aria-busy");
  }
}

/** Show the columns that the answers go into. */
function open(both) {
  at("columns").hidden = at("legend").hidden = at("tools").hidden = false;
  at("tabs").hidden = !both;
  at("columns").classList.toggle("both", both);
  at("teacher").hidden = !both;
  at("alone").hidden = both;
  at("links").querySelector("g").replaceChildren();
}

async function askTeacher(score, texts) {
  teacher.name(live.known.teacher);
  teacher.clear("Asking the teacher …", { busy: true });
  let slow;
  try {
    slow = await score("teacher");
  } catch (error) {
    if (error.name === "AbortError") throw error;
    teacher.clear(error.message, { failed: true });
    return;
  }
  teacher.show(slow, texts);
  const slower = Math.max(student.ms, teacher.ms);
  student.clock(student.ms / slower);
  teacher.clock(teacher.ms / slower);
  student.compare(teacher, "teacher");
  teacher.compare(student, "student");
  link(at("links"), student, teacher);
}

/** The result, in one to three sentences. */
function verdict() {
  const many = student.results.length;
  const what = many === 1 ? "one passage" : `${count(many)} passages`;
  const ranked = `The student ranked ${what} in ${milliseconds(student.ms)}`;
  if (at("teacher").hidden) return `${ranked}.`;
  if (teacher.ms === null) return `${ranked}; the teacher gave no ranking.`;
  const there = teacher.places();
  const moved = student.results.filter(({ index }, place) => there.get(index) !== place).length;
  const same = student.results[0].index === teacher.results[0].index;
  return [
    `${ranked}, the teacher in ${milliseconds(teacher.ms)}: ${times(teacher.ms / student.ms)} the time.`,
    `${same ? "They agree" : "They do not agree"} on the best passage`,
    moved ? `and rank ${count(moved)} of ${count(many)} differently.` : "and on the whole order.",
  ].join(" ");
}

/** Mark a passage in both columns, and its line; null for none. */
function mark(index) {
  for (const marked of at("columns").querySelectorAll(".marked")) marked.classList.remove("marked");
  if (index === undefined) return;
  for (const each of at("columns").querySelectorAll(`[data-index="${index}"]`)) {
    each.classList.add("marked");
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  rank();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  rank();
});
at("passages").addEventListener("input", countPassages);
at("key").addEventListener("change", () => live.refresh().catch(() => {}));
at("columns").addEventListener("pointerover", (event) =>
  mark(event.target.closest("[data-index]")?.dataset.index),
);
at("columns").addEventListener("pointerleave", () => mark());
at("columns").addEventListener("unfold", () => link(at("links"), student, teacher));
at("tabs").addEventListener("click", ({ target }) => {
  const tab = target.dataset.tab;
  if (!tab) return;
  at("columns").classList.toggle("second", tab === "teacher");
  for (const button of at("tabs").children) {
    button.setAttribute("aria-pressed", String(button.dataset.tab === tab));
  }
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => {
    fill(EXAMPLES[button.dataset.example]);
    rank();
  });
}

/** Copy `text`, and show it for those whose browser does not copy. */
async function share(text, done) {
  at("shared").textContent = text;
  at("shared").hidden = false;
  at("copied").textContent = (await copy(text)) ? done : "Copy it from here:";
}
at("copy-curl").addEventListener("click", () => {
  share(curl(asked, { key: key() }), "The command is copied.");
});
at("copy-link").addEventListener("click", () => {
  const link = address(asked);
  if (link) share(link, "The link is copied; it holds the question and the passages.");
  else at("copied").textContent = "That is too much text for a link.";
});
new ResizeObserver(() => link(at("links"), student, teacher)).observe(at("columns"));

if (/Mac|iPhone|iPad/.test(navigator.platform)) at("modifier").textContent = "⌘";
fill(fromAddress() ?? EXAMPLES.short);
live.refresh().catch(() => {});

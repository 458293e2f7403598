// The page: reads the form, asks the student and then the teacher, and shows both.

import { ask } from "./api.js";
import { Live } from "./live.js";
import { count, milliseconds, times } from "./numbers.js";
import { Column, link } from "./ranking.js";

// The longest that the server allows: a teacher is slow.
const TIMEOUT_MS = 60_000;

const at = (id) => document.getElementById(id);
const form = at("form");
const student = new Column(at("student"));
const teacher = new Column(at("teacher"));
const key = () => at("key").value.trim();
const live = new Live(key, wantKey);
let running = new AbortController();

/** The passages: one per line, blank lines left out. */
function passages() {
  return at("passages").value.split("\n").map((line) => line.trim()).filter(Boolean);
}

function countPassages() {
  const many = passages().length;
  at("count").textContent = `${count(many)} ${many === 1 ? "passage" : "passages"}`;
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

/** The request in the form; null, and a sentence, if something is missing. */
function read() {
  at("error").textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
  }
  const query = at("query").value.trim();
  if (!query) fail("Type a question first.", at("query"));
  else if (!passages().length) fail("Paste at least one passage, one per line.", at("passages"));
  else return { query, passages: passages(), timeout_ms: TIMEOUT_MS };
  return null;
}

async function rank() {
  const request = read();
  if (!request) return;
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const score = (mode) => ask("score", { body: { ...request, mode }, key: key(), signal });
  at("verdict").textContent = "";
  form.setAttribute("aria-busy", "true");
  try {
    if (!live.known) await live.refresh();
    // One after the other: two models that share a processor would both look slow.
    const quick = await score("student");
    open(Boolean(live.known?.teacher));
    student.show(quick, request.passages);
    if (live.known?.teacher) await askTeacher(score, request.passages);
    at("verdict").textContent = verdict();
    live.refresh().catch(() => {});
  } catch (error) {
    if (signal.aborted) return;
    // The columns belong to another question.
    at("columns").hidden = at("legend").hidden = at("alone").hidden = true;
    fail(error.message, error.type === "unauthorized" ? at("key") : null);
  } finally {
    if (!signal.aborted) form.removeAttribute("aria-busy");
  }
}

/** Show the columns that the answers go into. */
function open(both) {
  at("columns").hidden = at("legend").hidden = false;
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
new ResizeObserver(() => link(at("links"), student, teacher)).observe(at("columns"));

if (/Mac|iPhone|iPad/.test(navigator.platform)) at("modifier").textContent = "⌘";
countPassages();
live.refresh().catch(() => {});

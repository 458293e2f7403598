// A passage as the reader sees it: its best sentence marked, a long one around that sentence.

import { count } from "./numbers.js";

// A longer passage is shown in part, in characters.
const EXCERPT = 320;
const BEFORE = 110;

const FLAGS = {
  empty: ["Empty", "nothing to read, so its score is 0"],
  unfamiliar: [
    "Unfamiliar",
    "mostly unknown to the model: another language or script, or junk",
  ],
  truncated: ["Not read whole", "too long, so only parts of it were read"],
};

/** An element with a class and a text: texts are set by textContent alone. */
export function make(tag, name, text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

/** Which part of `characters` to show, so that `focus` is in it. */
function excerpt(characters, focus) {
  if (characters.length <= EXCERPT) return [0, characters.length];
  let start = Math.max(0, Math.min(focus.start - BEFORE, characters.length - EXCERPT));
  let end = Math.min(characters.length, Math.max(start + EXCERPT, focus.end));
  // Begin and end with whole words, if there are any.
  const first = characters.indexOf(" ", start);
  if (start && first !== -1 && first < focus.start) start = first + 1;
  const last = characters.lastIndexOf(" ", end);
  if (end < characters.length && last > Math.max(start, focus.end)) end = last;
  return [start, end];
}

/** Write characters `from` to `to` into `element`, the highlight among them marked. */
function write(element, characters, [from, to], mark) {
  const part = (start, end) => characters.slice(Math.max(start, from), Math.min(end, to)).join("");
  const pieces = [];
  if (from > 0) pieces.push("… ");
  if (mark) pieces.push(part(0, mark.start), make("mark", "", part(mark.start, mark.end)));
  pieces.push(part(mark ? mark.end : 0, characters.length));
  if (to < characters.length) pieces.push(" …");
  element.replaceChildren(...pieces.filter((piece) => piece !== ""));
}

/** The elements of a passage: its text, a button if it is long, and what there is to tell. */
export function show(passage, { window, highlight, flags = [] }) {
  // Offsets count characters, and a string of JavaScript counts halves of some.
  const characters = Array.from(passage);
  // To mark all of a passage would mark nothing.
  const whole = highlight && highlight.end - highlight.start >= characters.length;
  const mark = whole ? null : highlight;
  const text = make("p", "text");
  const short = excerpt(characters, highlight ?? window ?? { start: 0, end: 0 });
  write(text, characters, short, mark);
  const elements = [text];
  if (short[1] - short[0] < characters.length) {
    const button = make("button", "plain unfold", "Show all of it");
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      button.textContent = open ? "Show less" : "Show all of it";
      write(text, characters, open ? [0, characters.length] : short, mark);
      button.dispatchEvent(new CustomEvent("unfold", { bubbles: true }));
    });
    elements.push(button);
  }
  const told = make("p", "told");
  if (window) {
    const where = `characters ${count(window.start + 1)} to ${count(window.end)}`;
    told.append(make("span", "window", `Longer than the model reads: best of ${count(window.count)} windows, ${where}.`));
  }
  for (const flag of flags) {
    const [name, why] = FLAGS[flag] ?? [flag, ""];
    told.append(make("span", "flag", name), make("span", "why", `${why}.`));
  }
  if (told.childNodes.length) elements.push(told);
  return elements;
}

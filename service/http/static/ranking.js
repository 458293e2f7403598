// The ranking: one model's column, and the lines that join two of them.

import { count, milliseconds, ordinal, percent, score } from "./numbers.js";
import { make, show } from "./passage.js";

// So many rows at first, and with each press of a button.
const SHOWN = 100;
// What the server's stages are called here.
const STAGES = {
  tokenize: "reading",
  queue: "waiting",
  infer: "scoring",
  highlight: "finding sentences",
};
// Between a row and its line, in pixels.
const EDGE = 8;

/** A column of the page; `root` is its section. */
export class Column {
  constructor(root) {
    this.root = root;
    this.list = root.querySelector("ol");
    this.more = root.querySelector(".more");
    this.more.addEventListener("click", () => this.#extend());
    /** Milliseconds of the last answer; null while there is none. */
    this.ms = null;
    /** The last answer's results, best first. */
    this.results = [];
    /** The column that this one is compared with, if any. */
    this.other = null;
  }

  #set(name, text) {
    this.root.querySelector(name).textContent = text;
  }

  /** Empty it; `note` is shown instead. */
  clear(note, { failed = false, busy = false } = {}) {
    this.ms = null;
    this.results = [];
    this.other = null;
    this.list.replaceChildren();
    this.more.hidden = true;
    for (const name of [".time", ".stages"]) this.#set(name, "");
    this.#set(".note", note);
    this.root.querySelector(".note").classList.toggle("error", failed);
    this.root.setAttribute("aria-busy", String(busy));
    this.clock(0);
  }

  /** Show whose column it is. */
  name(model) {
    this.#set(".model", `${model.name} ${model.version}`);
  }

  /** Show the answer to a request for `passages`. */
  show(answer, passages) {
    this.clear("");
    this.name({ name: answer.model, version: answer.version });
    const { total, ...stages } = answer.timings_ms;
    this.ms = total;
    this.results = answer.results;
    this.passages = passages;
    this.#set(".time", milliseconds(total));
    const times = Object.entries(stages).map(([name, ms]) => `${STAGES[name]} ${milliseconds(ms)}`);
    this.#set(".stages", `of these: ${times.join(", ")}`);
    this.#set(".note", notes(answer));
    this.#extend();
  }

  /** Show more rows. */
  #extend() {
    // A model with one head has no spread.
    const unsure = this.results.some(({ spread }) => spread > 0);
    const there = this.list.children.length;
    const rows = this.results.slice(there, there + SHOWN).map((result, place) => {
      const row = make("li", "row");
      row.dataset.index = result.index;
      row.append(
        make("span", "rank", String(there + place + 1)),
        ...show(this.passages[result.index], result),
        measure(result, unsure),
      );
      return row;
    });
    this.list.append(...rows);
    const left = this.results.length - there - rows.length;
    this.more.hidden = left === 0;
    this.more.textContent = `Show ${count(Math.min(left, SHOWN))} more of ${count(left)}`;
    if (this.other) this.compare(this.other, this.whose);
    this.root.dispatchEvent(new CustomEvent("unfold", { bubbles: true }));
  }

  /** Draw the time as a share, 0 to 1, of the slower column's. */
  clock(share) {
    this.root.querySelector(".clock div").style.setProperty("--share", share);
  }

  /** The place of each passage: index → 0 for the best. */
  places() {
    return new Map(this.results.map(({ index }, place) => [index, place]));
  }

  /** Show at each row where `other`, whose name is `whose`, has it, if elsewhere. */
  compare(other, whose) {
    Object.assign(this, { other, whose });
    const there = other.places();
    for (const [place, row] of [...this.list.children].entries()) {
      row.querySelector(".elsewhere")?.remove();
      const elsewhere = there.get(Number(row.dataset.index));
      if (elsewhere === undefined || elsewhere === place) continue;
      const arrow = make("span", "arrow", elsewhere < place ? "▲" : "▼");
      arrow.setAttribute("aria-hidden", "true");
      const note = make("p", "elsewhere");
      note.append(arrow, ` ${ordinal(elsewhere + 1)} for the ${whose}`);
      row.append(note);
    }
  }
}

/** What a reader should know of the answer, in sentences. */
function notes({ errors = [], warnings = [] }) {
  const sentences = warnings.map((text) => `${text[0].toUpperCase()}${text.slice(1)}.`);
  if (errors.length) {
    const which = errors.length === 1 ? "One passage has" : `${errors.length} passages have`;
    sentences.push(`${which} no score: ${errors[0].message}.`);
  }
  return sentences.join(" ");
}

/** How likely any of the passages answers, in a sentence; empty if the server does not say. */
export function answerable({ answerable: chance }) {
  if (chance === undefined) return "";
  const rounded = percent(Math.min(0.99, Math.max(0.01, Math.round(chance * 100) / 100)));
  return `It is ${rounded} likely that any of these passages answers.`;
}

/** The score as bar and number, with its spread. */
function measure(result, unsure) {
  const bar = make("span", "bar");
  bar.setAttribute("aria-hidden", "true");
  bar.style.setProperty("--score", result.score);
  bar.append(make("span", "fill"));
  const numbers = make("span", "numbers");
  numbers.append(make("span", "score", score(result.score)));
  if (unsure) {
    const spread = make("span", "spread");
    const from = Math.max(0, result.score - result.spread);
    spread.style.setProperty("--from", from);
    spread.style.setProperty("--width", Math.min(1, result.score + result.spread) - from);
    bar.append(spread);
    numbers.append(make("span", "plus", ` ± ${score(result.spread)}`));
  }
  const line = make("div", "measure");
  line.append(bar, numbers);
  return line;
}

/** Join each passage's row on the left with that on the right, in `svg` between them. */
export function link(svg, left, right) {
  const box = svg.getBoundingClientRect();
  const middle = (row) => {
    const { top, height } = row.getBoundingClientRect();
    return top + height / 2 - box.top;
  };
  const there = new Map([...right.list.children].map((row) => [row.dataset.index, row]));
  const lines = [...left.list.children].flatMap((row, place) => {
    const other = there.get(row.dataset.index);
    if (!other) return [];
    const [from, to] = [middle(row), middle(other)];
    const [start, bend, end] = [EDGE, box.width / 2, box.width - EDGE];
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", `M${start} ${from}C${bend} ${from} ${bend} ${to} ${end} ${to}`);
    line.dataset.index = row.dataset.index;
    if (right.list.children[place] !== other) {
      line.classList.add("moved");
      line.setAttribute("stroke", "url(#shift)");
    }
    return [line];
  });
  svg.querySelector("g").replaceChildren(...lines);
}

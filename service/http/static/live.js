// The live figures: what the server has measured of student and teacher, fetched at intervals.

import { ask } from "./api.js";
import { count, milliseconds, percent, times } from "./numbers.js";

const EVERY_MS = 5000;
const at = (id) => document.getElementById(id);

/** Fetches while the tab is visible; `known` is the last answer, null before the first. */
export class Live {
  /** `getKey` gives the API key; `onUnauthorized` is called when the server needs one. */
  constructor(getKey, onUnauthorized) {
    this.known = null;
    this.getKey = getKey;
    this.onUnauthorized = onUnauthorized;
    this.timer = 0;
    this.asking = null;
    document.addEventListener("visibilitychange", () => this.refresh().catch(() => {}));
  }

  /** Fetch now, and from now on. Throws `PlainError`. */
  refresh() {
    clearTimeout(this.timer);
    if (document.hidden) return Promise.resolve();
    this.asking ??= this.#once().finally(() => {
      this.asking = null;
    });
    return this.asking;
  }

  async #once() {
    let next = true;
    try {
      this.known = await ask("comparison", { key: this.getKey() });
      this.#show();
    } catch (error) {
      if (error.type === "unauthorized") {
        // Nothing will change before there is a key.
        next = false;
        this.onUnauthorized();
      }
      this.#note(this.known ? "The server does not answer; these figures are old." : "");
      throw error;
    } finally {
      clearTimeout(this.timer);
      if (next) this.timer = setTimeout(() => this.refresh().catch(() => {}), EVERY_MS);
    }
  }

  #note(text) {
    at("live-note").textContent = text;
    at("live-note").hidden = !text;
  }

  #show() {
    const { modes, student, teacher, speedup } = this.known;
    const { top1_agreement, compared, agreement_at_export } = this.known;
    at("live").hidden = !teacher;
    document.body.classList.toggle("wide", Boolean(teacher));
    this.#note("");
    if (!teacher) return;
    // One that also ranks is named above its ranking.
    at("live-teacher").hidden = modes.includes("teacher");
    at("live-teacher").textContent = `The teacher is ${teacher.name}, at a URL.`;
    at("speedup").textContent = speedup === null ? "–" : times(speedup);
    at("speedup-why").textContent =
      speedup === null
        ? "one of the two has scored nothing yet"
        : taken(student, teacher);
    at("agreement").textContent = top1_agreement === null ? "–" : percent(top1_agreement);
    const requests = compared
      ? `${count(compared)} ${compared === 1 ? "request" : "requests"} compared`
      : "nothing compared yet: see --shadow";
    at("agreement-why").textContent =
      agreement_at_export === null
        ? requests
        : `${requests}; ${percent(agreement_at_export)} at export`;
  }
}

/** How long both took: per pair in a backend, or per request if the teacher is at a URL. */
function taken(student, teacher) {
  if (teacher.request_ms === null) {
    return `${milliseconds(student.pair_ms)} per pair, not ${milliseconds(teacher.pair_ms)}`;
  }
  const [own, other] = [student, teacher].map(({ request_ms }) => milliseconds(request_ms));
  return `${own} per request, not ${other} with the network`;
}

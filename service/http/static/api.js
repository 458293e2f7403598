// The API: calls to the server that this page came from, and its errors as sentences.

const LEADS = {
  invalid_request: "The server did not accept this:",
  too_large: "That is too much for one request:",
  overloaded: "The server is overloaded:",
  not_ready: "The server is not ready:",
  deadline_passed: "This took too long:",
  inference_failed: "The model could not score this:",
  internal: "The server failed:",
};

/** An error whose message can be shown to the reader. */
export class PlainError extends Error {
  constructor(sentence, type) {
    super(sentence);
    this.type = type;
  }
}

/** `{"error": …}` as a sentence. */
function sentence({ type, message }, retryAfter) {
  const text = `${LEADS[type] ?? "The server answered:"} ${message.trim()}`;
  const ended = /[.!?…]$/.test(text) ? text : `${text}.`;
  return retryAfter ? `${ended} Try again in ${retryAfter} s.` : ended;
}

/**
 * Ask `path`, with `body` by POST and without by GET; the answer's JSON.
 * Throws `PlainError`, or the AbortError of `signal`.
 */
export async function ask(path, { body, key, signal } = {}) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const request = { headers, signal, cache: "no-store" };
  if (body) Object.assign(request, { method: "POST", body: JSON.stringify(body) });

  let reply;
  let answer;
  try {
    reply = await fetch(path, request);
    answer = await reply.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new PlainError("The server does not answer. Is it running, and is the network up?", "network");
  }
  try {
    answer = JSON.parse(answer);
  } catch {
    throw new PlainError(
      `The answer has status ${reply.status} and is not JSON. Is there a proxy in between?`,
      "foreign",
    );
  }
  if (reply.ok) return answer;
  if (typeof answer?.error?.message !== "string") {
    throw new PlainError(`The answer has status ${reply.status} and is not from Retort.`, "foreign");
  }
  if (answer.error.type === "unauthorized") {
    // Its own message is for those who write headers.
    const text = key ? "The server does not accept this API key." : "This server needs an API key.";
    throw new PlainError(text, "unauthorized");
  }
  throw new PlainError(sentence(answer.error, reply.headers.get("Retry-After")), answer.error.type);
}

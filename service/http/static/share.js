// Sharing a question: as a command, as a link; and the examples.

// A browser takes longer addresses, but not everything on the way of one does.
const LONGEST_LINK = 8000;

export const EXAMPLES = {
  short: {
    query: "how tall is the eiffel tower",
    passages: [
      "Paris is the capital of France, and the tower is its best-known sight.",
      "Gustave Eiffel's company built the tower for the World's Fair of 1889.",
      "The tower is 330 metres tall, about as much as a building of 81 storeys.",
      "From 1889 to 1930 it was the tallest structure in the world.",
      "Tokyo Tower, which it inspired, stands 333 metres high.",
      "Every seven years it is painted anew, with 60 tonnes of paint.",
    ],
  },
  long: {
    query: "how much does the eiffel tower grow on a hot day?",
    passages: [
      "The Eiffel Tower was built for the World's Fair of 1889, which marked a hundred years since " +
        "the French Revolution. Gustave Eiffel's company won the contract, and 300 workers put " +
        "18,000 pieces of iron together in two years, two months and five days. Many artists " +
        "protested against it; a petition called it useless and monstrous. It was to stand for " +
        "twenty years only. It stayed because it was useful for radio, and during the First World " +
        "War its transmitter jammed German communications. Three platforms are open to visitors, " +
        "two of them with restaurants, and the upper one is 276 metres above the ground. Iron " +
        "expands when it is warm, so on a hot day the top rises by up to 15 centimetres, and the " +
        "side that faces the sun grows more than the other, which makes the tower lean a little. " +
        "It is painted by hand every seven years, in three shades of brown that become lighter " +
        "towards the top, so that it looks even against the sky. About seven million people visit " +
        "it in a year, more than any other monument with an entrance fee.",
      "In summer the tower is open until a quarter to one at night, and the queues are longest.",
      "Tokyo Tower was inspired by it, and is a little taller.",
    ],
  },
};

/** The passages of a text: parted by blank lines if it has any, else one per line. */
export function divide(text) {
  const blocks = text.split(/\n[^\S\n]*\n/).filter((block) => block.trim());
  const byBlankLines = blocks.length > 1;
  const parts = byBlankLines ? blocks : text.split("\n");
  return { byBlankLines, passages: parts.map((part) => part.trim()).filter(Boolean) };
}

/** Passages as text from which `divide` makes them again. */
export function undivide(passages) {
  return passages.join(passages.some((passage) => passage.includes("\n")) ? "\n\n" : "\n");
}

/** The command that sends `request`; the key is not in it, but a variable is if there is one. */
export function curl(request, { key }) {
  const quoted = `'${JSON.stringify(request).replaceAll("'", "'\\''")}'`;
  const lines = [
    `curl -s ${new URL("score", document.baseURI)}`,
    "-H 'Content-Type: application/json'",
    ...(key ? ['-H "Authorization: Bearer $RETORT_API_KEY"'] : []),
    `-d ${quoted}`,
  ];
  return lines.join(" \\\n  ");
}

/** The page's address with the question in its fragment, which no server sees; null if too long. */
export function address({ query, passages }) {
  const fields = new URLSearchParams([["q", query], ...passages.map((passage) => ["p", passage])]);
  const url = new URL(location.href);
  url.hash = fields.toString();
  return url.href.length > LONGEST_LINK ? null : url.href;
}

/** The question in this page's address; null if there is none. */
export function fromAddress() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const [query, passages] = [fields.get("q"), fields.getAll("p")];
  return query && passages.length ? { query, passages } : null;
}

/** Put `text` on the clipboard; false where the browser does not let a page do that. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

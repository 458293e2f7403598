// Runs one client of npm: requests come in as lines of JSON, answers go out as such. The lines are
// those of tests/clients/python/drive.py.
//
//     node drive.mjs SCRIPT FUNCTION

import { createInterface } from "node:readline";

// Clients print: the answers have standard output for themselves.
console.log = console.info = console.warn = console.error;

const [script, name] = process.argv.slice(2);
const ask = (await import(`./${script}.mjs`))[name];

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { ranked: await ask(JSON.parse(line)) };
  } catch (error) {
    answer = { error: error.constructor.name, message: String(error.message) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

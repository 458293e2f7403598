// Formats of numbers.

const plain = new Intl.NumberFormat("en");
const ordinals = new Intl.PluralRules("en", { type: "ordinal" });
const SUFFIXES = { one: "st", two: "nd", few: "rd", other: "th" };
const NARROW = "\u202f";

/** 1204 → "1,204" */
export const count = (number) => plain.format(number);

/** 1.234 → "1.23", 12.34 → "12.3", 1234.5 → "1,235" */
function short(number) {
  const maximumFractionDigits = number < 10 ? 2 : number < 100 ? 1 : 0;
  return number.toLocaleString("en", { maximumFractionDigits });
}

/** 14.234 → "14.2 ms" */
export const milliseconds = (ms) => `${short(ms)}${NARROW}ms`;

/** 11.31 → "11.3×" */
export const times = (ratio) => `${short(ratio)}×`;

/** 0.9412 → "94.1%" */
export const percent = (share) => `${short(share * 100)}%`;

/** 3 → "3rd" */
export const ordinal = (number) => `${plain.format(number)}${SUFFIXES[ordinals.select(number)]}`;

/** 0.74612 → "0.746" */
export const score = (number) => number.toFixed(3);

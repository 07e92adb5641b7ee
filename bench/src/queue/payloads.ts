import { randomInt, seededRandom } from "@holdfast/kernel";

const random = seededRandom(7);

const words = Array.from({ length: 800 }, () =>
  Array.from({ length: 2 + randomInt(random, 9) }, () =>
    String.fromCharCode(97 + randomInt(random, 26)),
  ).join(""),
);

/** Text of so many bytes that compresses about as well as prose. */
const prose = (bytes: number): string => {
  let text = "";
  while (text.length < bytes) text += `${words[randomInt(random, words.length)]} `;
  return text.slice(0, bytes);
};

export const SMALL = prose(20);
export const LARGE = prose(2_048);

// Adds a row to docs/errors.md for each error code that has none, with what its doc comment says; "what to do" is
// for a person to write. Removes nothing.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { documentedErrors, findErrorCodes } from "./checks/errors.mjs";
import { parseSources } from "./checks/sources.mjs";
import { root } from "./workspace.mjs";

const path = join(root, "docs/errors.md");
let text = readFileSync(path, "utf8");
const known = documentedErrors(text);
const added = [];
for (const { code, doc, path: source } of await parseSources().then(findErrorCodes)) {
  if (known.has(code)) continue;
  const retryable = /\bnot retryable/i.test(doc)
    ? "no"
    : /\bretryable (only )?(when|if)/i.test(doc)
      ? "depends"
      : /\bretryable/i.test(doc)
        ? "yes"
        : "no";
  const meaning = doc
    .replace(/ ?(Not )?[Rr]etryable[^.]*\./g, "")
    .replaceAll("|", "\\|")
    .trim();
  const name = source.split("/")[1];
  const row = `| \`${code}\` | ${meaning} | ${retryable} |  |`;
  const heading = `## ${name}\n`;
  if (!text.includes(heading))
    text = `${text.trimEnd()}\n\n${heading}\n| code | meaning | retryable | what to do |\n|---|---|---|---|\n`;
  const start = text.indexOf(heading) + heading.length;
  const next = text.indexOf("\n## ", start);
  const end = next < 0 ? text.length : next;
  text = `${text.slice(0, end).trimEnd()}\n${row}\n${text.slice(end)}`;
  added.push(code);
}
writeFileSync(path, text);
console.log(added.length === 0 ? "nothing to add" : `added ${added.join(", ")}`);

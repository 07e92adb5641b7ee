// docs/errors.md names every error code that the packages can throw, and no other.
import { read, walk } from "./sources.mjs";

const DOCUMENT = "docs/errors.md";

const literalOf = (node) => (node?.type === "TSAsExpression" ? literalOf(node.expression) : node?.value);

/** The text of the doc comment that ends right before `offset`. */
const docBefore = (text, offset) => {
  const before = text.slice(0, offset).replace(/\s*(export\s+)?(abstract\s+)?$/, "");
  if (!before.endsWith("*/")) return "";
  const comment = before.slice(before.lastIndexOf("/**") + 3, -2);
  return comment
    .replace(/^\s*\* ?/gm, "")
    .replace(/\{@link (\w+)\}/g, "$1")
    .replace(/\s+/g, " ")
    .trim();
};

/**
 * Every class with a `code` literal that extends another class, and every string `AREA_REASON` given as `code:`.
 * @returns {{ code: string, at: string, path: string, doc: string }[]}
 */
export const findErrorCodes = (sources) => {
  const found = [];
  for (const { path, text, tree, at } of sources) {
    if (!/^packages\/[^/]+\/src\//.test(path) || /\.(test|suite)\.tsx?$|\/(testing|simulator)\//.test(path))
      continue;
    walk(tree, (node) => {
      if (node.type !== "ClassDeclaration" || !node.superClass) return;
      for (const member of node.body.body) {
        if (member.type !== "PropertyDefinition" || member.key.name !== "code") continue;
        const code = literalOf(member.value);
        if (typeof code !== "string") continue;
        found.push({ code, at: at(node), path, doc: docBefore(text, node.start) });
      }
    });
  }
  return found;
};

/** The rows of the table, by code. */
export const documentedErrors = (text) => {
  const rows = new Map();
  for (const [index, line] of text.split("\n").entries()) {
    const cells = line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
    const code = /^`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`$/.exec(cells[0] ?? "")?.[1];
    if (code)
      rows.set(code, {
        line: index + 1,
        meaning: cells[1] ?? "",
        retryable: cells[2] ?? "",
        advice: cells[3] ?? "",
      });
  }
  return rows;
};

/** Thrown by no class of ours: the wire form of an error that is not a HoldfastError. */
const WITHOUT_CLASS = ["KERNEL_INTERNAL"];

export const checkErrors = (sources) => {
  const problems = [];
  const found = findErrorCodes(sources);
  const rows = documentedErrors(read(DOCUMENT));
  const seen = new Map();
  for (const { code, at, path } of found) {
    if (seen.has(code)) problems.push(`${at}: ${code} is also the code of ${seen.get(code)}`);
    seen.set(code, at);
    if (!/\/src\/(errors|[a-z-]+\/[a-z-]+-errors)\.ts$/.test(path))
      problems.push(`${at}: ${code}; errors live in src/errors.ts, or in the …-errors.ts of their folder`);
    if (!/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$/.test(code)) problems.push(`${at}: ${code}; codes read AREA_REASON`);
    if (!rows.has(code))
      problems.push(`${at}: ${code} is missing in ${DOCUMENT} (npm run docs:errors adds it)`);
  }
  for (const [code, row] of rows) {
    if (!seen.has(code) && !WITHOUT_CLASS.includes(code))
      problems.push(`${DOCUMENT}:${row.line}: no package has ${code}`);
    if (!row.meaning || !row.advice)
      problems.push(`${DOCUMENT}:${row.line}: ${code} lacks its meaning or what to do`);
    if (!/^(yes|no|depends)/.test(row.retryable)) {
      problems.push(`${DOCUMENT}:${row.line}: ${code}: retryable must begin with yes, no or depends`);
    }
  }
  return problems;
};

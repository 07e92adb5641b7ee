// docs/coverage.md: each line of the acceptance checklists names the test that proves it, or says why it is open.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "../workspace.mjs";
import { read } from "./sources.mjs";

const DOCUMENT = "docs/coverage.md";

/** A name as it stands in a source: quotes inside it may be escaped there. */
const contains = (text, name) => text.includes(name) || text.replace(/\\(["'`])/g, "$1").includes(name);

/**
 * @returns {{ entries: { id: string, what: string, line: number, tests: { path: string, name: string }[], open: string | undefined }[], problems: string[] }}
 */
export const readCoverage = () => {
  const entries = [];
  const problems = [];
  const ids = new Set();
  for (const [index, text] of read(DOCUMENT).split("\n").entries()) {
    const cells = text
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim());
    const [id = "", what = "", proof = ""] = cells;
    if (!/^[A-Z]+\d+[a-z]?$/.test(id)) continue;
    const line = index + 1;
    const where = `${DOCUMENT}:${line}: ${id}`;
    if (ids.has(id)) problems.push(`${where} stands twice`);
    ids.add(id);
    const open = /^open: (.+)$/.exec(proof)?.[1];
    const tests = [...proof.matchAll(/`([^`]+?) > ([^`]+)`/g)].map(([, path, name]) => ({ path, name }));
    if (open === undefined && tests.length === 0) {
      problems.push(`${where} names no test (\`path > name\`) and is not "open: why"`);
    }
    for (const { path, name } of tests) {
      if (!existsSync(join(root, path))) problems.push(`${where}: there is no ${path}`);
      // A nested test is written "suite > test"; every part must be there.
      else if (!name.split(" > ").every((part) => contains(read(path), part))) {
        problems.push(`${where}: ${path} has no test "${name}"`);
      }
    }
    entries.push({ id, what, line, tests, open });
  }
  return { entries, problems };
};

export const checkCoverage = () => readCoverage().problems;

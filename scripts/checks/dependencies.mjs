// docs/dependencies.md gives the reason for every package that is not ours, and names no other.

import { workspaces } from "../workspace.mjs";
import { read } from "./sources.mjs";

const DOCUMENT = "docs/dependencies.md";
const KINDS = ["dependencies", "devDependencies", "peerDependencies", "optionalDependencies"];

export const checkDependencies = () => {
  const problems = [];
  const used = new Map();
  for (const workspace of [".", ...workspaces()]) {
    const manifest = JSON.parse(read(`${workspace}/package.json`));
    for (const kind of KINDS) {
      for (const [name, version] of Object.entries(manifest[kind] ?? {})) {
        if (name.startsWith("@holdfast/")) continue;
        used.set(name, [...(used.get(name) ?? []), workspace]);
        if (kind !== "peerDependencies" && !/^\d/.test(version)) {
          problems.push(`${workspace}/package.json: ${name} must have an exact version; got ${version}`);
        }
      }
    }
  }
  const named = new Map();
  for (const [index, line] of read(DOCUMENT).split("\n").entries()) {
    const cells = line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
    const name = /^`(@?[a-z0-9][\w./-]*)`$/.exec(cells[0] ?? "")?.[1];
    if (!name) continue;
    named.set(name, index + 1);
    if (!used.has(name)) problems.push(`${DOCUMENT}:${index + 1}: nobody depends on ${name}`);
    if (cells.slice(1).some((cell) => cell === ""))
      problems.push(`${DOCUMENT}:${index + 1}: ${name} has an empty cell`);
  }
  for (const [name, workspaceList] of used) {
    if (!named.has(name)) problems.push(`${DOCUMENT}: ${name} (${workspaceList.join(", ")}) is not listed`);
  }
  return problems;
};

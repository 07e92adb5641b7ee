// The files of the repository, and the syntax trees of its TypeScript, for the checks beside this one.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../workspace.mjs";

/** Every file that is committed or would be, relative to the root. */
export const repositoryFiles = () =>
  execFileSync("git", ["ls-files", "-co", "--exclude-standard", "-z"], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 26,
  })
    .split("\0")
    .filter((path) => path !== "" && existsSync(join(root, path)));

export const read = (path) => readFileSync(join(root, path), "utf8");

export const isTest = (path) =>
  /(^|\/)(test|testing)\//.test(path) || /\.(test|test-d|suite)\.[cm]?tsx?$/.test(path);

/** @returns `packages/jobs` for `packages/jobs/src/gate/x.ts`; `bench` for what lies there. */
export const workspaceOf = (path) => /^(?:(?:packages|apps|examples)\/[^/]+|bench)(?=\/)/.exec(path)?.[0];

/** Calls `visit(node, ancestors)` for each node of a tree. */
export const walk = (node, visit, ancestors = []) => {
  visit(node, ancestors);
  const below = [...ancestors, node];
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (child && typeof child === "object" && typeof child.type === "string") walk(child, visit, below);
    }
  }
};

const lineOf = (text, offset) => text.slice(0, offset).split("\n").length;

/** One file as the checks see it. @throws when it cannot be parsed. */
export const parseSource = async (path, text) => {
  const { parseAst } = await import("vite");
  const tree = parseAst(text, { lang: path.endsWith("x") ? "tsx" : "ts" });
  return { path, text, tree, at: (node) => `${path}:${lineOf(text, node.start)}` };
};

/**
 * The TypeScript of all workspaces, parsed. A file that cannot be parsed is left to the compiler.
 * @returns {Promise<{ path: string, text: string, tree: object, at: (node: object) => string }[]>}
 */
export const parseSources = async () => {
  const sources = [];
  for (const path of repositoryFiles()) {
    if (!workspaceOf(path) || !/\.tsx?$/.test(path) || path.endsWith(".d.ts")) continue;
    try {
      sources.push(await parseSource(path, read(path)));
    } catch {}
  }
  return sources;
};

// Which package may import which, and the walls inside jobs and live. The table is the architecture: an arrow
// that is not in it needs a decision, not an edit here.
import { builtinModules } from "node:module";
import { dirname, join } from "node:path/posix";
import { isTest, walk, workspaceOf } from "./sources.mjs";

const ALLOWED = {
  kernel: [],
  resilience: ["kernel"],
  protocol: ["kernel"],
  connection: ["kernel", "resilience", "protocol"],
  coordination: ["kernel", "resilience"],
  data: ["kernel", "resilience", "coordination"],
  jobs: ["kernel", "resilience", "protocol", "connection", "coordination", "data"],
  live: ["kernel", "resilience", "protocol", "connection", "coordination"],
  "live-react": ["kernel", "live"],
};

/** Folders of one package that meet only over the protocol. */
const WALLS = {
  "packages/jobs": ["client", "gate", "manager", "worker"],
  "packages/live": ["server", "client"],
};

/** Sources that also run in a browser. */
const BROWSER = [
  "packages/kernel/src/",
  "packages/resilience/src/",
  "packages/live/src/model/",
  "packages/live/src/client/",
  "packages/live-react/src/",
];

const BUILTINS = new Set(builtinModules);
const isNodeBuiltin = (specifier) => specifier.startsWith("node:") || BUILTINS.has(specifier.split("/")[0]);

const importsOf = (tree) => {
  const found = [];
  walk(tree, (node) => {
    const typesOnly = node.importKind === "type" || node.exportKind === "type";
    if (/^(Import|ExportNamed|ExportAll)Declaration$/.test(node.type) && node.source) {
      found.push({ node, specifier: node.source.value, typesOnly });
    } else if (node.type === "ImportExpression" && node.source.type === "Literal") {
      found.push({ node, specifier: node.source.value, typesOnly: false });
    }
  });
  return found;
};

const problemOf = (path, specifier, typesOnly) => {
  const workspace = workspaceOf(path);
  const test = isTest(path);
  const [, area, name] = /^(packages|apps|examples|bench)\/?([^/]*)/.exec(workspace);
  if (specifier.startsWith(".")) {
    const target = join(dirname(path), specifier);
    if (workspaceOf(target) !== workspace) return `leaves its package (${specifier}); import it by name`;
    if (!test && isTest(target) && !target.includes("/src/testing/"))
      return `code imports a test (${specifier})`;
    if (!test && target.includes("/src/testing/")) return "production code imports test doubles";
    const walls = WALLS[workspace];
    if (!walls || test) return undefined;
    const from = walls.find((wall) => path.startsWith(`${workspace}/src/${wall}/`));
    const to = walls.find((wall) => target.startsWith(`${workspace}/src/${wall}/`));
    return from && to && from !== to ? `${from} imports ${to}; they meet only over the protocol` : undefined;
  }
  const [, imported, entry] = /^@holdfast\/([^/]+)(?:\/(.*))?$/.exec(specifier) ?? [];
  if (imported) {
    if (test || name === "testkit" || area === "bench") return undefined;
    if (imported === "testkit") return "code that runs in production imports the testkit";
    if (entry === "testing") return `code that runs in production imports test doubles (${specifier})`;
    if (area === "packages" && imported !== name && !(ALLOWED[name] ?? []).includes(imported)) {
      return `${name} must not import ${imported}`;
    }
    return undefined;
  }
  if (!test && !typesOnly && BROWSER.some((prefix) => path.startsWith(prefix)) && isNodeBuiltin(specifier)) {
    return `this also runs in a browser, but imports ${specifier}`;
  }
  return undefined;
};

export const checkImports = (sources) =>
  sources.flatMap((source) =>
    importsOf(source.tree).flatMap(({ node, specifier, typesOnly }) => {
      const problem = problemOf(source.path, specifier, typesOnly);
      return problem === undefined ? [] : [`${source.at(node)}: ${problem}`];
    }),
  );

// House rules that no other tool knows: file sizes and names, no skipped tests, no words of unfinished work, no
// paths of one machine.
import { isTest, read, repositoryFiles, walk, workspaceOf } from "./sources.mjs";

const LINE_MAX_COUNT = 400;
const VAGUE = /(^|\/)(utils?|helpers?|common|misc|types|interfaces)(\/|\.[jt]sx?$)/;
const KEBAB = /^[a-z0-9]+([.-][a-z0-9]+)*$/;
// Put together from parts, so that this file does not contain what it looks for.
const pathBelow = (...roots) => new RegExp(`(^|[^\\w.$}/-])/(${roots.join("|")})/\\w`);
const MACHINE_PATH = pathBelow("work", "farm", "root", "tmp", "home");
/** A test may hand a program a path that it must refuse. */
const MACHINE_PATH_IN_TEST = pathBelow("work", "farm", "root");
const UNFINISHED = new RegExp(
  `\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X", "not imple" + "mented"].join("|")})\\b`,
);
const TEXT = /\.(ts|tsx|js|mjs|cjs|json|md|sql|lua|sh|yml|yaml|css|html|cfg)$/;

const focusedOrSkipped = ({ path, tree, at }) => {
  if (!isTest(path)) return [];
  const problems = [];
  walk(tree, (node) => {
    if (node.type !== "MemberExpression" || node.computed) return;
    const { object, property } = node;
    if (object.type !== "Identifier" || !["it", "test", "describe"].includes(object.name)) return;
    if (["only", "skip", "todo", "skipIf", "runIf", "fails"].includes(property.name)) {
      problems.push(
        `${at(node)}: ${object.name}.${property.name}; a test runs, or describeService says why not`,
      );
    }
  });
  return problems;
};

export const checkHouse = (sources) => {
  const problems = sources.flatMap(focusedOrSkipped);
  for (const path of repositoryFiles()) {
    if (path === "package-lock.json") continue;
    if (workspaceOf(path) || path.startsWith("scripts/")) {
      if (path.includes(".tmp.")) problems.push(`${path}: a scratch file`);
      if (VAGUE.test(path)) problems.push(`${path}: the name says nothing; name the concept`);
      const base = path
        .split("/")
        .at(-1)
        .replace(/^[._]+/, "");
      if (/\.tsx?$/.test(path) && !KEBAB.test(base)) problems.push(`${path}: file names are kebab-case`);
    }
    if (!TEXT.test(path) && !path.startsWith("scripts/") && !path.startsWith(".ci/")) continue;
    const lines = read(path).split("\n");
    if (/\.tsx?$/.test(path) && !isTest(path) && lines.length > LINE_MAX_COUNT) {
      problems.push(`${path}: ${lines.length} lines; more than ${LINE_MAX_COUNT} are more than one concept`);
    }
    for (const [index, line] of lines.entries()) {
      if (line.length > 5_000) continue;
      if ((isTest(path) ? MACHINE_PATH_IN_TEST : MACHINE_PATH).test(line))
        problems.push(`${path}:${index + 1}: a path of one machine`);
      if (UNFINISHED.test(line)) problems.push(`${path}:${index + 1}: a word of unfinished work`);
    }
  }
  return problems;
};

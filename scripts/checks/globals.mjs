// Time, chance and the environment are inputs: only the kernel, the testkit, benches and tests take them from
// the platform, so that a whole cluster runs on a virtual clock from one seed.
import { isTest, walk, workspaceOf } from "./sources.mjs";

const CALLS = ["setTimeout", "setInterval", "setImmediate"];
const MEMBERS = [
  "Date.now",
  "performance.now",
  "Math.random",
  "crypto.randomUUID",
  "process.hrtime",
  "process.uptime",
];
const TIME_AND_CHANCE_ALLOWED = ["packages/kernel", "packages/testkit", "bench"];
/** Examples stand for a user's own program, and a web page runs in nobody's simulation. */
const OUTSIDE = /^examples\/|^apps\/[^/]+\/src\/web\//;
const ENVIRONMENT_ALLOWED = ["packages/testkit", "bench"];

const memberName = (node) =>
  node.type === "MemberExpression" && node.object.type === "Identifier" && !node.computed
    ? `${node.object.name}.${node.property.name}`
    : undefined;

export const checkGlobals = (sources) => {
  const problems = [];
  for (const { path, tree, at } of sources) {
    if (isTest(path)) continue;
    const workspace = workspaceOf(path);
    const clockIsInput = !TIME_AND_CHANCE_ALLOWED.includes(workspace) && !OUTSIDE.test(path);
    const environmentIsInput =
      !ENVIRONMENT_ALLOWED.includes(workspace) &&
      !workspace.startsWith("apps/") &&
      !workspace.startsWith("examples/");
    walk(tree, (node, ancestors) => {
      const member = memberName(node);
      if (clockIsInput) {
        if (member && MEMBERS.includes(member))
          problems.push(`${at(node)}: ${member}; take a Clock or Random instead`);
        if (
          node.type === "CallExpression" &&
          node.callee.type === "Identifier" &&
          CALLS.includes(node.callee.name)
        ) {
          problems.push(`${at(node)}: ${node.callee.name}; take a Clock instead`);
        }
        if (node.type === "NewExpression" && node.callee.name === "Date" && node.arguments.length === 0) {
          problems.push(`${at(node)}: new Date(); take a Clock instead`);
        }
        const module = node.type === "ImportDeclaration" ? node.source.value : undefined;
        if (module === "node:timers" || module === "node:timers/promises") {
          problems.push(`${at(node)}: ${module}; take a Clock instead`);
        }
        const names = module === "node:crypto" ? node.specifiers.map((each) => each.imported?.name) : [];
        if (names.includes("randomUUID")) problems.push(`${at(node)}: randomUUID; take a Random instead`);
      }
      if (environmentIsInput && member === "process.env" && ancestors.at(-1)?.type !== "TSTypeQuery") {
        problems.push(`${at(node)}: process.env; only apps read the environment`);
      }
    });
  }
  return problems;
};

// Tests wait for a condition or run on a virtual clock: a fixed sleep is too short on a slow machine and wasted on a
// fast one. Real time may pass for at most 50 ms, between two looks; where it must pass for longer because time itself
// is what is tested, the line before says so in a comment that begins with "Real time:".
import { isTest, walk } from "./sources.mjs";

const SLEEP_MAX_MS = 50;
const REASON = /^\s*\/\/ Real time: \S/;

const numberOf = (node, constants) => {
  if (node?.type === "Literal" && typeof node.value === "number") return node.value;
  return node?.type === "Identifier" ? constants.get(node.name) : undefined;
};

/** What of a file stands for numbers and for the sleep of `node:timers/promises`. */
const namesOf = (tree) => {
  const constants = new Map();
  const sleeps = new Set();
  for (const statement of tree.body) {
    if (statement.type === "VariableDeclaration" && statement.kind === "const") {
      for (const { id, init } of statement.declarations) {
        const value = numberOf(init, constants);
        if (id.type === "Identifier" && value !== undefined) constants.set(id.name, value);
      }
    }
    if (statement.type === "ImportDeclaration" && /^(node:)?timers\/promises$/.test(statement.source.value)) {
      for (const { imported, local } of statement.specifiers) {
        if (imported?.name === "setTimeout") sleeps.add(local.name);
      }
    }
  }
  return { constants, sleeps };
};

/** The milliseconds of a timer that resolves the promise that is made here, and nothing else can. */
const timerOfPromise = (node) => {
  const body = node.arguments[0]?.body;
  const call = body?.type === "BlockStatement" ? body.body[0]?.expression : body;
  const isOnly = body?.type !== "BlockStatement" || body.body.length === 1;
  return isOnly && call?.type === "CallExpression" && call.callee.name === "setTimeout"
    ? call.arguments[1]
    : undefined;
};

const sleptFor = (node, sleeps) => {
  if (node?.type === "NewExpression" && node.callee.name === "Promise") return timerOfPromise(node);
  if (node?.type !== "CallExpression") return undefined;
  if (node.callee.type === "Identifier" && sleeps.has(node.callee.name)) return node.arguments[0];
  const { callee } = node;
  const isClock = callee.type === "MemberExpression" && callee.object.name === "systemClock";
  // With a signal it is a wait that something else may end.
  return isClock && callee.property.name === "sleep" && node.arguments.length === 1
    ? node.arguments[0]
    : undefined;
};

export const checkSleeps = (sources) => {
  const problems = [];
  for (const { path, tree, at, text } of sources) {
    if (!isTest(path)) continue;
    const { constants, sleeps } = namesOf(tree);
    const lines = text.split("\n");
    walk(tree, (node) => {
      if (node.type !== "AwaitExpression") return;
      const ms = numberOf(sleptFor(node.argument, sleeps), constants);
      if (ms === undefined || ms <= SLEEP_MAX_MS) return;
      const place = at(node);
      const line = Number(place.slice(place.lastIndexOf(":") + 1));
      if (REASON.test(lines[line - 2] ?? "")) return;
      problems.push(`${place}: sleeps ${ms} ms; wait for a condition, or use a virtual clock`);
    });
  }
  return problems;
};

// `npm run check`: every static check, in one command. Steps run side by side; a table closes the run.
//
//   npm run check -- imports links     only these steps
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { ensureInstalled, root } from "./workspace.mjs";

ensureInstalled();

const program =
  (command, ...args) =>
  () =>
    new Promise((resolve) => {
      const child = spawn(process.execPath, [command, ...args], {
        cwd: root,
        stdio: ["ignore", "pipe", "pipe"],
      });
      const output = [];
      child.stdout.on("data", (chunk) => output.push(chunk));
      child.stderr.on("data", (chunk) => output.push(chunk));
      child.on("close", (code) => {
        const text = Buffer.concat(output).toString().trim();
        resolve(code === 0 ? [] : [text === "" ? `ended with code ${code}` : text]);
      });
    });

let parsed;
const sources = () => {
  parsed ??= import("./checks/sources.mjs").then((module) => module.parseSources());
  return parsed;
};
const own = (name, check, needsSources) => async () => {
  const module = await import(`./checks/${name}.mjs`);
  return module[check](...(needsSources ? [await sources()] : []));
};

/** `after`: the step whose output this one reads. */
const STEPS = [
  { name: "compile", run: program("scripts/build.mjs") },
  { name: "types of tests", run: program("node_modules/typescript/bin/tsc", "-p", "tsconfig.test.json") },
  {
    name: "format and lint",
    run: program("node_modules/@biomejs/biome/bin/biome", "ci", "--error-on-warnings", "--colors=off", "."),
  },
  { name: "unused", run: program("node_modules/knip/bin/knip.js", "--no-progress", "--no-config-hints") },
  { name: "imports", run: own("imports", "checkImports", true) },
  { name: "globals", run: own("globals", "checkGlobals", true) },
  { name: "sleeps", run: own("sleeps", "checkSleeps", true) },
  { name: "house", run: own("house", "checkHouse", true) },
  { name: "errors", run: own("errors", "checkErrors", true) },
  { name: "dependencies", run: own("dependencies", "checkDependencies", false) },
  { name: "coverage", run: own("coverage", "checkCoverage", false) },
  { name: "links", run: own("links", "checkLinks", false) },
  { name: "packages", run: own("packages", "checkPackages", false), after: "compile" },
];

const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (STEPS.some((step) => step.name === name)) continue;
  console.error(`unknown step "${name}"; there are: ${STEPS.map((step) => step.name).join(", ")}`);
  process.exit(2);
}
const steps = wanted.length === 0 ? STEPS : STEPS.filter((step) => wanted.includes(step.name));

const results = new Map();
const waiting = [...steps];
const finished = new Set();
const runOne = async (step) => {
  const startedAt = performance.now();
  let problems;
  try {
    problems = await step.run();
  } catch (error) {
    problems = [`the check itself failed: ${error.stack}`];
  }
  results.set(step.name, { problems, ms: performance.now() - startedAt });
  finished.add(step.name);
};
const startedAt = performance.now();
const running = new Set();
while (waiting.length > 0 || running.size > 0) {
  const next = waiting.findIndex(
    ({ after }) => !after || finished.has(after) || !steps.some((step) => step.name === after),
  );
  if (next >= 0 && running.size < availableParallelism() + 1) {
    const [step] = waiting.splice(next, 1);
    const promise = runOne(step).finally(() => running.delete(promise));
    running.add(promise);
  } else {
    await Promise.race(running);
  }
}

const failed = steps.filter((step) => results.get(step.name).problems.length > 0);
for (const step of failed) console.log(`\n── ${step.name}\n${results.get(step.name).problems.join("\n")}`);
console.log("");
for (const { name } of steps) {
  const { problems, ms } = results.get(name);
  console.log(
    `${problems.length === 0 ? "ok    " : "FAILED"}  ${name.padEnd(16)} ${(ms / 1000).toFixed(1).padStart(5)} s`,
  );
}
const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
console.log(
  failed.length === 0
    ? `all ${steps.length} checks passed in ${seconds} s`
    : `${failed.length} of ${steps.length} checks failed (${seconds} s)`,
);
process.exitCode = failed.length === 0 ? 0 : 1;

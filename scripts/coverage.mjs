// How many lines of each package its own tests run: `packages/NAME`, service and slow suites included, in this process and
// its workers; what other processes run does not count. Takes minutes, so it is no part of `npm test`.
//
//   npm run coverage                    every package
//   npm run coverage -- data live       these
//   npm run coverage -- live --files    also the files below 80 %
//   npm run coverage -- jobs-client     the client of jobs by its own tests alone
//
// Ends with 1 when a package or a part of it is below its goal, or a test fails.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { ensureBuilt, ensureInstalled, root } from "./workspace.mjs";

/** Lines in percent. A part is held to its own goal besides that of its package. */
const GOAL = 80;
const PARTS = {
  connection: { "connection/src/pool": 85 },
  coordination: { "coordination/src/lock": 85, "coordination/src/event-bus": 90 },
  data: { "data/src/postgres": 85 },
  resilience: { "resilience/src/retry": 85 },
};
/** What is held to a goal by its own tests alone, without those of the rest of its package. */
const BY_ITSELF = {
  "jobs-client": {
    tests: ["packages/jobs/test/client/", "packages/jobs/src/client/", "packages/jobs/src/caller/"],
    sources: "packages/jobs/src/{client,caller}/**/*.ts",
    goal: 95,
  },
};
const PACKAGES = [
  "kernel",
  "resilience",
  "protocol",
  "connection",
  "coordination",
  "data",
  "jobs",
  "live",
  "live-react",
];
const NAMES = [...PACKAGES, ...Object.keys(BY_ITSELF)];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { files: { type: "boolean", default: false } },
});
for (const name of positionals) {
  if (NAMES.includes(name)) continue;
  console.error(`nothing is called "${name}"; there are ${NAMES.join(", ")}`);
  process.exit(2);
}
ensureInstalled();
ensureBuilt();

/** Runs the tests of one package or part. Gives lines by file, and whether all passed. */
const measure = (name) => {
  const { tests, sources } = BY_ITSELF[name] ?? {
    tests: [`packages/${name}/`],
    sources: `packages/${name}/src/**/*.{ts,tsx}`,
  };
  const directory = mkdtempSync(join(tmpdir(), "holdfast-coverage-"));
  const result = spawnSync(
    process.execPath,
    [
      "node_modules/vitest/vitest.mjs",
      "run",
      ...tests,
      `--maxWorkers=${availableParallelism()}`,
      "--reporter=dot",
      "--coverage.enabled",
      "--coverage.provider=v8",
      "--coverage.reporter=json-summary",
      "--coverage.reportOnFailure",
      `--coverage.reportsDirectory=${directory}`,
      `--coverage.include=${sources}`,
      "--coverage.exclude=**/*.test.*",
      "--coverage.exclude=**/src/testing/**",
    ],
    { cwd: root, stdio: ["ignore", 2, 2] },
  );
  const path = join(directory, "coverage-summary.json");
  const summary = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
  rmSync(directory, { recursive: true, force: true });
  const files = Object.entries(summary)
    .filter(([file]) => file !== "total")
    .map(([file, { lines }]) => ({ path: relative(join(root, "packages"), file), lines }));
  return { files, isPassed: result.status === 0 };
};

const percentOf = (files) => {
  const total = files.reduce((sum, { lines }) => sum + lines.total, 0);
  const covered = files.reduce((sum, { lines }) => sum + lines.covered, 0);
  return total === 0 ? 0 : (100 * covered) / total;
};

let isGood = true;
for (const name of positionals.length > 0 ? positionals : NAMES) {
  const { files, isPassed } = measure(name);
  if (!isPassed) {
    isGood = false;
    console.log(`${name}: its tests did not pass`);
  }
  const goals = name in BY_ITSELF ? { [name]: BY_ITSELF[name].goal } : { [name]: GOAL, ...PARTS[name] };
  for (const [part, goal] of Object.entries(goals)) {
    const percent = percentOf(files.filter(({ path }) => part in BY_ITSELF || path.startsWith(`${part}/`)));
    if (percent < goal) isGood = false;
    console.log(
      `${part}: ${percent.toFixed(1)} % of lines, ${goal} % wanted${percent < goal ? ": too few" : ""}`,
    );
  }
  if (!values.files) continue;
  for (const file of files)
    if (file.lines.pct < GOAL) console.log(`  ${file.lines.pct} % of ${file.lines.total} ${file.path}`);
}
process.exit(isGood ? 0 : 1);

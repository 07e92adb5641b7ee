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
import { BY_ITSELF, judgeCoverage, NAMES } from "./coverage-goals.mjs";
import { ensureBuilt, ensureInstalled, root } from "./workspace.mjs";

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

let isGood = true;
for (const name of positionals.length > 0 ? positionals : NAMES) {
  const { files, isPassed } = measure(name);
  if (!isPassed) {
    isGood = false;
    console.log(`${name}: its tests did not pass`);
  }
  for (const { part, percent, goal, isReached } of judgeCoverage(name, files)) {
    if (!isReached) isGood = false;
    console.log(`${part}: ${percent.toFixed(1)} % of lines, ${goal} % wanted${isReached ? "" : ": too few"}`);
  }
  if (!values.files) continue;
  for (const file of files)
    if (file.lines.pct < 80) console.log(`  ${file.lines.pct} % of ${file.lines.total} ${file.path}`);
}
process.exit(isGood ? 0 : 1);

// `npm test`: sets everything up on a fresh clone (install, build, services), runs all tests and closes with
// `N passed, N failed, N skipped`. `--fast` leaves out those that need a service, several processes or more than a
// second or two (`*.service.test.*`, `*.e2e.test.*`, `*.slow.test.*`). Everything else goes to Vitest:
//
//   npm test -- packages/data          only these files
//   npm test -- -t "once the lease"    only tests of this name
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt, ensureInstalled, root } from "./workspace.mjs";

const args = process.argv.slice(2);
const fast = args.includes("--fast");
const rest = args.filter((arg) => arg !== "--fast");

// Whatever goes wrong before the tests run, the last line says that something did.
let closed = false;
process.on("exit", (code) => {
  if (!closed && code !== 0) console.log("0 passed, 1 failed, 0 skipped");
});

ensureInstalled();
ensureBuilt();
if (!fast) spawnSync(join(root, "scripts/services"), [], { cwd: root, stdio: ["ignore", 2, 2] });

const slow = ["**/*.slow.test.*", "**/*.service.test.*", "**/*.e2e.test.*"].flatMap((pattern) => [
  "--exclude",
  pattern,
]);

/** Runs Vitest and gives what it counted, or ends this process when it did not get to the end. */
const runTests = (options) => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  const reportPath = join(directory, "report.json");
  const reporters = ["--reporter=default", "--reporter=./scripts/test-report.mjs"];
  const result = spawnSync(
    process.execPath,
    ["node_modules/vitest/vitest.mjs", "run", ...reporters, ...options],
    {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, HOLDFAST_TEST_REPORT: reportPath },
    },
  );
  const report = existsSync(reportPath) ? JSON.parse(readFileSync(reportPath, "utf8")) : undefined;
  rmSync(directory, { recursive: true, force: true });
  if (report) return { ...report, status: result.status ?? 1 };
  console.error(`the tests did not run to their end (${result.signal ?? `code ${result.status}`})`);
  process.exit(result.status || 1);
};

// Most tests wait rather than compute, so every core may have one. The fast tests keep nothing global, so they share
// their processes: loading each module once halves the time.
const report = runTests([
  `--maxWorkers=${availableParallelism()}`,
  ...(fast ? [...slow, "--no-isolate"] : []),
  ...rest,
]);

// What failed is run once more by itself, to tell a broken product from a test that a busy machine disturbs. It stays
// failed either way: what one run in ten shows may be a race in the product. More than a few such files tell nothing.
const AGAIN_MAX_COUNT = 5;
const { files } = report;
const unsteady = [];
if (!fast && rest.length === 0 && files.length > 0 && files.length <= AGAIN_MAX_COUNT) {
  console.log(`\nonce more, one by one: ${files.map(({ path }) => path).join(", ")}`);
  const again = runTests(["--maxWorkers=1", ...files.map(({ path }) => path)]);
  const stillFailing = new Set(again.files.map(({ path }) => path));
  unsteady.push(...files.filter(({ path }) => !stillFailing.has(path)));
}
closed = true;
for (const { what, value, unit, below, atLeast, environment } of report.figures) {
  const bound = below === undefined ? `at least ${atLeast}` : `below ${below}`;
  console.log(`measured: ${what}: ${Number(value.toPrecision(3))} ${unit} (${bound}) on ${environment}`);
}
for (const suite of report.suites) console.log(`skipped: ${suite.name} (${suite.tests}): ${suite.reason}`);
for (const { path, names } of unsteady) {
  for (const name of names)
    console.log(`unsteady: ${path} > ${name}: failed beside other tests, passed by itself`);
}
console.log(`${report.passed} passed, ${report.failed} failed, ${report.skipped} skipped`);
process.exit(report.status);

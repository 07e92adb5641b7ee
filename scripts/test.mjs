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

const directory = mkdtempSync(join(tmpdir(), "holdfast-test-"));
const reportPath = join(directory, "report.json");
const slow = ["**/*.slow.test.*", "**/*.service.test.*", "**/*.e2e.test.*"].flatMap((pattern) => [
  "--exclude",
  pattern,
]);
const vitest = [
  "node_modules/vitest/vitest.mjs",
  "run",
  "--reporter=default",
  "--reporter=./scripts/test-report.mjs",
  // Most tests wait rather than compute, so every core may have one.
  `--maxWorkers=${availableParallelism()}`,
];
// The fast tests keep nothing global, so they share their processes: loading each module once halves the time.
const result = spawnSync(process.execPath, [...vitest, ...(fast ? [...slow, "--no-isolate"] : []), ...rest], {
  cwd: root,
  stdio: ["ignore", "inherit", "inherit"],
  env: { ...process.env, HOLDFAST_TEST_REPORT: reportPath },
});

let report;
if (existsSync(reportPath)) report = JSON.parse(readFileSync(reportPath, "utf8"));
rmSync(directory, { recursive: true, force: true });
if (!report) {
  console.error(`the tests did not run to their end (${result.signal ?? `code ${result.status}`})`);
  process.exit(result.status || 1);
}
closed = true;
for (const suite of report.suites) console.log(`skipped: ${suite.name} (${suite.tests}): ${suite.reason}`);
console.log(`${report.passed} passed, ${report.failed} failed, ${report.skipped} skipped`);
process.exit(result.status ?? 1);

// A Vitest reporter that leaves the counts, the skipped suites, the figures that were measured and what failed in which
// file in the file named by HOLDFAST_TEST_REPORT, for scripts/test.mjs to print as the last lines of the run.
import { writeFileSync } from "node:fs";

export default class TestReport {
  onTestRunEnd(modules, unhandledErrors) {
    // `files`: those in which something failed.
    const report = {
      passed: 0,
      failed: unhandledErrors.length,
      skipped: 0,
      suites: [],
      files: [],
      figures: [],
    };
    const suites = new Map();
    for (const module of modules) {
      const names = [];
      // A file that cannot be loaded, or a set-up that fails, has no failed test to count; it is a failure all the same.
      for (const suite of [module, ...module.children.allSuites()]) {
        if (suite.errors().length === 0) continue;
        report.failed += 1;
        names.push(suite.type === "module" ? "the file itself" : suite.fullName);
      }
      for (const test of module.children.allTests()) {
        report.figures.push(...(test.meta().figures ?? []));
        const { state } = test.result();
        if (state === "passed") report.passed += 1;
        else if (state === "failed") {
          report.failed += 1;
          names.push(test.fullName);
        } else {
          report.skipped += 1;
          const name = skippedSuite(test);
          const key = `${module.relativeModuleId} > ${name.title}`;
          suites.set(key, { name: key, reason: name.reason, tests: (suites.get(key)?.tests ?? 0) + 1 });
        }
      }
      if (names.length > 0) {
        report.files.push({ path: module.relativeModuleId, names });
      }
    }
    report.suites = [...suites.values()];
    const path = process.env["HOLDFAST_TEST_REPORT"];
    if (path) writeFileSync(path, JSON.stringify(report));
  }
}

const REASON = / \[skipped: (.*)\]$/;

/** The suite that says why it is skipped or whose set-up failed, else the test itself. */
const skippedSuite = (test) => {
  for (let task = test; task && task.type !== "module"; task = task.parent) {
    const match = REASON.exec(task.name);
    if (match) return { title: task.name.replace(REASON, ""), reason: match[1] };
    if (task.type === "suite" && task.errors().length > 0) {
      return { title: task.fullName, reason: "its set-up failed" };
    }
  }
  return { title: test.fullName, reason: test.result().note ?? "no reason given" };
};

// What of the acceptance checklists is proven by a test. `--json`: {"total":N,"proven":N,"open":[...]}
// @ts-expect-error the checks are plain JavaScript, because they also run before anything is installed
import { readCoverage } from "./checks/coverage.mjs";

interface Entry {
  readonly id: string;
  readonly what: string;
  readonly open: string | undefined;
}

const { entries, problems } = readCoverage() as {
  readonly entries: readonly Entry[];
  readonly problems: readonly string[];
};
const open = entries.filter((entry) => entry.open !== undefined);
const proven = entries.length - open.length;

if (process.argv.includes("--json")) {
  console.log(JSON.stringify({ total: entries.length, proven, open: open.map((entry) => entry.id) }));
} else {
  for (const entry of open) console.log(`${entry.id.padEnd(6)} ${entry.what}: ${entry.open}`);
  console.log(`${proven} of ${entries.length} proven, ${open.length} open`);
}
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

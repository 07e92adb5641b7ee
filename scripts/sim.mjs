// Runs the cluster simulation: client, gates, managers and workers in one process, on a virtual clock and a faulty
// network, from a seed.
//
//   npm run sim -- --seeds 100 [--from 1] [--json]    seeds from, from + 1, ...; ends with code 1 on a violation
//   npm run sim -- --seed 42 [--json]                 replays one
//
// --json: {"seeds","virtualHours","events","violations":[{"seed","invariant"}],"commit"}
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import { ensureBuilt, ensureInstalled, root } from "./workspace.mjs";

const usage = (message) => {
  console.error(`${message}\nusage: npm run sim -- (--seeds N [--from N] | --seed N) [--json]`);
  process.exit(2);
};
const whole = (name, text) =>
  /^\d{1,10}$/.test(text) ? Number(text) : usage(`--${name} must be a whole number; got ${text}`);

let values;
try {
  const options = {
    seeds: { type: "string" },
    from: { type: "string" },
    seed: { type: "string" },
    json: { type: "boolean" },
  };
  ({ values } = parseArgs({ options }));
} catch (error) {
  usage(error.message);
}
if ((values.seed === undefined) === (values.seeds === undefined)) usage("give either --seeds or --seed");
const first = values.seed === undefined ? whole("from", values.from ?? "1") : whole("seed", values.seed);
const count = values.seed === undefined ? whole("seeds", values.seeds) : 1;

ensureInstalled();
ensureBuilt();
const { simulate } = await import("@holdfast/testkit/simulator");

let virtualMs = 0;
let events = 0;
const violations = [];
for (let seed = first; seed < first + count; seed++) {
  const run = await simulate({ seed });
  virtualMs += run.virtualMs;
  events += run.events;
  for (const invariant of run.violations) {
    violations.push({ seed, invariant });
    console.error(`seed ${seed}: ${invariant} (npm run sim -- --seed ${seed})`);
  }
}
const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim();
const virtualHours = Number((virtualMs / 3_600_000).toFixed(3));
console.log(
  values.json
    ? JSON.stringify({ seeds: count, virtualHours, events, violations, commit })
    : `${count} seeds, ${virtualHours} virtual hours, ${events} events, ${violations.length} violations`,
);
process.exit(violations.length === 0 ? 0 : 1);

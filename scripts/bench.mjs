// `npm run bench -- --list` names the benches; `npm run bench -- NAME [--json]` runs one.
//
// A bench is bench/src/NAME.ts; what benches share lies in folders below. Its default export says what it compares
// and does it: { description, nodeMajor?, run(): result or results }, a result being { unit, ours, peers,
// higherIsBetter, notes }. The ratio is worked out here, against the best peer: above 1 means that we are ahead.
// The last result is the one the bench is named for; with --json it is the last line of the output.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";
import { newestNode } from "./newest-node.mjs";
import { ensureBuilt, ensureInstalled, root } from "./workspace.mjs";

const folder = join(root, "bench/src");
const names = existsSync(folder)
  ? readdirSync(folder)
      .filter((file) => file.endsWith(".ts"))
      .map((file) => file.slice(0, -3))
      .sort()
  : [];
const args = process.argv.slice(2);
const json = args.includes("--json");
const [name, ...extra] = args.filter((arg) => arg !== "--json");

if (name === "--list") {
  console.log(names.join("\n"));
  process.exit(0);
}
if (name === undefined || extra.length > 0 || !names.includes(name)) {
  console.error(name === undefined ? "which bench?" : `there is no bench "${[name, ...extra].join(" ")}"`);
  console.error(`usage: npm run bench -- NAME [--json], NAME being one of: ${names.join(", ")}`);
  process.exit(2);
}

ensureInstalled();
ensureBuilt();
// Both sides of a comparison may ask for a collection between rounds.
setFlagsFromString("--expose-gc");
(await import("tsx/esm/api")).register();
const { default: bench } = await import(pathToFileURL(join(folder, `${name}.ts`)).href);

const major = Number(process.versions.node.split(".")[0]);
if ((bench.nodeMajor ?? 0) > major) {
  const again = spawnSync(newestNode(), process.argv.slice(1), { stdio: ["ignore", "inherit", "inherit"] });
  process.exit(again.status ?? 1);
}

const results = [await bench.run()].flat();
for (const { unit, ours, peers, higherIsBetter, notes } of results) {
  const values = Object.values(peers);
  const best = values.length === 0 ? undefined : higherIsBetter ? Math.max(...values) : Math.min(...values);
  const ratio = best === undefined ? null : Number((higherIsBetter ? ours / best : best / ours).toFixed(3));
  if (json) {
    console.log(JSON.stringify({ name, unit, ours, peers, ratio, higherIsBetter, notes }));
    continue;
  }
  console.log(`${name} (${unit}, ${higherIsBetter ? "more" : "less"} is better): ${bench.description}`);
  for (const [peer, value] of [["ours", ours], ...Object.entries(peers)])
    console.log(`  ${peer.padEnd(32)} ${value}`);
  console.log(`  ${ratio === null ? "no peer" : `${ratio} times the best peer`}. ${notes}`);
}
// A peer that leaves a handle open must not keep the result from being the end.
process.exit(0);

// Fuzzes the wire for as long as wanted and prints a report as one line of JSON:
//   npx tsx --conditions=holdfast-source packages/connection/test/processes/fuzz.ts [SECONDS] [SEED]
import { fuzz } from "../fuzz/wire-fuzz.ts";

const [seconds = "600", seed = String(Math.floor(Math.random() * 2 ** 31))] = process.argv.slice(2);
console.log(JSON.stringify(await fuzz({ seconds: Number(seconds), seed: Number(seed) })));

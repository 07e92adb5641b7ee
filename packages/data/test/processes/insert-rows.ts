// Opens the data directory given as an argument and inserts rows one by one, printing the number of each
// after it was acknowledged, until it is killed.
import { openEmbedded } from "../../src/index.ts";

const [dataDir, durability] = process.argv.slice(2) as [string, "power-loss" | "process-crash"];
const database = await openEmbedded({ dataDir, durability });
await database.query("CREATE TABLE IF NOT EXISTS kept (n int PRIMARY KEY, v text UNIQUE)");
await database.query("CREATE TABLE IF NOT EXISTS counter (n int)");
const [last] = await database.query<{ n: number }>("SELECT coalesce(max(n), 0) AS n FROM kept", []);
if (last?.n === 0) await database.query("INSERT INTO counter VALUES (0)");
process.stdout.write("open\n");
for (let n = (last?.n ?? 0) + 1; ; n += 1) {
  await database.transaction(async (tx) => {
    await tx.query("INSERT INTO kept VALUES ($1, $2)", [n, `row ${n}`]);
    await tx.query("UPDATE counter SET n = n + 1", []);
  });
  process.stdout.write(`${n}\n`);
}

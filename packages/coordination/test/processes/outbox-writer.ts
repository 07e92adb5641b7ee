// Commits a change with its event and dies at once, before anything could be relayed:
// node … outbox-writer.ts <database url> <schema>
import { Outbox } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { openPg } from "../pg-client.ts";

const [url = "", schema = ""] = process.argv.slice(2);
const store = await createPostgresStore({ sql: openPg(url, 2), schema });
const outbox = new Outbox({ store, name: "orders" });
await store.transaction(async (tx) => {
  await tx.query(`INSERT INTO "${schema}".orders (id) VALUES ('o1')`);
  await outbox.append(tx, [{ id: "event-of-o1", type: "made", data: { order: "o1" } }]);
});
process.kill(process.pid, "SIGKILL");

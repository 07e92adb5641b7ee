import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Outbox, type OutboxEvent } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { openPg } from "./pg-client.ts";

const WRITER = fileURLToPath(new URL("./processes/outbox-writer.ts", import.meta.url));

describeService("postgres", "an event of the outbox", () => {
  it("survives the kill of its process right after the commit, and the crash of the database after that", async () => {
    await using server = await startPostgres();
    await using sql = openPg(server.url, 4);
    const schema = "crash";
    await using store = await createPostgresStore({ sql, schema });
    await sql.query(`CREATE TABLE "${schema}".orders (id text PRIMARY KEY)`);
    const writer = spawn(
      process.execPath,
      ["--conditions", "holdfast-source", "--import", "tsx", WRITER, server.url, schema],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    const [, signal] = (await once(writer, "exit")) as [number | null, string | null];
    expect(signal).toBe("SIGKILL");
    await server.kill();
    await server.start();
    const got: OutboxEvent[] = [];
    const controller = new AbortController();
    const outbox = new Outbox({ store, name: "orders" });
    const relaying = outbox
      .relay({ owner: "r", signal: controller.signal, deliver: async (event) => got.push(event) })
      .catch(() => undefined);
    await vi.waitFor(async () => expect((await outbox.stats()).waiting).toBe(0), 10_000);
    controller.abort(new Error("over"));
    await relaying;
    expect(got).toMatchObject([{ id: "event-of-o1", type: "made", data: { order: "o1" } }]);
    expect(await sql.query(`SELECT id FROM "${schema}".orders`)).toEqual([{ id: "o1" }]);
  });
});

import { openEmbedded } from "@holdfast/data";
import { systemClock } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { createDataSource } from "../src/server/index.ts";

describe("an embedded database", () => {
  it("tells its size, its sessions and that it takes writes, and why there is nothing else", async () => {
    await using database = await openEmbedded();
    const source = createDataSource({ database, clock: systemClock });
    const seen = await source.look(AbortSignal.timeout(30_000));
    expect(seen).toMatchObject({
      database: { kind: "embedded", condition: "healthy", takesWrites: true, takesReads: true, timeline: 1 },
      server: { kind: "shown", value: { sizeBytes: expect.any(Number), tls: null } },
      nodes: { kind: "shown", value: [{ name: "this process", role: "primary", health: "healthy" }] },
      failovers: { kind: "absent" },
      shards: { kind: "absent" },
      backups: { kind: "absent" },
      pool: { sessionMaxCount: 1 },
    });
    expect(JSON.parse(JSON.stringify(seen))).toEqual(seen);
  });
});

import { openEmbedded } from "@holdfast/data";
import { silentLogger, systemClock } from "@holdfast/kernel";
import { describe, it } from "vitest";
import { createSqlJobStore } from "../../src/model/job-store/index.ts";
import { runCoreScenario } from "./core-scenario.ts";

describe("managers on the embedded PostgreSQL", () => {
  it("bring a job through a failed attempt, a lapsed claim and a killed leader", async () => {
    const sql = await openEmbedded();
    try {
      await runCoreScenario(
        await createSqlJobStore({ sql, schema: "east", clock: systemClock, logger: silentLogger }),
      );
    } finally {
      await sql.close();
    }
  });
});

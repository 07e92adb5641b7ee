import { createEffects, type Database } from "@holdfast/data";
import type { WorkerDatabase } from "@holdfast/jobs/worker";
import { claimSchema, schemaFor } from "./datacenter-schema.ts";

/**
 * What workflows write to. Each datacenter numbers its fences itself, so each keeps effects of its own, also
 * where several of them share one database.
 * @throws UsageError when the effects of another datacenter are where this one's would be, naming it.
 */
export const openWorkerDatabase = async (database: Database, datacenter: string): Promise<WorkerDatabase> => {
  const schema = schemaFor("effects", datacenter);
  const effects = createEffects({ sql: database, schema });
  await effects.migrate();
  await claimSchema({ database, schema, datacenter });
  return { sql: database, effects };
};

import { PGlite } from "@electric-sql/pglite";

/** PGlite's own parameters, without `-F` (no fsync) where flushing is wanted. */
export const engineParameters = (settings: {
  readonly flushes: boolean;
  readonly sharedBuffersMb: number;
}): string[] => {
  const set = (name: string, value: string | number): string[] => ["-c", `${name}=${value}`];
  return [
    ...PGlite.defaultStartParams.filter((param) => param !== "-F"),
    ...set("fsync", settings.flushes ? "on" : "off"),
    ...set("wal_sync_method", "fsync"),
    ...set("shared_buffers", `${settings.sharedBuffersMb}MB`),
    // Old log segments are reused up to here; more are removed at a checkpoint (see maintenance.ts).
    ...set("min_wal_size", "16MB"),
    ...set("max_wal_size", "64MB"),
    ...set("jit", "off"),
    ...set("timezone", "UTC"),
    ...set("datestyle", "ISO,YMD"),
    ...set("intervalstyle", "postgres"),
    ...set("bytea_output", "hex"),
  ];
};

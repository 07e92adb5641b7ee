import { defineRequest } from "@holdfast/protocol/contract";
import { z } from "zod";

/** Gives back what it gets and says who answered, over which connection. May be repeated. */
export const echo = defineRequest({
  name: "test.echo",
  input: z.object({ value: z.unknown() }),
  output: z.object({ value: z.unknown(), nodeId: z.string(), connectionId: z.string() }),
  scope: "read",
  priority: "normal",
  idempotent: true,
});

/** Counts how often it was carried out on the node. Must not be repeated. */
export const write = defineRequest({
  name: "test.write",
  input: z.object({ value: z.unknown() }),
  output: z.object({ count: z.number().int(), nodeId: z.string(), connectionId: z.string() }),
  scope: "submit",
  priority: "normal",
  idempotent: false,
});

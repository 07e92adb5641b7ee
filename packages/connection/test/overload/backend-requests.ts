import { defineRequest } from "@holdfast/protocol/contract";
import { z } from "zod";

/** Keeps the host busy for so many milliseconds, in which it does nothing else. */
export const work = defineRequest({
  name: "backend.work",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ ms: z.number() }),
  output: z.object({ host: z.number() }),
});

/** The kill switch: from here on each `work` fails, or works again. Tells how often it arrived, and what the host took of the processor. */
export const control = defineRequest({
  name: "backend.control",
  scope: "read",
  priority: "critical",
  idempotent: true,
  input: z.object({ isFailing: z.boolean() }),
  output: z.object({ arrivedCount: z.number(), cpuMs: z.number() }),
});

// In a file of its own, because a worker's threads load it by its path.
import { defineWorkflow } from "@holdfast/jobs";
import { z } from "zod";

/** Writes so many lines a second, for so long. */
export const talk = defineWorkflow({
  name: "talk",
  input: z.object({ linesPerSecond: z.number(), seconds: z.number() }),
  run: async (ctx) => {
    const { linesPerSecond, seconds } = ctx.input;
    const startedAt = ctx.clock.monotonicNow();
    let written = 0;
    while (written < linesPerSecond * seconds) {
      const due = ((ctx.clock.monotonicNow() - startedAt) / 1_000) * linesPerSecond;
      for (; written < due; written += 1) ctx.log.info({ line: written }, `line ${written}`);
      await ctx.clock.sleep(10, { signal: ctx.signal });
    }
    return written;
  },
});

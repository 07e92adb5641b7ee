// In a file of its own, because a worker's threads load it by its path.
import { defineWorkflow } from "@holdfast/jobs";
import { z } from "zod";

export const noOp = defineWorkflow({
  name: "no-op",
  input: z.object({ number: z.number() }),
  run: async () => undefined,
});

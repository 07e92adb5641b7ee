import { systemClock } from "@holdfast/kernel";
import type { ConnectionManager } from "../src/index.ts";

const TRY_MAX_COUNT = 100;

/** Connects before anything is broken on purpose; a machine that is busy with other things may need several tries. */
export const connected = async (client: ConnectionManager): Promise<void> => {
  for (let triesLeft = TRY_MAX_COUNT; ; triesLeft -= 1) {
    try {
      return await client.connect();
    } catch (error) {
      if (triesLeft === 0) throw error;
      await systemClock.sleep(50);
    }
  }
};

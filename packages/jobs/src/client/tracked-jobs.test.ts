import { expect, it } from "vitest";
import { TrackedJobs } from "./tracked-jobs.ts";

it("jobs that were submitted are remembered up to a bound, those of long ago forgotten first", () => {
  const tracked = new TrackedJobs();
  const position = { epoch: "1", offset: "0" };
  tracked.add("again", position, 0);
  for (let index = 0; index < 9_999; index += 1) tracked.add(`job-${index}`, position, index);
  tracked.add("again", position, 7);
  tracked.add("newest", position, 8);
  expect(tracked.get("job-0")).toBeUndefined();
  expect(tracked.get("job-1")).toEqual({ position, at: 1 });
  expect(tracked.get("again")?.at).toBe(7);
  tracked.delete("again");
  expect(tracked.get("again")).toBeUndefined();
});

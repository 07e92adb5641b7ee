import { expect, it } from "vitest";
import { settle } from "../settle.ts";
import { setup } from "./client-setup.ts";

it.each([
  { epoch: "1", offset: `${2n ** 63n}` },
  { epoch: "9999999999999999999", offset: "1" },
])("a watch from a position that no log can have is refused, not left waiting: %j", async (after) => {
  await using t = await setup();
  await t.cluster.add("job-1");
  const first = t.client.watch("job-1", { after })[Symbol.asyncIterator]().next();
  const outcome = first.catch((error: unknown) => error);
  const answer = await settle(t.clock, Promise.race([outcome, t.clock.sleep(30_000).then(() => "nothing")]));
  expect(answer).toMatchObject({ code: "PROTOCOL_INVALID_MESSAGE", retryable: false });
});

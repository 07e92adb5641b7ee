import { silentLogger, TaskGroup } from "@holdfast/kernel";
import { expect, it } from "vitest";
import { MemoryChannelLog } from "./memory-channel-log.ts";
import { PresenceBook } from "./presence-book.ts";
import { toSettings } from "./server-options.ts";

const listener = { sendPresence: () => undefined };
const presenceOf = (index: number) => ({ key: `c-${index}`, client: `c-${index}`, data: { index } });

it("holds 512 at a time in one channel, so that all of them fit into one answer; a place that is left is free", async () => {
  await using log = new MemoryChannelLog();
  const tasks = new TaskGroup({ logger: silentLogger });
  const book = new PresenceBook(toSettings({ log, origins: [] }), tasks);
  for (let index = 0; index < 512; index += 1) await book.join("room", presenceOf(index), listener);
  await expect(book.join("room", presenceOf(512), listener)).rejects.toMatchObject({
    code: "KERNEL_OVERLOADED",
    retryable: true,
  });
  expect(await book.join("room", { ...presenceOf(3), data: { index: "new" } }, listener)).toHaveLength(512);
  await book.join("other room", presenceOf(512), listener);
  book.leave("room", "c-7");
  expect(await book.join("room", presenceOf(512), listener)).toHaveLength(512);
  await tasks.stop();
});

import { createMemoryNetwork } from "@holdfast/connection";
import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expect, it } from "vitest";
import { createClient } from "../../src/client/index.ts";
import { settle } from "../settle.ts";
import { logLine, ScriptedCluster, ScriptedNode } from "./scripted-node.ts";

it("a watch outlives its gate, though a manager that never had the job answers meanwhile", async () => {
  const clock = new VirtualClock();
  const transport = createMemoryNetwork({ clock });
  const [global, east] = [new ScriptedCluster(clock), new ScriptedCluster(clock)];
  const gate = await ScriptedNode.start(global, transport, "gate:7401");
  const manager = await ScriptedNode.start(east, transport, "east:7411");
  await global.add("job-1");
  const client = createClient({
    gates: [gate.address],
    managers: [manager.address],
    transport,
    clock,
    random: seededRandom(3),
    clientId: "tester",
  });
  const seen: string[] = [];
  const watch = (async () => {
    for await (const item of client.watch("job-1")) {
      seen.push(
        item.kind === "event" ? item.event.type : item.kind === "connection" ? item.state : item.kind,
      );
    }
  })();
  watch.catch(() => undefined);
  await clock.advance(100);
  await settle(clock, gate.kill());
  await clock.advance(5_000);
  await global.append("job-1", logLine("meanwhile"));
  await gate.restart();
  await clock.advance(20_000);
  await global.finish("job-1");
  await settle(clock, watch);
  expect(seen).toEqual(["job.status", "lost", "restored", "log", "job.result"]);
  expect(
    await settle(
      clock,
      client.get("job-2").catch((error: { code: string }) => error.code),
    ),
  ).toBe("JOBS_NOT_FOUND");
  await settle(clock, client.close());
  for (const node of [gate, manager]) await settle(clock, node.kill());
  for (const { store } of [global, east]) await store.close();
});

import { createMemoryNetwork } from "@holdfast/connection";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobEvent } from "@holdfast/protocol/contract";
import { expect } from "vitest";
import { createClient, type JobsClient, type SubmitOptions } from "../../src/client/index.ts";
import { createGate, type Gate, type GateOptions } from "../../src/gate/index.ts";
import { createMemoryJobStore } from "../../src/model/job-store/index.ts";
import { jobStream } from "../../src/model/job-stream.ts";
import type { JobStore } from "../../src/model/job-table.ts";
import { settle } from "../settle.ts";
import { ScriptedDatacenter } from "./scripted-datacenter.ts";

interface Setup {
  readonly datacenters?: readonly string[];
  readonly managers?: number;
  readonly gates?: number;
  readonly gate?: Partial<GateOptions>;
  /** What one gate has beside that. */
  readonly gateOf?: (index: number) => Partial<GateOptions>;
  /** Wraps the store of each gate. */
  readonly wrap?: (store: JobStore, gate: number) => JobStore;
}

/** Gates over scripted datacenters, on a virtual clock and one store. */
export const setup = async (options: Setup = {}) => {
  const clock = new VirtualClock();
  const transport = createMemoryNetwork({ clock, latencyMs: 1 });
  const datacenters: ScriptedDatacenter[] = [];
  for (const name of options.datacenters ?? ["east"]) {
    const datacenter = new ScriptedDatacenter(name, clock, transport);
    await datacenter.startManagers(options.managers ?? 1);
    datacenters.push(datacenter);
  }
  const store = createMemoryJobStore({ clock }) as JobStore;
  let startCount = 0;
  const startGate = (index: number) => {
    startCount += 1;
    return settle(
      clock,
      createGate({
        nodeId: `gate-${index}`,
        listen: `gate-${index}:7401`,
        store: options.wrap?.(store, index) ?? store,
        datacenters: Object.fromEntries(datacenters.map((dc) => [dc.name, dc.addresses])),
        transport,
        clock,
        random: seededRandom(100 + startCount),
        logger: silentLogger,
        ...options.gate,
        ...options.gateOf?.(index),
      }),
    );
  };
  const gates: Gate[] = [];
  for (let index = 0; index < (options.gates ?? 1); index += 1) gates.push(await startGate(index));
  await clock.advance(50);
  const addresses = gates.map(({ address }) => address);
  const clients: JobsClient[] = [];
  const newClient = (gateAddresses: readonly string[] = addresses) => {
    const client = createClient({
      gates: gateAddresses,
      transport,
      clock,
      random: seededRandom(900 + clients.length),
      clientId: `client-${clients.length}`,
    });
    clients.push(client);
    return client;
  };
  const client = newClient();
  const submit = (more: Partial<SubmitOptions> = {}, by = client) =>
    settle(clock, by.submit({ workflows: [{ workflow: "w", input: { a: 1 } }], ...more }));
  /** All events of the global log. */
  const history = async (jobId: string): Promise<JobEvent[]> => {
    const read = await store.coordination.log.read(jobStream(jobId), { limit: 10_000 });
    return read.kind === "entries" ? read.entries.map(({ payload }) => payload as unknown as JobEvent) : [];
  };
  return {
    clock,
    transport,
    store,
    datacenters,
    east: datacenters[0] as ScriptedDatacenter,
    west: datacenters[1] as ScriptedDatacenter,
    gates,
    gate: gates[0] as Gate,
    startGate,
    client,
    newClient,
    submit,
    history,
    result: (jobId: string, by = client) => settle(clock, by.result(jobId)),
    [Symbol.asyncDispose]: async () => {
      for (const other of clients) await settle(clock, other.close());
      for (const gate of gates) await settle(clock, gate.stop());
      for (const datacenter of datacenters) await settle(clock, datacenter.stop());
      await store[Symbol.asyncDispose]();
      expect(clock.pendingCount).toBe(0);
    },
  };
};

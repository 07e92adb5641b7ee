import { createMemoryNetwork } from "@holdfast/connection";
import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { type ClientOptions, createClient } from "../../src/client/index.ts";
import { settle } from "../settle.ts";
import { ScriptedCluster, ScriptedNode } from "./scripted-node.ts";

/** Scripted gates that share their jobs, and a client of them, on a virtual clock. */
export const setup = async (
  options: { readonly nodes?: number; readonly takesBundles?: boolean } & Partial<ClientOptions> = {},
) => {
  const clock = new VirtualClock();
  const transport = createMemoryNetwork({ clock });
  const cluster = new ScriptedCluster(clock);
  cluster.takesBundles = options.takesBundles ?? false;
  const addresses = Array.from({ length: options.nodes ?? 1 }, (_, index) => `gate-${index}:7401`);
  const nodes: ScriptedNode[] = [];
  for (const address of addresses) nodes.push(await ScriptedNode.start(cluster, transport, address));
  const newClient = (more: Partial<ClientOptions> = {}) =>
    createClient({
      gates: addresses,
      transport,
      clock,
      random: seededRandom(3),
      clientId: "tester",
      ...options,
      ...more,
    });
  const client = newClient();
  const submissions = () => nodes.flatMap((node) => node.submissions);
  const submit = (more = {}) =>
    settle(clock, client.submit({ workflows: [{ workflow: "w", input: {} }], ...more }));
  return {
    clock,
    transport,
    cluster,
    nodes,
    node: nodes[0] as ScriptedNode,
    client,
    newClient,
    submit,
    submissions,
    [Symbol.asyncDispose]: async () => {
      await settle(clock, client.close());
      for (const node of nodes) await settle(clock, node.kill());
      await cluster.store.close();
    },
  };
};

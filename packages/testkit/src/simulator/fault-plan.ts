import { type Clock, type Random, randomInt } from "@holdfast/kernel";
import type { SimulatedCluster, SimulatedNode } from "./cluster.ts";
import { calmNetwork, type SimulatedNetwork } from "./simulated-network.ts";

/** Breaks things at random until the signal aborts, and leaves everything healed and up. Returns how many faults it made. */
export const injectFaults = async (options: {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: SimulatedNetwork;
  readonly cluster: SimulatedCluster;
  readonly forMs: number;
}): Promise<number> => {
  const { clock, random, network, cluster } = options;
  const endAt = clock.monotonicNow() + options.forMs;
  const repairs: Promise<void>[] = [];
  let count = 0;
  while (clock.monotonicNow() < endAt) {
    await clock.sleep(200 + random.next() * 4_000);
    count += 1;
    repairs.push(injectOne(clock, random, network, cluster));
  }
  network.setFaults(calmNetwork);
  await Promise.all(repairs);
  for (const node of cluster.nodes) await node.start();
  return count;
};

/** One fault, until it is repaired. */
const injectOne = async (
  clock: Clock,
  random: Random,
  network: SimulatedNetwork,
  cluster: SimulatedCluster,
): Promise<void> => {
  const pick = (): SimulatedNode => cluster.nodes[randomInt(random, cluster.nodes.length)] as SimulatedNode;
  const lastsMs = 100 + random.next() * 8_000;
  switch (randomInt(random, 4)) {
    case 0:
    case 1: {
      const node = pick();
      await node.kill();
      await clock.sleep(lastsMs);
      await node.start();
      return;
    }
    case 2: {
      const [a, b] = [pick().host, random.next() < 0.2 ? "client" : pick().host];
      if (a === b) return;
      network.cut(a, b);
      await clock.sleep(lastsMs);
      network.heal(a, b);
      return;
    }
    default:
      network.setFaults({
        delayMinMs: 0.2,
        delayMaxMs: 1 + random.next() * 200,
        dropRate: random.next() * 0.05,
        duplicateRate: random.next() * 0.05,
      });
      await clock.sleep(lastsMs);
      network.setFaults(calmNetwork);
  }
};

import { createServer } from "node:net";
import { join } from "node:path";
import { type Random, randomInt } from "@holdfast/kernel";
import { UsageError } from "../terminal/problem.ts";

export interface DatabaseNode {
  readonly name: string;
  readonly port: number;
  readonly restPort: number;
  readonly directory: string;
}

/** Which server of a local cluster listens where. Everything follows from the directory and the first port. */
export interface Layout {
  readonly directory: string;
  readonly writePort: number;
  readonly readPort: number;
  readonly statsPort: number;
  readonly redisPort: number;
  readonly etcdPort: number;
  readonly etcdPeerPort: number;
  readonly nodes: readonly DatabaseNode[];
}

/** Ports from the first one on that a cluster takes. */
const PORT_SPAN = 30;
const FREE_MIN = 18_000;
/** Below the range from which the kernel takes ports for outgoing connections. */
const FREE_MAX = 32_000;
const TRY_MAX_COUNT = 50;

export const layoutAt = (directory: string, port: number, nodeCount: number): Layout => ({
  directory,
  writePort: port,
  readPort: port + 1,
  statsPort: port + 2,
  redisPort: port + 3,
  etcdPort: port + 4,
  etcdPeerPort: port + 5,
  nodes: Array.from({ length: nodeCount }, (_, index) => ({
    name: `n${index + 1}`,
    port: port + 10 + index,
    restPort: port + 20 + index,
    directory: join(directory, `n${index + 1}`),
  })),
});

export const portsOf = (layout: Layout): readonly number[] => [
  layout.writePort,
  layout.readPort,
  layout.statsPort,
  layout.redisPort,
  layout.etcdPort,
  layout.etcdPeerPort,
  ...layout.nodes.flatMap(({ port, restPort }) => [port, restPort]),
];

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });

const takenPort = async (layout: Layout): Promise<number | undefined> => {
  for (const port of portsOf(layout)) if (!(await isFree(port))) return port;
  return undefined;
};

/**
 * A layout whose ports are free. @param options.port The first port; 0 looks for free ones.
 * @throws UsageError naming the port that is taken.
 */
export const chooseLayout = async (options: {
  readonly directory: string;
  readonly port: number;
  readonly nodeCount: number;
  readonly random: Random;
}): Promise<Layout> => {
  const { directory, port, nodeCount, random } = options;
  if (port !== 0) {
    const layout = layoutAt(directory, port, nodeCount);
    const taken = await takenPort(layout);
    if (taken === undefined) return layout;
    throw new UsageError(
      `port ${taken} is in use: choose another range with --port, or --port 0 for free ones`,
    );
  }
  for (let attempt = 1; attempt <= TRY_MAX_COUNT; attempt += 1) {
    const first = FREE_MIN + randomInt(random, FREE_MAX - FREE_MIN - PORT_SPAN);
    const layout = layoutAt(directory, first, nodeCount);
    if ((await takenPort(layout)) === undefined) return layout;
  }
  throw new UsageError(`no ${PORT_SPAN} free ports were found: choose them with --port`);
};

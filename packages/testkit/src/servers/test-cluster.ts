import { building } from "../process/resource-stack.ts";
import { startTestServer, type TestServer, type TestServerOptions } from "./test-server.ts";

export interface TestClusterOptions extends Omit<TestServerOptions, "nodeId" | "port"> {
  /** Default 3, or as many as there are ports. */
  readonly nodeCount?: number;
  /** Default: those of TEST_SERVER_PORTS (`7000,7001,7002`), else free ones. */
  readonly ports?: readonly number[];
}

/** Several {@link TestServer}s, named `node-1` and so on. */
export interface TestCluster extends AsyncDisposable {
  readonly nodes: readonly TestServer[];
  readonly addresses: readonly string[];
}

const portsOf = (text: string | undefined): readonly number[] | undefined => {
  if (text === undefined || text.trim() === "") return undefined;
  return text.split(",").map((part) => {
    const port = Number(part);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new RangeError(`TEST_SERVER_PORTS must be ports with commas between them; got ${text}`);
    }
    return port;
  });
};

/** Starts a {@link TestCluster} on loopback. */
export const startTestCluster = (options: TestClusterOptions = {}): Promise<TestCluster> =>
  building(async (resources) => {
    const { nodeCount, ports: given, ...rest } = options;
    const ports = given ?? portsOf(process.env["TEST_SERVER_PORTS"]);
    const count = nodeCount ?? ports?.length ?? 3;
    if (ports && ports.length < count)
      throw new RangeError(`${count} nodes need ${count} ports; got ${ports.length}`);
    const nodes: TestServer[] = [];
    for (let index = 0; index < count; index++) {
      const port = ports?.[index];
      const place = port === undefined ? {} : { port };
      nodes.push(resources.use(await startTestServer({ ...rest, ...place, nodeId: `node-${index + 1}` })));
    }
    return {
      nodes,
      addresses: nodes.map((node) => node.address),
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  });

import { findProgram } from "../process/find-program.ts";
import { startProcess } from "../process/managed-process.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { makeTempDirectory, type TempDirectory } from "../process/temp-directory.ts";
import { waitUntil } from "../process/wait-until.ts";
import { requireService } from "./availability.ts";
import { type RunningServer, ServerProcess } from "./server-process.ts";

export interface EtcdMember extends RunningServer {
  /** `http://127.0.0.1:PORT` for clients. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
}

export interface EtcdCluster extends AsyncDisposable {
  readonly members: readonly EtcdMember[];
}

const healthy = async (url: string): Promise<boolean> => {
  const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(1_000) });
  return answer.ok && (await answer.text()).includes("true");
};

class Etcd extends ServerProcess implements EtcdMember {
  readonly host = "127.0.0.1";
  readonly port: number;
  readonly url: string;

  constructor(port: number, args: readonly string[], resources: ResourceStack) {
    const name = `etcd on port ${port}`;
    super({
      name,
      launch: () => startProcess(findProgram("etcd") ?? "etcd", args, { name }),
      // Whether the member serves is known only once a majority is up, so the cluster waits for that.
      ready: async () => undefined,
      resources,
    });
    this.port = port;
    this.url = `http://${this.host}:${port}`;
  }
}

interface MemberPlan {
  readonly name: string;
  readonly client: string;
  readonly peer: string;
  readonly port: number;
  readonly directory: TempDirectory;
  readonly resources: ResourceStack;
}

const planMember = (name: string): Promise<MemberPlan> =>
  building(async (resources) => {
    const directory = resources.use(await makeTempDirectory("holdfast-etcd-"));
    const { port } = resources.use(await reservePort());
    const peer = resources.use(await reservePort());
    const base = "http://127.0.0.1";
    return { name, client: `${base}:${port}`, peer: `${base}:${peer.port}`, port, directory, resources };
  });

/**
 * Starts etcd on free loopback ports: one member in some 0.3 s, three in 1 to 2 s. Every member answers its
 * health check when this returns.
 *
 * @param options.memberCount Default 1; 3 survive the loss of one.
 * @throws ServiceUnavailableError when etcd is not installed.
 */
export const startEtcd = async (options: { readonly memberCount?: number } = {}): Promise<EtcdCluster> => {
  requireService("etcd");
  return building(async (resources) => {
    const plans: MemberPlan[] = [];
    for (let index = 1; index <= (options.memberCount ?? 1); index++) {
      const plan = await planMember(`e${index}`);
      resources.use(plan.resources);
      plans.push(plan);
    }
    const cluster = plans.map((plan) => `${plan.name}=${plan.peer}`).join(",");
    const members = plans.map((plan) => {
      const args = [
        ["--name", plan.name],
        ["--data-dir", `${plan.directory.path}/data`],
        ["--listen-client-urls", plan.client],
        ["--advertise-client-urls", plan.client],
        ["--listen-peer-urls", plan.peer],
        ["--initial-advertise-peer-urls", plan.peer],
        ["--initial-cluster", cluster],
        ["--initial-cluster-state", "new"],
        ["--heartbeat-interval", "100"],
        ["--election-timeout", "1000"],
        ["--log-level", "warn"],
      ];
      return new Etcd(plan.port, args.flat(), plan.resources);
    });
    await Promise.all(members.map((member) => member.start()));
    for (const member of members) {
      await waitUntil(`${member.url} to be healthy`, () => healthy(member.url), { timeoutMs: 60_000 });
    }
    return { members, [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose]() };
  });
};

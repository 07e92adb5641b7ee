import { type Clock, type Logger, type TaskGroup, toWireError } from "@holdfast/kernel";
import type { ClusterStatus } from "./cluster-status.ts";
import type { PatroniClient } from "./patroni-client.ts";
import { leadersOf, type PatroniCluster, type PatroniMember } from "./patroni-documents.ts";
import { Repeating } from "./repeating.ts";
import { mergeHistories, type TimelineSwitch } from "./timeline-history.ts";

/** A server that may belong to the cluster. */
export interface MemberHint {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Whether Patroni wants reads kept away from it, by tag or by state. */
  readonly isHeldBack: boolean;
  readonly patroniLag: "known" | "unknown" | "not-asked";
}

export interface Discovered {
  readonly kind: ClusterStatus["discovery"];
  readonly members: readonly MemberHint[];
  /** Holders of the leader's key; undefined when nobody can tell. */
  readonly leaders: readonly string[] | undefined;
  /** When the newest answer was asked for, in monotonic milliseconds. */
  readonly askedAt: number;
  readonly isPaused: boolean;
  readonly scheduledSwitchover: ClusterStatus["scheduledSwitchover"];
}

/** Where the members of a cluster are learnt from. */
export interface Discovery {
  readonly current: Discovered;
  start(tasks: TaskGroup, onChange: () => void): void;
  poke(): void;
  /** Resolves when a round that began after the call has ended. */
  refresh(): Promise<void>;
  history(signal: AbortSignal | undefined): Promise<readonly TimelineSwitch[]>;
}

/** Members that are named once and for all: a list of hosts, or the ports of a proxy. */
export class FixedDiscovery implements Discovery {
  readonly current: Discovered;

  constructor(
    kind: "hosts" | "proxy",
    addresses: readonly { readonly host: string; readonly port: number }[],
  ) {
    this.current = {
      kind,
      members: addresses.map(({ host, port }) => ({
        name: `${host}:${port}`,
        host,
        port,
        isHeldBack: false,
        patroniLag: "not-asked",
      })),
      leaders: undefined,
      askedAt: Number.NEGATIVE_INFINITY,
      isPaused: false,
      scheduledSwitchover: undefined,
    };
  }

  start(): void {}
  poke(): void {}
  async refresh(): Promise<void> {}
  async history(): Promise<readonly TimelineSwitch[]> {
    return [];
  }
}

/** Each answer of Patroni costs a question to its store, so a crowd of clients must not ask without end. */
const ASK_REST_MS = 100;

interface Endpoint {
  readonly client: PatroniClient;
  readonly loop: Repeating;
  answer: { readonly cluster: PatroniCluster; readonly askedAt: number } | undefined;
}

/** States in which a replica does not follow, in the words of Patroni. */
const IDLE_STATES = [
  "stopped",
  "starting",
  "creating replica",
  "crashed",
  "start failed",
  "stopping",
  "in archive recovery",
];

/**
 * Asks every Patroni by its own loop, so that one which does not answer holds up nobody, and puts together what they
 * say. One that answers is enough; when none does the last map is kept, and nobody can tell who leads.
 */
export class PatroniDiscovery implements Discovery {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #endpoints: Endpoint[];
  readonly #pauseMs: () => number;
  readonly #freshMs: () => number;
  #members: readonly MemberHint[] = [];
  /** Since when two names were given for the leader. */
  #dividedSince: number | undefined;

  constructor(options: {
    readonly clients: readonly PatroniClient[];
    readonly clock: Clock;
    readonly logger: Logger;
    /** Milliseconds between two questions to the same Patroni. */
    readonly pauseMs: () => number;
    /** Milliseconds after which an answer says nothing about the leader any more. */
    readonly freshMs: () => number;
  }) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#pauseMs = options.pauseMs;
    this.#freshMs = options.freshMs;
    this.#endpoints = options.clients.map((client) => {
      const endpoint: Endpoint = {
        client,
        answer: undefined,
        loop: new Repeating({
          clock: options.clock,
          pauseMs: this.#pauseMs,
          restMs: ASK_REST_MS,
          body: (signal) => this.#ask(endpoint, signal),
        }),
      };
      return endpoint;
    });
  }

  #onChange: () => void = () => undefined;

  get current(): Discovered {
    const now = this.#clock.monotonicNow();
    const answers = this.#endpoints.flatMap(({ answer }) => (answer === undefined ? [] : [answer]));
    const newest = Math.max(...answers.map(({ askedAt }) => askedAt));
    // An answer that is much older than another one tells of a leader who may be gone since.
    const fresh = answers.filter(
      ({ askedAt }) => now - askedAt <= this.#freshMs() && newest - askedAt <= this.#pauseMs() * 1.5,
    );
    const last = answers.find(({ askedAt }) => askedAt === newest)?.cluster;
    return {
      kind: fresh.length > 0 ? "patroni" : "none",
      members: this.#members,
      askedAt: newest,
      leaders: fresh.length === 0 ? undefined : this.#leaders(fresh.map(({ cluster }) => cluster)),
      isPaused: last?.isPaused ?? false,
      scheduledSwitchover: last?.scheduledSwitchover,
    };
  }

  start(tasks: TaskGroup, onChange: () => void): void {
    this.#onChange = onChange;
    for (const { loop, client } of this.#endpoints) loop.start(`ask Patroni at ${client.server}`, tasks);
  }

  poke(): void {
    for (const { loop } of this.#endpoints) loop.poke();
  }

  /** Resolves with the first Patroni that answers, or when all have failed. */
  async refresh(): Promise<void> {
    const since = this.#clock.monotonicNow();
    await Promise.any(
      this.#endpoints.map(async ({ loop }, index) => {
        await loop.afterNext();
        const askedAt = this.#endpoints[index]?.answer?.askedAt;
        if (askedAt === undefined || askedAt < since) throw new Error("no answer");
      }),
    ).catch(() => undefined);
  }

  async history(signal: AbortSignal | undefined): Promise<readonly TimelineSwitch[]> {
    const answers = await Promise.allSettled(this.#endpoints.map(({ client }) => client.history({ signal })));
    return answers.reduce<readonly TimelineSwitch[]>(
      (merged, answer) => (answer.status === "fulfilled" ? mergeHistories(merged, answer.value) : merged),
      [],
    );
  }

  async #ask(endpoint: Endpoint, signal: AbortSignal): Promise<void> {
    const askedAt = this.#clock.monotonicNow();
    try {
      const cluster = await endpoint.client.cluster({ signal });
      endpoint.answer = { cluster, askedAt };
      this.#members = cluster.members.flatMap(toHint);
    } catch (error) {
      if (signal.aborted) return;
      this.#logger.debug(
        { server: endpoint.client.server, reason: toWireError(error).message },
        "Patroni gave no answer",
      );
      // What it said before it fell silent may be wrong by now, and is no more than the others' word.
      if (endpoint.answer !== undefined && askedAt - endpoint.answer.askedAt > this.#freshMs()) {
        endpoint.answer = undefined;
      }
    }
    this.#onChange();
  }

  /** One name when they agree; none for a moment when they do not, and all of them when that lasts. */
  #leaders(answers: readonly PatroniCluster[]): readonly string[] {
    const leaders = leadersOf(answers);
    const newest = Math.max(...leaders.map(({ timeline }) => timeline ?? 0));
    const names = leaders.filter(({ timeline }) => (timeline ?? newest) === newest).map(({ name }) => name);
    if (names.length <= 1) {
      this.#dividedSince = undefined;
      return names;
    }
    const now = this.#clock.monotonicNow();
    this.#dividedSince ??= now;
    return now - this.#dividedSince >= this.#freshMs() ? names : [];
  }
}

const toHint = (member: PatroniMember): readonly MemberHint[] => {
  if (member.host === undefined || member.port === undefined) return [];
  const isLeader = member.role === "leader" || member.role === "standby_leader";
  return [
    {
      name: member.name,
      host: member.host,
      port: member.port,
      isHeldBack: member.tags["noloadbalance"] === true || IDLE_STATES.includes(member.state),
      patroniLag: isLeader || member.lagBytes !== undefined ? "known" : "unknown",
    },
  ];
};

import { createHandlers, type Peer, type Server, serve, type Transport } from "@holdfast/connection";
import { type Clock, deferred, seededRandom } from "@holdfast/kernel";
import {
  type Assignment,
  cancelTasks,
  claimTasks,
  type Leader,
  leaderChanged,
  registerWorker,
  renewTasks,
  reportOutcomes,
  reportProgress,
  type TaskOutcome,
  type TaskProgress,
  type ValidateInputAnswer,
  validateInput,
  type WorkerRegistration,
} from "@holdfast/protocol/contract";

export interface ScriptedManagerOptions {
  readonly nodeId: string;
  readonly address: string;
  readonly transport: Transport;
  readonly clock: Clock;
  /** Shared by the managers of one datacenter. */
  readonly tasks: ScriptedTasks;
  /** Named to workers beside this one. */
  readonly others?: readonly { readonly nodeId: string; readonly address: string }[];
  readonly taskLeaseMs?: number;
  readonly progressEveryMs?: number;
}

type OutcomeAnswer = { outcome: "accepted" | "stale" | "not-leader"; leader?: Leader };

/** What the managers of a datacenter share in their store: tasks, tokens, outcomes. */
export class ScriptedTasks {
  readonly waiting: Assignment[] = [];
  readonly claimed = new Map<string, Assignment>();
  readonly outcomes: TaskOutcome[] = [];
  readonly renewalCounts = new Map<string, number>();
  #waiters: (() => void)[] = [];

  add(...assignments: readonly Assignment[]): void {
    this.waiting.push(...assignments);
    this.wake();
  }

  wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  whenWoken(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  take(maxCount: number): Assignment[] {
    const taken = this.waiting.splice(0, maxCount);
    for (const assignment of taken) this.claimed.set(assignment.taskId, assignment);
    return taken;
  }

  /** Accepts an outcome of the newest claim once; everything else is stale. */
  settle(outcome: TaskOutcome): "accepted" | "stale" {
    const claim = this.claimed.get(outcome.taskId);
    if (claim?.token !== outcome.token) return "stale";
    this.claimed.delete(outcome.taskId);
    this.outcomes.push(outcome);
    return "accepted";
  }
}

/** A manager that does what its contract says, no more, and what a test scripts instead. */
export class ScriptedManager {
  readonly nodeId: string;
  readonly registrations: WorkerRegistration[] = [];
  readonly progress: { readonly sequence: number; readonly updates: readonly TaskProgress[] }[] = [];
  readonly claimSizes: number[] = [];
  /** Replace to script another behaviour. */
  onOutcome: (outcome: TaskOutcome) => OutcomeAnswer;
  onProgress: (updates: readonly TaskProgress[]) => { delayMs: number; cancelled: string[] } | Error =
    () => ({
      delayMs: 0,
      cancelled: [],
    });
  onRenew: (taskId: string, token: string) => "renewed" | "lost" | "cancelled" | Error;
  onClaim: () => Error | undefined = () => undefined;
  outcomeRequestCount = 0;
  readonly #options: ScriptedManagerOptions;
  readonly #peers = new Set<Peer>();
  #server: Server | undefined;

  constructor(options: ScriptedManagerOptions) {
    this.nodeId = options.nodeId;
    this.#options = options;
    this.onOutcome = (outcome) => ({ outcome: options.tasks.settle(outcome) });
    this.onRenew = (taskId, token) =>
      options.tasks.claimed.get(taskId)?.token === token ? "renewed" : "lost";
  }

  get leader(): Leader {
    return { nodeId: this.nodeId, address: this.#options.address, fence: "1" };
  }

  async start(): Promise<this> {
    const { transport, clock, address, nodeId } = this.#options;
    this.#server = await serve({
      transport,
      clock,
      random: seededRandom(1),
      listen: address,
      identity: { nodeId, role: "manager", address },
      handlers: this.#handlers(),
      onPeer: (peer) => {
        this.#peers.add(peer);
        peer.onClose(() => this.#peers.delete(peer));
      },
    });
    return this;
  }

  async stop(): Promise<void> {
    await this.#server?.close({ drainMs: 0 });
  }

  cancel(taskId: string, token: string, reason = "asked to"): void {
    for (const peer of this.#peers) peer.push(cancelTasks, { tasks: [{ taskId, token }], reason });
  }

  announce(jobId: string, leader: Leader): void {
    for (const peer of this.#peers) peer.push(leaderChanged, { jobs: [{ jobId, leader }] });
  }

  validate(workflow: string, input: unknown): Promise<ValidateInputAnswer> {
    const [peer] = this.#peers;
    if (peer === undefined) throw new Error("no worker is connected");
    return peer.request(validateInput, { workflow, input });
  }

  #handlers() {
    const {
      tasks,
      clock,
      nodeId,
      address,
      others = [],
      taskLeaseMs = 3_000,
      progressEveryMs = 100,
    } = this.#options;
    const handlers = createHandlers();
    handlers.onRequest(registerWorker, async (registration) => {
      this.registrations.push(registration);
      // A draining worker gets nothing more: its claims are answered at once.
      if (registration.state === "draining") tasks.wake();
      return { managerId: nodeId, managers: [{ nodeId, address }, ...others], taskLeaseMs, progressEveryMs };
    });
    handlers.onRequest(claimTasks, async ({ maxCount, waitMs }, { signal }) => {
      this.claimSizes.push(maxCount);
      const scripted = this.onClaim();
      if (scripted !== undefined) throw scripted;
      const endsAt = clock.monotonicNow() + waitMs;
      const isDraining = (): boolean => this.registrations.at(-1)?.state === "draining";
      while (
        tasks.waiting.length === 0 &&
        clock.monotonicNow() < endsAt &&
        !signal.aborted &&
        !isDraining()
      ) {
        const over = deferred<void>();
        const timer = clock.schedule(endsAt - clock.monotonicNow(), () => over.resolve());
        signal.addEventListener("abort", () => over.resolve(), { once: true });
        await Promise.race([tasks.whenWoken(), over.promise]);
        timer.cancel();
      }
      return { assignments: signal.aborted || isDraining() ? [] : tasks.take(maxCount) };
    });
    handlers.onRequest(renewTasks, async ({ tasks: refs }) => {
      const outcomes = refs.map(({ taskId, token }) => {
        tasks.renewalCounts.set(taskId, (tasks.renewalCounts.get(taskId) ?? 0) + 1);
        const outcome = this.onRenew(taskId, token);
        if (outcome instanceof Error) throw outcome;
        return outcome;
      });
      return { outcomes };
    });
    handlers.onRequest(reportProgress, async ({ sequence, updates }) => {
      const answer = this.onProgress(updates);
      if (answer instanceof Error) throw answer;
      this.progress.push({ sequence, updates });
      return answer;
    });
    handlers.onRequest(reportOutcomes, async ({ outcomes }) => {
      this.outcomeRequestCount += 1;
      return {
        results: outcomes.map((outcome) => ({ taskId: outcome.taskId, ...this.onOutcome(outcome) })),
      };
    });
    return handlers;
  }
}

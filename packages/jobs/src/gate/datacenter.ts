import { type Clock, type Deferred, deferred, type Logger, TaskGroup } from "@holdfast/kernel";
import { type DatacenterView, getCluster } from "@holdfast/protocol/contract";
import { Caller } from "../caller/caller.ts";
import { HEARTBEAT_MS } from "../caller/caller-options.ts";
import { isUnreachable } from "../caller/transient.ts";
import { datacenterHealth, type Health, severityOf } from "./datacenter-health.ts";
import type { PlacementCandidate } from "./decide/placement.ts";
import type { GateSettings } from "./gate-options.ts";

/** Longest wait for the answer of a manager that serves a job. */
const REQUEST_TIMEOUT_MS = 5_000;
/** Questions about health that may go unanswered before the datacenter counts as unhealthy, unless nobody can be reached at all. */
const UNANSWERED_MAX_COUNT = 2;

/**
 * One datacenter as this gate sees it: how to ask its managers, and how healthy it is. Asked every
 * `healthEveryMs`, and at once when the connection that answered last breaks.
 */
export class Datacenter implements AsyncDisposable {
  readonly name: string;
  readonly caller: Caller;
  readonly #settings: GateSettings;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tasks: TaskGroup;
  readonly #configured: readonly string[];
  readonly #startedAt: number;
  #view: DatacenterView | undefined;
  /** When that came, wall clock: for people only. */
  #heardAt = 0;
  #workflows: ReadonlySet<string> = new Set();
  #catalogKey = "";
  #unansweredCount = 0;
  #wake: Deferred<void> = deferred();

  constructor(
    name: string,
    settings: GateSettings,
    identity: { readonly nodeId: string; readonly address: string },
  ) {
    this.name = name;
    this.#settings = settings;
    this.#clock = settings.clock;
    this.#logger = settings.logger;
    this.#configured = settings.datacenters[name] ?? [];
    this.#startedAt = settings.clock.monotonicNow();
    this.#tasks = new TaskGroup({ logger: settings.logger });
    this.caller = new Caller({
      gates: [],
      managers: this.#configured,
      transport: settings.transport,
      credential: settings.credential,
      identity: { ...identity, role: "gate" },
      clock: settings.clock,
      random: settings.random,
      logger: settings.logger,
      heartbeatMs: HEARTBEAT_MS,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      deadlineMs: 15_000,
      backoffBaseMs: 300,
      backoffMaxMs: 3_000,
      silenceMs: 10_000,
      bufferMaxCount: 2_000,
      bufferMaxBytes: 1024 * 1024,
    });
  }

  start(): void {
    this.#tasks.spawn(`health of ${this.name}`, async (signal) => {
      for (;;) {
        this.#wake = deferred();
        await this.#ask(signal);
        const pause = new AbortController();
        const onStop = (): void => pause.abort(signal.reason);
        signal.addEventListener("abort", onStop, { once: true });
        try {
          await Promise.race([
            this.#clock.sleep(this.#settings.healthEveryMs, { signal: pause.signal }),
            this.#wake.promise,
          ]);
        } finally {
          signal.removeEventListener("abort", onStop);
          pause.abort(new Error("awake"));
          // Also lets go of the connection that was listened to.
          this.#wake.resolve();
        }
      }
    });
  }

  get health(): Health {
    if (this.#view === undefined) {
      const isNew = this.#clock.monotonicNow() - this.#startedAt < this.#settings.initializingMs;
      return isNew ? "initializing" : "unhealthy";
    }
    if (this.#unansweredCount >= UNANSWERED_MAX_COUNT) return "unhealthy";
    const computed = datacenterHealth(this.#view);
    const stated = this.#view.health;
    // A manager may know of trouble that does not show in the figures; what it has not decided yet says nothing.
    return stated !== "initializing" && severityOf(stated) > severityOf(computed) ? stated : computed;
  }

  /** What its managers said last, under the health that this gate concludes; and when, while none of them answers. */
  get view(): DatacenterView {
    const { health } = this;
    if (this.#view !== undefined) {
      if (this.#unansweredCount < UNANSWERED_MAX_COUNT) return { ...this.#view, health };
      const managers = this.#view.managers.map((manager) => ({ ...manager, state: "offline" as const }));
      return { ...this.#view, health, managers, heardAt: this.#heardAt };
    }
    return {
      datacenter: this.name,
      health,
      managers: this.#configured.map((address) => ({
        nodeId: address,
        address,
        state: health === "initializing" ? "syncing" : "offline",
        isLeader: false,
      })),
      workers: [],
      totalCores: 0,
      availableCores: 0,
      activeJobs: 0,
      pendingTasks: 0,
      workflows: [],
    };
  }

  /** Changes when workers bring or take away workflows: what was validated before counts no more. */
  get catalogKey(): string {
    return this.#catalogKey;
  }

  get candidate(): PlacementCandidate {
    return {
      datacenter: this.name,
      health: this.health,
      availableCores: this.#view?.availableCores ?? 0,
      pendingTasks: this.#view?.pendingTasks ?? 0,
      workflows: this.#workflows,
    };
  }

  async close(): Promise<void> {
    await this.#tasks.stop();
    await this.caller.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #ask(signal: AbortSignal): Promise<void> {
    try {
      const deadlineMs = Math.max(this.#settings.healthEveryMs * 1.5, 100);
      const { output, peer } = await this.caller.ask(getCluster, {}, { signal, deadlineMs });
      const view = output.datacenters.find(({ datacenter }) => datacenter === this.name);
      if (view === undefined) {
        const named = output.datacenters.map(({ datacenter }) => datacenter).join(", ");
        throw new Error(`the manager ${output.node.nodeId} belongs to ${named}, not to ${this.name}`);
      }
      this.#take(view);
      const { promise, resolve } = this.#wake;
      const stopListening = peer.onClose(() => resolve());
      promise.then(stopListening, stopListening);
    } catch (error) {
      signal.throwIfAborted();
      const wasAnswering = this.#unansweredCount < UNANSWERED_MAX_COUNT;
      this.#unansweredCount += isUnreachable(error) ? UNANSWERED_MAX_COUNT : 1;
      if (wasAnswering && this.#unansweredCount >= UNANSWERED_MAX_COUNT) {
        this.#logger.warn(
          { err: error, datacenter: this.name },
          "no manager of the datacenter answers; it gets no new jobs until one does",
        );
      }
    }
  }

  #take(view: DatacenterView): void {
    if (this.#unansweredCount >= UNANSWERED_MAX_COUNT) {
      this.#logger.info({ datacenter: this.name }, "the datacenter answers again");
    }
    this.#unansweredCount = 0;
    this.#view = view;
    this.#heardAt = this.#clock.wallNow();
    const names = view.workflows.map(({ name }) => name).sort();
    this.#workflows = new Set(names);
    const workers = view.workers.map(({ nodeId, startedAt }) => `${nodeId}@${startedAt}`).sort();
    this.#catalogKey = JSON.stringify([names, workers]);
    const learnt = view.managers.filter(({ state }) => state !== "offline").map(({ address }) => address);
    this.caller.selector.setManagers([
      ...new Set([...this.#configured, ...learnt.filter((address) => address !== "")]),
    ]);
  }
}

import type { Clock } from "@holdfast/kernel";
import { checkInteger, checkNumber, checkText } from "../input-checks.ts";
import type { HandlerFailure } from "./bus-event.ts";
import type { Envelope } from "./envelope.ts";
import { type EventHandler, type SubscribeOptions, Subscription } from "./subscription.ts";

interface SubscriptionsOptions {
  readonly clock: Clock;
  /** `own` is the hook that the subscription was given. */
  readonly onFailure: (failure: HandlerFailure, own: SubscribeOptions["onError"]) => void;
  readonly onSettled: (envelope: Envelope) => void;
}

/** Who wants which type of event. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  /** Replaced, never changed, so that a walk over one is not disturbed. */
  readonly #byType = new Map<string, readonly Subscription[]>();
  /** Taken out while a handler of theirs ran, and perhaps still does. */
  readonly #leaving = new Set<Subscription>();
  #addedCount = 0;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** Those of exactly this type; undefined when there is none. */
  of(type: string): readonly Subscription[] | undefined {
    return this.#byType.get(type);
  }

  all(): readonly Subscription[] {
    return [...this.#byType.values()].flat();
  }

  /** Every one of which a handler may run, also those that were taken out. */
  allRunning(): readonly Subscription[] {
    return [...this.all(), ...this.#leaving];
  }

  /** @throws InvalidInputError */
  add(type: string, handler: EventHandler, options: SubscribeOptions): Subscription {
    checkText("type", type, 512);
    const { concurrencyMaxCount = 1, inboxMaxCount = 1000, timeoutMs = 30_000 } = options;
    checkInteger("concurrencyMaxCount", concurrencyMaxCount, 1, 1_000_000);
    checkInteger("inboxMaxCount", inboxMaxCount, 1, 1_000_000);
    checkNumber("timeoutMs", timeoutMs, 1, 2_147_483_647);
    const { clock, onFailure, onSettled } = this.#options;
    this.#addedCount += 1;
    const subscription = new Subscription({
      type,
      name: options.name ?? `${type}#${this.#addedCount}`,
      handler,
      options: {
        concurrencyMaxCount,
        inboxMaxCount,
        timeoutMs,
        overflow: options.overflow ?? "drop-newest",
      },
      clock,
      onFailure: (failure) => onFailure(failure, options.onError),
      onSettled,
    });
    this.#byType.set(type, [...(this.of(type) ?? []), subscription]);
    return subscription;
  }

  /** Takes out one, given itself or by its handler (the oldest of that handler); undefined when there is none. */
  takeOut(type: string, which: unknown): Subscription | undefined {
    const subscriptions = this.of(type) ?? [];
    const found = subscriptions.find((each) => each === which || each.handler === which);
    if (found === undefined) return undefined;
    const rest = subscriptions.filter((each) => each !== found);
    if (rest.length === 0) this.#byType.delete(type);
    else this.#byType.set(type, rest);
    for (const each of this.#leaving) if (!each.isRunning) this.#leaving.delete(each);
    if (found.isRunning) this.#leaving.add(found);
    return found;
  }
}

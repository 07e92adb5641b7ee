import type { Logger } from "@holdfast/kernel";
import { askPositionSource } from "./ask-position-source.ts";
import type { PositionSource } from "./cache-options.ts";
import { REPORT_EVERY_MS } from "./cache-reports.ts";
import type { FlightContext } from "./flight.ts";
import type { Partition } from "./partition.ts";
import type { Relay } from "./relay.ts";

/** Syncs per staleness bound: one may fail, and one be late, before copies are not served any more. */
const SYNCS_PER_BOUND = 3;
/** With a bound of 0 there are no copies; the connection is still looked at. */
const SYNC_EVERY_MAX_MS = 1_000;

export interface UpkeepOptions {
  readonly context: FlightContext;
  readonly partitions: readonly Partition[];
  readonly positions: PositionSource | undefined;
  readonly relay: Relay | undefined;
  /** Tells whoever looks how the cache does; undefined where nobody could. */
  readonly report: (() => Promise<void>) | undefined;
  readonly logger: Logger;
}

/** What runs beside the reads: following the invalidations, the database's position, and the relay. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  /** Those that cannot be reached now. */
  readonly #lost = new Set<Partition>();

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Resolves after the first look at the store, whatever it found: without Redis the cache opens too. */
  async start(): Promise<void> {
    const { context, partitions, positions, relay, report } = this.#options;
    await Promise.all(partitions.map((partition) => this.#follow(partition)));
    if (positions !== undefined) await this.#tellPosition(positions);
    const { maxStalenessMs, relayEveryMs, positionEveryMs } = context.settings;
    const syncEveryMs =
      maxStalenessMs === 0
        ? SYNC_EVERY_MAX_MS
        : Math.min(SYNC_EVERY_MAX_MS, maxStalenessMs / SYNCS_PER_BOUND);
    for (const partition of partitions) {
      this.#every("following of invalidations", syncEveryMs, () => this.#follow(partition));
    }
    if (positions !== undefined) {
      this.#every("position of the database", positionEveryMs, () => this.#tellPosition(positions));
    }
    if (report !== undefined) this.#every("report of the cache", REPORT_EVERY_MS, report);
    if (relay !== undefined) {
      this.#every("relay of invalidations", relayEveryMs, () => relay.run(relayEveryMs, context.signal));
    }
  }

  #every(name: string, everyMs: number, body: () => Promise<void>): void {
    const { context, logger } = this.#options;
    const { clock, random } = context;
    context.spawn(name, async () => {
      while (!context.signal.aborted) {
        // Jitter keeps processes that were started together apart.
        await clock.sleep(everyMs * (0.8 + 0.2 * random.next()), { signal: context.signal, unref: true });
        try {
          await body();
        } catch (error) {
          if (!context.signal.aborted) logger.debug({ err: error, task: name }, `${name} failed; it goes on`);
        }
      }
    });
  }

  async #follow(partition: Partition): Promise<void> {
    const { logger } = this.#options;
    try {
      await partition.sync();
      if (this.#lost.delete(partition) && this.#lost.size === 0) {
        logger.info({}, "the shared cache can be reached again");
      }
    } catch (error) {
      if (this.#lost.size === 0) {
        logger.warn({ err: error }, "the shared cache cannot be reached: reads go to their source");
      }
      this.#lost.add(partition);
    }
  }

  async #tellPosition(positions: PositionSource): Promise<void> {
    const { context, partitions } = this.#options;
    // Noted before the database is asked: a position from before would judge replicas too kindly.
    const wants = partitions.map(({ store }) => store.positionWanted);
    const at = await askPositionSource(context.clock, positions, { signal: context.signal }).catch(
      () => undefined,
    );
    if (at === undefined) return;
    await Promise.all(
      partitions.map((partition, index) =>
        partition.sync({ at, want: wants[index] ?? "" }).catch(() => undefined),
      ),
    );
  }
}

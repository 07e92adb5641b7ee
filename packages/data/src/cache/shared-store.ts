/** A place in the history of a database. A larger epoch is a later history; positions compare within one epoch. */
export interface CachePosition {
  /** Grows with each failover or restore, for example the timeline. */
  readonly epoch: bigint;
  /** Grows with each commit, for example the log sequence number. */
  readonly position: bigint;
}

/** What is looked for: a key, and the tags that its entry hangs on. The tags of one key are always the same. */
export interface Lookup {
  readonly key: string;
  readonly tags: readonly string[];
}

/** An entry that no invalidation has reached. */
export interface StoredEntry {
  /** Unique to the fill that stored it. */
  readonly stamp: string;
  /** How much longer it is fresh, by the store's clock; negative when it is expired. */
  readonly freshForMs: number;
  readonly payload: string;
}

/** The right to store what is loaded from now on, unless an invalidation comes first. */
export interface Ticket {
  readonly generation: string;
  readonly token: string;
  /** The versions of the tags, taken before the load. */
  readonly tagStamps: string;
  /** A replica that has not replayed this position would give an old value. */
  readonly floor: CachePosition | undefined;
}

export type Claim =
  | { readonly kind: "granted"; readonly ticket: Ticket }
  /** Somebody else loads it now. */
  | { readonly kind: "held" }
  | { readonly kind: "present"; readonly entry: StoredEntry };

/**
 * What became of a fill: `overtaken` by an invalidation, read from a replica `behind` the last one, or the store
 * has a new `generation`.
 */
export type StoreOutcome = "stored" | "overtaken" | "behind" | "generation";

export interface NewEntry {
  readonly payload: string;
  readonly freshMs: number;
  /** Including the time for which it may be served though expired. */
  readonly keepMs: number;
  /** Where it was read, when that was not the primary. */
  readonly observed?: CachePosition | undefined;
}

export interface Invalidation {
  readonly keys: readonly string[];
  readonly tags: readonly string[];
  /** At or after the commit, on the primary. */
  readonly position?: CachePosition | undefined;
}

/** What a process that keeps copies must know. */
export type FeedEvent =
  | { readonly kind: "invalidated"; readonly keys: readonly string[]; readonly tags: readonly string[] }
  | { readonly kind: "filled"; readonly key: string }
  /** Something may have been missed: drop every copy. */
  | { readonly kind: "reset" };

/**
 * The part of a cache that processes share. Each call is atomic, and none ever gives an entry that an acknowledged
 * invalidation reached, whatever the server forgot: forgotten guards are misses.
 *
 * Every call may be repeated. Rejections mean that the store cannot be reached.
 */
export interface SharedStore {
  /** What is there for each, all of one moment or each of its own; undefined where nothing valid is. */
  read(lookups: readonly Lookup[]): Promise<readonly (StoredEntry | undefined)[]>;
  /**
   * Asks for the right to load. `knownStamp` is the entry that the asker knows already and wants to replace.
   */
  claim(lookup: Lookup, options: { readonly leaseMs: number; readonly knownStamp?: string }): Promise<Claim>;
  /** A ticket without a lease, for a writer that will store what it commits. */
  ticket(lookup: Lookup): Promise<Ticket>;
  fill(lookup: Lookup, ticket: Ticket, entry: NewEntry): Promise<StoreOutcome>;
  /**
   * Invalidates one key and stores what its writer committed, if nothing invalidated it since the ticket: of writers
   * ordered by a row lock the last one's value stays, of others none.
   */
  write(
    lookup: Lookup,
    ticket: Ticket,
    entry: NewEntry,
    position: CachePosition | undefined,
  ): Promise<"stored" | "overtaken">;
  /** Lets the next one load at once, because this one failed. */
  release(lookup: Lookup, ticket: Ticket): Promise<void>;
  /** Resolves when no reader of the store can get what was there before. Tells every process that listens. */
  invalidate(invalidation: Invalidation): Promise<void>;
  /** Drops everything. */
  clear(): Promise<void>;
  /**
   * Brings this process up to date: every invalidation that was acknowledged before the call has been given to
   * the listener when it resolves. `position` tells the store how far the database is; replicas are judged by it
   * if it was taken after `positionWanted` had the value `want`.
   */
  sync(position?: { readonly at: CachePosition; readonly want: string }): Promise<void>;
  /** Not empty when replicas cannot be judged until a position that was taken from now on comes with `sync`. */
  readonly positionWanted: string;
  /** The one listener. Events come in order. */
  listen(listener: (event: FeedEvent) => void): void;
  close(): Promise<void>;
}

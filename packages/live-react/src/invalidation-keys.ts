import type { BroadcastEvent, QueryKey } from "@holdfast/live/client";

/** The shapes of keys under a prefix: `[...prefix]` and `[...prefix, filters]` are lists, `[...prefix, "42"]` a detail. */
export interface KeyMapper {
  /** The entity whose detail a key is, or undefined when it is a list. */
  readonly entityOf: (key: QueryKey, prefix: QueryKey) => string | undefined;
}

/** A detail has the entity's id, a string or a number, right after the prefix; everything else is a list. */
export const defaultKeyMapper: KeyMapper = {
  entityOf: (key, prefix) => {
    const next = key[prefix.length];
    return typeof next === "string" || typeof next === "number" ? String(next) : undefined;
  },
};

/** The entity that an event tells of: `entity_id` of its payload. */
export const entityIdOf = (event: Pick<BroadcastEvent, "payload">): string | undefined => {
  const id = event.payload["entity_id"];
  return typeof id === "string" || typeof id === "number" ? String(id) : undefined;
};

/** What has been announced and not been invalidated yet: all of the prefix, or the lists and some details. */
export class StaleSet {
  #all = false;
  readonly #entities = new Set<string>();

  get isEmpty(): boolean {
    return !this.#all && this.#entities.size === 0;
  }

  /** `undefined` means: everything. */
  add(entity: string | undefined): void {
    if (entity === undefined) this.#all = true;
    else this.#entities.add(entity);
  }

  /** Takes everything out; returns whether a key is concerned. */
  take(prefix: QueryKey, mapper: KeyMapper): (key: QueryKey) => boolean {
    const all = this.#all;
    const entities = new Set(this.#entities);
    this.#all = false;
    this.#entities.clear();
    return (key) => {
      const entity = mapper.entityOf(key, prefix);
      return all || entity === undefined || entities.has(entity);
    };
  }
}

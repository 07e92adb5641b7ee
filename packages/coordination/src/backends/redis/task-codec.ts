import type { Json } from "../../json.ts";
import { jsonOrText } from "../../queue/damaged-tasks.ts";
import { BACKOFF_DEFAULT, type TaskDraft } from "../../queue/task-draft.ts";
import type { PieceReader } from "./payload-pieces.ts";

/** What a stored task says besides its payload; see task-steps.lua. */
export interface TaskMeta {
  /** Type. */
  readonly t: string;
  /** Most attempts. */
  readonly m: number;
  readonly g?: string;
  /** Dedupe key. */
  readonly k?: string;
  /** Limit key. */
  readonly l?: string;
  /** Backoff: kind, base, factor, cap, jitter. */
  readonly b?: readonly [string, number, number, number, string];
  /** Timeout in ms. */
  readonly o?: number;
}

export interface StoredTask {
  readonly meta: TaskMeta;
  readonly enqueuedAt: number;
  readonly payload: Json;
}

/** Neither keys nor group: nothing has to be looked up or cleared when it ends. */
export const isKeyed = ({ group, dedupeKey, limitKey }: TaskDraft): boolean =>
  group !== undefined || dedupeKey !== undefined || limitKey !== undefined;

/** A draft as it is stored, from its priority on: place and time are put before it by the server. */
export const encodeTask = (draft: TaskDraft): string => {
  const { type, maxAttempts, group, dedupeKey, limitKey, backoff, timeoutMs } = draft;
  const flags = `${draft.priorityRank}${draft.keepCompleted ? 1 : 0}${isKeyed(draft) ? 1 : 0}`;
  const meta: TaskMeta = {
    t: type,
    m: maxAttempts,
    ...(group === undefined ? {} : { g: group }),
    ...(dedupeKey === undefined ? {} : { k: dedupeKey }),
    ...(limitKey === undefined ? {} : { l: limitKey }),
    ...(backoff === undefined || backoff === BACKOFF_DEFAULT
      ? {}
      : { b: [backoff.kind, backoff.baseMs, backoff.factor, backoff.capMs, backoff.jitter] as const }),
    ...(timeoutMs === undefined ? {} : { o: timeoutMs }),
  };
  return `${flags}${JSON.stringify(meta)}\n${draft.payloadText}`;
};

const NO_META: TaskMeta = { t: "", m: 0 };

const enqueuedAt = (stored: string): number => Number(stored.slice(14, 30)) / 1000;

/** Remembers the last metadata it read: the tasks of a batch mostly share theirs. */
export class TaskReader {
  #text = "";
  #meta = NO_META;

  /** `pieces`: for a payload that lies apart. @throws SyntaxError when what was stored is damaged. */
  read(stored: string, pieces: PieceReader): StoredTask {
    const end = stored.indexOf("\n", 33);
    // Before anything that throws, so that the next task gets its own.
    const payloadText = stored[end + 1] === "=" ? pieces.read() : stored.slice(end + 1);
    return {
      meta: this.#readMeta(stored.slice(33, end)),
      enqueuedAt: enqueuedAt(stored),
      payload: JSON.parse(payloadText) as Json,
    };
  }

  /** The same, but what is damaged is left as the text it is, and no type is known where that was lost too. */
  inspect(stored: string): StoredTask {
    const end = stored.indexOf("\n", 33);
    try {
      const meta = this.#readMeta(stored.slice(33, end));
      return { meta, enqueuedAt: enqueuedAt(stored), payload: jsonOrText(stored.slice(end + 1)) };
    } catch {
      return { meta: NO_META, enqueuedAt: enqueuedAt(stored), payload: stored };
    }
  }

  #readMeta(text: string): TaskMeta {
    if (text !== this.#text) {
      this.#meta = JSON.parse(text) as TaskMeta;
      this.#text = text;
    }
    return this.#meta;
  }
}

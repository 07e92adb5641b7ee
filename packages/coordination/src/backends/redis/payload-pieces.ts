import type { TaskDraft } from "../../queue/task-draft.ts";

/** Payloads of tasks that were added together, a line feed between them; see `d` in task-steps.lua. */
interface Piece {
  /** The id of the first of its tasks. */
  readonly ref: string;
  readonly count: number;
  readonly content: Buffer;
}

export interface PackedPayloads {
  readonly pieces: readonly Piece[];
  /** By draft: what is stored with the task, its payload or where that is. */
  readonly stored: readonly string[];
}

/** Shorter ones cost less where they are read and deleted with their task. */
const APART_MIN_LENGTH = 512;
/** Below it a transaction costs more than it saves. */
const TOGETHER_MIN_LENGTH = 65_536;
/** A task that takes its time keeps the payloads of its piece in memory, so a piece is not much longer than this. */
const PIECE_LENGTH = 65_536;

/**
 * Puts long payloads together. A script hashes and copies every string that it is given; what lies apart goes past it,
 * and the server keeps the bytes as they came. undefined when it does not pay.
 */
export const packPayloads = (
  drafts: readonly TaskDraft[],
  ids: readonly string[],
): PackedPayloads | undefined => {
  let length = 0;
  for (const { payloadText } of drafts) {
    if (payloadText.length >= APART_MIN_LENGTH) length += payloadText.length;
  }
  if (length < TOGETHER_MIN_LENGTH) return undefined;
  const stored = drafts.map(({ payloadText }) => payloadText);
  const pieces: Piece[] = [];
  let indexes: number[] = [];
  let room = PIECE_LENGTH;
  const close = (): void => {
    const ref = ids[indexes[0] as number];
    if (ref === undefined) return;
    const texts = indexes.map((index) => stored[index] as string);
    const joined = texts.join("\n");
    const content = Buffer.from(joined);
    const isAscii = content.length === joined.length;
    let start = 0;
    for (const [place, text] of texts.entries()) {
      const end = start + (isAscii ? text.length : Buffer.byteLength(text));
      stored[indexes[place] as number] = `=${start} ${end - 1} ${ref}`;
      start = end + 1;
    }
    pieces.push({ ref, count: texts.length, content });
    indexes = [];
    room = PIECE_LENGTH;
  };
  for (const [index, { payloadText }] of drafts.entries()) {
    if (payloadText.length < APART_MIN_LENGTH) continue;
    indexes.push(index);
    room -= payloadText.length;
    if (room <= 0) close();
  }
  close();
  return { pieces, stored };
};

/** Reads the payloads that a claim brought beside its tasks, in the order of these; see claim-tasks.lua. */
export class PieceReader {
  readonly #parts: readonly (string | number)[];
  #next = 0;
  #lines: readonly string[] = [];
  #line = 0;

  /** `parts`: how many payloads each of them has, followed by these. */
  constructor(parts: readonly (string | number)[]) {
    this.#parts = parts;
  }

  /** "", which is no JSON, where the piece is gone or is not what it was. */
  read(): string {
    if (this.#line === this.#lines.length) {
      const count = Number(this.#parts[this.#next] ?? 1);
      const lines = String(this.#parts[this.#next + 1] ?? "").split("\n");
      this.#next += 2;
      this.#line = 0;
      this.#lines = lines.length === count ? lines : Array.from({ length: count }, () => "");
    }
    const payload = this.#lines[this.#line] ?? "";
    this.#line += 1;
    return payload;
  }
}

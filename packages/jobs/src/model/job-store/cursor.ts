import { InvalidInputError } from "@holdfast/kernel";

/** Where a page of the job list ended: jobs are ordered by submission, newest first, then by key. */
export interface ListCursor {
  readonly submittedAt: number;
  readonly key: string;
}

export const encodeCursor = ({ submittedAt, key }: ListCursor): string =>
  Buffer.from(JSON.stringify([submittedAt, key])).toString("base64url");

/** @throws InvalidInputError when it is not a cursor of ours. */
export const decodeCursor = (text: string): ListCursor => {
  try {
    const [submittedAt, key] = JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as unknown[];
    if (Number.isSafeInteger(submittedAt) && typeof key === "string") {
      return { submittedAt: submittedAt as number, key };
    }
  } catch {
    // Falls through to the one error for every kind of nonsense.
  }
  throw new InvalidInputError("cursor", text, "the nextCursor of an earlier page");
};

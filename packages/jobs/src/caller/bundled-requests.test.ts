import type { Peer } from "@holdfast/connection";
import { RemoteError } from "@holdfast/kernel";
import {
  VALIDATIONS_MAX_COUNT,
  type ValidateInputAnswer,
  validateInput,
  validateInputs,
} from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { BundledRequests } from "./bundled-requests.ts";

const answerTo = (input: unknown) =>
  ({ outcome: "valid", known: [String(input)] }) as unknown as ValidateInputAnswer;
const refusal = (code: string) => new RemoteError({ code, message: code, retryable: false });

type Question = { readonly workflow: string; readonly input?: unknown };

/** A peer that counts its messages and answers as the test says. */
const setUp = (options: { readonly onBundle?: () => Error | undefined } = {}) => {
  const messages: string[] = [];
  const one = ({ input }: Question) => {
    if (input === "bad") throw refusal("TEST_REFUSED");
    return answerTo(input);
  };
  const peer = {
    request: async (definition: unknown, input: Question & { readonly questions: readonly Question[] }) => {
      if (definition === validateInput) {
        messages.push("one");
        return one(input);
      }
      messages.push(`all of ${input.questions.length}`);
      const error = options.onBundle?.();
      if (error !== undefined) throw error;
      return {
        answers: input.questions.map((question) => {
          try {
            return { answer: one(question) };
          } catch {
            return { refused: { code: "TEST_REFUSED", message: "no", retryable: false } };
          }
        }),
      };
    },
  } as unknown as Peer;
  const requests = new BundledRequests({
    one: validateInput,
    many: validateInputs,
    maxCount: VALIDATIONS_MAX_COUNT,
    pack: (questions) => ({ questions: [...questions] }),
    unpack: ({ answers }) => answers.map(({ answer, refused }) => ({ value: answer, refused })),
  });
  const ask = async (input: unknown, timeoutMs = 1_000) => {
    const { known } = await requests.ask(peer, { workflow: "w", input }, { timeoutMs });
    return known[0];
  };
  return { messages, ask };
};

describe("requests that are asked together", () => {
  it("go in one message when they are made in one turn, and each gets its own answer", async () => {
    const { messages, ask } = setUp();
    expect(await Promise.all([ask("a"), ask("b"), ask("c")])).toEqual(["a", "b", "c"]);
    expect(messages).toEqual(["all of 3"]);
  });

  it("go alone when nobody else asks", async () => {
    const { messages, ask } = setUp();
    expect(await ask("a")).toBe("a");
    expect(await ask("b")).toBe("b");
    expect(messages).toEqual(["one", "one"]);
  });

  it("fail one by one", async () => {
    const { ask } = setUp();
    const outcomes = await Promise.allSettled([ask("a"), ask("bad"), ask("c")]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(outcomes[1]).toMatchObject({ reason: { code: "TEST_REFUSED" } });
  });

  it("never share a message with those that wait for another time, or beyond the bound", async () => {
    const { messages, ask } = setUp();
    await Promise.all([ask("a", 1_000), ask("b", 1_000), ask("c", 500)]);
    expect(messages).toEqual(["all of 2", "one"]);
    messages.length = 0;
    await Promise.all(Array.from({ length: VALIDATIONS_MAX_COUNT + 2 }, (_, index) => ask(index)));
    expect(messages).toEqual([`all of ${VALIDATIONS_MAX_COUNT}`, "all of 2"]);
    messages.length = 0;
    const large = "x".repeat(200 * 1024);
    await Promise.all([ask(`1${large}`), ask(`2${large}`)]);
    expect(messages).toEqual(["one", "one"]);
  });

  it("go one by one to a peer that does not know better, from then on", async () => {
    const { messages, ask } = setUp({ onBundle: () => refusal("PROTOCOL_UNKNOWN_MESSAGE") });
    expect(await Promise.all([ask("a"), ask("b")])).toEqual(["a", "b"]);
    expect(await Promise.all([ask("a"), ask("b")])).toEqual(["a", "b"]);
    expect(messages).toEqual(["all of 2", "one", "one", "one", "one"]);
  });

  it("go one by one when they are refused as a whole, so that one at fault fails alone", async () => {
    const { messages, ask } = setUp({ onBundle: () => refusal("PROTOCOL_INVALID_MESSAGE") });
    const outcomes = await Promise.allSettled([ask("a"), ask("bad")]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(messages).toEqual(["all of 2", "one", "one"]);
  });

  it("share the fate of their message otherwise", async () => {
    const { ask } = setUp({ onBundle: () => refusal("CONNECTION_LOST") });
    const outcomes = await Promise.allSettled([ask("a"), ask("b")]);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ reason: { code: "CONNECTION_LOST" } });
  });
});

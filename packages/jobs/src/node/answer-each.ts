import { toWireError, type WireError } from "@holdfast/kernel";

/** Longest message of an error, as the contract has it. */
const MESSAGE_MAX_CHARACTERS = 20_000;

/** Answers what came in one message as if each had come alone: the failure of one is an answer like any other. */
export const answerEach = async <In, Out>(
  inputs: readonly In[],
  answer: (input: In) => Promise<Out>,
): Promise<{ readonly value?: Out; readonly refused?: WireError }[]> =>
  Promise.all(
    inputs.map(async (input) => {
      try {
        return { value: await answer(input) };
      } catch (error) {
        const refused = toWireError(error);
        return { refused: { ...refused, message: refused.message.slice(0, MESSAGE_MAX_CHARACTERS) } };
      }
    }),
  );

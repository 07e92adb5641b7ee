import { expect, it } from "vitest";
import { InvalidWorkflowInputError } from "./errors.ts";

it("the error of an unacceptable input can be made of values that JSON cannot show", () => {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const values = [5n, cycle, { id: 5n }, () => 1, Number.NaN, "text", { a: [1] }];
  const messages = values.map(
    (value) => new InvalidWorkflowInputError("w", [{ path: "x", message: "must be small", value }]).message,
  );
  expect(messages.map((message) => message.slice(message.indexOf("(got")))).toEqual([
    "(got 5n)",
    "(got [object])",
    "(got [object])",
    "(got [function])",
    "(got null)",
    '(got "text")',
    '(got {"a":[1]})',
  ]);
});

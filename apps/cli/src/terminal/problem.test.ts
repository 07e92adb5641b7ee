import { readFile } from "node:fs/promises";
import { RemoteError } from "@holdfast/kernel";
import { expect, it } from "vitest";
import { NEXT_STEPS, reportProblem } from "./problem.ts";
import type { Session } from "./session.ts";

it("says the next step of errors that there are", async () => {
  const known = await readFile(new URL("../../../../docs/errors.md", import.meta.url), "utf8");
  const unknown = Object.keys(NEXT_STEPS).filter((code) => !known.includes(`\`${code}\``));
  expect(unknown).toEqual([]);
});

it("names the variable of the token to whom a gate does not let in", () => {
  const printed: unknown[] = [];
  const session = { printJson: (value: unknown) => printed.push(value) } as unknown as Session;
  const refused = new RemoteError({ code: "AUTHENTICATION_FAILED", message: "no", retryable: false });
  expect(reportProblem(session, refused, { json: true })).toBe(1);
  expect(printed).toMatchObject([{ error: { next: expect.stringContaining("HOLDFAST_TOKEN") } }]);
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readNodeSecurity } from "./security.ts";
import { UsageError } from "./terminal/problem.ts";

it.each([
  "[null]",
  '["secret secret secret"]',
  "[{}]",
])("refuses a tokens file with an entry that is none as wrong usage, naming the entry: %s", async (text) => {
  const directory = await mkdtemp(join(tmpdir(), "tokens-"));
  try {
    const tokens = join(directory, "tokens.json");
    await writeFile(tokens, text);
    const refused = await readNodeSecurity({ tokens }, [], {}).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(UsageError);
    expect(String(refused)).toContain("entry 0");
    expect(String(refused)).not.toContain("secret");
  } finally {
    await rm(directory, { recursive: true });
  }
});

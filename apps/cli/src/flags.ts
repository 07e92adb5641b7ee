import { readFile } from "node:fs/promises";
import { UsageError } from "./terminal/problem.ts";

/** A whole number in a range. @throws UsageError naming flag and value. */
export const wholeNumber =
  (flag: string, min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || value < min || value > max) {
      throw new UsageError(
        `${flag} must be a whole number from ${min} to ${max}, got ${JSON.stringify(text)}`,
      );
    }
    return value;
  };

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `500ms`, `30s`, `5m`, `2h`, `1d`, in milliseconds. @throws UsageError naming flag and value. */
export const duration =
  (flag: string) =>
  (text: string): number => {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
    const ms = match === null ? Number.NaN : Number(match[1]) * (UNITS[match[2] ?? ""] ?? Number.NaN);
    if (!(ms > 0))
      throw new UsageError(
        `${flag} must be a duration like 500ms, 30s, 5m or 2h, got ${JSON.stringify(text)}`,
      );
    return ms;
  };

export const nameList =
  (flag: string) =>
  (text: string): string[] => {
    const names = text
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "");
    if (names.length === 0)
      throw new UsageError(`${flag} needs at least one name, got ${JSON.stringify(text)}`);
    const repeated = names.find((name, index) => names.indexOf(name) !== index);
    if (repeated !== undefined) throw new UsageError(`${flag} names ${repeated} twice`);
    return names;
  };

/** JSON given in place or as `@FILE`. @throws UsageError saying where the JSON breaks. */
export const readJsonArgument = async (flag: string, text: string): Promise<unknown> => {
  let source = text;
  if (text.startsWith("@")) {
    try {
      source = await readFile(text.slice(1), "utf8");
    } catch (error) {
      throw new UsageError(
        `${flag}: cannot read ${text.slice(1)} (${(error as NodeJS.ErrnoException).code ?? "unreadable"})`,
      );
    }
  }
  try {
    return JSON.parse(source);
  } catch (error) {
    throw new UsageError(`${flag} is not valid JSON: ${(error as Error).message}`);
  }
};

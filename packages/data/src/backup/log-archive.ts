import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { InvalidInputError } from "@holdfast/kernel";
import type { LogReport } from "./repository.ts";
import { lsnValue } from "./restore-target.ts";

const SEGMENT = /^[0-9A-F]{24}$/;

const shellQuote = (text: string): string => {
  // PostgreSQL replaces %p and %f before the shell sees the command.
  if (/[%\0\n]/.test(text))
    throw new InvalidInputError("directory", text, "a path without percent signs and line breaks");
  return `'${text.replaceAll("'", `'\\''`)}'`;
};

/**
 * What the server runs for each finished piece of its log (`archive_command`). A piece appears whole or not at all,
 * is on disk before the server forgets it, and is never replaced by another of the same name.
 */
export const archiveCommand = (logDirectory: string): string => {
  const to = `${shellQuote(logDirectory)}/%f`;
  return `{ test ! -f ${to} || cmp -s %p ${to}; } && { test -f ${to} || { cp %p ${to}.part && sync ${to}.part && mv ${to}.part ${to}; }; }`;
};

/** What a recovering server runs to fetch a piece of the log. */
export const restoreCommand = (logDirectory: string): string => `cp ${shellQuote(logDirectory)}/%f %p`;

/** The name of the segment that holds a position. */
export const segmentName = (timeline: number, lsn: string, segmentBytes: number): string => {
  const number = lsnValue(lsn) / BigInt(segmentBytes);
  const perFile = 0x1_0000_0000n / BigInt(segmentBytes);
  const hex = (value: bigint): string => value.toString(16).toUpperCase().padStart(8, "0");
  return hex(BigInt(timeline)) + hex(number / perFile) + hex(number % perFile);
};

const numberOf = (name: string, segmentBytes: number): bigint =>
  BigInt(`0x${name.slice(8, 16)}`) * (0x1_0000_0000n / BigInt(segmentBytes)) + BigInt(`0x${name.slice(16)}`);

export const listSegments = async (logDirectory: string): Promise<readonly string[]> => {
  const names = await readdir(logDirectory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names.filter((name) => SEGMENT.test(name)).sort();
};

/**
 * What is kept of the log from a segment on, with the gaps. A segment of another length than the others counts
 * as missing: it was cut. Timelines follow each other, so the numbers go on from one to the next; those of an older
 * one are of no use.
 */
export const reportLog = async (
  logDirectory: string,
  from: string,
  segmentBytes: number,
): Promise<LogReport | undefined> => {
  const names = (await listSegments(logDirectory)).filter(
    (name) => name.slice(8) >= from.slice(8) && name.slice(0, 8) >= from.slice(0, 8),
  );
  const [first] = names;
  const last = names.at(-1);
  if (first === undefined || last === undefined) return undefined;
  const present = new Set<bigint>();
  const missing: string[] = [];
  for (const name of names) {
    // One that goes while we look is missing.
    const found = await stat(join(logDirectory, name)).catch(undefinedIfMissing);
    if (found?.size === segmentBytes) present.add(numberOf(name, segmentBytes));
  }
  const end = numberOf(last, segmentBytes);
  for (let number = numberOf(from, segmentBytes); number <= end; number += 1n) {
    if (present.has(number)) continue;
    const lsn = number * BigInt(segmentBytes);
    missing.push(
      segmentName(
        Number.parseInt(last.slice(0, 8), 16),
        `${(lsn >> 32n).toString(16)}/${(lsn & 0xffff_ffffn).toString(16)}`,
        segmentBytes,
      ),
    );
  }
  return { segmentCount: names.length, first, last, missing };
};

const undefinedIfMissing = (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== "ENOENT") throw error;
};

/** Removes segments that no kept backup needs. Histories of timelines are small and stay. */
export const pruneLog = async (logDirectory: string, startsOfKept: readonly string[]): Promise<number> => {
  const [first] = startsOfKept.map((name) => name.slice(8)).sort();
  if (first === undefined) return 0;
  const old = (await listSegments(logDirectory)).filter((name) => name.slice(8) < first);
  // Another process may remove them too.
  for (const name of old) await rm(join(logDirectory, name), { force: true });
  return old.length;
};

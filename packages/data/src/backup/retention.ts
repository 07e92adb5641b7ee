import { integerOption } from "../sql/integer-option.ts";
import type { BackupRecord, RetentionPolicy } from "./repository.ts";

const DAY_MS = 86_400_000;

const dayOf = (at: Date): string => at.toISOString().slice(0, 10);
/** The Monday of the week. 1970-01-01 was a Thursday. */
const weekOf = (at: Date): string => String(Math.floor((at.getTime() / DAY_MS + 3) / 7));
const monthOf = (at: Date): string => at.toISOString().slice(0, 7);

/** @throws InvalidInputError naming the number. */
export const readPolicy = (
  policy: RetentionPolicy,
): { readonly daily: number; readonly weekly: number; readonly monthly: number } => ({
  daily: integerOption("dailyCount", policy.dailyCount ?? 7, 0, 10_000),
  weekly: integerOption("weeklyCount", policy.weeklyCount ?? 4, 0, 10_000),
  monthly: integerOption("monthlyCount", policy.monthlyCount ?? 6, 0, 10_000),
});

/**
 * Which backups the policy keeps. The newest one, and the newest one that was verified, are kept always: whatever
 * the calendar says, there is something to restore.
 */
export const keptBackups = (
  backups: readonly BackupRecord[],
  policy: RetentionPolicy,
): ReadonlySet<string> => {
  const counts = readPolicy(policy);
  const newestFirst = [...backups].sort((a, b) => Date.parse(b.finishedAt) - Date.parse(a.finishedAt));
  const kept = new Set<string>();
  const keep = (record: BackupRecord | undefined): void => {
    if (record !== undefined) kept.add(record.id);
  };
  keep(newestFirst[0]);
  keep(newestFirst.find(({ verifiedAt }) => verifiedAt !== undefined));
  for (const [count, periodOf] of [
    [counts.daily, dayOf],
    [counts.weekly, weekOf],
    [counts.monthly, monthOf],
  ] as const) {
    const seen = new Set<string>();
    for (const record of newestFirst) {
      const period = periodOf(new Date(record.finishedAt));
      if (seen.has(period)) continue;
      if (seen.size >= count) break;
      seen.add(period);
      keep(record);
    }
  }
  return kept;
};

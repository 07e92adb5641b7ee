import { stripVTControlCharacters } from "node:util";

/** 1234567 → "1,234,567"; fractions keep at most one digit. */
export const formatCount = (value: number): string =>
  value.toLocaleString("en-US", { maximumFractionDigits: Number.isInteger(value) ? 0 : 1 });

/** Milliseconds for people: "830 µs", "12.4 ms", "3.2 s", "4 m 05 s", "2 h 10 m". */
export const formatDuration = (ms: number): string => {
  if (!Number.isFinite(ms)) return "?";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 100) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} m ${String(Math.floor((ms % 60_000) / 1000)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} m`;
};

export const formatRate = (perSecond: number): string =>
  perSecond >= 100 ? `${formatCount(Math.round(perSecond))}/s` : `${perSecond.toFixed(1)}/s`;

/** How long ago, coarsely. */
export const formatAge = (ms: number): string => {
  if (ms < 1000) return "now";
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} m ago`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ago`;
  return `${Math.floor(ms / 86_400_000)} d ago`;
};

/** What others wrote, on one line: line breaks would tear a screen apart, and control sequences are commands to it. */
export const oneLine = (text: string): string => stripVTControlCharacters(text).replaceAll(/\p{Cc}+/gu, " ");

/** A bar of `width` cells for a fraction in [0, 1], in eighths of a cell. */
export const formatBar = (fraction: number, width: number): string => {
  const eighths = Math.round(Math.min(1, Math.max(0, fraction)) * width * 8);
  const full = Math.floor(eighths / 8);
  const rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8] ?? "";
  return ("█".repeat(full) + rest).padEnd(width, "·");
};

export const formatCount = (value: number): string =>
  value.toLocaleString("en-US", { maximumFractionDigits: value < 10 && !Number.isInteger(value) ? 1 : 0 });

export const formatDuration = (ms: number): string => {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 100) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000)
    return `${Math.floor(ms / 60_000)} m ${String(Math.floor((ms % 60_000) / 1000)).padStart(2, "0")} s`;
  return `${Math.floor(ms / 3_600_000)} h ${String(Math.floor((ms % 3_600_000) / 60_000)).padStart(2, "0")} m`;
};

export const formatClock = (at: number): string => new Date(at).toLocaleTimeString("en-GB");

export const formatAge = (ms: number): string => {
  if (ms < 5_000) return "just now";
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ago`;
  return `${Math.floor(ms / 86_400_000)} d ago`;
};

const BYTE_UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"] as const;

export const formatBytes = (bytes: number): string => {
  if (!Number.isFinite(bytes)) return "–";
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  const power = Math.min(BYTE_UNITS.length, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${BYTE_UNITS[power - 1]}`;
};

/** A share from 0 to 1 as per cent; what is not all is never shown as 100 %. */
export const formatShare = (share: number): string => {
  const percent = share < 1 ? Math.min(99.9, 100 * share) : 100;
  return `${percent.toFixed(percent < 100 && percent > 0 ? 1 : 0)} %`;
};

/** A message as a sentence, with what ends one. */
export const formatSentence = (message: string): string => (/[.!?]$/.test(message) ? message : `${message}.`);

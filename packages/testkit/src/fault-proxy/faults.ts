/** What a {@link FaultProxy} does to the bytes that pass one way. */
export interface Faults {
  /** Every byte arrives this much later, in milliseconds. Default 0. */
  readonly latencyMs: number;
  /** And up to this much later again, by chance. Order is kept. Default 0. */
  readonly jitterMs: number;
  /** How fast bytes pass. Default: as fast as they come. */
  readonly bytesPerSecond: number;
  /** Bytes arrive in pieces of at most this size, so that frames are split. Default: as they came. */
  readonly sliceBytes: number;
  /** Bytes are collected this long and arrive in one piece, so that frames stick together. Default 0: they are not. */
  readonly glueMs: number;
  /** An orderly close (FIN) arrives this much later than the last byte, in milliseconds. Default 0. */
  readonly closeDelayMs: number;
  /**
   * Nothing arrives, no byte and no close, as when a cable is pulled: both ends keep their connection. What was
   * sent meanwhile arrives when the cut is mended; the sender is held back after 1 MiB. Default false.
   */
  readonly cut: boolean;
}

export const NO_FAULTS: Faults = {
  latencyMs: 0,
  jitterMs: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
  sliceBytes: Number.POSITIVE_INFINITY,
  glueMs: 0,
  closeDelayMs: 0,
  cut: false,
};

/** @throws RangeError naming the field. */
export const checkFaults = (faults: Partial<Faults>): void => {
  for (const name of ["latencyMs", "jitterMs", "glueMs", "closeDelayMs"] as const) {
    const value = faults[name];
    if (value !== undefined && !(value >= 0)) throw new RangeError(`${name} must be 0 or more; got ${value}`);
  }
  for (const name of ["bytesPerSecond", "sliceBytes"] as const) {
    const value = faults[name];
    if (value !== undefined && !(value >= 1)) throw new RangeError(`${name} must be 1 or more; got ${value}`);
  }
};

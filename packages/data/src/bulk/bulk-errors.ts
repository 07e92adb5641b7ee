import { HoldfastError, type HoldfastErrorInit, isHoldfastError } from "@holdfast/kernel";

/** A row of a bulk load cannot be encoded, or the server refuses it; nothing of the load was kept. Not retryable. */
export class BulkRowRefusedError extends HoldfastError {
  override readonly name = "BulkRowRefusedError";
  readonly code = "BULK_ROW_REFUSED";
  /** In the order of the input, from 1. */
  readonly rowNumber: number;

  constructor(rowNumber: number, cause: Error, init: HoldfastErrorInit = {}) {
    super(`row ${rowNumber} was refused, so nothing was loaded: ${cause.message}`, {
      cause,
      ...init,
      details: { ...init.details, ...(isHoldfastError(cause) ? cause.details : {}), rowNumber },
    });
    this.rowNumber = rowNumber;
  }
}

import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** pgvector is missing or too old; nothing was changed. Not retryable. */
export class VectorExtensionError extends HoldfastError {
  override readonly name = "VectorExtensionError";
  readonly code = "VECTOR_EXTENSION_UNUSABLE";

  constructor(problem: string, init: HoldfastErrorInit = {}) {
    super(
      `the extension vector (pgvector) ${problem}: install pgvector 0.8.0 or newer, then try again`,
      init,
    );
  }
}

/** The table of a collection exists with another column than the one declared; nothing was changed. Not retryable. */
export class VectorSchemaMismatchError extends HoldfastError {
  override readonly name = "VectorSchemaMismatchError";
  readonly code = "VECTOR_SCHEMA_MISMATCH";

  constructor(table: string, column: string, found: string, declared: string, init: HoldfastErrorInit = {}) {
    super(
      `table ${table} has column ${column} as ${found}, the collection declares ${declared}: use another table, or declare what is there`,
      { ...init, details: { ...init.details, table, column, found, declared } },
    );
  }
}

/** The server finished an index build and the index is not valid; it was removed. Retryable. */
export class VectorIndexInvalidError extends HoldfastError {
  override readonly name = "VectorIndexInvalidError";
  readonly code = "VECTOR_INDEX_INVALID";

  constructor(index: string, init: HoldfastErrorInit = {}) {
    super(`index ${index} was built but is not valid, so it was removed: build it again`, {
      retryable: true,
      ...init,
      details: { ...init.details, index },
    });
  }
}

/** Another process builds this index at this moment; it goes on there. Retryable. */
export class VectorIndexBusyError extends HoldfastError {
  override readonly name = "VectorIndexBusyError";
  readonly code = "VECTOR_INDEX_BUSY";

  constructor(index: string, init: HoldfastErrorInit = {}) {
    super(`index ${index} is being built by another process: wait until it is done`, {
      retryable: true,
      ...init,
      details: { ...init.details, index },
    });
  }
}

import { HoldfastError } from "@holdfast/kernel";

/** A hook was called outside its provider. Not retryable: wrap the component. */
export class MissingProviderError extends HoldfastError {
  override readonly name = "MissingProviderError";
  readonly code = "LIVE_MISSING_PROVIDER";

  constructor(hook: string) {
    super(`${hook} must be used inside <BroadcastProvider>`, { details: { hook } });
  }
}

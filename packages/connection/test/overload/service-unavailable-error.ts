import { HoldfastError } from "@holdfast/kernel";

/** What a host says while its kill switch is on. */
export class ServiceUnavailableError extends HoldfastError {
  override readonly name = "ServiceUnavailableError";
  readonly code = "TEST_UNAVAILABLE";

  constructor() {
    super("the host is switched off", { retryable: true });
  }
}

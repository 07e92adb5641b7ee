import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** A service that a test asked for is not installed. Nothing was started. Not retryable. */
export class ServiceUnavailableError extends HoldfastError {
  override readonly name = "ServiceUnavailableError";
  readonly code = "TESTKIT_SERVICE_UNAVAILABLE";

  constructor(reason: string, init: HoldfastErrorInit = {}) {
    super(reason, init);
  }
}

/** A process did not start, did not say what was waited for, or ended too early. Retryable; it is stopped by then. */
export class ProcessFailedError extends HoldfastError {
  override readonly name = "ProcessFailedError";
  readonly code = "TESTKIT_PROCESS_FAILED";

  constructor(what: string, output: string, init: HoldfastErrorInit = {}) {
    super(output === "" ? what : `${what}; its last output:\n${output}`, { retryable: true, ...init });
  }
}

/** A condition did not come true in time. The last failure of the check, if any, is the cause. Retryable. */
export class ConditionTimeoutError extends HoldfastError {
  override readonly name = "ConditionTimeoutError";
  readonly code = "TESTKIT_CONDITION_TIMEOUT";

  constructor(what: string, timeoutMs: number, init: HoldfastErrorInit = {}) {
    super(`${what}: not so after ${timeoutMs} ms`, {
      retryable: true,
      ...init,
      details: { what, timeoutMs },
    });
  }
}

/** A test server was told to refuse the request. Retryable; the handler did not run. */
export class UnhealthyError extends HoldfastError {
  override readonly name = "UnhealthyError";
  readonly code = "TESTKIT_UNHEALTHY";

  constructor(init: HoldfastErrorInit = {}) {
    super("this test server was told to refuse the request", { retryable: true, ...init });
  }
}

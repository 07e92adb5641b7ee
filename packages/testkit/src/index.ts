export { ConditionTimeoutError, ProcessFailedError, ServiceUnavailableError } from "./errors.ts";
export {
  ManagedProcess,
  type ProcessExit,
  type ProcessOptions,
  runToEnd,
  startProcess,
} from "./process/managed-process.ts";
export { type PortReservation, reservePort } from "./process/reserve-port.ts";
export { makeTempDirectory, type TempDirectory } from "./process/temp-directory.ts";
export { waitUntil } from "./process/wait-until.ts";
export {
  chromiumPath,
  requireService,
  SERVICES,
  type ServiceName,
  serviceUnavailable,
} from "./services/availability.ts";
export {
  type PostgresOptions,
  type PostgresServer,
  type PostgresSettings,
  startPostgres,
} from "./services/postgres.ts";

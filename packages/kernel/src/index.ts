export { type Abortable, childController, type Deferred, deferred, untilAborted } from "./abort.ts";
export { Batcher, type BatcherOptions } from "./batcher.ts";
export { type Clock, sleepOn, systemClock, type Timer } from "./clock.ts";
export { withTimeout } from "./deadline.ts";
export { Emitter } from "./emitter.ts";
export {
  type ErrorDetails,
  HoldfastError,
  type HoldfastErrorInit,
  hasCode,
  isHoldfastError,
} from "./error.ts";
export {
  assert,
  ClosedError,
  InvalidInputError,
  OutcomeUnknownError,
  OverloadedError,
  RemoteError,
  TimeoutError,
  toWireError,
  type WireError,
} from "./errors.ts";
export { newId } from "./id.ts";
export { keepNewest } from "./keep-newest.ts";
export { type Logger, silentLogger } from "./logger.ts";
export { Mutex } from "./mutex.ts";
export { checkPlainJson } from "./plain-json.ts";
export { type Random, randomHex, randomInt, seededRandom, systemRandom } from "./random.ts";
export { TaskGroup } from "./task-group.ts";
export { afterThisTurn } from "./turn.ts";

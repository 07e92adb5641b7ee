export type { Backoff } from "./backoff/backoff.ts";
export { type DecorrelatedBackoffOptions, decorrelatedBackoff } from "./backoff/decorrelated.ts";
export { type ExponentialBackoffOptions, exponentialBackoff } from "./backoff/exponential.ts";
export { type FibonacciBackoffOptions, fibonacciBackoff } from "./backoff/fibonacci.ts";
export { fixedBackoff, noBackoff } from "./backoff/fixed.ts";
export type { Jitter } from "./backoff/jitter.ts";
export { type LinearBackoffOptions, linearBackoff } from "./backoff/linear.ts";
export {
  type BreakerState,
  CircuitBreaker,
  type CircuitBreakerEvents,
  type CircuitBreakerOptions,
  type CircuitBreakerStats,
} from "./circuit-breaker/circuit-breaker.ts";
export type { BreakerTrip, WindowTrip } from "./circuit-breaker/trip.ts";
export { type ComposeOptions, compose } from "./compose.ts";
export { Bulkhead, type BulkheadEvents, type BulkheadOptions } from "./concurrency/bulkhead.ts";
export {
  ConcurrencyLimit,
  type ConcurrencyLimitEvents,
  type ConcurrencyLimitOptions,
  type ConcurrencyLimitStats,
} from "./concurrency/concurrency-limit.ts";
export type { SlotStats, SlotWaitOptions } from "./concurrency/slots.ts";
export { CircuitOpenError, LoadShedError, RateLimitedError } from "./errors.ts";
export type { Body, CallContext, ExecuteOptions, Policy } from "./execution/policy.ts";
export { Fallback, type FallbackEvents, type FallbackOptions, type FallbackStats } from "./fallback.ts";
export { Hedge, type HedgeEvents, type HedgeOptions, type HedgeStats } from "./hedge.ts";
export {
  InFlightCaps,
  type InFlightCapsEvents,
  type InFlightCapsOptions,
  type InFlightCapsStats,
  type InFlightPriorityStats,
} from "./load-shedding/in-flight-caps.ts";
export {
  isShed,
  LoadShedder,
  type LoadShedderEvents,
  type LoadShedderOptions,
  type LoadShedderStats,
} from "./load-shedding/load-shedder.ts";
export {
  type LevelLimits,
  OverloadDetector,
  type OverloadDetectorEvents,
  type OverloadDetectorOptions,
  type OverloadDetectorStats,
  type ResourceSample,
} from "./load-shedding/overload-detector.ts";
export { type OverloadLevel, type OverloadSource, overloadLevels } from "./load-shedding/overload-level.ts";
export { type Priority, priorities } from "./load-shedding/priority.ts";
export {
  type QueuePressure,
  type QueuePressureOptions,
  queuePressure,
} from "./load-shedding/queue-pressure.ts";
export {
  type Admission,
  ClientRateLimiter,
  type ClientRateLimiterEvents,
  type ClientRateLimiterOptions,
  type ClientRateLimiterStats,
  type ClientRequest,
  jobOperationLimits,
  type WindowLimit,
} from "./rate-limit/client-rate-limiter.ts";
export {
  CooperativeThrottle,
  type CooperativeThrottleEvents,
  type CooperativeThrottleOptions,
  type CooperativeThrottleStats,
} from "./rate-limit/cooperative-throttle.ts";
export {
  KeyedRateLimiter,
  type KeyedRateLimiterEvents,
  type KeyedRateLimiterOptions,
  type KeyedRateLimiterStats,
} from "./rate-limit/keyed-rate-limiter.ts";
export {
  type PermitOptions,
  type PermitSource,
  RateLimiter,
  type RateLimiterEvents,
  type RateLimiterOptions,
  type RateLimiterStats,
} from "./rate-limit/rate-limiter.ts";
export { SlidingWindow } from "./rate-limit/sliding-window.ts";
export { TokenBucket, type TokenBucketOptions } from "./rate-limit/token-bucket.ts";
export { isRefusal, isRetryable, type RetryClassifier, retryOn, retryOnCodes } from "./retry/classifier.ts";
export { EitherBudget } from "./retry/either-budget.ts";
export {
  type GiveUpReason,
  Retry,
  type RetryEvents,
  type RetryOptions,
  type RetryStats,
} from "./retry/retry.ts";
export {
  type RetryBudget,
  type RetryBudgetStats,
  ShareBudget,
  type ShareBudgetOptions,
  TokenBudget,
  type TokenBudgetOptions,
} from "./retry/retry-budget.ts";
export { type RetryPreset, type RetryPresetName, retryPresets } from "./retry/retry-presets.ts";
export {
  AdaptiveTimeout,
  type AdaptiveTimeoutOptions,
  type AdaptiveTimeoutStats,
} from "./timeout/adaptive-timeout.ts";
export {
  type Collector,
  type PartialResult,
  PartialTimeout,
  type PartialTimeoutEvents,
  type PartialTimeoutOptions,
  type PartialTimeoutStats,
} from "./timeout/partial-timeout.ts";
export { Timeout, type TimeoutEvents, type TimeoutOptions, type TimeoutStats } from "./timeout/timeout.ts";

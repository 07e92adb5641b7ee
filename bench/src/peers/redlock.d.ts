/** Ships its types where its own entry points do not name them. What the bench uses of it: */
declare module "redlock" {
  import type { Redis } from "ioredis";

  interface Settings {
    readonly retryCount?: number;
    readonly retryDelay?: number;
    readonly retryJitter?: number;
  }

  interface Lock {
    release(): Promise<unknown>;
  }

  export default class Redlock {
    constructor(clients: readonly Redis[], settings?: Settings);
    acquire(resources: readonly string[], durationMs: number): Promise<Lock>;
  }
}

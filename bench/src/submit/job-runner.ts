/** One way to get work done, open and warm. */
export interface JobRunner extends AsyncDisposable {
  /** Adds one no-op and resolves when it is known to be completed. */
  run(): Promise<void>;
}

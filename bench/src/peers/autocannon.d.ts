declare module "autocannon" {
  interface Options {
    readonly url: string;
    readonly connections?: number;
    readonly duration?: number;
    readonly overallRate?: number;
  }
  interface Result {
    readonly requests: { readonly total: number };
    readonly errors: number;
    /** Milliseconds. */
    readonly latency: { readonly p99_9: number };
    readonly start: Date;
  }
  export default function autocannon(options: Options): Promise<Result>;
}

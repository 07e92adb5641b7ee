/** One comparison. The runner works the ratio out of it: above 1 means that we are ahead of the best peer. */
export interface BenchResult {
  /** Of every number here, for example `calls/s`. */
  readonly unit: string;
  readonly ours: number;
  /** By `library@version`. */
  readonly peers: Readonly<Record<string, number>>;
  readonly higherIsBetter: boolean;
  /** What was measured and how, and what a peer cannot do. */
  readonly notes: string;
}

/** What a file of this folder's parent exports as its default. */
export interface Bench {
  readonly name: string;
  /** The question, as one sentence. */
  readonly description: string;
  /** The oldest major version of Node that every peer runs on, where that is newer than ours. */
  readonly nodeMajor?: number;
  /** Of several results the last is the one that the bench is named for. */
  run(): Promise<BenchResult | readonly BenchResult[]>;
}

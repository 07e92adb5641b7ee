import { bucketOf } from "./stored-text.ts";

/** A false refusal needs a lapsed lease and another key of the bucket invalidated meanwhile: rare with this many. */
const BUCKET_COUNT = 1_024;

/** The names of one partition's keys; its slot is the hash tag of all of them. */
export class RedisKeys {
  readonly state: string;
  readonly generation: string;
  readonly log: string;
  readonly channel: string;
  readonly #entryPrefix: string;
  readonly #leasePrefix: string;
  readonly #tagPrefix: string;

  constructor(slot: string) {
    const prefix = `{${slot}}`;
    this.state = `${prefix}:state`;
    this.generation = `${prefix}:gen`;
    this.log = `${prefix}:log`;
    this.channel = `${prefix}:feed`;
    this.#entryPrefix = `${prefix}:e:`;
    this.#leasePrefix = `${prefix}:l:`;
    this.#tagPrefix = `${prefix}:t:`;
  }

  entry(key: string): string {
    return this.#entryPrefix + key;
  }

  lease(key: string): string {
    return this.#leasePrefix + key;
  }

  tag(tag: string): string {
    return this.#tagPrefix + tag;
  }

  tags(tags: readonly string[]): readonly string[] {
    return tags.map((tag) => this.tag(tag));
  }

  bucket(key: string): string {
    return String(bucketOf(key, BUCKET_COUNT));
  }
}

/** Something that a history shows and that must never happen. */
export interface Violation {
  /** Which promise is broken, as a stable name. */
  readonly invariant: string;
  /** What was seen, for people. */
  readonly detail: string;
}

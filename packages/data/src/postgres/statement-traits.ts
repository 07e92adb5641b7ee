/** What the text of a statement tells about running it. */
export interface StatementTraits {
  /** It writes nothing by itself, so running it again after a lost answer does no harm. */
  readonly isRepeatable: boolean;
  /** It needs and changes nothing of the session and waits for no lock, so it may be sent behind others. */
  readonly isShareable: boolean;
}

const READ = /^\s*(select|values|table|show)\b/i;

/** Signs of a lock, of a table being made, or of a wait. */
const WAITS_OR_WRITES =
  /\b(for\s+(no\s+key\s+)?update|for\s+(key\s+)?share|into|pg_\w*lock\w*|pg_sleep\w*|set_config|nextval|setval)\b/i;

/**
 * Judges by the words alone, and when in doubt against. A read that calls a function of yours is taken for one that
 * does not write; say `repeatable: false` where that is wrong.
 *
 * @param isSingle Whether the text is one statement for sure (it came with a list of values).
 */
export const traitsOf = (text: string, isSingle: boolean): StatementTraits => {
  const isRead = READ.test(text);
  return {
    isRepeatable: isRead && (isSingle || !text.includes(";")),
    isShareable: isRead && isSingle && !WAITS_OR_WRITES.test(text),
  };
};

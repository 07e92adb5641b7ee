import type { HoldfastError } from "@holdfast/kernel";
import { InvalidChannelError } from "../errors.ts";

/** What one connection may ask of a server. The server states its own in `welcome`. */
export interface LiveLimits {
  /** Channels that one connection may follow. */
  readonly channelMaxCount: number;
  /** UTF-8 bytes of one frame from a client. */
  readonly frameMaxBytes: number;
  /** UTF-8 bytes of one event as it goes out. */
  readonly eventMaxBytes: number;
}

export const DEFAULT_LIMITS: LiveLimits = {
  channelMaxCount: 128,
  frameMaxBytes: 65_536,
  eventMaxBytes: 262_144,
};

const NAME_MAX_LENGTH = 255;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** What is wrong with a channel name, or undefined. Names are opaque: 1 to 255 characters, no control characters. */
export const channelProblem = (name: unknown): HoldfastError | undefined => {
  const problem =
    typeof name !== "string"
      ? "must be a string"
      : name === ""
        ? "must not be empty"
        : name.length > NAME_MAX_LENGTH
          ? `must have at most ${NAME_MAX_LENGTH} characters, not ${name.length}`
          : CONTROL.test(name)
            ? "must have no control characters"
            : undefined;
  return problem === undefined ? undefined : new InvalidChannelError(`a channel name ${problem}`);
};

/** @throws InvalidChannelError */
export const checkChannel = (name: string): void => {
  const problem = channelProblem(name);
  if (problem !== undefined) throw problem;
};

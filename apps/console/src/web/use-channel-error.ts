import { NotConnectedError } from "@holdfast/live/client";
import { useBroadcast } from "@holdfast/live-react";
import { useEffect } from "react";

/** Calls back with what the console says against a channel. */
export const useChannelError = (channel: string, onError: (message: string) => void): void => {
  const client = useBroadcast();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a callback made anew says the same
  useEffect(
    () =>
      client.onError((error, concerned) => {
        if (concerned === channel && !(error instanceof NotConnectedError)) onError(error.message);
      }),
    [client, channel],
  );
};

import { BroadcastClient, type BroadcastClientOptions } from "@holdfast/live/client";
import { createContext, type ReactNode, useContext, useEffect, useState } from "react";
import { MissingProviderError } from "./errors.ts";

const BroadcastContext = createContext<BroadcastClient | undefined>(undefined);

export interface BroadcastProviderProps {
  /** Where the server is; a new address means a new connection. */
  readonly url: string;
  /** Used for each connection that the provider makes; changing them alone does not reconnect. */
  readonly options?: BroadcastClientOptions;
  readonly children?: ReactNode;
}

/**
 * Gives its children one client: connected while mounted, disconnected after. A mount that React undoes and repeats
 * at once, as strict mode does, makes one connection. On a server it renders its children and connects nothing.
 */
export const BroadcastProvider = ({ url, options, children }: BroadcastProviderProps): ReactNode => {
  const [entry, setEntry] = useState(() => ({ url, client: new BroadcastClient(url, options) }));
  let current = entry;
  if (entry.url !== url) {
    current = { url, client: new BroadcastClient(url, options) };
    setEntry(current);
  }
  const { client } = current;
  useEffect(() => {
    let isMounted = true;
    // In the next microtask: strict mode has unmounted by then if it is going to.
    queueMicrotask(() => {
      if (isMounted) client.connect();
    });
    return () => {
      isMounted = false;
      client.disconnect();
    };
  }, [client]);
  return <BroadcastContext value={client}>{children}</BroadcastContext>;
};

/**
 * The client of the provider: the same object until the address changes.
 * @throws MissingProviderError
 */
export const useBroadcast = (): BroadcastClient => {
  const client = useContext(BroadcastContext);
  if (client === undefined) throw new MissingProviderError("useBroadcast");
  return client;
};

import { NotConnectedError } from "../errors.ts";
import { BroadcastClient } from "./broadcast-client.ts";
import type { BroadcastClientOptions } from "./client-options.ts";

let shared: BroadcastClient | undefined;

/** Makes and connects the client that the whole program shares. An earlier one is disconnected. */
export const initSharedClient = (url: string, options: BroadcastClientOptions = {}): BroadcastClient => {
  const client = new BroadcastClient(url, options);
  shared?.disconnect();
  shared = client;
  client.connect();
  return client;
};

/** @throws NotConnectedError before `initSharedClient`. */
export const sharedClient = (): BroadcastClient => {
  if (shared === undefined)
    throw new NotConnectedError("there is no shared client; call initSharedClient first");
  return shared;
};

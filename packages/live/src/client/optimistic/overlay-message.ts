import { isObject } from "../../model/parse.ts";

/** How tabs of one browser tell each other about pending mutations. */
export type OverlayMessage =
  | { readonly overlay: "apply"; readonly mutation: string; readonly name: string; readonly args: unknown }
  | {
      readonly overlay: "acknowledge";
      readonly mutation: string;
      readonly name: string;
      readonly args: unknown;
    }
  | { readonly overlay: "fail"; readonly mutation: string };

export const parseOverlayMessage = (value: unknown): OverlayMessage | undefined => {
  if (!isObject(value) || typeof value["mutation"] !== "string") return undefined;
  const { overlay, mutation, name, args } = value;
  if (overlay === "fail") return { overlay, mutation };
  if ((overlay !== "apply" && overlay !== "acknowledge") || typeof name !== "string") return undefined;
  return { overlay, mutation, name, args };
};

/** What the store needs of a client to reach other tabs; `BroadcastClient` fits. */
export interface TabLink {
  sendToTabs(message: unknown): void;
  onTabMessage(listener: (message: unknown) => void): () => void;
}

import { shareSocket } from "@holdfast/live/client";
import { BroadcastProvider } from "@holdfast/live-react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { OrdersPage } from "./orders-page.tsx";
import "./style.css";

const root = document.getElementById("root");
if (root === null) throw new Error("the page has no #root element");

/** Who is at the page; a shop of your own would know from its login. */
const query = new URLSearchParams(location.search);
const user = query.get("user") ?? "guest";
const names = { application: "orders", user };
/** `?share`: all such tabs of this browser use one socket. */
const options = query.has("share") ? { platform: { openSocket: shareSocket(names) } } : {};

const getToken = async (): Promise<string> => {
  const response = await fetch(`/api/session?user=${encodeURIComponent(user)}`, { method: "POST" });
  return ((await response.json()) as { token: string }).token;
};

createRoot(root).render(
  <StrictMode>
    <BroadcastProvider
      url={`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/broadcast`}
      options={{ ...options, getToken, tabs: names }}
    >
      <OrdersPage user={user} />
    </BroadcastProvider>
  </StrictMode>,
);

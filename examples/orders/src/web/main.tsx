import { BroadcastProvider } from "@holdfast/live-react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { OrdersPage } from "./orders-page.tsx";
import "./style.css";

const root = document.getElementById("root");
if (root === null) throw new Error("the page has no #root element");

/** Who is at the page; a shop of your own would know from its login. */
const user = new URLSearchParams(location.search).get("user") ?? "guest";

const getToken = async (): Promise<string> => {
  const response = await fetch(`/api/session?user=${encodeURIComponent(user)}`, { method: "POST" });
  return ((await response.json()) as { token: string }).token;
};

createRoot(root).render(
  <StrictMode>
    <BroadcastProvider
      url={`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/broadcast`}
      options={{ getToken, tabs: { application: "orders", user } }}
    >
      <OrdersPage user={user} />
    </BroadcastProvider>
  </StrictMode>,
);

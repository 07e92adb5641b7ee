import { BroadcastProvider } from "@holdfast/live-react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import { storedToken } from "./token.ts";
import "./style.css";

const root = document.getElementById("root");
if (root === null) throw new Error("the page has no #root element");
createRoot(root).render(
  <StrictMode>
    <BroadcastProvider
      url={`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/broadcast`}
      options={{ getToken: storedToken, reconnectDelay: 250, reconnectDelayMax: 8_000, tabs: false }}
    >
      <App />
    </BroadcastProvider>
  </StrictMode>,
);

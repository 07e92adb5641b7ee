import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import { LiveSocket } from "./live-socket.ts";
import "./style.css";
import { LiveContext } from "./use-live.ts";

const root = document.getElementById("root");
if (root === null) throw new Error("the page has no #root element");
const socket = new LiveSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
createRoot(root).render(
  <StrictMode>
    <LiveContext value={socket}>
      <App />
    </LiveContext>
  </StrictMode>,
);

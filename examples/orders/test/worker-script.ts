import { build, type Rollup } from "vite";

/** What runs in the worker: a client of the shop that tells the page everything it hears. */
const SOURCE = `
  import { BroadcastClient } from "@holdfast/live/client";
  onmessage = ({ data: address }) => {
    const getToken = async () => {
      const response = await fetch(address + "/api/session?user=worker", { method: "POST" });
      return (await response.json()).token;
    };
    const url = address.replace("http", "ws") + "/ws/broadcast";
    const client = new BroadcastClient(url, { getToken, reconnectDelay: 50, reconnectDelayMax: 500 });
    client.onStateChange((state) => postMessage(state));
    client.subscribe("order", ({ event, offset }) => postMessage(event + " " + offset));
    client.connect();
    client.ready("order").then(() => postMessage("ready"));
  };
`;

/** The script of a worker, with the client in it as a page would load it. */
export const buildWorkerScript = async (): Promise<string> => {
  const id = "virtual:worker";
  const { output } = (await build({
    root: import.meta.dirname,
    configFile: false,
    logLevel: "error",
    resolve: { conditions: ["holdfast-source", "browser", "module", "import", "default"] },
    plugins: [
      {
        name: "worker",
        resolveId: (name) => (name === id ? `\0${id}` : undefined),
        load: (name) => (name === `\0${id}` ? SOURCE : undefined),
      },
    ],
    build: { write: false, target: "es2022", modulePreload: false, rollupOptions: { input: id } },
  })) as Rollup.RollupOutput;
  const [chunk] = output;
  return chunk.code;
};

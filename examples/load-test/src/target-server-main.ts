import { startTargetServer } from "./target-server.ts";

// A process of its own, so that it does not share a processor thread with the workers that load it. Started by
// the workflow when no URL is given; it leaves when nobody has asked it anything for a minute. When the port is
// taken, another one is there already and this one has nothing to do.
const port = Number(process.argv[2]);
try {
  const server = await startTargetServer({ port, onIdle: () => void server.close() });
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
}

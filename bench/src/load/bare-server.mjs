// A server that does nothing but answer, in a process of its own. It prints its port.
//
//   node bare-server.mjs                 answers at once
//   node bare-server.mjs 3000 1000       stands still once: from 3000 ms after its first request, for 1000 ms,
//                                        and prints when that began and ended (milliseconds since the epoch)
import { createServer } from "node:http";

const [stallAfterMs, stallMs] = process.argv.slice(2).map(Number);
const now = () => performance.timeOrigin + performance.now();
/** Answers that wait for the end of the stall; undefined outside of it. */
let held;
let isScripted = stallAfterMs === undefined;

const answer = (response) => {
  response.writeHead(200, { "content-type": "text/plain", "content-length": "5" });
  response.end("hello");
};

const stall = () => {
  held = [];
  const beganAt = now();
  setTimeout(() => {
    const waiting = held;
    held = undefined;
    for (const response of waiting) answer(response);
    console.log(JSON.stringify({ beganAt, endedAt: now() }));
  }, stallMs);
};

const server = createServer((_request, response) => {
  if (!isScripted) {
    isScripted = true;
    setTimeout(stall, stallAfterMs);
  }
  if (held === undefined) answer(response);
  else held.push(response);
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

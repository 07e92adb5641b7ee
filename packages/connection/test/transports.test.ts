import { systemClock } from "@holdfast/kernel";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { createMemoryNetwork, tcpTransport, tlsTransport } from "../src/index.ts";
import { type TransportHarness, transportSuite } from "../src/testing/index.ts";
import type { Transport } from "../src/transport.ts";
import { certificates } from "./certificates.ts";

expectNoLeaks();

const harness = (transport: Transport, listenAddress: string) => async (): Promise<TransportHarness> => ({
  transport,
  listenAddress,
  [Symbol.asyncDispose]: async () => undefined,
});

transportSuite("memory", harness(createMemoryNetwork({ clock: systemClock }), "node-1:0"));
transportSuite(
  "memory with latency",
  harness(createMemoryNetwork({ clock: systemClock, latencyMs: 2 }), "node-1:0"),
);
transportSuite("tcp", harness(tcpTransport(), "127.0.0.1:0"));
transportSuite("tcp over IPv6", harness(tcpTransport(), "[::1]:0"));
transportSuite(
  "tls",
  harness(tlsTransport({ ...certificates.server, authorities: certificates.authority }), "127.0.0.1:0"),
);

export { type TransportHarness, transportSuite } from "./transport.suite.ts";

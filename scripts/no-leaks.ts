// Runs before every test file: one that leaves a socket, a port, a child process or a timer open fails. Suites with
// services or several processes look after themselves: what they start is ended by the watchdog of the test kit.
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { expect } from "vitest";

if (!/\.(slow|service|e2e)\.test\./.test(expect.getState().testPath ?? "")) expectNoLeaks({ after: "file" });

import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe } from "vitest";
import { TestLiveServer } from "../src/testing/index.ts";
import { scenariosSuite } from "./scenarios.suite.ts";

expectNoLeaks();

describe("on memory", () => {
  scenariosSuite(() => TestLiveServer.start());
});

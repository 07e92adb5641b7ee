import { expectNoLeaks } from "../../src/vitest/index.ts";

expectNoLeaks({ after: "file", timeoutMs: 3_000 });

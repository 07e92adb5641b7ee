import { createServer } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";

const server = createServer();
beforeAll(() => new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve)));
afterAll(() => new Promise((resolve) => server.close(resolve)));

it("shares a port with the other tests of its file", () => {
  expect(server.listening).toBe(true);
});

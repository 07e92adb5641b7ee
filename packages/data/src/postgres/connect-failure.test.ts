import { describe, expect, it } from "vitest";
import { fromConnectFailure } from "./connect-failure.ts";
import type { ServerAddress } from "./server-address.ts";

const address: ServerAddress = {
  host: "db1",
  port: 5432,
  database: "orders",
  user: "app",
  password: undefined,
  tls: undefined,
  applicationName: undefined,
};

describe("a connection that could not be opened", () => {
  it("for want of a password is refused for good", () => {
    const error = new Error("SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string");
    expect(fromConnectFailure(error, address)).toMatchObject({
      code: "SQL_AUTHENTICATION_FAILED",
      retryable: false,
    });
  });

  it("because the server died meanwhile may be tried again, with or without a password", () => {
    const error = new Error("Connection terminated unexpectedly");
    for (const password of [undefined, "secret"]) {
      const problem = fromConnectFailure(error, { ...address, password });
      expect(problem).toMatchObject({ code: "SQL_CONNECT_FAILED", retryable: true });
      expect(problem.message).not.toContain("secret");
    }
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseProtocol, LINK_PROTOCOLS, transportOf } from "./protocol-choice.ts";

describe("chooseProtocol", () => {
  it("takes TLS before TCP before UDP of what both have, for all subsets", () => {
    const subset = fc.subarray([...LINK_PROTOCOLS]);
    fc.assert(
      fc.property(subset, subset, (ours, theirs) => {
        const common = LINK_PROTOCOLS.filter(
          (protocol) => ours.includes(protocol) && theirs.includes(protocol),
        );
        expect(chooseProtocol(ours, theirs)).toBe(common.at(-1));
      }),
    );
  });

  it("cannot dial UDP", () => {
    expect(() => transportOf("udp")).toThrowError(
      expect.objectContaining({ code: "CONNECTION_UNSUPPORTED_PROTOCOL" }),
    );
    expect([transportOf("tcp").kind, transportOf("tls").kind]).toEqual(["tcp", "tls"]);
  });
});

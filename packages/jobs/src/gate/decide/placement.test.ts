import { describe, expect, it } from "vitest";
import type { Health } from "../datacenter-health.ts";
import { choosePlacement, type PlacementCandidate } from "./placement.ts";

const at = (
  datacenter: string,
  health: Health,
  more: Partial<PlacementCandidate> = {},
): PlacementCandidate => ({
  datacenter,
  health,
  availableCores: 1,
  pendingTasks: 0,
  workflows: new Set(["w"]),
  ...more,
});

const job = (more: object = {}) => ({
  datacenters: [] as string[],
  datacenterCount: 1,
  policy: "require-all" as const,
  workflows: [{ id: "wf", name: "n", workflow: "w", input: {}, dependsOn: [], priority: "auto" as const }],
  ...more,
});

describe("placement", () => {
  it("takes healthy before busy before degraded, and never unhealthy", () => {
    const candidates = [at("a", "unhealthy"), at("b", "degraded"), at("c", "busy"), at("d", "healthy")];
    expect(choosePlacement(job(), candidates)).toEqual({
      kind: "placed",
      datacenters: ["d"],
      fallbacks: ["c", "b"],
    });
    expect(choosePlacement(job({ datacenterCount: 3 }), candidates)).toMatchObject({
      datacenters: ["d", "c", "b"],
    });
    expect(choosePlacement(job(), [at("a", "unhealthy")])).toMatchObject({ kind: "none" });
  });

  it("takes wished ones first, in the order of wishes where they are equally well", () => {
    const candidates = [at("a", "healthy"), at("b", "busy"), at("c", "healthy")];
    const wish = (...datacenters: string[]) => choosePlacement(job({ datacenters }), candidates);
    expect(wish("b")).toMatchObject({ datacenters: ["b"], fallbacks: ["a", "c"] });
    expect(wish("c", "a")).toMatchObject({ datacenters: ["c"] });
    expect(wish("b", "a")).toMatchObject({ datacenters: ["a"], fallbacks: ["b", "c"] });
    expect(wish("mars")).toEqual({ kind: "unknown", datacenter: "mars" });
  });

  it("prefers free cores, then little waiting work", () => {
    const candidates = [
      at("a", "healthy", { availableCores: 2, pendingTasks: 1 }),
      at("b", "healthy", { availableCores: 4, pendingTasks: 9 }),
      at("c", "healthy", { availableCores: 2, pendingTasks: 0 }),
    ];
    expect(choosePlacement(job(), candidates)).toMatchObject({ datacenters: ["b"], fallbacks: ["c", "a"] });
  });

  it("leaves out datacenters that lack a workflow, unless all do", () => {
    const none = new Set<string>();
    expect(
      choosePlacement(job(), [at("a", "healthy", { workflows: none }), at("b", "degraded")]),
    ).toMatchObject({ datacenters: ["b"], fallbacks: [] });
    expect(choosePlacement(job(), [at("a", "healthy", { workflows: none })])).toMatchObject({
      datacenters: ["a"],
    });
  });

  it("asks to wait while too few have answered, and takes fewer only when part is enough", () => {
    const two = job({ datacenterCount: 2 });
    expect(choosePlacement(two, [at("a", "healthy"), at("b", "initializing")])).toMatchObject({
      kind: "initializing",
    });
    expect(choosePlacement(two, [at("a", "healthy"), at("b", "unhealthy")])).toMatchObject({ kind: "none" });
    expect(
      choosePlacement({ ...two, policy: "allow-partial" }, [at("a", "healthy"), at("b", "unhealthy")]),
    ).toMatchObject({ kind: "placed", datacenters: ["a"] });
  });
});

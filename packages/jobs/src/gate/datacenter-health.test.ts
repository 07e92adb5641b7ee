import type { DatacenterView } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { datacenterHealth } from "./datacenter-health.ts";

const view = (input: {
  readonly managers?: readonly [live: number, all: number];
  readonly workers?: readonly [healthy: number, all: number];
  readonly cores?: readonly [available: number, total: number];
}) => {
  const [live, managers] = input.managers ?? [3, 3];
  const [healthy, workers] = input.workers ?? [4, 4];
  const [availableCores, totalCores] = input.cores ?? [16, 16];
  return {
    managers: Array.from({ length: managers }, (_, index) => ({
      nodeId: `m${index}`,
      address: "",
      state: index < live ? ("active" as const) : ("offline" as const),
      isLeader: false,
    })),
    workers: Array.from({ length: workers }, (_, index) => ({
      state: index < healthy ? ("healthy" as const) : ("degraded" as const),
    })) as unknown as DatacenterView["workers"],
    availableCores,
    totalCores,
  };
};

describe("the class of a datacenter", () => {
  it.each([
    ["all well", {}, "healthy"],
    ["no live manager", { managers: [0, 3] as const }, "unhealthy"],
    ["no worker", { workers: [0, 0] as const }, "unhealthy"],
    ["live managers below the majority", { managers: [1, 3] as const }, "degraded"],
    ["healthy workers below the majority", { workers: [2, 4] as const }, "degraded"],
    ["just a majority of managers, a third of them dead", { managers: [2, 3] as const }, "busy"],
    ["four of five managers dead", { managers: [1, 5] as const }, "unhealthy"],
    ["a quarter of the workers sick", { workers: [3, 4] as const }, "healthy"],
    ["a third of the workers sick", { workers: [2, 3] as const }, "busy"],
    ["69 % of the cores in use", { cores: [31, 100] as const }, "healthy"],
    ["70 % of the cores in use", { cores: [30, 100] as const }, "busy"],
    ["no free core", { cores: [0, 16] as const }, "busy"],
  ])("with %s", (_name, input, expected) => {
    expect(datacenterHealth(view(input))).toBe(expected);
  });
});

import { type Clock, sleepOn } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { Heartbeat } from "./heartbeat.ts";

/** A clock whose timers may fire late, as after a long task or a suspended machine. */
const stallingClock = () => {
  let now = 0;
  let timer: { at: number; callback: () => void } | undefined;
  const clock: Clock = {
    wallNow: () => now,
    monotonicNow: () => now,
    schedule: (ms, callback) => {
      timer = { at: now + ms, callback };
      return {
        cancel: () => {
          timer = undefined;
        },
      };
    },
    sleep: (ms, options) => sleepOn(clock, ms, options),
  };
  return {
    clock,
    /** Fires the timer that is set, so many milliseconds after its time. */
    fire: (lateMs = 0) => {
      const due = timer;
      timer = undefined;
      if (due === undefined) return false;
      now = due.at + lateMs;
      due.callback();
      return true;
    },
  };
};

const setup = () => {
  const { clock, fire } = stallingClock();
  const seen: string[] = [];
  const heartbeat = new Heartbeat({
    clock,
    intervalMs: 1_000,
    sendPing: () => seen.push("ping"),
    onSilence: (silentMs) => seen.push(`silent ${silentMs}`),
  });
  return { fire, heartbeat, seen };
};

describe("Heartbeat", () => {
  it("pings after an interval of silence and gives up after two", () => {
    const { fire, seen } = setup();
    while (fire());
    expect(seen).toEqual(["ping", "ping", "silent 2000"]);
  });

  it("does not count its own standstill as silence of the other side", () => {
    const { fire, heartbeat, seen } = setup();
    fire();
    fire();
    fire();
    expect(seen).toEqual(["ping"]);
    fire(60_000);
    expect(seen).toEqual(["ping", "ping"]);
    heartbeat.heard();
    fire();
    expect(seen).toEqual(["ping", "ping"]);
  });

  it("stays quiet while frames come", () => {
    const { fire, heartbeat, seen } = setup();
    for (let look = 0; look < 100; look += 1) {
      heartbeat.heard();
      fire();
    }
    expect(seen).toEqual([]);
    heartbeat.stop();
    expect(fire()).toBe(false);
  });
});

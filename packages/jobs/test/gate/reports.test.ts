import { describe, expect, it } from "vitest";
import type { SubmitOptions } from "../../src/client/index.ts";
import { PermanentError } from "../../src/errors.ts";
import type { JobReport, JobReporter } from "../../src/model/job-reporter.ts";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

/** A reporter that fails as often as it is told and remembers what it was given. */
const recordingReporter = (name: string, when: JobReporter["when"] = "always") => {
  const reports: JobReport[] = [];
  const failures: Error[] = [];
  let closedCount = 0;
  const reporter: JobReporter = {
    name,
    when,
    deliver: async (report) => {
      reports.push(report);
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
    },
    close: async () => {
      closedCount += 1;
    },
  };
  return { reporter, reports, failures, closedCount: () => closedCount };
};

describe("the results of jobs", () => {
  it("are delivered once their end is committed, to those who always want them and to those who were asked for", async () => {
    const [always, asked, other] = [
      recordingReporter("always"),
      recordingReporter("asked", "asked"),
      recordingReporter("other", "asked"),
    ];
    const reporters = [always.reporter, asked.reporter, other.reporter];
    await using t = await setup({ gate: { reporters } });
    const { jobId } = await t.submit({
      labels: { team: "a" },
      reporting: [{ type: "asked", options: { channel: "ops" } }, { type: "json" }],
    });
    await t.clock.advance(100);
    expect(always.reports).toEqual([]);
    await t.east.end(jobId, "completed");
    const result = await t.result(jobId);
    await t.clock.advance(100);
    expect(always.reports).toEqual([
      { deliveryId: expect.any(String), result, labels: { team: "a" }, config: undefined, attempt: 1 },
    ]);
    expect(asked.reports).toMatchObject([
      { result, config: { type: "asked", options: { channel: "ops" } }, attempt: 1 },
    ]);
    expect(asked.reports[0]?.deliveryId).not.toBe(always.reports[0]?.deliveryId);
    expect(other.reports).toEqual([]);
    expect((await settle(t.clock, t.client.get(jobId))).reports).toEqual([
      { reporter: "always", status: "delivered", attempts: 1 },
      { reporter: "asked", status: "delivered", attempts: 1 },
    ]);
  });

  it("are tried again after growing waits, under the same delivery id, and say why they wait", async () => {
    const { reporter, reports, failures } = recordingReporter("hook");
    failures.push(new Error("answered 503"), new Error("answered 502"));
    await using t = await setup({ gate: { reporters: [reporter] } });
    const { jobId } = await t.submit();
    await t.clock.advance(100);
    await t.east.end(jobId, "completed");
    await t.result(jobId);
    await t.clock.advance(200);
    expect((await settle(t.clock, t.client.get(jobId))).reports).toEqual([
      { reporter: "hook", status: "pending", attempts: 1, error: "answered 503" },
    ]);
    await t.clock.advance(10_000);
    expect(reports.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    expect(new Set(reports.map(({ deliveryId }) => deliveryId)).size).toBe(1);
    expect((await settle(t.clock, t.client.get(jobId))).reports).toEqual([
      { reporter: "hook", status: "delivered", attempts: 3 },
    ]);
  });

  it("that a receiver refuses for good are not tried again, and harm no other reporter", async () => {
    const [bad, good] = [recordingReporter("bad"), recordingReporter("good")];
    bad.failures.push(new PermanentError("answered 404"));
    await using t = await setup({ gate: { reporters: [bad.reporter, good.reporter] } });
    const { jobId } = await t.submit();
    await t.clock.advance(100);
    await t.east.end(jobId, "failed");
    expect((await t.result(jobId)).status).toBe("failed");
    await t.clock.advance(60_000);
    expect(bad.reports).toHaveLength(1);
    expect(good.reports).toHaveLength(1);
    expect((await settle(t.clock, t.client.get(jobId))).reports).toEqual([
      { reporter: "bad", status: "failed", attempts: 1, error: "answered 404" },
      { reporter: "good", status: "delivered", attempts: 1 },
    ]);
  });

  it("reach their receiver though the gate that ended the job dies before it could deliver", async () => {
    const stuck = recordingReporter("hook");
    const hanging: JobReporter = {
      ...stuck.reporter,
      deliver: async (report, { signal }) => {
        stuck.reports.push(report);
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      },
    };
    const { reporter, reports } = recordingReporter("hook");
    await using t = await setup({
      gates: 2,
      gateOf: (index) => ({ reporters: [index === 0 ? hanging : reporter] }),
    });
    const { jobId } = await t.submit({}, t.newClient([t.gates[0]?.address ?? ""]));
    await t.clock.advance(100);
    await t.east.end(jobId, "completed");
    await t.clock.advance(1_000);
    expect(stuck.reports.length + reports.length).toBe(1);
    await settle(t.clock, t.gates[0]?.kill() ?? Promise.resolve());
    await t.clock.advance(120_000);
    expect(reports).toHaveLength(1);
    expect(reports[0]?.result).toMatchObject({ jobId, status: "completed" });
  });

  it("are refused to a reporter that no gate has, before the job is stored", async () => {
    const { reporter } = recordingReporter("hook", "asked");
    await using t = await setup({ gate: { reporters: [reporter] } });
    const failure = await t
      .submit({ reporting: [{ type: "json" }, { type: "pigeon" }] })
      .catch((error) => error);
    expect(String(failure)).toMatch(/reporting\[1\]\.type.*hook.*pigeon/);
    const workflows = [{ workflow: "w", input: {}, reporting: [{ type: "hook" }, { type: "pigeon" }] }];
    await expect(t.submit({ workflows })).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      details: { field: "workflows[0].reporting[1].type" },
    });
    expect((await settle(t.clock, t.client.list())).jobs).toEqual([]);
  });

  it("go nowhere when two reporters share a name, or take one of the client's", async () => {
    const twice = [recordingReporter("hook").reporter, recordingReporter("hook").reporter];
    await expect(setup({ gate: { reporters: twice } })).rejects.toThrow(/reporters\.name/);
    const local = [recordingReporter("CSV").reporter];
    await expect(setup({ gate: { reporters: local } })).rejects.toThrow(/reporters\.name/);
  });

  it("leave no reporter open behind a gate that stopped", async () => {
    const { reporter, closedCount } = recordingReporter("hook");
    const t = await setup({ gate: { reporters: [reporter] } });
    await t[Symbol.asyncDispose]();
    expect(closedCount()).toBe(1);
  });

  it("closes each reporter, though another one fails to close or never ends closing", async () => {
    const [failing, hanging, sound] = [
      recordingReporter("failing"),
      recordingReporter("hanging"),
      recordingReporter("sound"),
    ];
    const reporters: JobReporter[] = [
      { ...failing.reporter, close: () => Promise.reject(new Error("no")) },
      { ...hanging.reporter, close: () => new Promise(() => undefined) },
      sound.reporter,
    ];
    const t = await setup({ gate: { reporters } });
    await t[Symbol.asyncDispose]();
    expect(sound.closedCount()).toBe(1);
  });

  it("are refused with the job when what goes along with them is too large to be kept for its end", async () => {
    const { reporter, reports } = recordingReporter("hook", "asked");
    await using t = await setup({ gate: { reporters: [reporter] } });
    const large = (length: number) => ({ type: "hook", options: { text: "x".repeat(length) } });
    const workflow = { workflow: "w", input: {} };
    const tooLarge: readonly (readonly [Partial<SubmitOptions>, string])[] = [
      [{ reporting: [{ type: "json" }, large(4_400_000)] }, "reporting[1]"],
      [
        { workflows: [workflow, { ...workflow, name: "b", reporting: [large(1_100_000)] }] },
        "workflows[1].reporting[0]",
      ],
      [
        {
          reporting: [large(1)],
          labels: Object.fromEntries(Array.from({ length: 9_000 }, (_, n) => [`${n}`, "x".repeat(500)])),
        },
        "labels",
      ],
    ];
    for (const [spec, field] of tooLarge) {
      await expect(t.submit(spec)).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
        retryable: false,
        details: { field },
      });
    }
    expect((await settle(t.clock, t.client.list())).jobs).toEqual([]);
    const { jobId } = await t.submit({ reporting: [large(1_000_000)] });
    await t.clock.advance(100);
    await t.east.end(jobId, "completed");
    expect(await t.result(jobId)).toMatchObject({ status: "completed" });
    await t.clock.advance(100);
    expect(reports).toHaveLength(1);
  });

  it("closes its reporters when it cannot start", async () => {
    const { reporter, closedCount } = recordingReporter("hook");
    await using t = await setup({
      gateOf: (index) => (index === 1 ? { listen: "gate-0:7401", reporters: [reporter] } : {}),
    });
    await expect(t.startGate(1)).rejects.toMatchObject({ code: "CONNECTION_ADDRESS_IN_USE" });
    expect(closedCount()).toBe(1);
  });

  it("hold up nobody who takes over the jobs of a gate that stops while a receiver hangs", async () => {
    const { reporter } = recordingReporter("hook");
    let isHanging = false;
    const hanging: JobReporter = {
      ...reporter,
      deliver: () => {
        isHanging = true;
        return new Promise(() => undefined);
      },
    };
    await using t = await setup({
      gates: 2,
      gateOf: (index) => (index === 0 ? { reporters: [hanging] } : {}),
    });
    const [first, second] = t.gates;
    const client = t.newClient([first?.address ?? ""]);
    const { jobId: ended } = await t.submit({}, client);
    const { jobId: running } = await t.submit({}, client);
    await t.clock.advance(100);
    await t.east.end(ended, "completed");
    await t.clock.advance(1_000);
    expect([isHanging, first?.stats().ledJobs]).toEqual([true, 1]);
    const stopping = first?.stop();
    await t.clock.advance(3_000);
    expect(second?.stats()).toMatchObject({ takeOvers: 1, ledJobs: 1 });
    await t.east.end(running, "completed");
    expect(await t.result(running)).toMatchObject({ status: "completed" });
    if (stopping !== undefined) await settle(t.clock, stopping);
  });
});

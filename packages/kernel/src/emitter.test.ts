import { describe, expect, it } from "vitest";
import { Emitter } from "./emitter.ts";

interface Events {
  readonly opened: { readonly node: string };
  readonly closed: number;
}

describe("an emitter", () => {
  it("calls the listeners of an event at once, in the order in which they came", () => {
    const emitter = new Emitter<Events>();
    const heard: string[] = [];
    emitter.on("opened", ({ node }) => heard.push(`first ${node}`));
    emitter.on("opened", ({ node }) => heard.push(`second ${node}`));
    emitter.on("closed", (code) => heard.push(`closed ${code}`));
    emitter.emit("opened", { node: "a" });
    expect(heard).toEqual(["first a", "second a"]);
  });

  it("keeps a listener that throws from harming the others, and reports its error with the event", () => {
    const reported: unknown[] = [];
    const emitter = new Emitter<Events>((error, event) => reported.push([error, event]));
    const failure = new Error("listener failed");
    const heard: number[] = [];
    emitter.on("closed", () => {
      throw failure;
    });
    emitter.on("closed", (code) => heard.push(code));
    emitter.emit("closed", 7);
    expect(heard).toEqual([7]);
    expect(reported).toEqual([[failure, "closed"]]);
  });

  it("reports the error of an asynchronous listener too, which would end the process otherwise", async () => {
    const failure = new Error("listener failed later");
    const reported = new Promise((resolve) => {
      const emitter = new Emitter<Events>((error, event) => resolve([error, event]));
      // A promise of which its type says nothing.
      const failLater = (): unknown => Promise.resolve().then(() => Promise.reject(failure));
      emitter.on("closed", failLater);
      emitter.emit("closed", 7);
    });
    expect(await reported).toEqual([failure, "closed"]);
  });

  it("forgets a listener that was removed, also when it is removed twice or from within", () => {
    const emitter = new Emitter<Events>();
    const heard: number[] = [];
    const off = emitter.on("closed", (code) => {
      heard.push(code);
      off();
    });
    emitter.emit("closed", 1);
    emitter.emit("closed", 2);
    off();
    expect(heard).toEqual([1]);
    expect(emitter.listenerCount("closed")).toBe(0);
    expect(emitter.listenerCount("opened")).toBe(0);
  });

  it("does not call a listener that was added during the event it would have heard", () => {
    const emitter = new Emitter<Events>();
    const heard: string[] = [];
    emitter.on("closed", () => {
      if (heard.length === 0) emitter.on("closed", () => heard.push("late"));
      heard.push("early");
    });
    emitter.emit("closed", 1);
    expect(heard).toEqual(["early"]);
    emitter.emit("closed", 2);
    expect(heard).toEqual(["early", "early", "late"]);
  });
});

import { encodeFrame, FRAME_MAX_BYTES, type Frame } from "@holdfast/protocol";
import { describe, expect, it, vi } from "vitest";
import type { Link, Listener, Transport } from "../transport.ts";

export interface TransportHarness extends AsyncDisposable {
  readonly transport: Transport;
  /** Where tests may listen; port 0. */
  readonly listenAddress: string;
}

/** What every {@link Transport} must keep, however it carries frames. */
export const transportSuite = (name: string, setUp: () => Promise<TransportHarness>): void => {
  describe(`transport ${name}`, () => {
    it("delivers whole frames in order, both ways, whatever their size", async () => {
      await using both = await linked(await setUp());
      const sizes = [0, 1, 70_000, 3, 1_000_000, 64, 0];
      const there = receive(both.far);
      const back = receive(both.near);
      sizes.forEach((size, index) => {
        both.near.send(frame(index, size));
        both.far.send(frame(100 + index, size));
      });
      await vi.waitFor(() => expect(there.length + back.length).toBe(2 * sizes.length));
      expect(there).toEqual(sizes.map((size, index) => describeFrame(frame(index, size))));
      expect(back).toEqual(sizes.map((size, index) => describeFrame(frame(100 + index, size))));
    });

    it("keeps frames that arrive before there is a receiver", async () => {
      await using both = await linked(await setUp());
      const first = receive(both.near);
      both.near.send(frame(1, 10));
      // The answer proves that the frame above had the time to arrive.
      both.far.send(frame(2, 10));
      await vi.waitFor(() => expect(first.length).toBe(1));
      const late = receive(both.far);
      await vi.waitFor(() => expect(late).toEqual([describeFrame(frame(1, 10))]));
    });

    it("leaves a frame that was handed over as it came, whatever comes later on any link", async () => {
      await using one = await linked(await setUp());
      await using other = await linked(await setUp());
      const kept: Uint8Array[] = [];
      one.near.onFrame((bytes) => kept.push(bytes));
      const others = receive(other.near);
      const sent: Uint8Array[] = [];
      for (let index = 0; index < 10; index += 1) {
        sent.push(frame(index, 5_000));
        one.far.send(sent[index] as Uint8Array);
        other.far.send(frame(100 + index, 5_000));
        await vi.waitFor(() => expect([kept.length, others.length]).toEqual([index + 1, index + 1]));
      }
      expect(kept.map(describeFrame)).toEqual(sent.map(describeFrame));
    });

    it("counts what is buffered down to zero and says so", async () => {
      await using both = await linked(await setUp());
      const drained = vi.fn();
      both.near.onDrain(drained);
      const seen = receive(both.far);
      const sentCount = 40;
      for (let index = 0; index < sentCount; index += 1) both.near.send(frame(index, 500_000));
      const wasBuffered = both.near.bufferedBytes > 0;
      await vi.waitFor(() => expect(seen.length).toBe(sentCount), { timeout: 10_000 });
      await vi.waitFor(() => expect(both.near.bufferedBytes).toBe(0));
      if (wasBuffered) await vi.waitFor(() => expect(drained).toHaveBeenCalled());
    });

    it("sends what is buffered before a polite close, and both sides see an end without an error", async () => {
      await using both = await linked(await setUp());
      const seen = receive(both.far);
      receive(both.near);
      const nearClosed = closing(both.near);
      const farClosed = closing(both.far);
      for (let index = 0; index < 20; index += 1) both.near.send(frame(index, 100_000));
      both.near.close();
      both.near.close();
      expect(await farClosed).toBeUndefined();
      expect(await nearClosed).toBeUndefined();
      expect(seen.length).toBe(20);
    });

    it("drops everything on destroy, and tells its own side why", async () => {
      await using both = await linked(await setUp());
      receive(both.far);
      receive(both.near);
      const nearClosed = closing(both.near);
      const farClosed = closing(both.far);
      const reason = new Error("enough");
      both.near.destroy(reason);
      both.near.destroy(new Error("again"));
      expect(await nearClosed).toBe(reason);
      await farClosed;
      both.near.send(frame(1, 1));
      both.near.close();
    });

    it("tells who asks after the end that there was one", async () => {
      await using both = await linked(await setUp());
      receive(both.far);
      receive(both.near);
      const farClosed = closing(both.far);
      both.near.destroy();
      await farClosed;
      await closing(both.far);
    });

    it("answers with a typed error when nobody listens", async () => {
      await using harness = await setUp();
      const listener = await harness.transport.listen(harness.listenAddress, () => undefined);
      await listener.close();
      await expect(harness.transport.dial(listener.address)).rejects.toMatchObject({
        code: "CONNECTION_REFUSED",
        retryable: false,
        details: { address: listener.address },
      });
    });

    it("names the address that is taken", async () => {
      await using harness = await setUp();
      await using listener = await harness.transport.listen(harness.listenAddress, () => undefined);
      await expect(harness.transport.listen(listener.address, () => undefined)).rejects.toMatchObject({
        code: "CONNECTION_ADDRESS_IN_USE",
        message: expect.stringContaining(listener.address),
      });
    });

    it("frees the address on close, and leaves open links open", async () => {
      await using both = await linked(await setUp());
      await both.listener.close();
      await both.listener.close();
      await expect(both.harness.transport.dial(both.listener.address)).rejects.toMatchObject({
        code: "CONNECTION_REFUSED",
      });
      const seen = receive(both.far);
      both.near.send(frame(7, 7));
      await vi.waitFor(() => expect(seen.length).toBe(1));
      const again = await both.harness.transport.listen(both.listener.address, () => undefined);
      expect(again.address).toBe(both.listener.address);
      await again.close();
    });

    it("gives a dial up when it is aborted", async () => {
      await using harness = await setUp();
      await using listener = await harness.transport.listen(harness.listenAddress, (link) => link.destroy());
      const reason = new Error("not needed any more");
      await expect(
        harness.transport.dial(listener.address, { signal: AbortSignal.abort(reason) }),
      ).rejects.toBe(reason);
      const controller = new AbortController();
      const dialled = harness.transport.dial(listener.address, { signal: controller.signal });
      controller.abort(reason);
      await expect(dialled).rejects.toBe(reason);
    });

    it.each([
      "",
      "nonsense",
      "host:99999",
      "host:",
      ":80",
      "a b:1",
    ])("refuses the address %j", async (address) => {
      await using harness = await setUp();
      await expect(harness.transport.dial(address)).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
      await expect(harness.transport.listen(address, () => undefined)).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
      });
    });
  });
};

interface LinkedPair extends AsyncDisposable {
  readonly harness: TransportHarness;
  readonly listener: Listener;
  readonly near: Link;
  readonly far: Link;
}

const linked = async (harness: TransportHarness): Promise<LinkedPair> => {
  const accepted: Link[] = [];
  const listener = await harness.transport.listen(harness.listenAddress, (link) => accepted.push(link));
  const near = await harness.transport.dial(listener.address);
  await vi.waitFor(() => expect(accepted.length).toBe(1));
  const far = accepted[0] as Link;
  return {
    harness,
    listener,
    near,
    far,
    async [Symbol.asyncDispose]() {
      near.destroy();
      far.destroy();
      await listener.close();
      await harness[Symbol.asyncDispose]();
    },
  };
};

const frame = (sequence: number, size: number): Uint8Array => {
  const value: Frame = {
    type: "push",
    sequence: BigInt(sequence),
    payload: new Uint8Array(size).fill(sequence),
  };
  return encodeFrame(value, { frameMaxBytes: FRAME_MAX_BYTES });
};

/** Enough to tell two frames apart without printing megabytes: the length and the last bytes, the checksum. */
const describeFrame = (bytes: Uint8Array): string =>
  `${bytes.length}:${[...bytes.subarray(-4)].map((byte) => byte.toString(16)).join(" ")}`;

const receive = (link: Link): string[] => {
  const seen: string[] = [];
  link.onFrame((bytes) => seen.push(describeFrame(bytes)));
  return seen;
};

const closing = (link: Link): Promise<Error | undefined> =>
  new Promise((resolve) => {
    link.onClose(resolve);
  });

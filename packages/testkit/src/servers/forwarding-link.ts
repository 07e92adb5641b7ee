import type { Link } from "@holdfast/connection";

/** A link that is another one, to change what goes over it: override what is to differ. */
export class ForwardingLink implements Link {
  protected readonly inner: Link;

  constructor(inner: Link) {
    this.inner = inner;
  }

  get remoteAddress(): string {
    return this.inner.remoteAddress;
  }

  get bufferedBytes(): number {
    return this.inner.bufferedBytes;
  }

  send(frame: Uint8Array): void {
    this.inner.send(frame);
  }

  limitFrames(frameMaxBytes: number): void {
    this.inner.limitFrames?.(frameMaxBytes);
  }

  onFrame(listener: (frame: Uint8Array) => void): void {
    this.inner.onFrame(listener);
  }

  onDrain(listener: () => void): void {
    this.inner.onDrain(listener);
  }

  onClose(listener: (error: Error | undefined) => void): void {
    this.inner.onClose(listener);
  }

  close(): void {
    this.inner.close();
  }

  destroy(error?: Error): void {
    this.inner.destroy(error);
  }
}

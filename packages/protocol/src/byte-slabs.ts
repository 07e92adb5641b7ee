/**
 * Small byte arrays are cut from slabs of this size. Node's own pool has 8 KiB and takes nothing above 4 KiB: each
 * frame around a payload of 4 KiB would be memory of its own, whose collection costs as much as its encoding.
 */
export const SLAB_BYTES = 64 * 1024;
/** What is larger gets memory of its own: a slab should serve several. */
export const SHARED_MAX_BYTES = SLAB_BYTES / 4;

const host = (globalThis as { Buffer?: { allocUnsafeSlow(size: number): Uint8Array } }).Buffer;

/** Unzeroed where there is Node: whoever asks for it must write every byte that is handed on. */
const allocateAlone: (size: number) => Uint8Array =
  host === undefined ? (size) => new Uint8Array(size) : (size) => host.allocUnsafeSlow(size);

export const newSlab = (): Uint8Array => allocateAlone(SLAB_BYTES);

let slab = newSlab();
let used = 0;

/** `size` bytes that nobody else has, not zeroed: write all of them. */
export const allocate = (size: number): Uint8Array => {
  if (size > SHARED_MAX_BYTES) return allocateAlone(size);
  if (used + size > SLAB_BYTES) {
    slab = newSlab();
    used = 0;
  }
  const bytes = slab.subarray(used, used + size);
  used += size;
  return bytes;
};

/** The same bytes in memory that nobody else writes to: for what must outlive a buffer that is used again. */
export const copyOf = (bytes: Uint8Array): Uint8Array => {
  const copy = allocate(bytes.length);
  copy.set(bytes);
  return copy;
};

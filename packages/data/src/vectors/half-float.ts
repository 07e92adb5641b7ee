/** The largest number that 16 bits hold. */
export const HALF_MAX = 65_504;
/** From here on rounding gives infinity. */
export const HALF_OVERFLOW = 65_520;

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

/** The 16 bits of IEEE 754 binary16 nearest to `value`, ties to even. */
export const toHalf = (value: number): number => {
  single[0] = value;
  const word = bits[0] as number;
  const sign = (word >>> 16) & 0x8000;
  const exponent = (word >>> 23) & 0xff;
  const mantissa = word & 0x7fffff;
  if (exponent === 0xff) return sign | (mantissa === 0 ? 0x7c00 : 0x7e00);
  const unbiased = exponent - 127 + 15;
  if (unbiased >= 0x1f) return sign | 0x7c00;
  if (unbiased <= 0) {
    // Too small for a normal number: the hidden one becomes visible and everything moves right.
    if (unbiased < -10) return sign;
    const shift = 14 - unbiased;
    return sign | roundShift(mantissa | 0x800000, shift);
  }
  // A mantissa that overflows when rounded raises the exponent by itself.
  return sign | ((unbiased << 10) + roundShift(mantissa, 13));
};

const roundShift = (value: number, shift: number): number => {
  const half = 1 << (shift - 1);
  const rest = value & ((1 << shift) - 1);
  const whole = value >>> shift;
  return rest > half || (rest === half && (whole & 1) === 1) ? whole + 1 : whole;
};

/** The number that the 16 bits stand for. */
export const fromHalf = (half: number): number => {
  const sign = (half & 0x8000) === 0 ? 1 : -1;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
};

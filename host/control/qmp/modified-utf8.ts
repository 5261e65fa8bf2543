/**
 * Modified UTF-8 as QEMU reads and writes it: UTF-8 in which U+0000 is the two bytes C0 80.
 * Refused are overlong forms, surrogates, noncharacters and anything beyond U+10FFFF.
 */

/** QEMU's U+FFFD for each sequence it cannot decode. */
export const REPLACEMENT_CODEPOINT = 0xfffd;

/** The least code point a sequence of 2 to 6 bytes may hold; less is overlong. */
const LEAST_CODEPOINT = [0x80, 0x800, 0x10000, 0x200000, 0x4000000];

/** Whether QEMU takes the code point for a character. */
export function isCodepoint(codepoint: number): boolean {
  if (codepoint < 0 || codepoint > 0x10ffff) return false;
  if (codepoint >= 0xd800 && codepoint <= 0xdfff) return false;
  return (codepoint & 0xfffe) !== 0xfffe && !(codepoint >= 0xfdd0 && codepoint <= 0xfdef);
}

/** Number of bytes announced by a leading byte: 0 for one that cannot lead. */
function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead >= 0xfe || lead < 0xc0) return 0;
  return Math.clz32(~(lead << 24));
}

/**
 * Decodes one sequence at `offset`. `codepoint` is -1 for a sequence that is not valid; `next`
 * is then behind the bytes that belong to it, so that each broken sequence counts once.
 */
export function decodeAt(
  bytes: Uint8Array,
  offset: number,
): { readonly codepoint: number; readonly next: number } {
  const lead = bytes[offset];
  const length = sequenceLength(lead);
  if (length < 2) return { codepoint: length === 1 ? lead : -1, next: offset + 1 };
  let codepoint = lead & (0x7f >> length);
  let next = offset + 1;
  for (; next < offset + length; next++) {
    if (next >= bytes.length || (bytes[next] & 0xc0) !== 0x80) return { codepoint: -1, next };
    codepoint = (codepoint << 6) | (bytes[next] & 0x3f);
  }
  const isNul = codepoint === 0 && length === 2;
  const isOverlong = codepoint < LEAST_CODEPOINT[length - 2] && !isNul;
  return { codepoint: isOverlong || !isCodepoint(codepoint) ? -1 : codepoint, next };
}

/** The text QEMU would print for bytes of any kind: up to the first zero, U+FFFD where broken. */
export function printable(bytes: Uint8Array): string {
  const zero = bytes.indexOf(0);
  const end = zero < 0 ? bytes.length : zero;
  const parts: string[] = [];
  const cString = bytes.subarray(0, end);
  for (let offset = 0; offset < end; ) {
    const { codepoint, next } = decodeAt(cString, offset);
    parts.push(String.fromCodePoint(codepoint < 0 ? REPLACEMENT_CODEPOINT : codepoint));
    offset = next;
  }
  return parts.join('');
}

/** The bytes QEMU holds for a string. */
export function encodeModifiedUtf8(text: string): Uint8Array {
  const utf8 = Buffer.from(text, 'utf8');
  if (!utf8.includes(0)) return utf8;
  const bytes: number[] = [];
  for (const byte of utf8) {
    if (byte === 0) bytes.push(0xc0, 0x80);
    else bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

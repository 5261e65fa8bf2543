/**
 * UTF-8 on the wire: a check that does not allocate, and cutting a text at a character. Invalid
 * means what Unicode says: overlong forms, surrogates, values above U+10FFFF, stray or missing
 * continuation bytes. Decoders would replace them silently, two peers then disagree on a text.
 */

/** Whether bytes `start` (included) to `end` (not included) are valid UTF-8. */
export function utf8Valid(bytes: Uint8Array, start: number, end: number): boolean {
  for (let position = start; position < end; ) {
    const lead = bytes[position++];
    if (lead < 0x80) continue;
    const more = continuationCount(lead);
    if (more === 0 || position + more > end) return false;
    const second = bytes[position];
    if (second < lowestSecond(lead) || second > highestSecond(lead)) return false;
    for (let index = 1; index < more; index++) {
      if ((bytes[position + index] & 0xc0) !== 0x80) return false;
    }
    position += more;
  }
  return true;
}

function continuationCount(lead: number): number {
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 1;
  if (lead < 0xf0) return 2;
  return lead < 0xf5 ? 3 : 0;
}

/** Overlong forms start with a second byte that is too low. */
function lowestSecond(lead: number): number {
  if (lead === 0xe0) return 0xa0;
  return lead === 0xf0 ? 0x90 : 0x80;
}

/** Surrogates and values above U+10FFFF start with one that is too high. */
function highestSecond(lead: number): number {
  if (lead === 0xed) return 0x9f;
  return lead === 0xf4 ? 0x8f : 0xbf;
}

/** The longest beginning of `text` that takes at most `limitBytes` as UTF-8. */
export function clipUtf8(text: string, limitBytes: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= limitBytes) return bytes.toString('utf8');
  let end = limitBytes;
  while (end > 0 && (bytes[end] & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

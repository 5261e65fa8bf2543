import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { quotePeer } from '../../../shared/lib/log.ts';

function isControl(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  const control = code < 0x20 || (code >= 0x7f && code <= 0x9f);
  return control || code === 0x2028 || code === 0x2029;
}

describe('text of a peer in a log line', () => {
  it.each([
    ['guest-1', '"guest-1"'],
    ['a"b\\c', '"a\\"b\\\\c"'],
    ['two\nlines\r\t', '"two\\nlines\\r\\t"'],
    ['\u001b[31mred', '"\\u001b[31mred"'],
    ['\u007f\u0085\u2028\u2029', '"\\u007f\\u0085\\u2028\\u2029"'],
    ['\ud83d', '"\\ud83d"'],
  ])('%j is escaped', (text, quoted) => {
    expect(quotePeer(text)).toBe(quoted);
  });

  it('is cut at the limit, with a mark', () => {
    expect(quotePeer('x'.repeat(128))).toBe(`"${'x'.repeat(128)}"`);
    expect(quotePeer('x'.repeat(129))).toBe(`"${'x'.repeat(128)}..."`);
    expect(quotePeer('abcdef', 3)).toBe('"abc..."');
  });

  it('never holds a control character, and reads back as what was kept', () => {
    const units = fc.array(fc.nat(0xffff), { maxLength: 100, size: 'max' });
    fc.assert(
      fc.property(units, (codes) => {
        const text = String.fromCharCode(...codes);
        const quoted = quotePeer(text, 400);
        expect([...quoted].filter(isControl)).toEqual([]);
        expect(JSON.parse(quoted)).toBe(text);
      }),
    );
  });
});

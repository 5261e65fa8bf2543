import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { issueText } from '../../../shared/control/issues.ts';
import { LineTooLong, readLines } from '../../../shared/control/lines.ts';

async function* from(chunks: readonly string[]): AsyncGenerator<string> {
  yield* chunks;
}

async function linesOf(chunks: readonly string[], maxLength?: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of readLines(from(chunks), maxLength)) lines.push(line);
  return lines;
}

describe('readLines', () => {
  test('however a text is cut, its lines are the same; an unfinished one is none', async () => {
    const chunks = fc.array(fc.string({ unit: fc.constantFrom('a', 'é', '\n', '{') }));
    await fc.assert(
      fc.asyncProperty(chunks, async (cut) => {
        expect(await linesOf(cut)).toEqual(cut.join('').split('\n').slice(0, -1));
      }),
    );
  });

  test('a line of exactly the limit passes, one character more does not', async () => {
    expect(await linesOf(['aaa', 'aa\nb', 'bbbb\n'], 5)).toEqual(['aaaaa', 'bbbbb']);
    await expect(linesOf(['aaa', 'aaa\n'], 5)).rejects.toThrow(LineTooLong);
    await expect(linesOf(['aaaaaa'], 5)).rejects.toThrow('a line has more than 5 characters');
  });

  test('lines before one that is too long have come', async () => {
    const lines: string[] = [];
    const reading = async (): Promise<void> => {
      for await (const line of readLines(from(['one\ntwo\nthreee']), 5)) lines.push(line);
    };
    await expect(reading()).rejects.toThrow(LineTooLong);
    expect(lines).toEqual(['one', 'two']);
  });
});

describe('issueText', () => {
  const schema = z.strictObject({ a: z.number(), deep: z.object({ b: z.string() }).optional() });

  test.each([
    [{}, 'a: is missing'],
    [{ a: 'x' }, 'a: Invalid input: expected number, received string'],
    [{ a: 1, deep: {} }, 'deep.b: is missing'],
    [{ deep: { b: 1 } }, 'a: is missing; deep.b: Invalid input: expected string, received number'],
    [{ a: 1, c: 2 }, 'Unrecognized key: "c"'],
    [7, 'Invalid input: expected object, received number'],
  ])('%j: %s', (value, expected) => {
    const { error } = schema.safeParse(value);
    expect(error && issueText(error)).toBe(expected);
  });
});

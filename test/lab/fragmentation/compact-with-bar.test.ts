import { describe, expect, test } from 'vitest';
import { runFragmentation } from '../../../lab/fragmentation/fragmentation.ts';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import { MIB } from '../../../shared/lib/units.ts';

/** What the scenario writes with 256 MiB, to a terminal or a log. */
async function written(isTTY: boolean): Promise<string> {
  let text = '';
  const output = { isTTY, columns: 80, write: (part: string) => (text += part) };
  const style = { colour: false, columns: 80 };
  const clock = new RealClock();
  const options = { memoryBytes: 256 * MIB, modes: ['movable'], clock } as const;
  await runFragmentation(options, style, output);
  return text;
}

describe('the bar while pages of the balloon move', () => {
  test('on a terminal: ends full, with as many pages as the summary has', async () => {
    const text = await written(true);
    const [, bar, barPages] = /\[(#+)\] 100% (\d+) pages moved\n/.exec(text) ?? [];
    const [, summaryPages] = /movable: compaction moved \d+ pages, (\d+) of/.exec(text) ?? [];
    expect(bar?.length).toBeGreaterThan(4);
    expect(Number(barPages)).toBeGreaterThan(0);
    expect(barPages).toBe(summaryPages);
  });

  test('in a log there is none, so that two runs write the same', async () => {
    const texts = [await written(false), await written(false)];
    const [one, other] = texts.map((text) => text.replace(/^The host is process .*$/m, ''));
    expect(one).toContain('movable: compaction moved');
    expect(one).not.toContain('\r');
    expect(one).toBe(other);
  });
});

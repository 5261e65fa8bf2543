import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Progress } from '../../lab/progress.ts';

function output(terminal: { readonly isTTY?: boolean; readonly columns?: number } = {}) {
  let written = '';
  const write = (text: string): void => {
    written += text;
  };
  return { ...terminal, write, text: () => written };
}

describe('elsewhere than on a terminal', () => {
  test('a plain line at every tenth, each once', () => {
    const to = output();
    const progress = new Progress(to, 'vm0');
    for (let done = 0; done <= 1000; done++) progress.show(done, 1000, `${done} pages`);
    progress.end();
    const lines = to.text().split('\n').slice(0, -1);
    expect(lines).toHaveLength(11);
    expect(lines[0]).toBe('vm0   0% 0 pages');
    expect(lines[10]).toBe('vm0 100% 1000 pages');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
    expect(to.text()).not.toMatch(/[\r\u001b]/);
  });

  test('no way to go is all of it; beyond the ends is the end', () => {
    const to = output();
    const progress = new Progress(to, 'a');
    progress.show(0, 0);
    progress.show(-5, 10);
    progress.show(50, 10);
    expect(to.text()).toBe('a 100%\na   0%\na 100%\n');
  });
});

describe('on a terminal', () => {
  test('one line that is redrawn, and left by end', () => {
    const to = output({ isTTY: true, columns: 80 });
    const progress = new Progress(to, 'vm0');
    progress.show(0, 4);
    progress.show(2, 4, 'half');
    progress.end();
    progress.end();
    const [, first, second] = to.text().split('\r\u001b[K');
    expect(first).toBe(`vm0 [${'.'.repeat(40)}]   0% `);
    expect(second).toBe(`vm0 [${'#'.repeat(20)}${'.'.repeat(20)}]  50% half\n`);
  });

  test('whatever the width, what is drawn is narrower: a line that wraps is not redrawn', () => {
    const columns = fc.integer({ min: 1, max: 200 });
    const label = fc.string({ maxLength: 60 });
    fc.assert(
      fc.property(columns, label, label, fc.nat(100), (width, name, detail, done) => {
        const to = output({ isTTY: true, columns: width });
        new Progress(to, name).show(done, 100, detail);
        expect(to.text().slice('\r\u001b[K'.length).length).toBeLessThan(width);
      }),
    );
  });
});

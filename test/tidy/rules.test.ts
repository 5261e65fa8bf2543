import { describe, expect, it } from 'vitest';
import { functionsOf } from './functions.ts';
import { checkCycles, checkDirections, checkUnused } from './layers.ts';
import { maskCode } from './mask.ts';
import {
  checkAssertions,
  checkFileLength,
  checkFunctions,
  checkLeftOver,
  checkLineLength,
  checkOneTitle,
  checkPurity,
} from './rules.ts';
import { callsOf, importsOf, sourceFile } from './scan.ts';

const file = (path: string, ...lines: readonly string[]) => sourceFile(path, lines.join('\n'));
const lines = (count: number): string[] => new Array<string>(count).fill('  step();');

describe('masking', () => {
  it.each([
    ["a('}') // }", "a(' ')     "],
    ['a /* { */ b', 'a         b'],
    ['f("\\"{")', 'f("   ")'],
    ['x = /[/}]/.test(y) / 2', 'x =       .test(y) / 2'],
    ['return /{/;', 'return    ;'],
    [`\`{\${a({ b: \`}\` })}}\``, '`   a({ b: ` ` })  `'],
    ['`\\`{` + b', '`   ` + b'],
    ["'\\\\' + {}", "'  ' + {}"],
  ])('%j becomes %j', (text, code) => {
    expect(maskCode(text)).toBe(code);
  });

  it('keeps length and line breaks', () => {
    const text = `/* a\n b */ const x = \`one\n\${two}\n\`; // end\n`;
    expect(maskCode(text)).toHaveLength(text.length);
    expect(maskCode(text).split('\n')).toHaveLength(5);
  });
});

describe('imports', () => {
  it('are found in every form, and only ours', () => {
    const found = importsOf(
      file(
        'guest/mm/zone.ts',
        "import { a } from './page/a.ts';",
        "import type { B } from '../../shared/lib/b.ts';",
        "export * from './c.ts';",
        "import './d.ts';",
        "const e = await import('./e.ts');",
        "import { readFileSync } from 'node:fs';",
        "// import { no } from './no.ts';",
        'const text = "from \'./text.ts\'";',
      ),
    );
    expect(found).toEqual([
      'guest/mm/page/a.ts',
      'shared/lib/b.ts',
      'guest/mm/c.ts',
      'guest/mm/d.ts',
      'guest/mm/e.ts',
    ]);
  });

  const importing = (from: string, to: string) => {
    const up = '../'.repeat(from.split('/').length - 1);
    return checkDirections([file(from, `import { x } from '${up}${to}';`)]);
  };

  it.each([
    ['host/vmm/vm.ts', 'guest/kernel.ts'],
    ['guest/kernel.ts', 'host/vmm/vm.ts'],
    ['shared/protocol/codec.ts', 'guest/kernel.ts'],
    ['shared/protocol/codec.ts', 'host/main.ts'],
    ['shared/lib/clock.ts', 'shared/limits.ts'],
    ['shared/limits.ts', 'shared/virtio/balloon.ts'],
    ['shared/lifecycle/compile.ts', 'shared/virtio/balloon.ts'],
    ['shared/virtio/stats.ts', 'shared/protocol/messages.ts'],
    ['shared/protocol/codec.ts', 'shared/transport/link.ts'],
    ['shared/transport/link.ts', 'shared/control/schema.ts'],
    ['guest/mm/zone.ts', 'guest/drivers/virtio-balloon.ts'],
    ['guest/mm/zone.ts', 'shared/protocol/messages.ts'],
    ['guest/mm/zone.ts', 'shared/transport/link.ts'],
    ['guest/mm/zone.ts', 'guest/kernel.ts'],
    ['guest/mm/page/buddy.ts', 'guest/mm/reclaim/kswapd.ts'],
    ['guest/mm/reclaim/kswapd.ts', 'guest/mm/calls/mmap.ts'],
    ['guest/kernel.ts', 'guest/mm/calls/mmap.ts'],
    ['guest/sched/scheduler.ts', 'guest/mm/zone.ts'],
    ['guest/drivers/virtio-balloon.ts', 'guest/workload/processes.ts'],
    ['guest/drivers/virtio-balloon.ts', 'shared/transport/link.ts'],
    ['host/ram/ledger.ts', 'host/device/device.ts'],
    ['host/device/device.ts', 'host/vmm/vm.ts'],
    ['host/control/qmp/server.ts', 'host/ram/ledger.ts'],
    ['host/main.ts', 'lab/session.ts'],
    ['lab/session.ts', 'lab/cli/main.ts'],
    ['lab/session.ts', 'test/support/fake.ts'],
    ['guest/kernel.ts', 'docs/example.ts'],
    ['elsewhere/new.ts', 'shared/lib/assert.ts'],
  ])('%s may not import %s', (from, to) => {
    expect(importing(from, to)).toEqual([`${from} may not import ${to}`]);
  });

  it.each([
    ['shared/limits.ts', 'shared/lib/assert.ts'],
    ['shared/control/schema.ts', 'shared/transport/link.ts'],
    ['guest/mm/zone.ts', 'guest/mm/page/buddy.ts'],
    ['guest/mm/reclaim/kswapd.ts', 'guest/sched/scheduler.ts'],
    ['guest/mm/page/buddy.ts', 'guest/mm/page/zone.ts'],
    ['guest/workload/processes.ts', 'guest/mm/calls/mmap.ts'],
    ['guest/drivers/virtio-balloon.ts', 'guest/mm/balloon/list.ts'],
    ['guest/drivers/virtio-balloon.ts', 'shared/protocol/messages.ts'],
    ['guest/kernel.ts', 'guest/drivers/virtio-balloon.ts'],
    ['host/vmm/vm.ts', 'host/device/device.ts'],
    ['host/control/qmp/server.ts', 'host/vmm/machine.ts'],
    ['host/device/device.ts', 'host/vmm/machine.ts'],
    ['lab/session.ts', 'guest/mm/calls/mmap.ts'],
    ['lab/cli/main.ts', 'lab/session.ts'],
    ['test/guest/mm.test.ts', 'guest/mm/calls/mmap.ts'],
  ])('%s may import %s', (from, to) => {
    expect(importing(from, to)).toEqual([]);
  });

  it('may not go round in a circle, types included', () => {
    const files = [
      file('shared/lib/a.ts', "import type { B } from './b.ts';"),
      file('shared/lib/b.ts', "import { c } from './c.ts';"),
      file('shared/lib/c.ts', "export { a } from './a.ts';"),
      file('shared/lib/d.ts', "import { a } from './a.ts';"),
    ];
    const cycle = 'shared/lib/a.ts -> shared/lib/b.ts -> shared/lib/c.ts -> shared/lib/a.ts';
    expect(checkCycles(files)).toEqual([cycle]);
    expect(checkCycles([files[0], files[3]].flatMap((found) => found ?? []))).toEqual([]);
  });

  it('reach every file that is no entry point', () => {
    const files = [
      file('test/soak/main.ts', "import { vm } from '../../host/vmm/vm.ts';"),
      file('host/vmm/vm.ts'),
      file('host/vmm/old.ts'),
      file('test/host/vm.test.ts'),
      file('test/support/lost.ts'),
    ];
    expect(checkUnused(files)).toEqual([
      'host/vmm/old.ts is imported by nothing',
      'test/support/lost.ts is imported by nothing',
    ]);
  });
});

describe('length', () => {
  it('of a file: 500 lines, of a test file 600', () => {
    expect(checkFileLength(file('lab/a.ts', ...lines(500), ''))).toEqual([]);
    const wrong = ['lab/a.ts has 501 lines, more than 500'];
    expect(checkFileLength(file('lab/a.ts', ...lines(501)))).toEqual(wrong);
    expect(checkFileLength(file('test/a.test.ts', ...lines(600)))).toEqual([]);
    expect(checkFileLength(file('test/a.test.ts', ...lines(601)))).toHaveLength(1);
  });

  it('of a line: 100 columns', () => {
    const fits = 'ä'.repeat(100);
    const wrong = checkLineLength(file('lab/a.ts', fits, `${fits}.`));
    expect(wrong).toEqual(['lab/a.ts:2 has 101 columns']);
  });

  const open = {
    function: 'export async function* walk<A, B>(a: Map<A, B>, b = { c: 1 }): Waiting<void> {',
    method: '  static #walk(a: number): { readonly b: number } | undefined {',
    generator: '  *walk(): Generator<{ a: number } | [b: string]> {',
    getter: '  get size(): number {',
    arrow: 'const walk = async (a: (b: number) => void): Promise<void> => {',
    callback: "  list.forEach('a', (item) => {",
    member: '  walk(this: Foo, a: string) {',
  };
  it.each(Object.entries(open))('of a %s: 70 lines', (_what, head) => {
    const body = (count: number) => file('lab/a.ts', head, ...lines(count - 2), '}');
    expect(checkFunctions(body(70))).toEqual([]);
    expect(checkFunctions(body(71))).toEqual(['lab/a.ts:1 function of 71 lines']);
  });

  it.each([
    'class Walker extends Base<{ a: number }> {',
    'export const TABLE = compute(1) ? other(2) : {',
    'const table: Record<string, (a: number) => void> = {',
    'for (const a of b) {',
    "describe('a walk', () => {",
    'interface Walk {',
  ])('is not limited for %s', (head) => {
    expect(checkFunctions(file('lab/a.ts', head, ...lines(90), '}'))).toEqual([]);
  });

  it('is measured per function in a class and in an object', () => {
    const found = functionsOf(
      file(
        'lab/a.ts',
        'class A {',
        '  readonly a = { b: 1 };',
        '  #b(c: { d: number }): { e: number } {',
        '    if (c) {',
        '      return { e: 1 };',
        '    }',
        '    return { e: c.d };',
        '  }',
        '  readonly f = (g: number): number => g + 1;',
        '}',
        'const h = { i: 1, j(k: number) { return k; }, l: function (m: number) { return m; } };',
      ),
    );
    expect(found.map(({ line, lineCount }) => [line, lineCount])).toEqual([
      [3, 6],
      [9, 1],
      [11, 1],
      [11, 1],
    ]);
  });

  it('is measured for a method after one whose return type has braces', () => {
    const [first, second] = functionsOf(
      file('lab/a.ts', 'class A {', '  a(): B<{ c: 1 }> {', '  }', '', '  d(): void {', '  }', '}'),
    );
    expect([first?.line, first?.lineCount, second?.line, second?.lineCount]).toEqual([2, 2, 5, 2]);
  });
});

describe('parameters', () => {
  it.each([
    'function f(a: number, b: Map<string, number>, c: [x: 1, y: 2], d: { e: 1; f: 2 },) {}',
    'const f = (a: (x: number, y: number) => void, { b, c }: D, [d, e]: E, ...g: F[]) => a;',
    'class A { f(a, b, c, d): Map<1, 2> {} }',
    'constructor() {}',
  ])('up to four are fine: %s', (text) => {
    expect(checkFunctions(file('lab/a.ts', text))).toEqual([]);
  });

  it.each([
    'function f(a, b, c, d, e) {}',
    'const f = (a, b, c, d, e): number => a;',
    'const f = (a, b, c, d, e): Map<string, number> => {};',
    'call(1, (a, b, c, d, e) => { stop(); });',
    'class A { static async f(a: number, b = 1, c = [1, 2], d = {}, ...e: number[]) {} }',
    'class A { constructor(a: A, b: B, c: C, d: D, e: E) {} }',
    'type Callback = (a: number, b: number, c: number, d: number, e: number) => void;',
  ])('five are too many: %s', (text) => {
    expect(checkFunctions(file('lab/a.ts', text))).toEqual(['lab/a.ts:1 function of 5 parameters']);
  });
});

describe('assertion messages', () => {
  it('are unique across files', () => {
    const files = [
      file('lab/a.ts', "assert(f(1, 'x'), 'the list is empty');"),
      file('lab/b.ts', '', `if (broken) fail('the list is empty', \`pfn \${pfn}\`);`),
      file('lab/c.ts', 'assert(', '  ok,', "  'the list is full',", ');'),
    ];
    expect(checkAssertions(files)).toEqual([
      "'the list is empty' stands at lab/a.ts:1 and lab/b.ts:2",
    ]);
  });

  it.each([
    `assert(ok, \`page \${pfn}\`);`,
    'assert(ok, message);',
    "fail('a' + b);",
    'fail(`constant in backquotes`);',
    'assert(ok);',
  ])('are constants, unlike in %s', (text) => {
    const wrong = ['lab/a.ts:1 assertion message is no constant'];
    expect(checkAssertions([file('lab/a.ts', text)])).toEqual(wrong);
  });

  it('are not looked for in methods, declarations and tests', () => {
    const files = [
      file('lab/a.ts', 'this.fail(x);', '#fail(x);', 'function fail(x: string): never {}'),
      file('test/a.test.ts', 'fail(x);'),
      file('shared/lib/assert.ts', 'fail(message);'),
    ];
    expect(checkAssertions(files)).toEqual([]);
  });
});

describe('what is banned', () => {
  it('is work left over', () => {
    const [later, broken] = [['TO', 'DO'].join(''), ['FIX', 'ME'].join('')];
    const text = `// ${later} one\nconst ${later}S = 1;\n/* ${broken} */`;
    expect(checkLeftOver({ path: 'docs/A.md', text })).toEqual([
      `docs/A.md:1 ${later}`,
      `docs/A.md:3 ${broken}`,
    ]);
  });

  it.each([
    ['const now = Date.now();', 'Date.now'],
    ['const at = new Date();', 'new Date()'],
    ['Math.random() < 0.5', 'Math.random'],
    ['const t = performance.now();', 'performance.now'],
    ['setTimeout(() => {}, 10);', 'setTimeout'],
    ['const timer = setInterval(tick, 10);', 'setInterval'],
    ['setImmediate(tick);', 'setImmediate'],
  ])('is %s outside impure files', (text, name) => {
    expect(checkPurity(file('guest/kernel.ts', text))).toEqual([`guest/kernel.ts:1 ${name}`]);
    const impure = ['shared/lib/real-clock.ts', 'shared/transport/ws-link.ts', 'lab/fleet.ts'];
    for (const path of [...impure, 'lab/settled.ts', 'lab/cli/run.ts', 'lab/process.ts']) {
      expect(checkPurity(file(path, text))).toEqual([]);
    }
    for (const path of ['shared/transport/memory.ts', 'lab/session.ts', 'host/vmm/main.ts']) {
      expect(checkPurity(file(path, text))).toHaveLength(1);
    }
  });

  it.each([
    'clock.setTimeout(wake, 10);',
    'this.#clock.setTimeout(wake, 10);',
    'setTimeout(callback: () => void, delayMs: number): unknown;',
    'setTimeout(callback: () => void) {',
    '// Date.now is not called here',
    "log('Math.random');",
    'const at = new Date(wallMs);',
  ])('is not %s', (text) => {
    expect(checkPurity(file('guest/kernel.ts', text))).toEqual([]);
  });
});

describe('calls', () => {
  it('have their arguments as they stand in the source', () => {
    const source = file('lab/a.ts', `fail('a, b', \`\${x}, \${y}\`, f(1, 2), { z: [3, 4] },);`);
    expect(callsOf(source, 'fail')).toEqual([
      { line: 1, args: ["'a, b'", `\`\${x}, \${y}\``, 'f(1, 2)', '{ z: [3, 4] }'] },
    ]);
  });
});

describe('a document', () => {
  it('has one title', () => {
    const code = '```sh\n# a comment\n```\n';
    expect(checkOneTitle('docs/A.md', `# A\n${code}## B\n`)).toEqual([]);
    expect(checkOneTitle('docs/A.md', `## B\n${code}`)).toEqual([
      'docs/A.md has 0 first-level headings',
    ]);
    expect(checkOneTitle('docs/A.md', '# A\n\n# B\n')).toEqual([
      'docs/A.md has 2 first-level headings',
    ]);
  });
});

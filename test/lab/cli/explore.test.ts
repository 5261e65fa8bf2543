import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { Puff, puff, Workplace } from '../../support/puff.ts';

const place = new Workplace();
afterAll(() => place.clear());

/** The 2012 posting's own race, the shortest known counter-example to what the product has. */
const BROKEN = ['explore', 'dequeue', 'enqueue', 'isolate', '--generation', 'v2012'];

describe.concurrent('puff explore', () => {
  test('one scenario: states, transitions, orders, and that all rules held', async () => {
    const { code, stdout, stderr } = await puff(['explore', 'isolate', 'dequeue', '--pages', '1']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.replace(/ +/g, ' ').replace(/[\d.]+ s /, 'N s ')).toBe(
      'isolate dequeue --pages 1 180 states 321 transitions 41138 orders N s all rules held\n',
    );
  });

  test('--json: one object per scenario, orders as text, for they may be long', async () => {
    const { code, stdout } = await puff(['explore', 'dequeue', 'migrate', '--json']);
    const { seconds, ...found } = JSON.parse(stdout);
    expect([code, found]).toEqual([
      0,
      {
        scenario: 'dequeue migrate --pages 1',
        states: 438,
        transitions: 753,
        orders: '581300',
        violation: null,
      },
    ]);
    expect(seconds).toBeGreaterThanOrEqual(0);
  });

  test('a counter-example: exit 1, and what is printed can be replayed as it is', async () => {
    const found = await puff(BROKEN);
    expect([found.code, found.stderr]).toEqual([1, '']);
    expect(found.stdout).toMatch(/^# .*BROKEN: no step of the product fails: a page to enqueue/);
    const file = place.path('schedule');
    writeFileSync(file, found.stdout);
    const { code, stdout } = await puff([...BROKEN, '--schedule', file]);
    expect(code).toBe(1);
    const moves = (text: string) => text.split('\n').filter((line) => !line.startsWith('#'));
    expect(moves(stdout)).toEqual(moves(found.stdout));
    expect(stdout).toMatch(/^# no step of the product fails: a page to enqueue/m);
  });

  test('--schedule: lines of one’s own, with what was found', async () => {
    const file = place.path('own');
    writeFileSync(
      file,
      'compactor 1: choose page 0\ncompactor 1: pin page 0 (get_page_unless_zero)',
    );
    const { code, stdout } = await puff(['explore', 'isolate', 'free', '--schedule', file]);
    expect([code, stdout.split('\n')]).toEqual([
      0,
      [
        'compactor 1: choose page 0',
        'compactor 1: pin page 0 (get_page_unless_zero) -> yes',
        '# all rules held',
        '',
      ],
    ]);
  });

  test('--list names what --all explores, also with a number of pages or an event', async () => {
    const { code, stdout } = await puff(['explore', '--list', '--pages', '1', '--event', 'cut']);
    const lines = stdout.trimEnd().split('\n');
    expect(code).toBe(0);
    expect(lines).toContain('dequeue isolate --pages 1 --event cut');
    expect(lines).toContain('enqueue dequeue migrate --pages 1 --event cut');
    expect(lines.filter((line) => !line.endsWith(' --pages 1 --event cut'))).toEqual([]);
  });

  test('--json is JSON with every other flag too', async () => {
    const json = async (...args: readonly string[]): Promise<unknown[]> => {
      const { stdout, stderr } = await puff(['explore', ...args, '--json']);
      expect(stderr).toBe('');
      return stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
    };
    const listed = await json('--list', '--pages', '1');
    expect(listed).toContainEqual({ scenario: 'dequeue isolate --pages 1' });
    const [mistake] = await json('--history');
    expect(mistake).toMatchObject({
      schedule: expect.arrayContaining(['fill: take balloon_lock']),
    });
    const file = place.path('to-json');
    writeFileSync(file, 'compactor 1: choose page 0\n');
    expect(await json('isolate', 'free', '--schedule', file)).toEqual([
      {
        scenario: 'isolate free --pages 1',
        schedule: ['compactor 1: choose page 0'],
        violation: null,
      },
    ]);
  });

  test('--history: the deadlock of 2017 in a few lines', async () => {
    const { code, stdout } = await puff(['explore', '--history']);
    expect([code, stdout.split('\n').filter((line) => !line.startsWith('#'))]).toEqual([
      0,
      [
        'fill: take balloon_lock',
        'oom notifier: begin leak_balloon',
        'fill waits to: allocate a page, waiting for memory',
        'oom notifier waits to: take balloon_lock',
        '',
      ],
    ]);
  });

  test.each([
    [['isolate'], 'name 2 to 4 procedures, or --all'],
    [['isolate', 'steal'], "'steal' is none of enqueue, dequeue"],
    [['migrate', 'putback', '--pages', '1'], 'these procedures need 2 pages'],
    [['--all', 'isolate'], '--all and --list take no procedures'],
    [['--all', '--schedule', '-'], 'a schedule is of one scenario'],
    [['isolate', 'free', '--pages', '4'], 'write a whole number from 1 to 3'],
    [['isolate', 'free', '--event', 'flood'], 'one of reset, retarget, cut'],
    [['isolate', 'free', '--schedule', '/nowhere'], 'ENOENT'],
  ])('wrong usage %j: one line, exit 2', async (args, reason) => {
    const { code, stdout, stderr } = await puff(['explore', ...args]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^puff: [^\n]*\n$/);
    expect(stderr).toContain(reason);
  });

  test('a line that is no move: exit 2', async () => {
    const file = place.path('nonsense');
    writeFileSync(file, 'compactor 1: steal page 0\n');
    const { code, stderr } = await puff(['explore', 'isolate', 'free', '--schedule', file]);
    expect([code, stderr]).toEqual([2, 'puff: is no move here: compactor 1: steal page 0\n']);
  });

  test('Ctrl-C ends a long exploration at once, exit 130', async () => {
    const all = new Puff(['explore', '--all', '--event', 'retarget', '--event', 'cut']);
    await all.output(/all rules held/);
    all.child.kill('SIGINT');
    const { code, stderr } = await all.ended;
    expect([code, stderr]).toEqual([130, '']);
  });
});

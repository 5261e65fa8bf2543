import { beforeEach, describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import type { Log } from '../../../shared/lib/log.ts';
import { PeerLogs } from '../../../shared/lib/peer-log.ts';

interface Line {
  readonly level: keyof Log;
  readonly message: string;
  readonly [field: string]: unknown;
}

let clock: VirtualClock;
let lines: Line[];
let leftOut: number;
let logs: PeerLogs;

beforeEach(() => {
  clock = new VirtualClock();
  lines = [];
  leftOut = 0;
  const line =
    (level: keyof Log) =>
    (fields: object, message: string): void => {
      lines.push({ level, message, ...fields });
    };
  logs = new PeerLogs({
    log: { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') },
    clock,
    linesPerSecond: 10,
    onLeftOut: () => leftOut++,
  });
});

describe('a log of peers', () => {
  it('takes ten lines a second of each peer and level, and tells how many it left out', () => {
    const chatty = logs.of('vm0');
    for (let count = 0; count < 25; count++) chatty.warn({ count }, 'again');
    chatty.error({}, 'once');
    logs.of('vm1').warn({}, 'once');
    expect(lines.filter(({ message }) => message === 'again')).toHaveLength(10);
    expect(lines.slice(-2).map(({ level, message }) => [level, message])).toEqual([
      ['error', 'once'],
      ['warn', 'once'],
    ]);
    expect(leftOut).toBe(15);
    clock.advanceBy(1000);
    chatty.error({}, 'still there');
    expect(lines.slice(-2)).toEqual([
      { level: 'warn', message: 'log lines were left out', peer: 'vm0', leftOut: 15 },
      { level: 'error', message: 'still there' },
    ]);
    clock.advanceBy(1000);
    chatty.debug({}, 'quiet now');
    expect(lines.slice(-1)).toEqual([{ level: 'debug', message: 'quiet now' }]);
  });

  it('counts a peer and not the object that was made for it', () => {
    for (let count = 0; count < 15; count++) logs.of('10.0.0.1').info({ count }, 'a connection');
    expect(lines).toHaveLength(10);
  });

  it('escapes and cuts every text among the fields', () => {
    const forged = 'ok\n{"level":30,"msg":"forged"}\r\u001b[2J\u2028';
    logs.of('vm0').info({ text: forged, long: 'x'.repeat(5000), code: 7, on: true }, 'said');
    expect(lines).toEqual([
      {
        level: 'info',
        message: 'said',
        text: 'ok\\u000a{"level":30,"msg":"forged"}\\u000d\\u001b[2J\\u2028',
        long: `${'x'.repeat(128)}...`,
        code: 7,
        on: true,
      },
    ]);
  });

  it('says with `allows` alone whether one more line may be written elsewhere', () => {
    const allowed = Array.from({ length: 12 }, () => logs.allows('vm0', 'info'));
    expect(allowed.filter((one) => one)).toHaveLength(10);
    expect(lines).toEqual([]);
  });
});

import { describe, expect, test } from 'vitest';
import { blank } from '../../../lab/verify/blank.ts';
import { UnusableRecording } from '../../../lab/verify/files.ts';
import { split } from '../../../lab/verify/split.ts';
import { NAMES, type Name, recorded } from './recorded.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

interface Counts {
  readonly requests: number;
  readonly used: number;
  readonly statistics: number;
  readonly buffers: number;
  readonly config: number;
  readonly replies: number;
  readonly events: number;
}

const COUNTS: Record<Name, Counts> = {
  'inflate-deflate-1g': {
    requests: 24,
    used: 1024,
    statistics: 0,
    buffers: 1025,
    config: 1024,
    replies: 24,
    events: 3,
  },
  'stats-512m': {
    requests: 20,
    used: 138,
    statistics: 10,
    buffers: 139,
    config: 128,
    replies: 20,
    events: 2,
  },
  'qmp-errors-512m': {
    requests: 104,
    used: 412,
    statistics: 0,
    buffers: 413,
    config: 412,
    replies: 104,
    events: 7,
  },
  'driver-rebind-1g': {
    requests: 30,
    used: 2112,
    statistics: 0,
    buffers: 2115,
    config: 1090,
    replies: 30,
    events: 6,
  },
};

describe.each(NAMES)('%s', (name) => {
  const { recording, alignment, inputs, expectations } = recorded(name);

  test('is split into as many items as were recorded', () => {
    expect({
      requests: inputs.qmp.length,
      used: inputs.used.length,
      statistics: inputs.used.filter((used) => used.buffer === 'stats').length,
      buffers: expectations.buffers.length,
      config: expectations.config.length,
      replies: expectations.replies.length,
      events: expectations.events.length,
    }).toEqual(COUNTS[name]);
  });

  test('gives the same inputs with every expected value wiped', () => {
    const blanked = blank(recording);
    expect(blanked).not.toEqual(recording);
    expect(split(blanked, alignment).inputs).toEqual(inputs);
  });

  test('has no expected value left after blanking', () => {
    const { expectations: wiped } = split(blank(recording), alignment);
    expect(wiped.features).toBe(0n);
    expect(new Set(wiped.config)).toEqual(new Set([0]));
    expect(wiped.buffers.every((buffer) => buffer.count === 0)).toBe(true);
    expect(wiped.replies.every((reply) => JSON.stringify(reply.message) === '{"return":{}}')).toBe(
      true,
    );
    expect(wiped.events.every((event) => event.data === undefined)).toBe(true);
    const marked = inputs.operator.filter(
      ({ action }) => action === 'unbind' || action === 'rmmod',
    );
    const deflates = wiped.buffers.filter((buffer) => buffer.queue === 'deflate');
    expect(deflates).toHaveLength(marked.length);
  });

  test('keeps every list of inputs in order of time', () => {
    const { qmp, used, configInterrupts, operator, throttleExpiriesMs, endMs } = inputs;
    const expiries = throttleExpiriesMs.map((timeMs) => ({ timeMs }));
    for (const list of [qmp, used, configInterrupts, operator, expiries]) {
      const times = list.map((item) => item.timeMs);
      expect(times).toEqual([...times].sort((a, b) => a - b));
      expect(Math.max(0, ...times)).toBeLessThanOrEqual(endMs);
    }
  });

  test('has no buffer without its used but the statistics buffers the device kept', () => {
    const kept = expectations.buffers.filter((buffer) => buffer.length === null);
    const starts = expectations.status.filter((value) => value === 15).length;
    expect(kept).toEqual(Array(starts).fill({ queue: 'stats', count: 0, length: null }));
  });
});

describe('inputs', () => {
  test('settings and the first moments', () => {
    const { inputs } = recorded('inflate-deflate-1g');
    expect(inputs.memoryBytes).toBe(1024 * 1024 * 1024);
    expect(inputs.deviceOptions).toEqual({});
    expect(inputs.version.qemu).toEqual({ major: 7, minor: 2, micro: 22 });
    expect(inputs.bootMs).toBe(2309.474);
    expect(inputs.connectMs).toBeCloseTo(2376.3, 0);
    expect(inputs.negotiation).toBeUndefined();
    expect(new Date(inputs.wallStartMs).toISOString()).toMatch(/^2026-11-20T/);
  });

  test('a balloon request is served when its target was logged on the wire', () => {
    const { inputs } = recorded('inflate-deflate-1g');
    expect(text(inputs.qmp[1].bytes)).toBe(
      '{"execute": "balloon", "arguments": {"value": 536870912}}\n',
    );
    expect(inputs.qmp[1].timeMs).toBe(2647.117);
  });

  test('another request is served when its reply comes', () => {
    const { inputs, alignment } = recorded('inflate-deflate-1g');
    expect(inputs.qmp[7].timeMs).toBeCloseTo(940.3 - alignment.offsetMs, 6);
  });

  test('a half of a request keeps its own time', () => {
    const { inputs, alignment } = recorded('qmp-errors-512m');
    const half = inputs.qmp.find((request) => text(request.bytes) === '{"execute":"query-bal');
    expect(half?.timeMs).toBeCloseTo(6748.4 - alignment.offsetMs, 6);
  });

  test('stop and cont take effect at the stamp of their event', () => {
    const { inputs, alignment, expectations } = recorded('qmp-errors-512m');
    const cont = inputs.qmp.findIndex((request) => text(request.bytes).includes('"cont"'));
    const first = expectations.config.lastIndexOf(54015);
    const { actedMs } = inputs.used[first];
    expect(inputs.qmp[cont].timeMs).toBeLessThan(actedMs);
    expect(inputs.qmp[cont].timeMs).toBeGreaterThan(7650.4 - alignment.offsetMs);
    expect(inputs.qmp[cont].timeMs).toBeLessThan(7653.5 - alignment.offsetMs);
  });

  test('polling is switched on when the first statistics were asked for', () => {
    const { inputs } = recorded('stats-512m');
    expect(inputs.qmp[3].timeMs).toBe(2181.835);
    expect(text(inputs.qmp[3].bytes)).toContain('"guest-stats-polling-interval", "value": 1');
    expect(inputs.used[0]).toEqual({ timeMs: 2181.835, buffer: 'stats', actedMs: 2181.835 });
  });

  test('the guest acts on a used when it writes actual', () => {
    const { inputs } = recorded('inflate-deflate-1g');
    expect(inputs.used[0]).toEqual({ timeMs: 2649.857, buffer: 'other', actedMs: 2650.302 });
  });

  test('a deflation without a write of actual acts at the used itself', () => {
    const { inputs } = recorded('driver-rebind-1g');
    const [unbind, bind] = inputs.operator;
    const leaving = inputs.used.filter(
      ({ timeMs }) => timeMs > unbind.timeMs && timeMs < bind.timeMs,
    );
    expect(leaving).toHaveLength(512);
    const later = leaving.filter((used) => used.actedMs > used.timeMs);
    expect(later).toEqual([leaving[511]]);
  });

  test('operator actions are taken at their first visible effect', () => {
    expect(recorded('driver-rebind-1g').inputs.operator).toEqual([
      { timeMs: 2673.248, action: 'unbind' },
      { timeMs: 4048.861, action: 'bind' },
      { timeMs: 5439.639, action: 'rmmod' },
      { timeMs: 6774.642, action: 'insmod' },
    ]);
    expect(recorded('stats-512m').inputs.operator).toEqual([]);
  });

  test('two targets before one read of config have the same moment of action', () => {
    const { configInterrupts } = recorded('qmp-errors-512m').inputs;
    expect(configInterrupts).toHaveLength(6);
    expect(configInterrupts[0].actedMs).toBe(configInterrupts[1].actedMs);
    expect(configInterrupts[0].timeMs).toBeLessThan(configInterrupts[1].timeMs);
  });

  test('a target that no driver sees is acted on by nobody', () => {
    const { configInterrupts } = recorded('driver-rebind-1g').inputs;
    expect(configInterrupts[1]).toEqual({ timeMs: 6263.075, actedMs: 6263.075 });
  });

  test('an expiry read late by the recorder lies where the next one puts it', () => {
    const { inputs } = recorded('driver-rebind-1g');
    const rounded = inputs.throttleExpiriesMs.map(Math.round);
    expect(rounded).toEqual([2593, 3594, 4594, 5594, 6594]);
  });

  test('negotiation.json is an exchange of its own on 256 MiB', () => {
    const { negotiation } = recorded('qmp-errors-512m').inputs;
    expect(negotiation?.memoryBytes).toBe(256 * 1024 * 1024);
    expect(negotiation?.requests).toHaveLength(7);
    expect(text(negotiation?.requests[0] ?? new Uint8Array())).toBe(
      '{"execute":"query-balloon"}\n',
    );
  });
});

describe('expectations', () => {
  test('status from the last zero before the first 1, repeats dropped', () => {
    expect(recorded('qmp-errors-512m').expectations.status).toEqual([0, 1, 3, 11, 15]);
    expect(recorded('driver-rebind-1g').expectations.status).toEqual([
      ...[0, 1, 3, 11, 15],
      ...[0, 1, 3, 11, 15],
      ...[0, 1, 3, 11, 15],
    ]);
  });

  test('buffers with queue, count and used length', () => {
    const { buffers } = recorded('inflate-deflate-1g').expectations;
    expect(buffers[0]).toEqual({ queue: 'stats', count: 0, length: null });
    expect(buffers[1]).toEqual({ queue: 'inflate', count: 256, length: 0 });
    expect(buffers[1024]).toEqual({ queue: 'deflate', count: 256, length: 0 });
  });

  test('raw bytes may have no, one or two replies', () => {
    const { expectations, inputs } = recorded('qmp-errors-512m');
    const repliesTo = (bytes: string): number => {
      const request = inputs.qmp.findIndex((item) => text(item.bytes) === bytes);
      return expectations.replies.filter((reply) => reply.request === request).length;
    };
    expect(repliesTo('{"execute":"query-bal')).toBe(0);
    expect(repliesTo('[]\n')).toBe(1);
    expect(repliesTo('not json\n')).toBe(2);
    expect(repliesTo('loon"}{"execute":"query-status"}\n')).toBe(2);
  });

  test('a request without a reply is remembered, half a request is not one', () => {
    const { expectations, inputs } = recorded('qmp-errors-512m');
    expect(expectations.unanswered).toEqual([103]);
    expect(text(inputs.qmp[103].bytes)).toBe('{"execute": "query-commands"}\n');
  });

  test('STOP and RESUME come before the reply to stop and cont', () => {
    const { expectations, inputs } = recorded('qmp-errors-512m');
    const before = expectations.events
      .filter((event) => event.beforeReplyTo !== undefined)
      .map(({ name, beforeReplyTo = -1 }) => [name, text(inputs.qmp[beforeReplyTo].bytes)]);
    expect(before).toEqual([
      ['STOP', '{"execute": "stop"}\n'],
      ['RESUME', '{"execute": "cont"}\n'],
    ]);
  });
});

describe('a recording made by hand', () => {
  const { recording, alignment } = recorded('driver-rebind-1g');

  test('with a reply that nobody asked for: it is no item', () => {
    const at = recording.qmp.findIndex((line) => line.kind === 'request');
    const extra = { kind: 'reply', tMs: 0.2, message: { return: {} } } as const;
    const qmp = [...recording.qmp.slice(0, at + 2), extra, ...recording.qmp.slice(at + 2)];
    const { expectations } = split({ ...recording, qmp }, alignment);
    expect(expectations.replies).toEqual(recorded('driver-rebind-1g').expectations.replies);
  });

  test('with an action that shows nothing: it comes with the next that does', () => {
    const steps = ['unbind', 'rmmod', 'insmod', 'rmmod', 'insmod', 'insmod'];
    const { operator, endMs } = split({ ...recording, steps }, alignment).inputs;
    expect(operator.map(({ action, timeMs }) => [action, timeMs])).toEqual([
      ['unbind', 2673.248],
      ['rmmod', 4048.861],
      ['insmod', 4048.861],
      ['rmmod', 5439.639],
      ['insmod', 6774.642],
      ['insmod', recording.wire[recording.wire.length - 1].tMs],
    ]);
    expect(endMs).toBeGreaterThan(6774);
  });

  test('with an empty balloon: a driver that leaves shows first as the reset', () => {
    const wire = recording.wire.filter((event) => event.ev === 'status');
    const { operator } = split({ ...recording, wire }, alignment).inputs;
    expect(operator[0]).toEqual({ action: 'unbind', timeMs: 2970.335 });
  });

  test('with a page migrated before: its deflate is not the driver leaving', () => {
    const at = recording.wire.findIndex((event) => event.tMs === 2673.248);
    const { tMs } = recording.wire[at - 1];
    const page = { ev: 'buf', tMs, outn: 1, inn: 0, n: 1, runs: [[1, 1, 0]] } as const;
    const used = { ev: 'used', tMs, len: 0 } as const;
    const wire = [
      ...recording.wire.slice(0, at),
      ...[
        { ...page, queue: 'inflate' } as const,
        used,
        { ...page, queue: 'deflate' } as const,
        used,
      ],
      { ev: 'config-set', tMs, actual: 131072 } as const,
      ...recording.wire.slice(at),
    ];
    const { operator } = split({ ...recording, wire }, alignment).inputs;
    expect(operator[0]).toEqual({ action: 'unbind', timeMs: 2673.248 });
  });

  test('in which no driver comes up is unusable', () => {
    const wire = [{ ev: 'status', tMs: 0, val: 0 } as const];
    expect(() => split({ ...recording, wire }, alignment)).toThrow(
      new UnusableRecording('driver-rebind-1g: no driver comes up on the wire'),
    );
  });

  test('with an action that must show and does not is unusable', () => {
    const steps = [...recording.steps, 'rmmod'];
    expect(() => split({ ...recording, steps }, alignment)).toThrow(
      new UnusableRecording("driver-rebind-1g: 'rmmod' shows nowhere on the wire"),
    );
  });
});

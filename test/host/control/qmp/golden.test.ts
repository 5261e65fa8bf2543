import { describe, expect, test } from 'vitest';
import { QmpMonitor } from '../../../../host/control/qmp/monitor.ts';
import type { TimerSource } from '../../../../host/control/qmp/throttle.ts';
import { STATS_TAGS, type StatsTag } from '../../../../shared/virtio/balloon.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import {
  bytes,
  RECORDED_SETTINGS,
  type RecordedLine,
  recordedLines,
  recordedNegotiation,
  TestClient,
} from './support.ts';

interface RecordedEvent {
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
  readonly event: 'STOP' | 'RESUME' | 'BALLOON_CHANGE';
  readonly data?: { readonly actual: number };
}

const isEvent = ({ text }: RecordedLine): boolean => text.startsWith('{"timestamp"');
const wallMsOf = ({ timestamp: { seconds, microseconds } }: RecordedEvent): number =>
  seconds * 1000 + microseconds / 1000;

/** The throttle's timer as a recording needs it: it expires when the recorded one did. */
class RecordedTimer implements TimerSource {
  #callback: (() => void) | undefined;

  setTimeout(callback: () => void): unknown {
    this.#callback = callback;
    return undefined;
  }

  clearTimeout(): void {
    this.#callback = undefined;
  }

  expire(): void {
    const callback = this.#callback;
    this.#callback = undefined;
    callback?.();
  }
}

/**
 * Plays a recording's requests to a machine that is told, before each request, what the guest's
 * share of the recorded answer was: `actual`, statistics, and when events happened.
 */
class Replay {
  readonly replies: string[] = [];
  readonly events: string[] = [];
  /** Everything in order, to see events among replies. */
  readonly output: string[] = [];
  readonly #timer = new RecordedTimer();
  #wallMs = 0;
  readonly #machine: FakeMachine;

  constructor(ramMib: number) {
    this.#machine = new FakeMachine(ramMib, { wallMs: () => this.#wallMs });
  }

  run(lines: readonly RecordedLine[]): void {
    const monitor = new QmpMonitor({
      machine: this.#machine,
      settings: RECORDED_SETTINGS,
      timers: this.#timer,
    });
    const session = monitor.open((text) => this.#take(text.slice(0, -2)));
    for (const [index, line] of lines.entries()) {
      if (line.isRequest) {
        this.#prepare(lines.slice(index + 1));
        session.feed(bytes(line.text));
      } else if (line.text.includes('"event": "BALLOON_CHANGE"')) {
        this.#happen(JSON.parse(line.text) as RecordedEvent);
      }
    }
  }

  #take(line: string): void {
    this.output.push(line);
    (isEvent({ isRequest: false, text: line }) ? this.events : this.replies).push(line);
  }

  /** Sets what only the guest knows, from the lines that follow a request. */
  #prepare(following: readonly RecordedLine[]): void {
    const { balloon } = this.#machine;
    const next = following.find((line) => isEvent(line) && !line.text.includes('BALLOON_CHANGE'));
    if (next !== undefined) this.#wallMs = wallMsOf(JSON.parse(next.text) as RecordedEvent);
    const reply = following.find((line) => !line.isRequest && !isEvent(line))?.text ?? '{}';
    const returned = (JSON.parse(reply) as { return?: Record<string, unknown> }).return;
    if (balloon === undefined || typeof returned !== 'object') return;
    if (typeof returned.actual === 'number') balloon.actualBytes = returned.actual;
    if (typeof returned['last-update'] === 'number') {
      const sent = returned.stats as Record<string, number>;
      const values = STATS_TAGS.map((tag): [StatsTag, unknown] => [tag, sent[`stat-${tag}`]])
        .filter(([, value]) => typeof value === 'number')
        .map(([tag, value]) => [tag, BigInt(value as number)]);
      balloon.stats = {
        values: Object.fromEntries(values),
        lastUpdateSeconds: returned['last-update'],
      };
    }
  }

  /** The guest wrote `actual`; the throttle lets it through now or when its timer expires. */
  #happen(event: RecordedEvent): void {
    this.#wallMs = wallMsOf(event);
    this.#machine.emit(event.event, event.data);
    this.#timer.expire();
  }
}

describe.each([
  ['qmp-errors-512m', 512],
  ['stats-512m', 512],
  ['inflate-deflate-1g', 1024],
  ['driver-rebind-1g', 1024],
])('%s', (recording, ramMib) => {
  const recorded = recordedLines(recording);
  const replay = new Replay(ramMib);
  replay.run(recorded);
  const texts = recorded.filter(({ isRequest }) => !isRequest).map(({ text }) => text);

  test('replies byte for byte, but for what a device without PCI has to list', () => {
    const isDeviceList = (line: string): boolean => line.includes('"parent_bus"');
    const expected = texts.filter((text) => !text.startsWith('{"timestamp"'));
    expect(replay.replies.length).toBeGreaterThanOrEqual(expected.length);
    for (const [index, text] of expected.entries()) {
      if (!isDeviceList(text)) expect(replay.replies[index]).toBe(text);
    }
  });

  test('events byte for byte', () => {
    expect(replay.events).toEqual(texts.filter((text) => text.startsWith('{"timestamp"')));
  });
});

describe('qmp-errors-512m', () => {
  test('STOP and RESUME come before the replies to stop and cont', () => {
    const replay = new Replay(512);
    replay.run(recordedLines('qmp-errors-512m'));
    for (const event of ['STOP', 'RESUME']) {
      const at = replay.output.findIndex((line) => line.includes(`"event": "${event}"`));
      expect(replay.output[at + 1]).toBe('{"return": {}}');
    }
  });

  test('every property listed for the device is listed in the recording, in the same order', () => {
    const recorded = recordedLines('qmp-errors-512m').find(({ text }) =>
      text.includes('parent_bus'),
    );
    const theirs = JSON.parse(recorded?.text ?? '').return as { name: string; type: string }[];
    const path = '/machine/peripheral/balloon0';
    const ours = JSON.parse(TestClient.ready().execute('qom-list', { path })).return as unknown[];
    const names = ours.map((property) => JSON.stringify(property));
    expect(names.length).toBeGreaterThan(10);
    expect(
      theirs.map((property) => JSON.stringify(property)).filter((p) => names.includes(p)),
    ).toEqual(names);
  });

  test('the recorded negotiation, byte for byte', () => {
    const output: string[] = [];
    const machine = new FakeMachine(256);
    const timers = new RecordedTimer();
    const monitor = new QmpMonitor({ machine, settings: RECORDED_SETTINGS, timers });
    const session = monitor.open((text) => output.push(text));
    const recorded = recordedNegotiation();
    for (const { isRequest, text } of recorded) if (isRequest) session.feed(bytes(text));
    expect(output).toEqual(recorded.filter((turn) => !turn.isRequest).map(({ text }) => text));
  });

  test('the recorded requests split at every byte give the same replies', () => {
    const requests = recordedNegotiation().filter(({ isRequest }) => isRequest);
    const whole = new TestClient();
    const expected = [...whole.taken(), ...requests.flatMap(({ text }) => whole.raw(text))];
    const split = new TestClient();
    const lines = split.taken();
    for (const { text } of requests) for (const char of text) lines.push(...split.raw(char));
    expect(lines).toEqual(expected);
  });
});

import { PAGE_REPORTING_DELAY_SECONDS } from '../../guest/mm/page/reporting.ts';
import { HZ, timerGranularityMs } from '../../guest/sched/jiffies.ts';
import { MIB } from '../../shared/lib/units.ts';
import { MAX_RECORDING_MS } from '../../shared/limits.ts';
import type { Alignment } from './align.ts';
import { type Conversation, conversation } from './exchanges.ts';
import { UnusableRecording } from './files.ts';
import { findHintRounds, findPrograms } from './guest-marks.ts';
import { findMarks, type Marks } from './marks.ts';
import type { Recording } from './recording.ts';
import { type ChangeTimes, throttleExpiries } from './throttle.ts';
import type { ConfigInterruptInput, Inputs, ProgramInput, QmpInput, UsedInput } from './types.ts';

/**
 * Step 3 of `puff verify`, first half: what the emulator is given. Bytes and times, and no value
 * that the real guest or QEMU computed: of a reply, a `used`, a write or a read of config and an
 * event only the time is taken.
 */

/** Wall clock at the start where the recording has no event that tells it: any moment will do. */
const NO_WALL_CLOCK_MS = 1_700_000_000_000;
/** An event may go out this long after its arrival by the aligned clock (see align.ts). */
const EVENT_SLACK_MS = 0.32;

/** The longest that the delay of a report may take in the buckets of the timer wheel. */
const REPORT_DELAY_MS =
  PAGE_REPORTING_DELAY_SECONDS * 1000 + timerGranularityMs(PAGE_REPORTING_DELAY_SECONDS * HZ);

/**
 * Takes the inputs from a recording. Throws UnusableRecording for one that lasts too long, and as
 * findMarks does.
 */
export function takeInputs(recording: Recording, alignment: Alignment): Inputs {
  const { wire, qmp, negotiation } = recording;
  const talk = conversation(recording);
  const marks = findMarks(recording);
  const changes = changeTimes(talk, alignment);
  const lastChangeMs = changes.at(-1)?.stampMs ?? 0;
  const disconnectMs = Math.max(
    qmp[qmp.length - 1].tMs - alignment.offsetMs,
    lastChangeMs + EVENT_SLACK_MS,
  );
  const endMs = Math.max(wire[wire.length - 1].tMs, disconnectMs) + endSlackMs(recording);
  if (!(endMs <= MAX_RECORDING_MS)) throw tooLong(recording, endMs);
  const inputs: Inputs = {
    memoryBytes: recording.memoryBytes,
    deviceOptions: recording.deviceOptions,
    version: recording.version,
    wallStartMs: alignment.wallOffsetMs ?? NO_WALL_CLOCK_MS,
    bootMs: wire[marks.reset].tMs,
    connectMs: qmp[0].tMs - alignment.offsetMs,
    disconnectMs,
    qmp: qmpInputs(recording, talk, alignment),
    used: usedInputs(recording),
    configInterrupts: configInterrupts(recording, marks),
    operator: marks.actions.map((mark) => ({
      timeMs: wire[mark.wireIndex].tMs,
      action: mark.action,
    })),
    programs: programInputs(recording),
    hintRoundsMs: findHintRounds(recording),
    ...(recording.bootState === undefined ? {} : { bootState: recording.bootState }),
    throttleExpiriesMs: throttleExpiries(changes).filter((timeMs) => timeMs <= disconnectMs),
    endMs,
  };
  if (negotiation === undefined) return inputs;
  const { version, requests } = negotiation;
  return { ...inputs, negotiation: { memoryBytes: NEGOTIATION_BYTES, version, requests } };
}

/** By its wire, its QMP lines or the time stamps of its events, whichever end last. */
function tooLong({ name }: Recording, endMs: number): UnusableRecording {
  const [seconds, most] = [endMs, MAX_RECORDING_MS].map((ms) => Math.round(ms / 1000));
  return new UnusableRecording(`${name}: its times reach ${seconds} s, at most ${most} s`);
}

/** A program runs when the balloon gives back for it, or ends a delay before it is reported. */
function programInputs(recording: Recording): ProgramInput[] {
  return findPrograms(recording).map(({ program, wireIndex, shownBy }) => {
    const shownMs = recording.wire[wireIndex].tMs;
    return { timeMs: shownMs - (shownBy === 'report' ? REPORT_DELAY_MS : 0), program };
  });
}

/**
 * The delay of a report is counted in coarse ticks whose phase was not recorded: the emulator may
 * be late by as much as it can be.
 */
function endSlackMs({ deviceOptions }: Recording): number {
  const reports = deviceOptions['free-page-reporting'] === 'on';
  return reports ? REPORT_DELAY_MS - PAGE_REPORTING_DELAY_SECONDS * 1000 : 0;
}

/** The machine of negotiation.json. */
const NEGOTIATION_BYTES = 256 * MIB;

/**
 * A request is served when its reply comes, one without a reply when it was sent. More is known
 * of three kinds: a target was logged on the wire, STOP and RESUME have a time stamp, and polling
 * that was switched on took statistics at once. Those times stand, and no request sent before is
 * served after them.
 */
function qmpInputs(recording: Recording, talk: Conversation, alignment: Alignment): QmpInput[] {
  const { exchanges } = talk;
  const exactMs = new Map([
    ...alignment.targetTimesMs,
    ...runStateTimes(talk, alignment),
    ...pollingTimes(recording, talk, alignment),
  ]);
  const timesMs = exchanges.map(({ request, replies }, index) => {
    const { tMs } = replies[0] ?? request;
    return exactMs.get(index) ?? tMs - alignment.offsetMs;
  });
  for (let index = timesMs.length - 2; index >= 0; index--) {
    if (exactMs.has(index)) continue;
    timesMs[index] = Math.min(timesMs[index], timesMs[index + 1]);
  }
  let latestMs = Number.NEGATIVE_INFINITY;
  return exchanges.map(({ request }, index) => {
    latestMs = Math.max(latestMs, timesMs[index]);
    return { timeMs: latestMs, bytes: request.bytes };
  });
}

/** When `stop` and `cont` took effect: the stamp of their event, within its sending and reading. */
function runStateTimes({ exchanges, events }: Conversation, alignment: Alignment) {
  const { offsetMs, wallOffsetMs } = alignment;
  return events.flatMap(({ event, during }): [number, number][] => {
    if (during === undefined || (event.name !== 'STOP' && event.name !== 'RESUME')) return [];
    const sentMs = exchanges[during].request.tMs - offsetMs;
    const readMs = event.tMs - offsetMs;
    if (wallOffsetMs === undefined) return [[during, readMs]];
    return [[during, Math.min(Math.max(event.wallMs - wallOffsetMs, sentMs), readMs)]];
  });
}

/** A qom-set during which the statistics buffer was handed back. */
function pollingTimes(recording: Recording, { exchanges }: Conversation, alignment: Alignment) {
  const taken = usedInputs(recording).filter((used) => used.buffer === 'stats');
  return exchanges.flatMap(({ request, command, replies }, index): [number, number][] => {
    const reply = replies.at(0);
    if (command !== 'qom-set' || reply === undefined) return [];
    const sentMs = request.tMs - alignment.offsetMs;
    const readMs = reply.tMs - alignment.offsetMs;
    const used = taken.find(({ timeMs }) => timeMs >= sentMs && timeMs <= readMs);
    return used === undefined ? [] : [[index, used.timeMs]];
  });
}

/** `used` names no queue: it is the last taken buffer's unless that one is back already. */
function usedInputs({ wire }: Recording): UsedInput[] {
  const used: UsedInput[] = [];
  let taken = false;
  /** Index of the buffer whose `used` the guest has not answered with a write of `actual`. */
  let acting = -1;
  for (const event of wire) {
    if (event.ev === 'buf' && event.queue !== 'stats') {
      taken = true;
      acting = -1;
    } else if (event.ev === 'used') {
      if (taken) acting = used.length;
      used.push({ timeMs: event.tMs, buffer: taken ? 'other' : 'stats', actedMs: event.tMs });
      taken = false;
    } else if (event.ev === 'config-set' && acting >= 0) {
      used[acting] = { ...used[acting], actedMs: event.tMs };
      acting = -1;
    }
  }
  return used;
}

/** Each target raises one; the guest acts on it where it next reads config. */
function configInterrupts({ wire }: Recording, marks: Marks): ConfigInterruptInput[] {
  const changes = new Set(marks.actions.map((mark) => mark.wireIndex));
  return wire.flatMap((event, index) => {
    if (event.ev !== 'target') return [];
    const timeMs = event.tMs;
    for (let next = index + 1; next < wire.length && !changes.has(next); next++) {
      if (wire[next].ev === 'config-get') return [{ timeMs, actedMs: wire[next].tMs }];
    }
    return [{ timeMs, actedMs: timeMs }];
  });
}

function changeTimes({ events }: Conversation, alignment: Alignment): ChangeTimes[] {
  return events.flatMap(({ event }) => {
    if (event.name !== 'BALLOON_CHANGE') return [];
    const arrivalMs = event.tMs - alignment.offsetMs;
    const { wallOffsetMs } = alignment;
    const stampMs = wallOffsetMs === undefined ? arrivalMs : event.wallMs - wallOffsetMs;
    return [{ arrivalMs, stampMs }];
  });
}

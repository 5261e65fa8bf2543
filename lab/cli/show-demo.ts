import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WireTraceEvent } from '../../host/vmm/wire-trace.ts';
import { formatSize, GIB, MIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { deadlockOf2017, framesAsRecorded } from '../demo/as-linux.ts';
import { outsideResize, type Replay, replayRequests } from '../demo/replay.ts';
import { checkRows, eventText, pagesPerSecond, table, traceTimes } from '../demo/report.ts';
import { Fleet } from '../fleet.ts';
import { runChecks } from '../verify/checks.ts';
import { type Conversation, conversation } from '../verify/exchanges.ts';
import { takeExpectations } from '../verify/expectations.ts';
import { observeTrace } from '../verify/observed-trace.ts';
import { type Recording, readRecording } from '../verify/recording.ts';
import type { Check } from '../verify/types.ts';
import { EXIT } from './errors.ts';
import { packagePath } from './package-files.ts';
import { untilDoneOrStopped } from './signals.ts';

const RECORDING = 'lab/recordings/inflate-deflate-1g';
/** Holds every free list of a kernel and each frame that it handed out from them. */
const FRAMES_RECORDING = 'lab/recordings/exact-inflate-512m';
/** Large enough that its inflation is still under way when the connection is cut. */
const CUT_GUEST_BYTES = 4 * GIB;
const CUT_TARGET_BYTES = 512 * MIB;

const NEXT = `Where to go next:
  npx puff verify driver-rebind-1g qmp-errors-512m       more recordings, item by item
  npx puff run fragmentation                             what compaction regains
  npx puff explore isolate dequeue                       every order of two procedures
  npx puff host --listen 127.0.0.1:7420 --qmp /tmp       a host for your own controller
  npx puff guest --connect ws://127.0.0.1:7420           and a guest for it
  npx puff --help                                        the rest
`;

/** What `puff demo` does. When it returns or throws, processes and their folder are gone. */
export function showDemo(): Promise<void> {
  return untilDoneOrStopped(demo);
}

async function demo(abort: AbortSignal): Promise<void> {
  const recording = readRecording(packagePath(RECORDING));
  const fleet = new Fleet({
    guests: [
      { id: 'vm0', memoryBytes: recording.memoryBytes },
      { id: 'vm1', memoryBytes: CUT_GUEST_BYTES },
    ],
    trace: true,
  });
  try {
    await Promise.race([show(fleet, recording), aborted(abort)]);
  } finally {
    await fleet.stop();
  }
}

function aborted(abort: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    abort.addEventListener('abort', () => reject(abort.reason));
  });
}

async function show(fleet: Fleet, recording: Recording): Promise<void> {
  say('Puff: a host and two guests, each a process of its own, virtio-balloon over WebSockets.\n');
  await fleet.start();
  say(`The ${fleet.about}.\n`);
  const [first, second] = [recording.memoryBytes, CUT_GUEST_BYTES].map(formatSize);
  say(`vm0 has ${first} of RAM, vm1 ${second}.\n\n`);
  const sameAsRecorded = await besideTheRecording(fleet, recording);
  const nothingLost = await cutInTheMiddle(fleet);
  const sameFrames = asLinux();
  say(`\n${NEXT}`);
  if (!sameAsRecorded || !nothingLost || !sameFrames) process.exitCode = EXIT.different;
}

/** The page allocator against a recorded kernel's, and a bug of Linux as the explorer shows it. */
function asLinux(): boolean {
  const { equal, total } = framesAsRecorded(packagePath(FRAMES_RECORDING));
  say(`\n3. From a recorded kernel's free lists Puff hands out ${equal} of ${total} page frames `);
  say('as recorded.\n');
  say('4. A deadlock that Linux had until 2017, found among all orders of the steps:\n');
  for (const line of deadlockOf2017()) say(`   ${line}\n`);
  return equal === total;
}

/** Sends the recorded requests to vm0's monitor and compares with what Linux and QEMU did. */
async function besideTheRecording(fleet: Fleet, recording: Recording): Promise<boolean> {
  say(`1. The QMP requests of ${recording.name}, recorded with Linux 6.1 under QEMU `);
  const { major, minor, micro } = recording.version.qemu;
  say(`${major}.${minor}.${micro}:\n`);
  const talk = conversation(recording);
  const client = await fleet.qmp('vm0');
  const ramBytes = recording.memoryBytes;
  const replay = await replayRequests(client, talk, {
    ramBytes,
    output: process.stdout,
    settled: () => fleet.settled('vm0'),
  });
  await client.close();
  const trace = readTrace(fleet, 'vm0');
  const checks = compare(recording, { talk, replay, trace });
  say(`\n${table(['what', 'recorded', 'Puff alike', ''], checkRows(checks))}\n`);
  showSpeed(recording, trace);
  showEvents(talk, replay);
  return checks.every((check) => check.equal === check.total);
}

function compare(
  recording: Recording,
  seen: { readonly talk: Conversation; readonly replay: Replay; readonly trace: WireTraceEvent[] },
): Check[] {
  const outside = outsideResize(seen.talk, recording.memoryBytes);
  const expectations = takeExpectations(recording);
  const judged = ({ request }: { readonly request: number }): boolean => outside.has(request);
  const asked = new Set(seen.replay.messages.map(({ request }) => request));
  const checks = runChecks(
    {
      ...expectations,
      replies: expectations.replies.filter((reply) => judged(reply) && asked.has(reply.request)),
    },
    { ...observeTrace(seen.trace), qmp: seen.replay.messages.filter(judged) },
  );
  return checks.filter(({ name }) => name !== 'qmp.events');
}

function showSpeed(recording: Recording, trace: readonly WireTraceEvent[]): void {
  const rows = ['inflate', 'deflate'].map((queue) => [
    `pages per second, ${queue}`,
    String(pagesPerSecond(recording.wire, queue)),
    String(pagesPerSecond(traceTimes(trace), queue)),
  ]);
  const header = ['not judged', 'Linux under QEMU (no KVM)', 'Puff'];
  say(`${table(header, rows)}\n`);
}

function showEvents(talk: Conversation, replay: Replay): void {
  const firstMs = talk.exchanges[0]?.request.tMs ?? 0;
  const count = Math.max(talk.events.length, replay.events.length);
  const rows = Array.from({ length: count }, (_, index) => {
    const recorded = talk.events[index]?.event;
    const seen = replay.events[index];
    return [
      recorded ? timedEvent(recorded, recorded.tMs - firstMs) : '-',
      seen ? timedEvent({ name: seen.event.event, data: seen.event.data }, seen.atMs) : '-',
    ];
  });
  say(`${table(['events, not judged: recorded', 'Puff'], rows)}\n`);
}

function timedEvent(event: { name: string; data?: object | undefined }, atMs: number): string {
  return `${eventText(event.name, event.data)} at ${Math.round(atMs)} ms`;
}

/** Cuts vm1's connection while it inflates and waits until both sides agree again. */
async function cutInTheMiddle(fleet: Fleet): Promise<boolean> {
  const asked = (CUT_GUEST_BYTES - CUT_TARGET_BYTES) / PAGE_SIZE;
  say(`2. vm1 is asked for ${asked} pages, and its connection is cut on the way:\n`);
  const client = await fleet.qmp('vm1');
  const moving = new Promise<void>((resolve) => client.onEvent(() => resolve()));
  await client.execute('balloon', { value: CUT_TARGET_BYTES });
  await moving;
  await fleet.host({ verb: 'cut', guest: 'vm1' });
  const cut = await fleet.look('vm1');
  const inBalloon = (CUT_GUEST_BYTES - cut.host.actualBytes) / PAGE_SIZE;
  say(`   cut with ${inBalloon} of ${asked} pages in the balloon\n`);
  const after = await fleet.settled('vm1', 60_000);
  await client.close();
  const { equal, pages } = await fleet.sameFrames('vm1');
  say(
    `   resumed by itself; the guest's list has ${after.dump.listPages} pages, the host's ledger `,
  );
  say(`${after.host.ledgerPages}; frame by frame ${equal ? 'equal' : 'DIFFERENT'}\n`);
  const inTheMiddle = inBalloon > 0 && inBalloon < asked;
  if (!inTheMiddle) say('   but the cut did not come in the middle: nothing was shown\n');
  return equal && pages === asked && inTheMiddle && after.dump.canariesWrong === 0;
}

function readTrace(fleet: Fleet, id: string): WireTraceEvent[] {
  const text = readFileSync(join(fleet.directory, `${id}.wire.jsonl`), 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as WireTraceEvent);
}

function say(text: string): void {
  process.stdout.write(text);
}

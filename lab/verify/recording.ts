import { basename } from 'node:path';
import { z } from 'zod';
import { MIB } from '../../shared/lib/units.ts';
import { MAX_GUEST_MIB, MIN_GUEST_MIB } from '../../shared/limits.ts';
import { type BootState, GUEST_FILE, readBootState } from './boot-state.ts';
import { requireStateOf } from './bootable.ts';
import { checked, readJson, UnusableRecording } from './files.ts';
import { type Negotiation, type QmpLine, readNegotiation, readQmp } from './qmp-lines.ts';
import type { QmpVersion, RecordedProgram } from './types.ts';
import { readWire, type WireEvent } from './wire-lines.ts';

/**
 * Step 1 of `puff verify`: reads one recording of a real guest and QEMU and checks its shape.
 * Read are meta.json, qmp.jsonl, wire.jsonl.gz and, where there are such, negotiation.json and the
 * snapshot of guest.jsonl.gz after boot. Not read: what else the guest printed and the state of
 * its page allocator (kpageflags-*, freelists-*, kmem-trace).
 */
export interface Recording {
  readonly name: string;
  readonly memoryBytes: number;
  /** `-device virtio-balloon-pci` options: 'deflate-on-oom' -> 'on'. */
  readonly deviceOptions: Readonly<Record<string, string>>;
  /** Negotiated features, the rings' own bits included. */
  readonly features: bigint;
  /** First word of each step that has a name: 'unbind', 'insmod', ... */
  readonly steps: readonly string[];
  /** Programs that a step ran in the guest. */
  readonly programs: readonly RecordedProgram[];
  /** Free memory after boot, where the recording has a snapshot of it. */
  readonly bootState: BootState | undefined;
  /** From the greeting. */
  readonly version: QmpVersion;
  /** At least the greeting; times never go back. */
  readonly qmp: readonly QmpLine[];
  /** Not empty; times never go back. */
  readonly wire: readonly WireEvent[];
  readonly negotiation: Negotiation | undefined;
}

const META = z.object({
  name: z.string().min(1).optional(),
  mem_mib: z.number().int().min(MIN_GUEST_MIB).max(MAX_GUEST_MIB),
  balloon_opts: z.string().default(''),
  features: z.string().regex(/^[01]{33,64}$/, 'expected 33 to 64 characters 0 or 1'),
  steps: z.array(z.unknown()).default([]),
});

/**
 * Reads and checks the recording in `directory`. Throws UnusableRecording for a file that is
 * missing, cannot be read or does not have the shape of a recording.
 */
export function readRecording(directory: string): Recording {
  const meta = checked(META, readJson(directory, 'meta.json'), `${directory}/meta.json`);
  const deviceOptions = parseOptions(meta.balloon_opts);
  const qmp = readQmp(directory);
  const wire = readWire(directory, deviceOptions);
  requireOrder(qmp, `${directory}/qmp.jsonl`);
  requireOrder(wire, `${directory}/wire.jsonl.gz`);
  const [greeting] = qmp;
  if (greeting?.kind !== 'greeting') {
    throw new UnusableRecording(`${directory}/qmp.jsonl: does not begin with QMP's greeting`);
  }
  const memoryBytes = meta.mem_mib * MIB;
  const bootState = readBootState(directory);
  if (bootState !== undefined) {
    requireStateOf(memoryBytes, bootState, `${directory}/${GUEST_FILE}`);
  }
  return {
    name: meta.name ?? basename(directory),
    memoryBytes,
    deviceOptions,
    features: BigInt(`0b${[...meta.features].reverse().join('')}`),
    steps: stepNames(meta.steps),
    programs: stepPrograms(meta.steps, `${directory}/meta.json`),
    bootState,
    version: greeting.version,
    qmp,
    wire,
    negotiation: readNegotiation(directory),
  };
}

/** `,deflate-on-oom=on,iothread=io0` to a record; an option without a value is 'on', as in QEMU. */
export function parseOptions(text: string): Record<string, string> {
  const parts = text.split(',').filter((part) => part !== '');
  return Object.fromEntries(
    parts.map((part) => {
      const end = part.indexOf('=');
      return end < 0 ? [part, 'on'] : [part.slice(0, end), part.slice(end + 1)];
    }),
  );
}

/** Steps are tuples with the name first, plain command lines, or results without a name. */
function stepNames(steps: readonly unknown[]): string[] {
  return steps.flatMap((step) => {
    const label: unknown = Array.isArray(step) ? step[0] : step;
    return typeof label === 'string' ? [label.split(/\s/)[0]] : [];
  });
}

/** Steps such as ["hog", 200, ...] and ["hog and free", 300]. */
function stepPrograms(steps: readonly unknown[], where: string): RecordedProgram[] {
  return steps.flatMap((step): RecordedProgram[] => {
    if (!Array.isArray(step)) return [];
    const [label, mib] = step as unknown[];
    const isHog = typeof label === 'string' && /^hog\b/.test(label);
    if (!isHog || typeof mib !== 'number' || mib <= 0) return [];
    if (mib <= MAX_GUEST_MIB) return [{ name: 'hog', mib }];
    throw new UnusableRecording(`${where}: a hog of ${mib} MiB, at most ${MAX_GUEST_MIB}`);
  });
}

function requireOrder(lines: readonly { readonly tMs: number }[], where: string): void {
  if (lines.length === 0) throw new UnusableRecording(`${where}: is empty`);
  const back = lines.findIndex((line, index) => index > 0 && line.tMs < lines[index - 1].tMs);
  if (back >= 0) throw new UnusableRecording(`${where}: line ${back + 1}: time goes back`);
}

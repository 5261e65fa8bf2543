import { z } from 'zod';
import { GUEST_FILE, parseBootState, type ZoneState } from './boot-state.ts';
import { checked, parse, readOptionalLines } from './files.ts';

const SNAPSHOT = z.object({
  label: z.string(),
  vmstat: z.string().default(''),
  pagetypeinfo: z.string().default(''),
  zoneinfo: z.string().default(''),
});

/** What a recorded guest showed in /proc at one moment. */
export interface Snapshot {
  readonly label: string;
  /** /proc/vmstat: 0 for what it does not have. */
  vmstat(name: string): number;
  /** Free blocks, pageblocks, watermarks of every zone; empty where that cannot be read. */
  readonly zones: readonly ZoneState[];
}

/** All snapshots in order; none where there is no such file. Throws UnusableRecording. */
export function readSnapshots(directory: string): Snapshot[] {
  return readOptionalLines(directory, GUEST_FILE).map(({ text, where }) => {
    const { label, vmstat, pagetypeinfo, zoneinfo } = checked(SNAPSHOT, parse(text, where), where);
    const counters = new Map(
      vmstat.split('\n').map((line): [string, number] => {
        const [name = '', value = '0'] = line.split(' ');
        return [name, Number(value)];
      }),
    );
    return {
      label,
      vmstat: (name) => counters.get(name) ?? 0,
      zones: parseBootState(pagetypeinfo, zoneinfo)?.zones ?? [],
    };
  });
}

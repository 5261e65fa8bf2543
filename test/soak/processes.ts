import { readdirSync, readFileSync } from 'node:fs';

/** What Linux tells of processes; elsewhere there is no /proc, and figures are undefined. */

/** Ticks of utime and stime in /proc/PID/stat; USER_HZ is 100 on every Linux there is. */
const TICKS_PER_SECOND = 100;

export interface ProcessCost {
  readonly residentBytes: number;
  /** The most it was. */
  readonly peakBytes: number;
  readonly cpuSeconds: number;
}

/** Memory and CPU of a process so far; undefined where that cannot be told. */
export function costOf(pid: number): ProcessCost | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kib = (name: string): number =>
      Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in parentheses; it may hold blanks.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return {
      residentBytes: kib('VmRSS') * 1024,
      peakBytes: kib('VmHWM') * 1024,
      cpuSeconds: ticks / TICKS_PER_SECOND,
    };
  } catch {
    return undefined;
  }
}

/** Process ids whose command line has `text` in it, but this process; undefined without /proc. */
export function processesWith(text: string): number[] | undefined {
  let names: string[];
  try {
    names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return undefined;
  }
  return names.map(Number).filter((pid) => pid !== process.pid && commandOf(pid).includes(text));
}

/** Empty for a process that has ended meanwhile, or is a zombie. */
function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

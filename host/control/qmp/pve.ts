import type { StatsTag } from '../../../shared/virtio/balloon.ts';
import type { Machine } from '../../vmm/machine.ts';
import { mustHaveBalloon } from './balloon-commands.ts';
import type { Json } from './json-value.ts';
import { machineType } from './qom-tree.ts';
import type { QmpSettings } from './settings.ts';

/**
 * What the QEMU of Proxmox VE says otherwise than upstream's: members that pvestatd reads in
 * query-balloon, and three commands that it sends before and that must not fail, because the first
 * failure ends its round.
 *
 * Not emulated: Proxmox' commands for backups and snapshots, `pve-version` of a machine type.
 */
export type PveBalloonInfo = {
  readonly actual: number;
  readonly max_mem: number;
  readonly last_update?: number;
  readonly mem_swapped_in?: bigint;
  readonly mem_swapped_out?: bigint;
  readonly major_page_faults?: bigint;
  readonly minor_page_faults?: bigint;
  readonly free_mem?: bigint;
  readonly total_mem?: bigint;
};

/** In the order of Proxmox' QAPI schema. */
const STATISTICS: readonly (readonly [member: keyof PveBalloonInfo, tag: StatsTag])[] = [
  ['mem_swapped_in', 'swap-in'],
  ['mem_swapped_out', 'swap-out'],
  ['major_page_faults', 'major-faults'],
  ['minor_page_faults', 'minor-faults'],
  ['free_mem', 'free-memory'],
  ['total_mem', 'total-memory'],
];

/**
 * query-balloon of Proxmox: sizes in bytes, statistics only while polling is on, the driver has
 * the queue for them and has answered once. Throws DeviceNotActive without a balloon.
 */
export function pveBalloonInfo(machine: Machine): PveBalloonInfo {
  const balloon = mustHaveBalloon(machine);
  const { values, lastUpdateSeconds } = balloon.stats;
  const { actualBytes: actual, statsNegotiated, pollingIntervalSeconds } = balloon;
  const max_mem = machine.ramBytes;
  if (!statsNegotiated || pollingIntervalSeconds === 0 || lastUpdateSeconds === 0) {
    return { actual, max_mem };
  }
  const statistics = STATISTICS.flatMap(([member, tag]) => {
    const value = BigInt.asIntN(64, values[tag] ?? -1n);
    return value < 0n ? [] : [[member, value]];
  });
  return { actual, last_update: lastUpdateSeconds, ...Object.fromEntries(statistics), max_mem };
}

/** What `info balloon` prints after `actual`, in Proxmox' order; sizes in whole MiB. */
export function pveBalloonText(machine: Machine): string {
  const info = pveBalloonInfo(machine);
  const inMib = ['actual', 'max_mem', 'total_mem', 'free_mem'] as const;
  const asIs = [
    'mem_swapped_in',
    'mem_swapped_out',
    'major_page_faults',
    'minor_page_faults',
    'last_update',
  ] as const;
  const words = [
    ...inMib.map((name) => wordOf(name, info[name], 20n)),
    ...asIs.map((name) => wordOf(name, info[name], 0n)),
  ];
  return `balloon: ${words.filter((word) => word !== undefined).join(' ')}`;
}

function wordOf(name: string, value: number | bigint | undefined, shift: bigint) {
  return value === undefined ? undefined : `${name}=${BigInt(value) >> shift}`;
}

/** There are no backups here, hence none of their features and no library. */
export function queryProxmoxSupport(): Json {
  return {
    'pbs-dirty-bitmap': false,
    'query-bitmap-info': false,
    'pbs-dirty-bitmap-savevm': false,
    'pbs-dirty-bitmap-migration': false,
    'pbs-masterkey': false,
    'pbs-library-version': '',
  };
}

/** The one machine type there is: one CPU, nothing of it hot-pluggable, no NUMA. */
export function queryMachines(settings: QmpSettings): Json {
  return [
    {
      name: machineType(settings),
      'is-current': true,
      'cpu-max': 1,
      'hotpluggable-cpus': false,
      'numa-mem-supported': false,
      deprecated: false,
    },
  ];
}

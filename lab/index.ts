import type { BalloonChoice } from '../guest/further-balloons.ts';
import type { Guest, GuestEnd } from '../guest/guest.ts';
import { type RunningGuests, startGuest as startGuests } from '../guest/start-guest.ts';
import { DEFAULT_QMP_SETTINGS, type QmpDialect } from '../host/control/qmp/settings.ts';
import type { Host } from '../host/host.ts';
import { startHost as startHostProcess } from '../host/start-host.ts';
import type { HotplugKind } from '../host/vmm/machine.ts';
import type { HostGuestSummary } from '../shared/control/schemas.ts';
import { isGuestId } from '../shared/protocol/codec.ts';
import { parseDevice } from './device-option.ts';
import { readGuestImage } from './guest-image.ts';
import { parseGuestMemory } from './guest-memory.ts';
import {
  settled as guestSettled,
  type ListsGuests,
  probed,
  type SettledOptions,
} from './settled.ts';

export { connectQmp as qmp, QmpClient, QmpError } from './qmp-client.ts';
export { NotSettled } from './settled.ts';
export { VirtualSession } from './virtual-session.ts';
/**
 * Puff as a library: a host and guests inside the caller's process, over real sockets. For fleets
 * of processes use the command line; for virtual time `VirtualSession`.
 */
export { settled, startGuest, startHost };

export interface HostChoice {
  /** HOST:PORT for guests; a free port of 127.0.0.1 when left out. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** What every guest must send; needed where other machines can reach the port. */
  readonly token?: string;
  /** Certificate chain and key of the port, PEM. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Other machines may connect without TLS. */
  readonly insecure?: boolean;
  /** Folder for one QMP socket per guest, `ID.qmp`. */
  readonly qmp?: string;
  /** One TCP port for QMP per guest, from this one up; port 0 takes any free ones. */
  readonly qmpTcp?: { readonly host: string; readonly port: number };
  /** Clients that one QMP socket serves at once; 1, as QEMU, when left out. */
  readonly qmpClients?: number;
  /** `pve` for Proxmox VE's QMP. */
  readonly qmpDialect?: QmpDialect;
  /** Balloons sit behind the root port rp0, where device_del and device_add reach them. */
  readonly hotplug?: HotplugKind;
  /** Every guest's balloon as QEMU spells it: `virtio-balloon-pci,deflate-on-oom=on`. */
  readonly device?: string;
  /** Refuse what a driver does wrong instead of tolerating it. */
  readonly strict?: boolean;
  /** File in which guests, targets and statistics intervals outlive the host. */
  readonly store?: string;
  /** How long a guest whose link is lost is waited for; 30 s when left out. */
  readonly resumeWindowMs?: number;
}

export interface LibraryHost extends ListsGuests {
  readonly host: Host;
  readonly url: string;
  list(): readonly HostGuestSummary[];
  close(): Promise<void>;
}

/**
 * Starts a host. Rejects with one line when the port, folder or store is not to be had, or when
 * the port would be open to others than is meant.
 */
async function startHost(choice: HostChoice = {}): Promise<LibraryHost> {
  const running = await startHostProcess({
    listen: choice.listen ?? { host: '127.0.0.1', port: 0 },
    token: choice.token,
    tls: choice.tls,
    insecure: choice.insecure ?? false,
    qmpDir: choice.qmp,
    qmpTcp: choice.qmpTcp,
    qmpMaxClients: choice.qmpClients ?? 1,
    qmpSettings: { ...DEFAULT_QMP_SETTINGS, dialect: choice.qmpDialect ?? 'qemu' },
    hotplug: choice.hotplug,
    strict: choice.strict ?? false,
    storePath: choice.store,
    ...(choice.resumeWindowMs === undefined ? {} : { resumeWindowMs: choice.resumeWindowMs }),
    ...(choice.device === undefined ? {} : { device: parseDevice(choice.device) }),
  });
  return {
    host: running.host,
    url: running.url,
    list: running.list,
    close: () => running.close(),
  };
}

export interface GuestChoice {
  readonly connect: string;
  readonly id: string;
  /** RAM, for example '1G'; with an image the image's. */
  readonly memory?: string;
  /** Path of a recorded `freelists-*.json.gz` to boot from. */
  readonly image?: string;
  /** `none` for an idle guest. */
  readonly workload?: 'default' | 'none';
  readonly seed?: number;
  /** What the host wants of its guests. */
  readonly token?: string;
  /** Certificates to trust, PEM, in the place of the system's. */
  readonly ca?: string;
  /** The token may go to another machine without TLS. */
  readonly insecure?: boolean;
  /** Balloon devices beside the first, each with the host that plugs it in and its id there. */
  readonly balloons?: readonly BalloonChoice[];
}

export interface LibraryGuest {
  readonly guest: Guest;
  readonly ended: Promise<GuestEnd>;
  close(): Promise<void>;
}

/** The host did not let the guest in, or let it go before its driver was up. */
export class GuestRefused extends Error {
  override readonly name = 'GuestRefused';
}

/**
 * Starts a guest; resolves when its balloon driver is up, so it waits for a host that is not there
 * yet. Rejects with GuestRefused; with SizeError for what no guest has as memory, with
 * ImageError or PackedFileError for an image, with TypeError for what is no id or URL, with
 * BalloonChoiceError for further devices that no guest has. Those are not waited for.
 */
async function startGuest(choice: GuestChoice): Promise<LibraryGuest> {
  if (!isGuestId(choice.id)) throw new TypeError(`'${choice.id}' is no guest id`);
  const memoryBytes = choice.memory === undefined ? undefined : parseGuestMemory(choice.memory);
  const running: RunningGuests = await startGuests({
    connect: choice.connect,
    id: choice.id,
    token: choice.token,
    ca: choice.ca,
    insecure: choice.insecure ?? false,
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(choice.image === undefined ? {} : readGuestImage(choice.image, memoryBytes)),
    ...(choice.seed === undefined ? {} : { seed: choice.seed }),
    ...(choice.workload === 'none' ? { programs: [] } : {}),
    balloons: choice.balloons ?? [],
  });
  const [guest] = running.guests as [Guest];
  const ended = running.ended.then(([end]) => end as GuestEnd);
  const endedEarly = await Promise.race([probed(guest), ended]);
  if (endedEarly) throw new GuestRefused(`${guest.id} was not let in: ${endedEarly.reason}`);
  return { guest, ended, close: () => running.close() };
}

/**
 * Resolves when target, `actual`, ledger and list agree and no balloon buffer is in flight; with
 * `device` for a balloon device that this host has under that id.
 */
function settled(
  host: ListsGuests,
  guest: LibraryGuest,
  options: SettledOptions = {},
): ReturnType<typeof guestSettled> {
  return guestSettled(host, guest.guest, options);
}

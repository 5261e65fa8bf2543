/** Whose QMP is spoken: upstream QEMU's, or that of Proxmox VE's patched build (pve.ts). */
export const QMP_DIALECTS = ['qemu', 'pve'] as const;
export type QmpDialect = (typeof QMP_DIALECTS)[number];

/** What a QMP monitor tells about itself; the defaults are those of the recorded QEMU. */
export interface QmpSettings {
  readonly version: { readonly major: number; readonly minor: number; readonly micro: number };
  /** `package` of query-version: a distribution's name for its build. */
  readonly package: string;
  /** The machine's name in query-name (`-name` of QEMU); without one the reply is empty. */
  readonly name?: string;
  /** How many statistics `guest-stats` shows: 10 until Linux 6.12's six came. */
  readonly statsCount: number;
  readonly dialect: QmpDialect;
}

export const DEFAULT_QMP_SETTINGS: QmpSettings = {
  version: { major: 7, minor: 2, micro: 22 },
  package: 'Puff, a balloon without a virtual machine',
  statsCount: 10,
  dialect: 'qemu',
};

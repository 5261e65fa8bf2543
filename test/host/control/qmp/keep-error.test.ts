import { expect, it } from 'vitest';
import { QmpSession } from '../../../../host/control/qmp/session.ts';
import { DEFAULT_QMP_SETTINGS } from '../../../../host/control/qmp/settings.ts';
import { DEFAULT_PROPERTIES } from '../../../../host/device/offer.ts';
import { QEMU_POLICY } from '../../../../host/device/violations.ts';
import { Vmm } from '../../../../host/vmm/vmm.ts';
import { VirtualClock } from '../../../../shared/lib/clock.ts';
import { MemoryKeeper } from '../../../support/memory-keeper.ts';
import { helloOf, RAM_BYTES } from '../../vmm/guest-end.ts';
import { bytes, errorLine } from './support.ts';

it('a change that the host cannot keep is refused, and the monitor goes on', () => {
  const keeper = new MemoryKeeper();
  const vmm = new Vmm({
    clock: new VirtualClock(),
    keeper,
    deviceFor: () => ({
      qomId: 'balloon0',
      properties: DEFAULT_PROPERTIES,
      policy: QEMU_POLICY,
    }),
    newSessionName: () => 'session',
  });
  vmm.admit(helloOf());
  const lines: string[] = [];
  const session = new QmpSession({
    machine: vmm.vm('vm0'),
    settings: DEFAULT_QMP_SETTINGS,
    output: (text) => lines.push(text.trim()),
  });
  const execute = (command: string, args = {}): string | undefined => {
    session.feed(bytes(JSON.stringify({ execute: command, arguments: args })));
    return lines.at(-1);
  };
  execute('qmp_capabilities');
  keeper.failing = true;
  const refusal = errorLine('cannot write the store: no space left on device');
  expect(execute('balloon', { value: RAM_BYTES / 2 })).toBe(refusal);
  const property = { path: 'balloon0', property: 'guest-stats-polling-interval', value: 1 };
  expect(execute('qom-set', property)).toBe(refusal);
  expect(execute('query-balloon')).toBe(`{"return": {"actual": ${RAM_BYTES}}}`);
  keeper.failing = false;
  expect(execute('balloon', { value: RAM_BYTES / 2 })).toBe('{"return": {}}');
});

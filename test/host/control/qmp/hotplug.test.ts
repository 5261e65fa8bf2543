import { beforeEach, describe, expect, test } from 'vitest';
import type { Json } from '../../../../host/control/qmp/json-value.ts';
import { writeJson } from '../../../../host/control/qmp/json-writer.ts';
import { QmpMonitor } from '../../../../host/control/qmp/monitor.ts';
import type { QmpSession } from '../../../../host/control/qmp/session.ts';
import type { HotplugKind } from '../../../../host/vmm/machine.ts';
import { HeldGuest } from '../../../support/held-guest.ts';
import { bytes, errorLine, RECORDED_SETTINGS } from './support.ts';

/**
 * Expectations were seen with QEMU 7.2.22 (q35, `-device pcie-root-port,id=rp0 -device
 * virtio-balloon-pci,id=balloon0,bus=rp0`) and a Linux 6.1 guest of 256 MiB in it, once over ACPI,
 * once with acpi-pci-hotplug-with-bridge-support=off.
 */
let held: HeldGuest;
let session: QmpSession;
let lines: string[];

function boot(hotplug: HotplugKind): void {
  held = new HeldGuest({ hotplug });
  const machine = held.session.vm('vm0');
  const timers = held.session.clock;
  const monitor = new QmpMonitor({ machine, settings: RECORDED_SETTINGS, timers });
  lines = [];
  session = monitor.open((text) => lines.push(text.slice(0, -2)));
  execute('qmp_capabilities');
}

/** The reply of a command, and nothing else before it; the guest acts in `eventsIn`. */
function execute(command: string, args?: Json): string {
  lines.length = 0;
  const request = args === undefined ? {} : { arguments: args };
  session.feed(bytes(writeJson({ execute: command, ...request })));
  expect(lines).toHaveLength(1);
  return lines[0];
}

/** What comes without being asked for in so much time; time stamps left out. */
function eventsIn(deltaMs: number): string[] {
  lines.length = 0;
  held.run(deltaMs);
  return lines.map((line) => line.replace(/^\{"timestamp": \{.*?\}, /, '{'));
}

const add = (args: Readonly<Record<string, Json>>): string =>
  execute('device_add', { driver: 'virtio-balloon-pci', id: 'b', bus: 'rp0', ...args });
const del = (id = 'balloon0'): string => execute('device_del', { id });
const get = (path: string, property: string): string => execute('qom-get', { path, property });
const peripherals = (): string => execute('qom-list', { path: '/machine/peripheral' });

const OK = '{"return": {}}';
const NOT_ACTIVE = errorLine('No balloon device has been activated', 'DeviceNotActive');
const notFound = (path: string): string =>
  errorLine(`Device '${path}' not found`, 'DeviceNotFound');
const deleted = (id: string): string[] => [
  `{"event": "DEVICE_DELETED", "data": {"path": "/machine/peripheral/${id}/virtio-backend"}}`,
  `{"event": "DEVICE_DELETED", "data": {"device": "${id}", "path": "/machine/peripheral/${id}"}}`,
];

describe('device_del over ACPI', () => {
  beforeEach(() => boot('acpi'));

  test('answers at once; the guest deflates, then DEVICE_DELETED tells backend and proxy', () => {
    held.setTarget(134217728);
    eventsIn(5000);
    expect(del()).toBe(OK);
    expect(execute('query-balloon')).toBe('{"return": {"actual": 134217728}}');
    expect(eventsIn(0)).toEqual([
      '{"event": "BALLOON_CHANGE", "data": {"actual": 268435456}}',
      ...deleted('balloon0'),
    ]);
  });

  test('a BALLOON_CHANGE that is throttled comes after DEVICE_DELETED', () => {
    held.setTarget(234217728);
    expect(del()).toBe(OK);
    expect(eventsIn(0)).toEqual(deleted('balloon0'));
    expect(eventsIn(1000)).toEqual(['{"event": "BALLOON_CHANGE", "data": {"actual": 268435456}}']);
  });

  test('is answered again while the guest has not let go, here because it is paused', () => {
    session.feed(bytes('{"execute": "stop"}'));
    expect(del()).toBe(OK);
    eventsIn(1500);
    expect(del()).toBe(OK);
    expect(execute('query-balloon')).toBe('{"return": {"actual": 268435456}}');
    expect(execute('balloon', { value: 234217728 })).toBe(OK);
    session.feed(bytes('{"execute": "cont"}'));
    expect(eventsIn(10_000).filter((line) => line.includes('DELETED'))).toEqual(
      deleted('balloon0'),
    );
  });

  test('is acknowledged by the guest’s kernel when no driver is bound', () => {
    held.guest.verb('unbind');
    held.run();
    expect(del()).toBe(OK);
    expect(eventsIn(0)).toEqual(deleted('balloon0'));
  });

  test.each([
    ['nope', notFound('nope')],
    ['device[0]', notFound('device[0]')],
    ['rp0', errorLine("Bus 'pcie.0' does not support hotplugging")],
    ['balloon0/virtio-backend', errorLine("Bus 'virtio-bus' does not support hotplugging")],
    ['/machine', errorLine('/machine is not a hotpluggable device')],
    ['', errorLine(' is not a hotpluggable device')],
  ])('of "%s" is refused', (id, reply) => {
    expect(del(id)).toBe(reply);
    expect(eventsIn(1000)).toEqual([]);
  });
});

describe('device_del over the attention button', () => {
  beforeEach(() => boot('pcie'));

  test('is refused for 5 seconds, under the name that was given', () => {
    expect(del()).toBe(OK);
    const refused = 'Device balloon0 is already in the process of unplug';
    expect(del()).toBe(errorLine(refused));
    expect(del('/machine/peripheral/balloon0')).toBe(
      errorLine('Device /machine/peripheral/balloon0 is already in the process of unplug'),
    );
    expect(eventsIn(4999)).toEqual([]);
    expect(del()).toBe(errorLine(refused));
    expect(eventsIn(1)).toEqual(deleted('balloon0'));
    expect(del()).toBe(notFound('balloon0'));
  });

  test('afterwards, because the guest is busy with it', () => {
    held.guest.verb('suspend');
    held.run();
    expect(del()).toBe(OK);
    eventsIn(5000);
    expect(del()).toBe(errorLine('Hot-unplug failed: guest is busy (power indicator blinking)'));
  });
});

describe('while the slot is empty', () => {
  beforeEach(() => {
    boot('acpi');
    del();
    eventsIn(0);
  });

  test('balloon commands are refused with the class DeviceNotActive', () => {
    expect(execute('query-balloon')).toBe(NOT_ACTIVE);
    expect(execute('balloon', { value: 134217728 })).toBe(NOT_ACTIVE);
    expect(execute('balloon', { value: 0 })).toBe(NOT_ACTIVE);
    expect(execute('human-monitor-command', { 'command-line': 'info balloon' })).toBe(
      '{"return": "Error: No balloon device has been activated\\r\\n"}',
    );
  });

  test('the device is in no list and no path leads to it', () => {
    expect(peripherals()).toBe(
      '{"return": [{"name": "type", "type": "string"}, ' +
        '{"name": "rp0", "type": "child<pcie-root-port>"}]}',
    );
    const path = '/machine/peripheral/balloon0';
    expect(get(path, 'guest-stats')).toBe(notFound(path));
    expect(del()).toBe(notFound('balloon0'));
  });

  test.each([
    [{ bus: 'pcie.0' }, "Bus 'pcie.0' does not support hotplugging"],
    [{ bus: 'nope' }, "Bus 'nope' not found"],
    [{ bus: '' }, "Bus '' not found"],
    [{ bus: 'virtio-bus' }, "Bus 'virtio-bus' not found"],
    [{ bus: 'main-system-bus' }, "Device 'virtio-balloon-pci' can't go on System bus"],
    [{ id: 'rp0' }, "Duplicate device ID 'rp0'"],
    [{ id: 'rp0', bus: 'nope' }, "Bus 'nope' not found"],
    [{ id: 'rp0', bogus: 1 }, "Duplicate device ID 'rp0'"],
    [{ bogus: 1 }, "Property 'virtio-balloon-pci.bogus' not found"],
    [{ aaa: 1, zzz: 1, bogus: 1 }, "Property 'virtio-balloon-pci.bogus' not found"],
    [{ bogus: [1], x: 2 }, "Property 'virtio-balloon-pci.x' not found"],
    [{ 'deflate-on-oom': 'maybe' }, "Parameter 'deflate-on-oom' expects 'on' or 'off'"],
    [{ 'deflate-on-oom': 'ON' }, "Parameter 'deflate-on-oom' expects 'on' or 'off'"],
    [{ 'deflate-on-oom': '' }, "Parameter 'deflate-on-oom' expects 'on' or 'off'"],
    [{ 'deflate-on-oom': 1 }, "Parameter 'deflate-on-oom' expects 'on' or 'off'"],
    [
      { 'deflate-on-oom': 'maybe', 'page-poison': 'maybe' },
      "Parameter 'page-poison' expects 'on' or 'off'",
    ],
    [{ multifunction: 'x' }, "Parameter 'multifunction' expects 'on' or 'off'"],
    [{ addr: 'x' }, "Property 'virtio-balloon-pci.addr' doesn't take value 'x'"],
    [{ addr: '0.9' }, "Property 'virtio-balloon-pci.addr' doesn't take value '0.9'"],
    [{ addr: -5 }, "Property 'virtio-balloon-pci.addr' doesn't take value '-5'"],
    [
      { 'guest-stats-polling-interval': 'x' },
      "Parameter 'guest-stats-polling-interval' expects integer",
    ],
    [
      { 'guest-stats-polling-interval': 1.5 },
      "Parameter 'guest-stats-polling-interval' expects integer",
    ],
    [{ 'guest-stats-polling-interval': -1 }, 'timer value must be greater than zero'],
    [{ 'guest-stats-polling-interval': 2 ** 32 }, 'timer value is too big'],
    [{ 'guest-stats': 1 }, "Property 'virtio-balloon-device.guest-stats' is not writable"],
    [{ type: 'x' }, "Property 'virtio-balloon-pci.type' is not writable"],
    [{ 'virtio-backend': 'x' }, "Property 'virtio-balloon-pci.virtio-backend' is not writable"],
    [{ 'free-page-hint': true }, "'free-page-hint' requires 'iothread' to be set"],
  ] as [Record<string, Json>, string][])('device_add %j is refused', (args, desc) => {
    expect(add(args)).toBe(errorLine(desc));
    expect(execute('query-balloon')).toBe(NOT_ACTIVE);
  });

  test('device_add without a bus is for the root bus, which refuses', () => {
    expect(execute('device_add', { driver: 'virtio-balloon-pci', id: 'b' })).toBe(
      errorLine("Bus 'pcie.0' does not support hotplugging"),
    );
  });

  test('an iothread that is none is named', () => {
    expect(add({ iothread: 'nope' })).toBe(notFound('nope'));
  });
});

describe('device_add into the empty slot', () => {
  beforeEach(() => {
    boot('acpi');
    execute('qom-set', {
      path: 'balloon0',
      property: 'guest-stats-polling-interval',
      value: 2,
    });
    del();
    eventsIn(0);
  });

  test('answers at once, the guest probes, and the balloon works', () => {
    expect(add({})).toBe(OK);
    expect(execute('query-balloon')).toBe('{"return": {"actual": 268435456}}');
    eventsIn(0);
    expect(execute('balloon', { value: 134217728 })).toBe(OK);
    eventsIn(2000);
    expect(execute('query-balloon')).toBe('{"return": {"actual": 134217728}}');
  });

  test('the new device is in its place, hot-plugged, and polls no statistics', () => {
    add({});
    expect(peripherals()).toBe(
      '{"return": [{"name": "type", "type": "string"}, ' +
        '{"name": "b", "type": "child<virtio-balloon-pci>"}, ' +
        '{"name": "rp0", "type": "child<pcie-root-port>"}]}',
    );
    const values = ['b', 'b/virtio-backend', 'rp0'].map((path) =>
      ['hotplugged', 'hotpluggable'].map((property) => get(path, property).slice(11, -1)),
    );
    expect(values).toEqual([
      ['true', 'true'],
      ['true', 'false'],
      ['false', 'false'],
    ]);
    expect(get('b', 'guest-stats-polling-interval')).toBe('{"return": 0}');
  });

  test('takes the properties of -device, whatever is left out has QEMU’s default', () => {
    const options = { 'deflate-on-oom': true, addr: '0x0', bogus: null, multifunction: 'off' };
    expect(add({ ...options, 'guest-stats-polling-interval': '0x10' })).toBe(OK);
    expect(get('b', 'deflate-on-oom')).toBe('{"return": true}');
    expect(get('b', 'page-poison')).toBe('{"return": true}');
    expect(get('b', 'guest-stats-polling-interval')).toBe('{"return": 16}');
    eventsIn(0);
    const { lastUpdateSeconds } = held.balloon.stats;
    eventsIn(17_000);
    expect(held.balloon.stats.lastUpdateSeconds).toBeGreaterThan(lastUpdateSeconds);
  });

  test.each([
    ['yes', true],
    ['y', true],
    ['true', true],
    ['no', false],
    ['n', false],
    ['false', false],
  ])('a switch may say %s', (text, value) => {
    expect(add({ 'deflate-on-oom': text })).toBe(OK);
    expect(get('b', 'deflate-on-oom')).toBe(`{"return": ${value}}`);
  });

  test('an id that is taken and a second balloon are refused, in this order', () => {
    add({});
    expect(add({})).toBe(errorLine("Duplicate device ID 'b'"));
    expect(add({ id: 'c' })).toBe(errorLine('Only one balloon device is supported'));
    expect(add({ id: 'c', 'free-page-hint': true })).toBe(
      errorLine('Only one balloon device is supported'),
    );
    expect(add({ id: 'c', bus: 'virtio-bus' })).toBe(errorLine("Bus 'virtio-bus' is full"));
  });

  test('the old id may be used again, and unplugged again', () => {
    expect(add({ id: 'balloon0' })).toBe(OK);
    eventsIn(0);
    expect(del()).toBe(OK);
    expect(eventsIn(0)).toEqual(deleted('balloon0'));
  });

  test('without an id the device gets a name, which is no id', () => {
    expect(execute('device_add', { driver: 'virtio-balloon', bus: 'rp0' })).toBe(OK);
    eventsIn(0);
    expect(execute('qom-list', { path: '/machine/peripheral-anon' })).toBe(
      '{"return": [{"name": "type", "type": "string"}, ' +
        '{"name": "device[0]", "type": "child<virtio-balloon-pci>"}]}',
    );
    expect(del('device[0]')).toBe(notFound('device[0]'));
    const path = '/machine/peripheral-anon/device[0]';
    expect(del(path)).toBe(OK);
    expect(eventsIn(0)).toEqual([
      `{"event": "DEVICE_DELETED", "data": {"path": "${path}/virtio-backend"}}`,
      `{"event": "DEVICE_DELETED", "data": {"path": "${path}"}}`,
    ]);
  });

  test('another type of proxy has its name in QOM', () => {
    add({ driver: 'virtio-balloon-pci-non-transitional' });
    expect(peripherals()).toContain('child<virtio-balloon-pci-non-transitional>');
    expect(get('b', 'nope')).toBe(
      errorLine("Property 'virtio-balloon-pci-non-transitional.nope' not found"),
    );
  });
});

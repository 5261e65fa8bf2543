import { describe, expect, test } from 'vitest';
import { QmpMonitor } from '../../../../host/control/qmp/monitor.ts';
import type { QmpSettings } from '../../../../host/control/qmp/settings.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { balloonOf } from '../../../support/balloon-of.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { HeldGuest } from '../../../support/held-guest.ts';
import { bytes, RECORDED_SETTINGS } from './support.ts';

/**
 * What known controllers send, byte by byte, and what they rely on in the answers. docs/QMP.md
 * lists them with their sources.
 */
const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, ' +
  '"package": "Debian 1:7.2+dfsg-7+deb12u18+b3"}, "capabilities": ["oob"]}}\r\n';
const PVE: QmpSettings = { ...RECORDED_SETTINGS, dialect: 'pve' };

/** One connection: what is sent as it stands, and everything that comes back. */
class Wire {
  readonly machine: FakeMachine;
  readonly #session;
  #output = '';

  constructor(settings: QmpSettings = RECORDED_SETTINGS, machine = new FakeMachine(1024)) {
    this.machine = machine;
    const timers = { setTimeout: () => undefined, clearTimeout: () => {} };
    const monitor = new QmpMonitor({ machine, settings, timers });
    this.#session = monitor.open((text) => {
      this.#output += text;
    });
  }

  received(): string {
    const text = this.#output;
    this.#output = '';
    return text;
  }

  send(text: string): string {
    this.#session.feed(bytes(text));
    return this.received();
  }
}

/** Each step is what a client sends and the whole answer, line ends included. */
function expectExchange(wire: Wire, steps: readonly (readonly [string, string])[]): void {
  expect(wire.received()).toBe(GREETING);
  for (const [sent, answer] of steps) expect(wire.send(sent)).toBe(answer);
}

const RETURN = '{"return": {}}\r\n';

describe('Proxmox VE: pvestatd', () => {
  /** QMPClient: no newline, arguments always there, ids of process and number. */
  const ask = (number: number, execute: string, args = '{}'): string =>
    `{"arguments":${args},"execute":"${execute}","id":"4711:${number}"}`;
  const told = (number: number, result: string): string =>
    `{"return": ${result}, "id": "4711:${number}"}\r\n`;

  const round = (balloon: string): [string, string][] => [
    [ask(1, 'qmp_capabilities'), told(1, '{}')],
    [
      ask(2, 'query-status'),
      told(2, '{"status": "running", "singlestep": false, "running": true}'),
    ],
    [
      ask(3, 'query-proxmox-support'),
      told(
        3,
        '{"query-bitmap-info": false, "pbs-dirty-bitmap-savevm": false, ' +
          '"pbs-library-version": "", "pbs-dirty-bitmap": false, "pbs-masterkey": false, ' +
          '"pbs-dirty-bitmap-migration": false}',
      ),
    ],
    [ask(4, 'query-blockstats'), told(4, '[]')],
    [
      ask(5, 'query-machines'),
      told(
        5,
        '[{"hotpluggable-cpus": false, "name": "pc-q35-7.2", "is-current": true, ' +
          '"numa-mem-supported": false, "cpu-max": 1, "deprecated": false}]',
      ),
    ],
    [
      ask(6, 'query-version'),
      told(
        6,
        '{"qemu": {"micro": 22, "minor": 2, "major": 7}, ' +
          '"package": "Debian 1:7.2+dfsg-7+deb12u18+b3"}',
      ),
    ],
    [ask(7, 'query-balloon'), told(7, balloon)],
  ];

  test('a round before the guest told statistics: max_mem, without which it reads nothing', () => {
    expectExchange(new Wire(PVE), round('{"actual": 1073741824, "max_mem": 1073741824}'));
  });

  test('start-up sets size and polling; from the first answer on there are statistics', () => {
    const wire = new Wire(PVE);
    expectExchange(wire, [
      [ask(1, 'qmp_capabilities'), told(1, '{}')],
      [ask(2, 'balloon', '{"value":536870912}'), told(2, '{}')],
      [
        ask(
          3,
          'qom-set',
          '{"path":"machine/peripheral/balloon0",' +
            '"property":"guest-stats-polling-interval","value":2}',
        ),
        told(3, '{}'),
      ],
    ]);
    const balloon = balloonOf(wire.machine);
    expect([balloon.targetBytes, balloon.pollingIntervalSeconds]).toEqual([512 * MIB, 2]);
    balloon.actualBytes = 512 * MIB;
    balloon.stats = {
      values: {
        'swap-in': 0n,
        'swap-out': 4096n,
        'major-faults': 235n,
        'minor-faults': 219_028n,
        'free-memory': 844_943_360n,
        'total-memory': 1_044_406_272n,
        'available-memory': 900_000_000n,
      },
      lastUpdateSeconds: 1_358_529_861,
    };
    expect(wire.send(ask(9, 'query-balloon'))).toBe(
      told(
        9,
        '{"actual": 536870912, "max_mem": 1073741824, "mem_swapped_in": 0, ' +
          '"minor_page_faults": 219028, "mem_swapped_out": 4096, "last_update": 1358529861, ' +
          '"free_mem": 844943360, "major_page_faults": 235, "total_mem": 1044406272}',
      ),
    );
  });

  test('the plain dialect does not have its first helper, where its round ends', () => {
    const wire = new Wire();
    wire.send(ask(1, 'qmp_capabilities'));
    for (const command of ['query-proxmox-support', 'query-blockstats', 'query-machines']) {
      expect(JSON.parse(wire.send(ask(2, command))).error.class).toBe('CommandNotFound');
    }
    expect(wire.send(ask(3, 'query-balloon'))).toBe(told(3, '{"actual": 1073741824}'));
  });
});

describe('LXD and Incus', () => {
  test('ids are numbers, requests are lines', () => {
    expectExchange(new Wire(), [
      ['{"execute":"qmp_capabilities","id":1}\n', '{"return": {}, "id": 1}\r\n'],
      [
        '{"execute":"query-memory-size-summary","id":2}\n',
        '{"return": {"base-memory": 1073741824, "plugged-memory": 0}, "id": 2}\r\n',
      ],
      ['{"execute":"query-balloon","id":3}\n', '{"return": {"actual": 1073741824}, "id": 3}\r\n'],
      [
        '{"execute":"balloon","arguments":{"value":536870912},"id":4}\n',
        '{"return": {}, "id": 4}\r\n',
      ],
    ]);
  });

  test('an older LXD writes single quotes and no id', () => {
    const wire = new Wire();
    expectExchange(wire, [
      ['{"execute":"qmp_capabilities"}\n', RETURN],
      ["{'execute': 'balloon', 'arguments': {'value': 536870912}}", RETURN],
    ]);
    expect(wire.machine.balloon?.targetBytes).toBe(536_870_912);
  });

  test('gives up unless the guest is within 1 % after ten looks half a second apart', () => {
    const held = new HeldGuest({ memoryBytes: 1024 * MIB });
    const { balloon, session } = held;
    const wanted = 512 * MIB;
    balloon.setTargetBytes(wanted);
    const seen = Array.from({ length: 10 }, () => {
      session.clock.advanceBy(500);
      return balloon.actualBytes;
    });
    const isNear = (actual: number): boolean => Math.abs(actual - wanted) <= wanted / 100;
    expect(seen.some(isNear)).toBe(true);
  });
});

describe('Ganeti', () => {
  test('looks what commands there are, splits at CR LF, sets the size in MiB through HMP', () => {
    const wire = new Wire();
    expect(wire.received().endsWith('\r\n')).toBe(true);
    expect(wire.send('{"execute": "qmp_capabilities"}\n')).toBe(RETURN);
    const commands = JSON.parse(wire.send('{"execute": "query-commands"}\n')).return;
    for (const name of ['query-balloon', 'balloon', 'human-monitor-command', 'device_add']) {
      expect(commands).toContainEqual({ name });
    }
    expect(wire.send('{"execute": "query-balloon"}\n')).toBe(
      '{"return": {"actual": 1073741824}}\r\n',
    );
    const hmp =
      '{"execute": "human-monitor-command", "arguments": {"command-line": "balloon 300"}}';
    expect(wire.send(`${hmp}\n`)).toBe('{"return": ""}\r\n');
    expect(wire.machine.balloon?.targetBytes).toBe(300 * MIB);
  });
});

describe('NeonVM', () => {
  const ADD = `{
			"execute": "device_add",
			"arguments": {
				"id": "cpu1",
				"driver": "qemu64-x86_64-cpu",
				"core-id": 1,
				"socket-id": 0,
				"thread-id": 0
			}
		}`;

  test('one connection a command: lines inside a request, none at its end', () => {
    for (const [request, answer] of [
      [
        '{"execute": "query-memory-size-summary"}',
        '{"return": {"base-memory": 1073741824, "plugged-memory": 0}}\r\n',
      ],
      [
        ADD,
        '{"error": {"class": "GenericError", ' +
          '"desc": "\'qemu64-x86_64-cpu\' is not a valid device model name"}}\r\n',
      ],
      [
        '{"execute": "qom-get", "arguments": {"path": "vm0", "property": "requested-size"}}',
        '{"error": {"class": "DeviceNotFound", "desc": "Device \'vm0\' not found"}}\r\n',
      ],
      [
        '{"execute": "query-hotpluggable-cpus"}',
        '{"error": {"class": "CommandNotFound", ' +
          '"desc": "The command query-hotpluggable-cpus has not been found"}}\r\n',
      ],
    ] as const) {
      expectExchange(new Wire(), [
        ['{"execute":"qmp_capabilities"}\n', RETURN],
        [request, answer],
      ]);
    }
  });
});

describe('go-qemu', () => {
  test('no newline after a command; no answer is near the 64 KiB its line reader takes', () => {
    const wire = new Wire();
    expectExchange(wire, [
      ['{"execute":"qmp_capabilities"}\n', RETURN],
      ['{"execute":"query-balloon"}', '{"return": {"actual": 1073741824}}\r\n'],
    ]);
    const { return: commands } = JSON.parse(wire.send('{"execute":"query-commands"}'));
    for (const { name } of commands as { name: string }[]) {
      if (name === 'quit') continue;
      expect(wire.send(`{"execute":"${name}"}`).length).toBeLessThan(4096);
    }
  });
});

describe('an autoballooner on go-qemu', () => {
  test('finds the device with qom-list, polls, and reads unset statistics as -1 of 64 bits', () => {
    const wire = new Wire();
    const path = '/machine/peripheral';
    expectExchange(wire, [
      ['{"execute":"qmp_capabilities"}\n', RETURN],
      [
        `{"execute":"qom-list","arguments":{"path":"${path}"}}`,
        '{"return": [{"name": "type", "type": "string"}, ' +
          '{"name": "balloon0", "type": "child<virtio-balloon-pci>"}]}\r\n',
      ],
      [
        `{"execute":"qom-set","arguments":{"path":"${path}/balloon0",` +
          '"property":"guest-stats-polling-interval","value":5}}',
        RETURN,
      ],
    ]);
    const stats = wire.send(
      `{"execute":"qom-get","arguments":{"path":"${path}/balloon0","property":"guest-stats"}}`,
    );
    expect(stats.match(/: 18446744073709551615/g)).toHaveLength(10);
    expect(stats.endsWith('"last-update": 0}}\r\n')).toBe(true);
  });
});

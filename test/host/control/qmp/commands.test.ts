import { describe, expect, test } from 'vitest';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { errorLine, RECORDED_SETTINGS, TestClient } from './support.ts';

function unplugged(): TestClient {
  const machine = new FakeMachine();
  machine.balloon = undefined;
  return TestClient.ready(machine);
}

const NO_BALLOON = errorLine('No balloon device has been activated', 'DeviceNotActive');

describe('balloon and query-balloon', () => {
  test('the value is what remains to the guest, in bytes', () => {
    const machine = new FakeMachine(1024);
    const client = TestClient.ready(machine);
    expect(client.execute('balloon', { value: 536870912 })).toBe('{"return": {}}');
    expect(machine.balloon?.targetBytes).toBe(536870912);
    expect(client.execute('query-balloon')).toBe('{"return": {"actual": 1073741824}}');
  });

  test('values up to 2^63 - 1 are taken and clamped to RAM', () => {
    const machine = new FakeMachine(512);
    expect(TestClient.ready(machine).execute('balloon', { value: 2n ** 63n - 1n })).toBe(
      '{"return": {}}',
    );
    expect(machine.balloon?.targetBytes).toBe(machine.ramBytes);
  });

  test.each([
    ['{}', "Parameter 'value' is missing"],
    ['{"value": "x"}', "Invalid parameter type for 'value', expected: integer"],
    ['{"value": null}', "Invalid parameter type for 'value', expected: integer"],
    ['{"value": 1.0}', "Invalid parameter type for 'value', expected: integer"],
    ['{"value": 9223372036854775808}', "Invalid parameter type for 'value', expected: integer"],
    ['{"value": 0}', "Parameter 'target' expects a size"],
    ['{"value": -9223372036854775808}', "Parameter 'target' expects a size"],
    ['{"value": 1, "zz": 2}', "Parameter 'zz' is unexpected"],
    ['{"value": "x", "zz": 2}', "Invalid parameter type for 'value', expected: integer"],
    ['{"zz": 2}', "Parameter 'value' is missing"],
  ])('arguments %s', (text, desc) => {
    const client = TestClient.ready();
    expect(client.raw(`{"execute": "balloon", "arguments": ${text}}`)).toEqual([errorLine(desc)]);
  });

  test('without a device both are refused with a class of their own', () => {
    expect(unplugged().execute('query-balloon')).toBe(NO_BALLOON);
    expect(unplugged().execute('balloon', { value: 0 })).toBe(NO_BALLOON);
  });
});

describe('the machine', () => {
  test('stop and cont are told once, query-status follows', () => {
    const client = TestClient.ready();
    const { machine } = client;
    machine.onEvent((event) => client.session.deliver(event));
    expect(client.send({ execute: 'stop' })).toHaveLength(2);
    expect(client.send({ execute: 'stop' })).toEqual(['{"return": {}}']);
    expect(client.execute('query-status')).toBe(
      '{"return": {"status": "paused", "singlestep": false, "running": false}}',
    );
    expect(client.send({ execute: 'cont' })).toHaveLength(2);
    expect(client.send({ execute: 'cont' })).toEqual(['{"return": {}}']);
  });

  test('quit: SHUTDOWN comes before the reply, and cont is refused afterwards', () => {
    const client = TestClient.ready();
    client.machine.onEvent((event) => client.session.deliver(event));
    const [event, reply] = client.send({ execute: 'quit' });
    expect(event).toContain(
      '"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-qmp-quit"}',
    );
    expect(reply).toBe('{"return": {}}');
    expect(client.execute('cont')).toBe(errorLine('Resetting the Virtual Machine is required'));
  });

  test('query-name has a name only if one was given', () => {
    const settings = { ...RECORDED_SETTINGS, name: 'vm1' };
    const named = TestClient.ready(new FakeMachine(), [], settings);
    expect(named.execute('query-name')).toBe('{"return": {"name": "vm1"}}');
  });

  test('query-commands lists exactly what can be executed', () => {
    const client = TestClient.ready();
    const listed = JSON.parse(client.execute('query-commands')).return as { name: string }[];
    expect(listed).toHaveLength(19);
    for (const { name } of listed) {
      const client = TestClient.ready();
      expect(client.raw(`{"execute": "${name}"}`).at(-1)).not.toContain('has not been found');
    }
  });
});

describe('device_add and device_del', () => {
  const add = (args: Record<string, string | number | null>): string =>
    TestClient.ready().execute('device_add', args);

  test.each(['balloon0', '/machine/peripheral/balloon0', 'balloon0/'])('device_del %s', (id) => {
    expect(TestClient.ready().execute('device_del', { id })).toBe(
      errorLine("Bus 'pcie.0' does not support hotplugging"),
    );
  });

  test.each([
    ['nope', "Device 'nope' not found", 'DeviceNotFound'],
    ['balloon0/virtio-backend', "Bus 'virtio-bus' does not support hotplugging", 'GenericError'],
    ['/machine', '/machine is not a hotpluggable device', 'GenericError'],
    ['', ' is not a hotpluggable device', 'GenericError'],
  ])('device_del "%s"', (id, desc, errorClass) => {
    expect(TestClient.ready().execute('device_del', { id })).toBe(errorLine(desc, errorClass));
  });

  test('device_add is refused by the bus, whatever else it says about a known device', () => {
    const refused = errorLine("Bus 'pcie.0' does not support hotplugging");
    expect(add({ driver: 'virtio-balloon-pci', id: 'b1', bogus: 1 })).toBe(refused);
    expect(add({ driver: 'virtio-balloon', bus: 'pcie.0' })).toBe(refused);
    expect(unplugged().execute('device_add', { driver: 'virtio-balloon-pci' })).toBe(refused);
  });

  test.each([
    [{}, "Parameter 'driver' is missing"],
    [{ driver: null }, "Parameter 'driver' is missing"],
    [{ driver: 'nope' }, "'nope' is not a valid device model name"],
    [{ driver: 5 }, "'5' is not a valid device model name"],
    [{ driver: 'nope', id: '1x' }, "Parameter 'id' expects an identifier"],
    [{ driver: 'virtio-balloon-pci', bus: 'pci.9' }, "Bus 'pci.9' not found"],
  ])('device_add %j', (args, desc) => {
    expect(add(args as Record<string, string | number | null>)).toBe(errorLine(desc));
  });
});

describe('human-monitor-command', () => {
  const hmp = (line: string, client = TestClient.ready()): string =>
    JSON.parse(client.execute('human-monitor-command', { 'command-line': line })).return;

  test('info balloon prints whole MiB', () => {
    const machine = new FakeMachine(512);
    machine.changeBalloon(314576896);
    expect(hmp('info balloon', TestClient.ready(machine))).toBe('balloon: actual=300\r\n');
    expect(hmp('  info   balloon  ')).toBe('balloon: actual=512\r\n');
  });

  test.each([
    ['balloon 300', 300],
    ['balloon 0x10', 16],
    ['balloon 010', 8],
    ['balloon - -5', 5],
    ['balloon 1000000', 512],
  ])('%s', (line, mib) => {
    const machine = new FakeMachine(512);
    expect(hmp(line, TestClient.ready(machine))).toBe('');
    expect(machine.balloon?.targetBytes).toBe(mib * 2 ** 20);
  });

  const tryHelp = (name: string): string => `Try "help ${name}" for more information\r\n`;
  test.each([
    ['', ''],
    ['nope x', "unknown command: 'nope'\r\n"],
    ['  nope x', "unknown command: '  nope'\r\n"],
    ['info nope', "unknown command: 'info nope'\r\n"],
    ['info/balloon', "unknown command: 'info'\r\n"],
    ['balloon', `unexpected end of expression\r\n${tryHelp('balloon')}`],
    ['balloon abc', `invalid char 'a' in expression\r\n${tryHelp('balloon')}`],
    ['balloon é', `invalid char '\ufffd' in expression\r\n${tryHelp('balloon')}`],
    ['balloon 5 6', `balloon: extraneous characters at the end of line\r\n${tryHelp('balloon')}`],
    ['balloon -5', `enter a positive value\r\n${tryHelp('balloon')}`],
    ['balloon 99999999999999999999', `number too large\r\n${tryHelp('balloon')}`],
    [
      'info balloon x',
      `balloon: extraneous characters at the end of line\r\n${tryHelp('info balloon')}`,
    ],
    ['balloon 0', "Error: Parameter 'target' expects a size\r\n"],
    ['balloon 8796093022208', "Error: Parameter 'target' expects a size\r\n"],
  ])('"%s"', (line, text) => {
    expect(hmp(line)).toBe(text);
  });

  test('without a device the error is part of the text', () => {
    const text = 'Error: No balloon device has been activated\r\n';
    expect(hmp('info balloon', unplugged())).toBe(text);
    expect(hmp('balloon 5', unplugged())).toBe(text);
  });

  test('help', () => {
    expect(hmp('help balloon')).toMatch(/^balloon target -- .*\r\n$/);
    expect(hmp('help info')).toBe(hmp('info'));
    expect(hmp('help info balloon')).toBe(hmp('info'));
    expect(hmp('help nope')).toBe("unknown command: 'nope'\r\n");
    expect(hmp('help').split('\r\n')).toHaveLength(4);
  });

  test('there is one CPU, numbered 0 in 32 bits', () => {
    const onCpu = (index: number): string =>
      TestClient.ready().execute('human-monitor-command', {
        'command-line': 'info balloon',
        'cpu-index': index,
      });
    expect(onCpu(0)).toContain('actual=512');
    expect(onCpu(2 ** 32)).toContain('actual=512');
    expect(onCpu(1)).toBe(errorLine("Parameter 'cpu-index' expects a CPU number"));
  });
});

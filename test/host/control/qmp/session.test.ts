import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DEFAULT_QMP_SETTINGS } from '../../../../host/control/qmp/settings.ts';
import { VirtualClock } from '../../../../shared/lib/clock.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { bytes, errorLine, TestClient } from './support.ts';

const STOP = { event: 'STOP', wallMs: 1_795_161_931_105.105 } as const;

describe('greeting and negotiation', () => {
  test('the greeting names version, package and the oob capability', () => {
    const settings = {
      ...DEFAULT_QMP_SETTINGS,
      version: { micro: 1, major: 9, minor: 2 },
      package: 'é',
    };
    expect(new TestClient(new FakeMachine(), settings).taken()).toEqual([
      '{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 9}, ' +
        '"package": "\\u00E9"}, "capabilities": ["oob"]}}',
    ]);
  });

  test('before qmp_capabilities every other command is refused, known or not', () => {
    const client = new TestClient();
    client.taken();
    const refusal = "Expecting capabilities negotiation with 'qmp_capabilities'";
    expect(client.execute('query-balloon')).toBe(errorLine(refusal, 'CommandNotFound'));
    expect(client.execute('nope')).toBe(errorLine(refusal, 'CommandNotFound'));
    expect(client.raw('{}')).toEqual([errorLine("QMP input lacks member 'execute'")]);
    expect(client.raw('?\n')).toEqual([errorLine("JSON parse error, stray '?'")]);
    expect(client.session.state).toBe('negotiation');
  });

  test('a refused qmp_capabilities leaves negotiation open', () => {
    const client = new TestClient();
    client.taken();
    const enable = (capabilities: unknown): string =>
      client.raw(
        JSON.stringify({ execute: 'qmp_capabilities', arguments: { enable: capabilities } }),
      )[0];
    expect(enable(['nope'])).toBe(errorLine("Parameter 'null' does not accept value 'nope'"));
    expect(enable('oob')).toBe(errorLine("Invalid parameter type for 'enable', expected: array"));
    expect(enable(['oob', 1])).toBe(
      errorLine("Invalid parameter type for 'enable[1]', expected: string"),
    );
    expect(client.session.state).toBe('negotiation');
    expect(enable([])).toBe('{"return": {}}');
    expect(client.session.state).toBe('command');
  });

  test('a second qmp_capabilities is refused', () => {
    const client = TestClient.ready();
    expect(client.execute('qmp_capabilities')).toBe(
      errorLine('Capabilities negotiation is already complete, command ignored', 'CommandNotFound'),
    );
  });
});

describe('out of band', () => {
  test('without the capability exec-oob is a member like any unknown one', () => {
    expect(TestClient.ready().raw('{"exec-oob": "query-balloon"}')).toEqual([
      errorLine("QMP input member 'exec-oob' is unexpected"),
    ]);
  });

  test('with it no command supports it, and an unknown one is still unknown', () => {
    const client = TestClient.ready(new FakeMachine(), ['oob']);
    expect(client.session.state).toBe('commandWithOob');
    expect(client.raw('{"exec-oob": "query-balloon"}')).toEqual([
      errorLine('The command query-balloon does not support OOB'),
    ]);
    expect(client.raw('{"exec-oob": "nope"}')).toEqual([
      errorLine('The command nope has not been found', 'CommandNotFound'),
    ]);
    expect(client.raw('{"execute": "query-kvm", "exec-oob": "query-kvm"}')).toEqual([
      errorLine("QMP input member 'execute' clashes with 'exec-oob'"),
    ]);
  });
});

describe('requests', () => {
  test.each([
    ['5 ', 'QMP input must be a JSON object'],
    ['"execute"', 'QMP input must be a JSON object'],
    ['[{"execute": "query-kvm"}]', 'QMP input must be a JSON object'],
    ['{"arguments": {}}', "QMP input lacks member 'execute'"],
    ['{"execute": null}', "QMP input member 'execute' must be a string"],
    [
      '{"execute": "query-kvm", "arguments": null}',
      "QMP input member 'arguments' must be an object",
    ],
    ['{"execute": "query-kvm", "__proto__": 1}', "QMP input member '__proto__' is unexpected"],
  ])('%s', (text, desc) => {
    expect(TestClient.ready().raw(text)).toEqual([errorLine(desc)]);
  });

  test('of several mistakes the one in QDict order is told', () => {
    const client = TestClient.ready();
    expect(client.raw('{"bogus": 1, "execute": 5}')).toEqual(
      client.raw('{"execute": 5, "bogus": 1}'),
    );
  });

  test.each(['null', '[]', '{"a": [1, {"b": 1.5}]}', '18446744073709551615', '"\\u00E9"', 'false'])(
    'the id %s is echoed behind a return value and before an error',
    (id) => {
      const client = TestClient.ready();
      expect(client.raw(`{"execute": "query-kvm", "id": ${id}}`)).toEqual([
        `{"return": {"enabled": false, "present": true}, "id": ${id}}`,
      ]);
      expect(client.raw(`{"id": ${id}}`)).toEqual([
        `{"id": ${id}, "error": {"class": "GenericError", "desc": ` +
          '"QMP input lacks member \'execute\'"}}',
      ]);
    },
  );

  test('three requests in one packet give three replies in order', () => {
    const lines = TestClient.ready().raw(
      '{"execute":"query-kvm","id":1}{"execute":"stop","id":2}\n{"execute":"query-status","id":3}',
    );
    expect(lines.map((line) => /"id": (\d)\}$/.exec(line)?.[1])).toEqual(['1', '2', '3']);
    expect(lines.at(-1)).toContain('"paused"');
  });

  test('a JSON fault is answered without an id and costs nothing else', () => {
    expect(
      TestClient.ready().raw('{"id": 1, "execute": }{"execute": "query-memory-devices"}'),
    ).toEqual([errorLine('JSON parse error, expecting value'), '{"return": []}']);
  });
});

describe('events', () => {
  test('none is delivered before negotiation ends', () => {
    const client = new TestClient();
    client.taken();
    client.session.deliver(STOP);
    expect(client.taken()).toEqual([]);
    client.execute('qmp_capabilities');
    client.session.deliver(STOP);
    expect(client.taken()).toEqual([
      '{"timestamp": {"seconds": 1795161931, "microseconds": 105105}, "event": "STOP"}',
    ]);
  });

  test('a time stamp is rounded to the microsecond and carries into the next second', () => {
    const client = TestClient.ready();
    client.session.deliver({ event: 'RESET', wallMs: 1999.9999, data: { guest: true } });
    expect(client.taken()).toEqual([
      '{"timestamp": {"seconds": 2, "microseconds": 0}, "event": "RESET", "data": {"guest": true}}',
    ]);
  });
});

describe('the end', () => {
  test('a closed session writes nothing, whatever it is fed', () => {
    const client = TestClient.ready();
    client.session.close();
    client.session.close();
    client.session.deliver(STOP);
    expect(client.raw('{"execute": "query-kvm"}?\n')).toEqual([]);
    expect(client.session.state).toBe('closed');
  });

  test('any bytes: no crash, and output in proportion to input', () => {
    const request = fc.constantFrom(
      '{"execute": "qmp_capabilities"}',
      '{"execute": "qom-list", "arguments": {"path": "balloon0"}}',
      '{"execute": "human-monitor-command", "arguments": {"command-line": "balloon 5"}}',
      '{"execute": "quit"}',
    );
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      request.map((text) => bytes(text)),
      fc.jsonValue().map((value) => bytes(JSON.stringify(value))),
      fc.tuple(fc.string(), fc.jsonValue()).map(([execute, args]) => {
        return bytes(JSON.stringify({ execute, arguments: args }));
      }),
    );
    fc.assert(
      fc.property(fc.array(anything), (pieces) => {
        const clock = new VirtualClock();
        const client = new TestClient(new FakeMachine(64, clock));
        const inputBytes = pieces.reduce((sum, piece) => sum + piece.length, 1);
        const outputBytes = pieces
          .flatMap((piece) => client.raw(piece))
          .reduce((sum, line) => sum + line.length, 0);
        expect(outputBytes).toBeLessThan(1000 + 100 * inputBytes);
      }),
    );
  });
});

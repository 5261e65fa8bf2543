import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { UnusableRecording } from '../../../lab/verify/files.ts';
import { parseOptions, readRecording } from '../../../lab/verify/recording.ts';
import { directoryOf, recorded } from './recorded.ts';

describe('readRecording', () => {
  test('reads settings, features (least significant bit first) and steps', () => {
    const { recording } = recorded('driver-rebind-1g');
    expect(recording.name).toBe('driver-rebind-1g');
    expect(recording.memoryBytes).toBe(1024 * 1024 * 1024);
    expect(recording.features).toBe((1n << 1n) | (1n << 29n) | (1n << 32n) | (1n << 40n));
    expect(recording.steps).toEqual(['unbind', 'bind', 'rmmod', 'insmod']);
    expect(recording.version.qemu).toEqual({ major: 7, minor: 2, micro: 22 });
    expect(recording.version.package).toBe('Debian 1:7.2+dfsg-7+deb12u18+b3');
  });

  test('keeps the bytes of a request as they were sent', () => {
    const requests = recorded('qmp-errors-512m').recording.qmp.flatMap((line) =>
      line.kind === 'request' ? [Buffer.from(line.bytes).toString()] : [],
    );
    expect(requests).toContain(
      '{"execute": "balloon", "arguments": {"value": 4611686018427387904}}\n',
    );
    expect(requests).toContain('{"execute":"query-bal');
    expect(requests).toContain("{'execute': 'query-balloon'}\n");
  });

  test('reads the transcript of a negotiation where there is one', () => {
    const { negotiation } = recorded('qmp-errors-512m').recording;
    expect(negotiation?.requests).toHaveLength(7);
    expect(negotiation?.messages).toHaveLength(8);
    expect(recorded('stats-512m').recording.negotiation).toBeUndefined();
  });
});

describe('parseOptions', () => {
  test('reads what follows `-device virtio-balloon-pci`', () => {
    expect(parseOptions('')).toEqual({});
    expect(parseOptions(',deflate-on-oom=on')).toEqual({ 'deflate-on-oom': 'on' });
    expect(parseOptions(',page-poison,iothread=a=b')).toEqual({
      'page-poison': 'on',
      iothread: 'a=b',
    });
  });
});

describe('labels of queues', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'puff-verify-'));
    cpSync(directoryOf('stats-512m'), directory, { recursive: true });
    const buffer = { ev: 'buf', outn: 0, inn: 0, n: 1, runs: [[1, 1, 0]] };
    const wire = [
      { t: 1, ...buffer, queue: 'inflate', outn: 1 },
      { t: 2, ...buffer, queue: 'deflate', outn: 1 },
      { t: 3, ...buffer, queue: 'deflate', inn: 1 },
    ];
    const text = wire.map((event) => JSON.stringify(event)).join('\n');
    writeFileSync(join(directory, 'wire.jsonl.gz'), gzipSync(text));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  function queuesWith(options: string): string[] {
    const path = join(directory, 'meta.json');
    const meta = { mem_mib: 512, features: '0'.repeat(64), balloon_opts: options };
    writeFileSync(path, JSON.stringify(meta));
    return readRecording(directory).wire.map((event) => (event.ev === 'buf' ? event.queue : ''));
  }

  test('are those of the queues without hinting and reporting', () => {
    expect(queuesWith('')).toEqual(['inflate', 'deflate', 'deflate']);
  });

  test('go by ring position with hinting or reporting, and are put right', () => {
    expect(queuesWith(',free-page-reporting=on')).toEqual(['stats', 'reporting', 'reporting']);
    expect(queuesWith(',free-page-hint=on')).toEqual(['stats', 'free_page', 'free_page']);
    expect(queuesWith(',free-page-hint=on,free-page-reporting=on')).toEqual([
      'stats',
      'free_page',
      'reporting',
    ]);
  });
});

describe('an unusable folder', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'puff-verify-'));
    cpSync(directoryOf('qmp-errors-512m'), directory, { recursive: true });
    return () => rmSync(directory, { recursive: true });
  });

  function messageOf(read: () => unknown): string {
    try {
      read();
    } catch (error) {
      expect(error).toBeInstanceOf(UnusableRecording);
      return (error as Error).message;
    }
    throw new Error('the folder was read without a complaint');
  }

  const edited = (file: string, edit: (text: string) => string): string => {
    const path = join(directory, file);
    if (file.endsWith('.gz')) {
      writeFileSync(path, gzipSync(edit(gunzipSync(readFileSync(path)).toString())));
    } else {
      writeFileSync(path, edit(readFileSync(path, 'utf8')));
    }
    return messageOf(() => readRecording(directory)).replace(directory, 'DIR');
  };

  test('that does not exist is named with the first file looked for', () => {
    expect(messageOf(() => readRecording('/nowhere'))).toBe('/nowhere/meta.json: no such file');
  });

  test.each(['meta.json', 'qmp.jsonl', 'wire.jsonl.gz'])('without %s', (file) => {
    rmSync(join(directory, file));
    const message = messageOf(() => readRecording(directory));
    expect(message).toBe(`${directory}/${file}: no such file`);
  });

  test('that is a file', () => {
    const message = messageOf(() => readRecording(join(directory, 'meta.json')));
    expect(message).toMatch(/^[^\n]+meta\.json\/meta\.json: ENOTDIR[^\n]+$/);
  });

  test.each([
    ['meta.json', '', 'DIR/meta.json: is no JSON'],
    [
      'meta.json',
      '{}',
      'DIR/meta.json: mem_mib: Invalid input: expected number, received undefined',
    ],
    ['qmp.jsonl', '', 'DIR/qmp.jsonl: is empty'],
    ['qmp.jsonl', 'x\n', 'DIR/qmp.jsonl: line 1: is no JSON'],
    ['wire.jsonl.gz', '\n', 'DIR/wire.jsonl.gz: is empty'],
    [
      'wire.jsonl.gz',
      '[]',
      'DIR/wire.jsonl.gz: line 1: Invalid input: expected object, received array',
    ],
    [
      'negotiation.json',
      '[]',
      'DIR/negotiation.json: Invalid input: expected object, received undefined',
    ],
    ['negotiation.json', '[["<","x\\r\\n"]]', 'DIR/negotiation.json: is no JSON'],
  ])('with a %s that reads %j', (file, text, message) => {
    expect(edited(file, () => text)).toBe(message);
  });

  test('with a wire file that is not compressed', () => {
    writeFileSync(join(directory, 'wire.jsonl.gz'), '{"t":0}');
    const message = messageOf(() => readRecording(directory));
    expect(message).toBe(`${directory}/wire.jsonl.gz: incorrect header check`);
  });

  test('with memory that no guest has', () => {
    const message = edited('meta.json', (text) => text.replace('"mem_mib": 512', '"mem_mib": 5'));
    expect(message).toBe('DIR/meta.json: mem_mib: Too small: expected number to be >=64');
  });

  test('with features that are no bits', () => {
    const message = edited('meta.json', (text) => text.replace('"0100', '"0x00'));
    expect(message).toBe('DIR/meta.json: features: expected 33 to 64 characters 0 or 1');
  });

  test('whose client was not greeted', () => {
    const message = edited('qmp.jsonl', (text) => text.slice(text.indexOf('\n') + 1));
    expect(message).toBe("DIR/qmp.jsonl: does not begin with QMP's greeting");
  });

  test('in which QEMU says something unknown', () => {
    const message = edited('qmp.jsonl', (text) => text.replace('{"return": {}}', '{"foo": 1}'));
    expect(message).toBe('DIR/qmp.jsonl: line 3: neither greeting, reply nor event');
  });

  test('in which an event has no time', () => {
    const message = edited('qmp.jsonl', (text) => text.replace('"timestamp"', '"when"'));
    expect(message).toMatch(/^DIR\/qmp\.jsonl: line 18: timestamp: /);
  });

  test('in which time goes back', () => {
    const message = edited('wire.jsonl.gz', (text) => text.replace('"t":957,', '"t":99999,'));
    expect(message).toBe('DIR/wire.jsonl.gz: line 3: time goes back');
  });

  test('with an unknown kind of event on the wire', () => {
    const message = edited('wire.jsonl.gz', (text) => text.replace('config-get', 'config-put'));
    expect(message).toMatch(/^DIR\/wire\.jsonl\.gz: line \d+: ev: Invalid/);
  });

  test('with a negative number of PFNs', () => {
    const message = edited('wire.jsonl.gz', (text) => text.replace('"n":256', '"n":-1'));
    expect(message).toMatch(/^DIR\/wire\.jsonl\.gz: line \d+: n: Too small/);
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Vmm } from '../../../host/vmm/vmm.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import * as limits from '../../../shared/limits.ts';
import { HTTP_ERRORS, PROTOCOL_ERRORS } from '../../../shared/protocol/errors.ts';
import { ENDPOINT_PATH, SCHEMAS, SUBPROTOCOL } from '../../../shared/protocol/messages.ts';
import { judgeEnd } from '../../../shared/transport/link-end.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';

/** docs/PROTOCOL.md is written by hand and must say what the code does. */
const DOCUMENT = readFileSync(new URL('../../../docs/PROTOCOL.md', import.meta.url), 'utf8');

/** The cells of the rows of the table under a header row. */
function table(header: string): string[][] {
  const lines = DOCUMENT.split('\n');
  const start = lines.indexOf(header);
  expect(start, header).toBeGreaterThan(0);
  const rows: string[][] = [];
  for (const line of lines.slice(start + 2)) {
    if (!line.startsWith('|')) break;
    rows.push(
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  }
  return rows;
}

const limitRows = (): string[][] => table('| name | value | what for | told as |');

function noDevice(): never {
  throw new Error('no guest comes here');
}

describe('docs/PROTOCOL.md', () => {
  test('the table of messages is SCHEMAS', () => {
    const expected = SCHEMAS.map(({ op, name, from, fields }) => [
      String(op),
      `\`${name}\``,
      from,
      fields.map(([field, kind]) => `\`${field}\` ${kind}`).join(', ') || 'none',
    ]);
    expect(table('| op | name | sent by | fields |')).toEqual(expected);
  });

  test('the table of errors is PROTOCOL_ERRORS, and what a guest does then is judgeEnd', () => {
    const then = { resume: 'resume', 'power-on': 'new', final: 'stop' };
    const expected = Object.entries(PROTOCOL_ERRORS).map(([name, { close, text }]) => [
      `\`${name}\``,
      String(close),
      then[judgeEnd({ code: close, reason: name, byPeer: true })],
      text,
    ]);
    expect(table('| name | close code | then | meaning |')).toEqual(expected);
  });

  test('the table of HTTP refusals has every name and status', () => {
    const rows = table('| name | status | when |').map(([name, status]) => [name, status]);
    const expected = Object.entries(HTTP_ERRORS).map(([name, { status }]) => [
      `\`${name}\``,
      String(status),
    ]);
    expect(rows.sort()).toEqual(expected.sort());
  });

  test('every limit it names has the value of shared/limits.ts', () => {
    const values: Readonly<Record<string, number>> = { ...limits };
    const rows = limitRows();
    expect(rows.length).toBeGreaterThan(20);
    for (const [name, value] of rows) {
      expect(Number(value), name).toBe(values[name.replaceAll('`', '')]);
    }
  });

  test('every limit that a peer can go beyond is told by a name that has a counter', () => {
    const vmm = new Vmm({ clock: new VirtualClock(), deviceFor: noDevice, newSessionName: String });
    const counted = new Set([
      ...Object.keys(transportCounters().snapshot()),
      ...Object.keys(vmm.counters.snapshot()),
    ]);
    for (const [name, , , told] of limitRows()) {
      if (/^(?:an?|the) \w+'s own$|^the reason of that close$/.test(told)) continue;
      const names = told.match(/`[\w-]+`/g)?.map((one) => one.replaceAll('`', '')) ?? [];
      expect(names.length, name).toBeGreaterThan(0);
      for (const one of names) expect(counted, name).toContain(one);
    }
  });

  test('limits that an error is named after are in the table of limits', () => {
    const named = new Set(limitRows().map(([name]) => name));
    const errors = Object.keys(PROTOCOL_ERRORS).filter((name) => name === name.toUpperCase());
    for (const name of errors) {
      if (name !== 'QUEUE_CREDIT' && name !== 'MAX_GUESTS') expect(named).toContain(`\`${name}\``);
    }
  });

  test('subprotocol, path and entry limits are those of the code', () => {
    expect(DOCUMENT).toContain(`| subprotocol | \`${SUBPROTOCOL}\``);
    expect(DOCUMENT).toContain(`| path | \`${ENDPOINT_PATH}\``);
    expect(DOCUMENT).toContain(`at most ${(limits.MAX_BUFFER_PFNS).toLocaleString('en')} |`);
    const pairs = (limits.MAX_BODY_BYTES / 8).toLocaleString('en');
    expect(DOCUMENT).toContain(`at most ${pairs} entries in a message`);
  });
});

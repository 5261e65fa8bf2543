import { describe, expect, test } from 'vitest';
import { sameReply } from '../../../lab/verify/replies.ts';
import type { JsonObject, JsonValue } from '../../../lab/verify/types.ts';

function same(command: string | undefined, recorded: JsonObject, given: JsonObject): boolean {
  return sameReply({ request: 0, command, message: recorded }, given);
}

const returns = (value: JsonValue): JsonObject => ({ return: value });

describe('sameReply', () => {
  test('compares errors word by word', () => {
    const error = (desc: string) => ({ error: { class: 'GenericError', desc } });
    expect(same('balloon', error('a'), error('a'))).toBe(true);
    expect(same('balloon', error('a'), error('b'))).toBe(false);
    expect(same('query-commands', error('a'), returns([{ name: 'quit' }]))).toBe(false);
  });

  test('query-commands: any list of commands', () => {
    const of = (value: JsonValue): boolean =>
      same('query-commands', returns([{ name: 'a' }, { name: 'b' }]), returns(value));
    expect(of([{ name: 'quit' }])).toBe(true);
    expect(of([])).toBe(false);
    expect(of([{ command: 'quit' }])).toBe(false);
    expect(of({ name: 'quit' })).toBe(false);
    const withId = { return: [{ name: 'quit' }], id: 1 };
    expect(same('query-commands', { return: [{ name: 'a' }], id: 2 }, withId)).toBe(false);
  });

  test('qom-list: name and type of the properties Puff has, in any order', () => {
    const type = { name: 'type', type: 'string' };
    const stats = { name: 'guest-stats', type: 'guest statistics' };
    const rom = { name: 'romfile', type: 'str' };
    const of = (...list: JsonObject[]): boolean =>
      same('qom-list', returns([type, rom, stats]), returns(list));
    expect(of(stats, type)).toBe(true);
    expect(of(type, stats, { name: 'other', type: 'int' })).toBe(true);
    expect(of(type)).toBe(false);
    expect(of(type, stats, stats)).toBe(false);
    expect(of(type, { ...stats, type: 'int' })).toBe(false);
    expect(of(type, stats, { name: 'page-poison', type: 'bool' })).toBe(false);
    expect(same('qom-list', returns([type]), returns('type'))).toBe(false);
  });

  test('statistics: the same ones, updated or not, whatever their values', () => {
    const reply = (stats: JsonObject, lastUpdate: number): JsonObject =>
      returns({ stats, 'last-update': lastUpdate });
    const recorded = reply({ 'stat-swap-in': 0, 'stat-free-memory': 460849152 }, 1795161910);
    const of = (given: JsonObject): boolean => same('qom-get', recorded, given);
    expect(of(reply({ 'stat-free-memory': 5, 'stat-swap-in': 1 }, 7))).toBe(true);
    expect(of(reply({ 'stat-free-memory': 5, 'stat-swap-in': 1 }, 0))).toBe(false);
    expect(of(reply({ 'stat-free-memory': 5 }, 7))).toBe(false);
    expect(of(reply({ 'stat-free-memory': 5, 'stat-swap-in': '1' }, 7))).toBe(false);
    expect(of(returns({ stats: { 'stat-swap-in': 0, 'stat-free-memory': 1 } }))).toBe(false);
    expect(same('qom-get', reply({}, 0), reply({}, 0))).toBe(true);
  });

  test('everything else: the whole message', () => {
    expect(same('query-status', returns({ a: 1, b: [1, 2] }), returns({ b: [1, 2], a: 1 }))).toBe(
      true,
    );
    expect(same('query-status', returns({ b: [1, 2] }), returns({ b: [2, 1] }))).toBe(false);
    expect(same(undefined, returns([]), returns({}))).toBe(false);
    expect(same(undefined, returns(null), returns(null))).toBe(true);
    expect(same('qom-get', returns('virtio-balloon-pci'), returns('pci'))).toBe(false);
  });
});

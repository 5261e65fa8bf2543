import { describe, expect, it } from 'vitest';
import { answerHostRequest } from '../../../host/control/host-verbs.ts';
import { qmpCounters } from '../../../host/control/qmp/qmp-counters.ts';
import { hostRequestSchema } from '../../../shared/control/schemas.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';
import { HeldGuest } from '../../support/held-guest.ts';

function ask(held: HeldGuest, request: object): unknown {
  const { vmm } = held.session;
  const host = {
    vmm,
    transportCounters: transportCounters(),
    qmpCounters: qmpCounters(),
    list: () => vmm.list(),
    health: () => ({}),
  };
  return answerHostRequest(host, hostRequestSchema.parse({ guest: 'vm0', ...request }));
}

describe('the verb hint', () => {
  it('starts a round, tells where it stands, and the ledger shows what was hinted', () => {
    const held = new HeldGuest({ properties: { 'free-page-hint': true } });
    const start = { verb: 'hint', action: 'start' };
    expect(ask(held, start)).toEqual({ status: 'requested', id: 0x8000_0001, hintedPages: 0 });
    held.run();
    const { hintedPages } = held.balloon.hints;
    expect(hintedPages).toBeGreaterThan(40 * 1024);
    expect(ask(held, { verb: 'ledger' })).toMatchObject({ hinted: hintedPages, reported: 0 });
    expect(ask(held, { verb: 'hint', action: 'done' })).toMatchObject({ status: 'done' });
    held.run();
    expect(ask(held, { verb: 'ledger' })).toMatchObject({ hinted: 0 });
    expect(held.driver.hintedPages).toBe(0);
  });

  it('stops a round: the guest ends it at the next block', () => {
    const held = new HeldGuest({ properties: { 'free-page-hint': true } });
    ask(held, { verb: 'hint', action: 'start' });
    expect(ask(held, { verb: 'hint', action: 'stop' })).toMatchObject({ status: 'stop' });
    held.run();
    const sent = held.buffers('free_page').map(({ outn }) => outn);
    expect(sent.length).toBeLessThan(10);
    expect([sent[0], sent.at(-1)]).toEqual([1, 1]);
    expect(held.driver.hintedPages).toBe((sent.length - 2) * 1024);
  });

  it('is refused where the guest has not negotiated hinting', () => {
    const held = new HeldGuest();
    expect(() => ask(held, { verb: 'hint', action: 'start' })).toThrow(
      "guest 'vm0' has not negotiated hinting",
    );
  });

  it('starts no round in a machine that stands, but ends one', () => {
    const held = new HeldGuest({ properties: { 'free-page-hint': true } });
    held.session.vm('vm0').stop();
    expect(() => ask(held, { verb: 'hint', action: 'start' })).toThrow(
      "guest 'vm0' is paused: no round can start",
    );
    expect(ask(held, { verb: 'hint', action: 'done' })).toMatchObject({ status: 'done' });
  });

  it('knows no other action', () => {
    const request = { verb: 'hint', guest: 'vm0', action: 'pause' };
    expect(hostRequestSchema.safeParse(request).success).toBe(false);
  });
});

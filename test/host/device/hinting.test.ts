import { describe, expect, it } from 'vitest';
import {
  HINT_ACTIONS,
  HINT_STATUS,
  type HintAction,
  HintRounds,
  hintStatusLifecycle,
} from '../../../host/device/hint-rounds.ts';
import { QEMU_POLICY } from '../../../host/device/violations.ts';
import { writePfns, writeWritable } from '../../../shared/protocol/bodies.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import {
  CONFIG_FREE_PAGE_HINT_CMD_ID,
  VIRTIO_BALLOON_CMD_ID_DONE,
  VIRTIO_BALLOON_CMD_ID_STOP,
} from '../../../shared/virtio/balloon.ts';
import { DEVICE_NEEDS_RESET } from '../../../shared/virtio/device-status.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';
import { ScriptedDriver } from './scripted-driver.ts';

const live = (options?: ConstructorParameters<typeof ScriptedDriver>[0]): ScriptedDriver => {
  const driver = new ScriptedDriver({ properties: { 'free-page-hint': true }, ...options });
  driver.bringUp();
  return driver;
};

const PAGE = 4096;
const FIRST_ID = 0x8000_0001;
const BLOCK = { address: 0, lengthBytes: 256 * PAGE };
const NOTHING = new Uint8Array(0);

const command = (driver: ScriptedDriver, id: number): number =>
  driver.buffer('free_page', writePfns([id]));

/** The id the driver sees in config space. */
const shown = (driver: ScriptedDriver): number => driver.config32(CONFIG_FREE_PAGE_HINT_CMD_ID);

/** Configuration messages since the last look: whether each was an interrupt. */
const interrupts = (driver: ScriptedDriver): boolean[] =>
  driver.news().flatMap((message) => (message[0] === Op.config ? [message[3]] : []));

describe('the status of free page hinting', () => {
  it('is the same as state machine and as table', () => {
    expectTableEqualsMachine(hintStatusLifecycle.machine, hintStatusLifecycle.table);
  });

  it.each([
    ['stop', VIRTIO_BALLOON_CMD_ID_STOP],
    ['done', VIRTIO_BALLOON_CMD_ID_DONE],
    ['start', FIRST_ID],
  ] as const)('after %s shows %i', (action, id) => {
    const rounds = new HintRounds();
    rounds.act(action);
    expect(rounds.shownId).toBe(id);
  });

  it('shows STOP again once the driver has taken the round up, as QEMU does', () => {
    const rounds = new HintRounds();
    rounds.act('start');
    expect(rounds.command(FIRST_ID)).toBe(true);
    expect([rounds.status, rounds.shownId]).toEqual(['start', VIRTIO_BALLOON_CMD_ID_STOP]);
  });

  it('N48: every round has a new id; behind the last 32-bit number they begin anew', () => {
    const next = (rounds: HintRounds): number => {
      rounds.act('start');
      return rounds.id;
    };
    const rounds = new HintRounds();
    expect([next(rounds), next(rounds)]).toEqual([0x8000_0001, 0x8000_0002]);
    const last = new HintRounds(0xffff_fffe);
    expect([next(last), next(last), next(last)]).toEqual([0xffff_ffff, 0x8000_0000, 0x8000_0001]);
  });

  it('tells the driver of every round, and of STOP and DONE when they are new', () => {
    const told = (actions: readonly HintAction[]): boolean[] => {
      const rounds = new HintRounds();
      return actions.map((action) => rounds.act(action));
    };
    expect(told(['start', 'start'])).toEqual([true, true]);
    expect(told(['stop', 'start', 'stop', 'stop'])).toEqual([false, true, true, false]);
    expect(told(['done', 'done', 'stop'])).toEqual([true, false, true]);
  });

  it('takes hints in one status only', () => {
    const taking = Object.keys(HINT_STATUS).filter((name) =>
      hintStatusLifecycle.table.hasTag(HINT_STATUS[name as keyof typeof HINT_STATUS], 'takesHints'),
    );
    expect(taking).toEqual(['start']);
    expect(HINT_ACTIONS).toEqual(['start', 'stop', 'done']);
  });
});

describe('free page hinting without a round', () => {
  it('N47: shows STOP as the command id', () => {
    expect(shown(live())).toBe(VIRTIO_BALLOON_CMD_ID_STOP);
  });

  it('N49: returns hinted blocks and leaves their content alone', () => {
    const driver = live();
    const returned = [command(driver, FIRST_ID), driver.hint(BLOCK), command(driver, 0)];
    expect(driver.news()).toEqual(returned.map((id) => driver.used('free_page', id)));
    expect(driver.counters.get('ignored_hints')).toBe(1);
    expect(driver.ledger.count('resident')).toBe(512);
    expect(driver.ledger.hinted.pageCount).toBe(0);
  });

  it('N37: takes a command of another size than 4 bytes for a device error, as QEMU does', () => {
    const driver = live();
    driver.buffer('free_page', new Uint8Array(3));
    expect(driver.last(Op.statusValue)[1] & DEVICE_NEEDS_RESET).not.toBe(0);
    expect(driver.counters.get('hint-command-size')).toBe(1);
  });

  it('N37: ignores such a command where that is tolerated', () => {
    const driver = live({ policy: { ...QEMU_POLICY, 'hint-command-size': 'tolerate' } });
    const id = driver.buffer('free_page', new Uint8Array(8));
    expect(driver.news()).toEqual([driver.used('free_page', id)]);
  });
});

describe('a round of free page hinting', () => {
  it('shows a new id by interrupt, and STOP without one when the driver takes it up', () => {
    const driver = live();
    driver.device.hint('start');
    expect(shown(driver)).toBe(FIRST_ID);
    expect(interrupts(driver)).toEqual([true]);
    command(driver, FIRST_ID);
    expect(shown(driver)).toBe(VIRTIO_BALLOON_CMD_ID_STOP);
    expect(interrupts(driver)).toEqual([false]);
    expect(driver.device.hints).toEqual({ status: 'start', id: FIRST_ID, hintedPages: 0 });
  });

  it('N50: marks the blocks and does nothing to their content', () => {
    const driver = live();
    driver.device.hint('start');
    command(driver, FIRST_ID);
    driver.news();
    const id = driver.hint(BLOCK);
    expect(driver.news()).toEqual([driver.used('free_page', id)]);
    expect(driver.ledger.hinted.pageCount).toBe(256);
    expect(driver.ledger.count('resident')).toBe(512);
    expect(driver.counters.get('hinted_pages')).toBe(256);
  });

  it('N49: ignores blocks that come before its id, or under the one of another round', () => {
    const driver = live();
    driver.device.hint('start');
    driver.hint(BLOCK);
    command(driver, FIRST_ID - 1);
    driver.hint(BLOCK);
    driver.device.hint('start');
    command(driver, FIRST_ID);
    driver.hint(BLOCK);
    expect(driver.ledger.hinted.pageCount).toBe(0);
    expect(driver.counters.get('ignored_hints')).toBe(3);
    command(driver, FIRST_ID + 1);
    driver.hint(BLOCK);
    expect(driver.ledger.hinted.pageCount).toBe(256);
  });

  it('is not ended by a STOP that was meant for the one before', () => {
    const driver = live();
    driver.device.hint('start');
    command(driver, VIRTIO_BALLOON_CMD_ID_STOP);
    expect(driver.device.hints.status).toBe('requested');
    command(driver, FIRST_ID);
    command(driver, VIRTIO_BALLOON_CMD_ID_STOP);
    expect(driver.device.hints.status).toBe('stop');
    driver.hint(BLOCK);
    expect(driver.ledger.hinted.pageCount).toBe(0);
  });

  it('N39: is over when its id comes a second time, which is counted', () => {
    const driver = live();
    driver.device.hint('start');
    command(driver, FIRST_ID);
    command(driver, FIRST_ID);
    expect(driver.device.hints.status).toBe('stop');
    expect(driver.counters.get('hint-id-repeated')).toBe(1);
  });

  it('D5: STOP keeps what was hinted, DONE ends every hint (N51, N52)', () => {
    const driver = live();
    driver.device.hint('start');
    command(driver, FIRST_ID);
    driver.hint(BLOCK);
    driver.device.hint('stop');
    expect(shown(driver)).toBe(VIRTIO_BALLOON_CMD_ID_STOP);
    expect(driver.device.hints.hintedPages).toBe(256);
    driver.device.hint('done');
    expect(shown(driver)).toBe(VIRTIO_BALLOON_CMD_ID_DONE);
    expect(driver.device.hints.hintedPages).toBe(0);
    driver.hint(BLOCK);
    expect(driver.device.hints.hintedPages).toBe(0);
  });

  it('counts a page that was hinted twice once', () => {
    const driver = live();
    driver.device.hint('start');
    command(driver, FIRST_ID);
    driver.hint(BLOCK, { address: 128 * PAGE, lengthBytes: 64 * PAGE });
    expect(driver.device.hints.hintedPages).toBe(256);
  });

  it('takes a command and blocks in one buffer', () => {
    const driver = live();
    driver.device.hint('start');
    driver.buffer('free_page', writePfns([FIRST_ID]), writeWritable([BLOCK]));
    expect(driver.device.hints).toMatchObject({ status: 'start', hintedPages: 256 });
  });

  it('ends with a reset of the device: STOP, no hints, and later ids go on', () => {
    const driver = live();
    driver.device.hint('start');
    command(driver, FIRST_ID);
    driver.hint(BLOCK);
    driver.bringUp();
    expect(shown(driver)).toBe(VIRTIO_BALLOON_CMD_ID_STOP);
    expect(driver.device.hints).toEqual({ status: 'stop', id: FIRST_ID, hintedPages: 0 });
    driver.device.hint('start');
    expect(shown(driver)).toBe(FIRST_ID + 1);
  });

  it('is not asked of a driver that does not know the feature', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    expect(driver.device.hintNegotiated).toBe(false);
    expect(() => driver.device.hint('start')).toThrow('hints are asked for where');
  });

  it('a buffer without anything in it is returned', () => {
    const driver = live();
    const id = driver.buffer('free_page', NOTHING);
    expect(driver.news()).toEqual([driver.used('free_page', id)]);
  });
});

import { describe, expect, it } from 'vitest';
import { writePfns } from '../../../shared/protocol/bodies.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import {
  CONFIG_ACTUAL,
  CONFIG_NUM_PAGES,
  CONFIG_POISON_VAL,
} from '../../../shared/virtio/balloon.ts';
import { LIVE, RAM_BYTES, ScriptedDriver } from './scripted-driver.ts';

const PAGE = 4096;

describe('the target', () => {
  it('is num_pages, the pages that are to go from RAM, with a notification', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.device.setTargetBytes(RAM_BYTES - 100 * PAGE);
    expect(driver.config32(CONFIG_NUM_PAGES)).toBe(100);
    expect(driver.last(Op.config)[3]).toBe(true);
    expect(driver.device.targetBytes).toBe(RAM_BYTES - 100 * PAGE);
    expect(driver.counters.get('config_interrupts')).toBe(1);
  });

  it('is rounded as QEMU rounds: a part of a page more remains to the guest', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.device.setTargetBytes(RAM_BYTES - 100 * PAGE + 1);
    expect(driver.config32(CONFIG_NUM_PAGES)).toBe(99);
    driver.device.setTargetBytes(1);
    expect(driver.config32(CONFIG_NUM_PAGES)).toBe(511);
  });

  it('is all of RAM when it asks for more, and ignored when it is 0', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.device.setTargetBytes(PAGE);
    driver.device.setTargetBytes(2 ** 62);
    expect(driver.config32(CONFIG_NUM_PAGES)).toBe(0);
    driver.news();
    driver.device.setTargetBytes(0);
    expect(driver.news()).toEqual([]);
  });

  it('G80: changes the generation', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.device.setTargetBytes(PAGE);
    const [, before] = driver.last(Op.config);
    driver.device.setTargetBytes(2 * PAGE);
    expect(driver.last(Op.config)[1]).not.toBe(before);
  });

  it('notifies again when it is set to what it was: a guest that deflated on OOM inflates', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.device.setTargetBytes(PAGE);
    driver.news();
    driver.device.setTargetBytes(PAGE);
    expect(driver.news()).toHaveLength(1);
    expect(driver.last(Op.config)[3]).toBe(true);
  });

  it('reaches a driver that is not live yet without an interrupt', () => {
    const driver = new ScriptedDriver();
    driver.negotiate();
    driver.device.setTargetBytes(RAM_BYTES - PAGE);
    expect(driver.config32(CONFIG_NUM_PAGES)).toBe(1);
    expect(driver.last(Op.config)[3]).toBe(false);
  });

  it('is in the device description when it was set before the power-on', () => {
    const { device } = new ScriptedDriver({ targetBytes: RAM_BYTES - 9 * PAGE });
    expect(new DataView(device.describe()[6].slice().buffer).getUint32(0, true)).toBe(9);
  });

  it('waits while the machine is paused; several changes become one notification', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.device.pause();
    driver.device.setTargetBytes(RAM_BYTES - PAGE);
    driver.device.setTargetBytes(RAM_BYTES - 2 * PAGE);
    expect(driver.news()).toEqual([]);
    driver.device.resume();
    expect(driver.news()).toHaveLength(1);
    expect(driver.config32(CONFIG_NUM_PAGES)).toBe(2);
    expect(driver.last(Op.config)[3]).toBe(true);
    driver.device.resume();
    expect(driver.news()).toEqual([]);
  });
});

describe('actual', () => {
  it('N18: is told as what remains to the guest, whenever it differs', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.writeConfig32(CONFIG_ACTUAL, 256);
    driver.writeConfig32(CONFIG_ACTUAL, 256);
    driver.writeConfig32(CONFIG_ACTUAL, 0);
    expect(driver.actualChanges).toEqual([RAM_BYTES - 256 * PAGE, RAM_BYTES]);
    expect(driver.device.actualBytes).toBe(RAM_BYTES);
    expect(driver.news()).toEqual([]);
  });

  it('H2: is believed, even where it is more than there is RAM', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.writeConfig32(CONFIG_ACTUAL, 513);
    expect(driver.actualChanges).toEqual([-PAGE]);
    expect(driver.ledger.balloonPages).toBe(0);
  });

  it('N07: is little-endian', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.send([Op.configWrite, CONFIG_ACTUAL, Uint8Array.of(1, 1, 0, 0)]);
    expect(driver.device.actualBytes).toBe(RAM_BYTES - 257 * PAGE);
  });

  it('N23, N24: has no effect when it is written in parts', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.send([Op.configWrite, CONFIG_ACTUAL, Uint8Array.of(5)]);
    driver.send([Op.configWrite, CONFIG_ACTUAL + 3, Uint8Array.of(5)]);
    expect(driver.actualChanges).toEqual([]);
    expect(driver.counters.get('config-partial')).toBe(2);
  });
});

describe('writes that are not the driver’s to make', () => {
  it('X5: num_pages stays, and the driver is shown what it is', () => {
    const driver = new ScriptedDriver({ targetBytes: RAM_BYTES - 3 * PAGE });
    driver.bringUp();
    driver.writeConfig32(CONFIG_NUM_PAGES, 77);
    expect(driver.counters.get('config-device-field')).toBe(1);
    expect(driver.config32(CONFIG_NUM_PAGES)).toBe(3);
    expect(driver.last(Op.config)[3]).toBe(false);
  });

  it('G30: nothing is written before FEATURES_OK', () => {
    const driver = new ScriptedDriver();
    driver.status(1);
    driver.writeConfig32(CONFIG_ACTUAL, 1);
    expect(driver.actualChanges).toEqual([]);
    expect(driver.counters.get('config-wrong-status')).toBe(1);
  });

  it('N55, N56: poison_val is written before DRIVER_OK and not after', () => {
    const driver = new ScriptedDriver();
    driver.negotiate();
    driver.writeConfig32(CONFIG_POISON_VAL, 0xaaaa_aaaa);
    driver.status(LIVE);
    driver.writeConfig32(CONFIG_POISON_VAL, 1);
    expect(driver.config32(CONFIG_POISON_VAL)).toBe(0xaaaa_aaaa);
    expect(driver.counters.get('config-after-driver-ok')).toBe(1);
  });

  it('G25: poison_val is not written without its feature, nor past the end', () => {
    const driver = new ScriptedDriver();
    driver.bringUp(driver.device.offered & ~0x10n);
    driver.writeConfig32(CONFIG_POISON_VAL, 1);
    driver.writeConfig32(16, 1);
    expect(driver.counters.get('config-not-negotiated')).toBe(1);
    expect(driver.counters.get('config-past-end')).toBe(1);
  });

  it('G23: two fields are not written at once', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.send([Op.configWrite, CONFIG_ACTUAL, writePfns([1, 2])]);
    expect(driver.counters.get('config-several-fields')).toBe(1);
    expect(driver.actualChanges).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import { MAX_REPORT_PAGES } from '../../../shared/limits.ts';
import { CONFIG_POISON_VAL } from '../../../shared/virtio/balloon.ts';
import { discarded, LIVE, ScriptedDriver } from './scripted-driver.ts';

const PAGE = 4096;
const properties = { 'free-page-reporting': true };

const live = (options?: ConstructorParameters<typeof ScriptedDriver>[0]): ScriptedDriver => {
  const driver = new ScriptedDriver({ properties, ...options });
  driver.bringUp();
  return driver;
};

/** A range of whole pages from a PFN on. */
const pages = (pfn: number, count: number) => ({ address: pfn * PAGE, lengthBytes: count * PAGE });

describe('a free page report', () => {
  it('N64: is thrown away before it is acknowledged', () => {
    const driver = live();
    const id = driver.report(pages(4, 2), pages(0x1000, 1));
    const [discard, used] = driver.news();
    expect(discarded(discard)).toEqual([4, 5, 0x1000]);
    expect(used).toEqual(driver.used('reporting', id));
    expect(driver.ledger.count('reported')).toBe(3);
  });

  it('D7: does not count as the balloon', () => {
    const driver = live();
    driver.report(pages(0, 16));
    expect(driver.ledger.balloonPages).toBe(0);
    expect(driver.actualChanges).toEqual([]);
  });

  it('may name the same pages again', () => {
    const driver = live();
    driver.report(pages(0, 2));
    driver.news();
    driver.report(pages(0, 2));
    expect(discarded(driver.news()[0])).toEqual([0, 1]);
    expect(driver.counters.get('report-in-balloon')).toBe(0);
  });

  it('N65: is left alone while poison_val is not zero', () => {
    const driver = new ScriptedDriver({ properties });
    driver.negotiate();
    driver.enableQueues();
    driver.writeConfig32(CONFIG_POISON_VAL, 0xaaaa_aaaa);
    driver.status(LIVE);
    driver.news();
    const id = driver.report(pages(0, 2));
    expect(driver.news()).toEqual([driver.used('reporting', id)]);
    expect(driver.counters.get('poisoned_reports')).toBe(1);
    expect(driver.ledger.count('reported')).toBe(0);
  });

  it('N65: is thrown away with a poison_val of zero, which is what comes back', () => {
    const driver = live();
    driver.report(pages(0, 1));
    expect(discarded(driver.news()[0])).toEqual([0]);
  });

  it('leaves out ranges that are not page aligned or have no length', () => {
    const driver = live();
    driver.report(
      { address: 1, lengthBytes: PAGE },
      { address: 0, lengthBytes: 100 },
      { address: 0, lengthBytes: 0 },
      pages(7, 1),
    );
    expect(discarded(driver.news()[0])).toEqual([7]);
    expect(driver.counters.get('report-unaligned')).toBe(3);
  });

  it('leaves out ranges that are not wholly in one RAM region', () => {
    const driver = live();
    const id = driver.report(pages(255, 2), pages(0x900, 1), pages(2 ** 40, 1));
    expect(driver.news()).toEqual([driver.used('reporting', id)]);
    expect(driver.counters.get('report-out-of-ram')).toBe(3);
  });

  it('counts pages that are in the balloon', () => {
    const driver = live();
    driver.inflate(1, 2);
    driver.report(pages(0, 4));
    expect(driver.counters.get('report-in-balloon')).toBe(2);
    expect(driver.counters.get('reported_pages')).toBe(2);
    expect(driver.ledger.balloonPages).toBe(2);
  });

  it('costs no more than MAX_REPORT_PAGES, however often it names a frame', () => {
    const quarter = MAX_REPORT_PAGES / 4;
    const driver = live({ regions: [{ start: 0, count: quarter }] });
    driver.report(...Array.from({ length: 20 }, () => pages(0, quarter)));
    expect(driver.counters.get('MAX_REPORT_PAGES')).toBe(16);
    expect(driver.counters.get('discarded_pages')).toBe(MAX_REPORT_PAGES);
  });

  it('refuses to read an entry that is cut short', () => {
    const driver = live();
    const cut = (): unknown => driver.buffer('reporting', new Uint8Array(0), new Uint8Array(13));
    expect(cut).toThrow('fields are missing, surplus or out of range');
  });
});

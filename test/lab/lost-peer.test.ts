import { describe, expect, it } from 'vitest';
import {
  LAST_PAGES,
  RAM_BYTES,
  RecordedExchange,
  WINDOW_MS,
} from '../support/recorded-exchange.ts';

/**
 * The second and the third way to lose a peer: the guest is dead, or for the host as good as dead;
 * the host is dead. Whenever it happens, afterwards both sides agree on every ballooned frame, the
 * target is kept and followed, and no process of the guest has lost a byte.
 */
const quiet = new RecordedExchange().run();
const FRAMES = quiet.frames;
const LAST_TARGET = RAM_BYTES - LAST_PAGES * 4096;

const AGREEMENT = {
  difference: { missing: 0, surplus: 0, repeated: 0 },
  numPages: LAST_PAGES,
  isolatedPages: 0,
  actualBytes: LAST_TARGET,
  targetBytes: LAST_TARGET,
  driver: 'bound',
  buffersInFlight: 1,
  canariesWrong: 0,
  processes: 0,
  runState: 'running',
};

type Fault = (exchange: RecordedExchange) => void;

interface Places {
  /** Also so many frames behind each place. */
  readonly again?: number;
  /** From one place to the next. */
  readonly step?: number;
}

/** The exchange with the fault at each of its frames in turn. */
function atEveryFrame(fault: Fault, { again, step = 1 }: Places = {}): void {
  for (let frame = 0; frame < FRAMES; frame += step) {
    let count = 0;
    const counted: Fault = (exchange) => {
      count++;
      fault(exchange);
    };
    const places = again === undefined ? [frame] : [frame, frame + again];
    const faults = new Map(places.map((place) => [place, counted]));
    const exchange = new RecordedExchange({ faults }).run();
    expect(exchange.outcome(), `at frame ${frame}`).toMatchObject(AGREEMENT);
    expect(count).toBe(places.length);
  }
}

it('both sides agree when nothing goes wrong', () => {
  expect(quiet.outcome()).toMatchObject(AGREEMENT);
});

describe('a host that dies at any frame of the exchange', () => {
  const dies: Fault = ({ session }) => session.replaceHost();

  it('is told again by a guest that kept its memory', () => atEveryFrame(dies));

  it.each([2, 9])('and once more %i frames later, while it is told', (again) =>
    atEveryFrame(dies, { again, step: 3 }),
  );

  it('and finds its guest gone for longer than the window', () => {
    const fault: Fault = (exchange) => {
      exchange.session.replaceHost();
      exchange.silenceGuest(WINDOW_MS + 1000);
    };
    atEveryFrame(fault, { step: 3 });
  });

  it('and finds a later life of its guest', () => {
    const fault: Fault = (exchange) => {
      exchange.session.replaceHost();
      exchange.killGuest(50);
    };
    atEveryFrame(fault, { step: 6 });
  });
});

describe('a guest that dies', () => {
  it('and is back before the window is over', () => {
    atEveryFrame((exchange) => exchange.killGuest(50), { step: 6 });
  });

  it('and is back when the host has given it up', () => {
    atEveryFrame((exchange) => exchange.killGuest(WINDOW_MS + 1000), { step: 6 });
  });
});

describe('a guest that is stopped at any frame', () => {
  it('for longer than the window: it keeps its memory and tells its balloon again', () => {
    atEveryFrame((exchange) => exchange.silenceGuest(WINDOW_MS + 1000), { step: 2 });
  });
});

describe('a guest that is away for longer than the window', () => {
  /** The exchange, with its events since it ended. */
  function ended(): RecordedExchange {
    const exchange = new RecordedExchange().run();
    exchange.events.length = 0;
    return exchange;
  }

  it('is dead for controllers: GUEST_PANICKED, device reset, ledger empty, target kept', () => {
    const exchange = ended();
    const heard: unknown[] = [];
    exchange.vm.onEvent(({ event, data }) => heard.push({ event, data }));
    exchange.silenceGuest(2 * WINDOW_MS);
    exchange.session.clock.advanceBy(WINDOW_MS + 1);
    expect(heard).toEqual([
      { event: 'GUEST_PANICKED', data: { action: 'pause' } },
      { event: 'STOP', data: undefined },
    ]);
    expect(exchange.vm.runState).toBe('guest-panicked');
    expect(exchange.vm.ledger.balloonPages).toBe(0);
    expect(exchange.vm.balloon?.driverOk).toBe(false);
    expect(exchange.balloon.actualBytes).toBe(RAM_BYTES);
    expect(exchange.balloon.targetBytes).toBe(LAST_TARGET);
  });

  it('and comes back as the same life: RESET, RESUME, then its balloon as it was', () => {
    const exchange = ended();
    const before = [...(exchange.guest.kernel.balloon.book?.pfns() ?? [])];
    exchange.silenceGuest(WINDOW_MS + 1000);
    exchange.settle();
    expect(exchange.events).toEqual([
      ...['GUEST_PANICKED', 'STOP', 'RESET', 'RESUME'],
      'BALLOON_CHANGE',
    ]);
    expect(exchange.outcome().pfns).toEqual(before);
  });

  it('and comes back as a later life: `actual` is 0 pages, the target is there to follow', () => {
    const exchange = ended();
    exchange.killGuest(WINDOW_MS + 1000);
    const actual: unknown[] = [];
    exchange.vm.onEvent(({ event }) => {
      if (event === 'RESET') actual.push(exchange.balloon.actualBytes);
    });
    exchange.settle();
    expect(actual).toEqual([RAM_BYTES]);
    const [panicked, stopped, reset, resumed, ...rest] = exchange.events;
    expect([panicked, stopped, reset, resumed]).toEqual([
      ...['GUEST_PANICKED', 'STOP', 'RESET', 'RESUME'],
    ]);
    expect(rest).toEqual(['BALLOON_CHANGE']);
    expect(exchange.outcome()).toMatchObject(AGREEMENT);
  });

  it('finds the target that it was given while it was dead', () => {
    const exchange = ended();
    exchange.silenceGuest(2 * WINDOW_MS);
    exchange.session.clock.advanceBy(WINDOW_MS + 1);
    exchange.setPages(100);
    exchange.settle();
    expect(exchange.outcome()).toMatchObject({ numPages: 100, runState: 'running' });
  });

  it('may be powered off while it is dead, and is then refused', async () => {
    const exchange = ended();
    exchange.silenceGuest(2 * WINDOW_MS);
    exchange.session.clock.advanceBy(WINDOW_MS + 1);
    exchange.vm.quit();
    exchange.settle();
    expect(await exchange.guest.ended).toMatchObject({ by: 'refused' });
    expect(exchange.session.vmm.vms.size).toBe(0);
  });
});

import { describe, expect, test } from 'vitest';
import { GuestControl } from '../../guest/control.ts';
import {
  type GuestRequest,
  guestRequestSchema,
  type PageMapView,
} from '../../shared/control/schemas.ts';
import { HeldGuest } from '../support/held-guest.ts';

/** The guest's half of the control channel on virtual time; `puff ctl` has tests of its own. */
function request(text: object): GuestRequest {
  return guestRequestSchema.parse(text);
}

function controlOf(...held: readonly HeldGuest[]): GuestControl {
  return new GuestControl(new Map(held.map(({ guest }, index) => [`vm${index}`, guest])));
}

describe('driver verbs', () => {
  test('are answered when their work is done, not before', async () => {
    const held = new HeldGuest();
    let answer: unknown = 'none yet';
    const answered = Promise.resolve(controlOf(held).handle(request({ verb: 'unbind' })));
    void answered.then((result) => {
      answer = result;
    });
    await Promise.resolve();
    expect(answer).toBe('none yet');
    held.run();
    expect(await answered).toEqual({ driver: 'unbound' });
  });

  test('that the driver refuses throw its error', () => {
    const control = controlOf(new HeldGuest());
    expect(() => control.handle(request({ verb: 'bind' }))).toThrow(/^ENODEV: .* driver is bound/);
  });

  test('under way at a power-off by the host are answered, later ones refused', async () => {
    const held = new HeldGuest();
    const control = controlOf(held);
    held.session.vm('vm0').stop();
    held.run();
    const answered = Promise.resolve(control.handle(request({ verb: 'unbind' })));
    held.session.vm('vm0').quit();
    held.run();
    expect(await answered).toEqual({ driver: 'unbinding' });
    for (const verb of ['bind', 'resume']) {
      expect(() => control.handle(request({ verb }))).toThrow('guest vm0 is off');
    }
    expect(control.handle(request({ verb: 'dump' }))).toMatchObject({ power: 'off' });
  });
});

describe('which guest is meant', () => {
  test('the only one needs no name; of several one must be named', () => {
    const [one, two] = [new HeldGuest(), new HeldGuest()];
    expect(controlOf(one).handle(request({ verb: 'dump' }))).toMatchObject({ driver: 'bound' });
    const both = controlOf(one, two);
    expect(() => both.handle(request({ verb: 'dump' }))).toThrow(/runs 2 guests; name one: guest/);
    const named = { verb: 'dump', guest: 'vm1', pfns: true };
    expect(both.handle(request(named))).toMatchObject({ pfns: [] });
    const unknown = { verb: 'dump', guest: 'vm2' };
    expect(() => both.handle(request(unknown))).toThrow("no guest 'vm2'; there is vm0, vm1");
  });
});

describe('what is asked of a guest beside its driver', () => {
  test('pagemap counts frames by what they hold, pageblock by pageblock unless told', () => {
    const control = controlOf(new HeldGuest());
    const [{ free }] = (control.handle(request({ verb: 'pagemap' })) as PageMapView).regions;
    expect(free).toHaveLength(128);
    const fine = control.handle(request({ verb: 'pagemap', cellPages: 64 })) as PageMapView;
    expect(fine.regions[0].free).toHaveLength(1024);
  });

  test('kill ends a program that sleeps, and refuses a process that is not there', () => {
    const held = new HeldGuest();
    const control = controlOf(held);
    held.guest.run({ name: 'hog', mib: 4, seconds: 1000 });
    held.run(100);
    const [{ pid }] = held.guest.kernel.processes.list();
    expect(control.handle(request({ verb: 'kill', pid }))).toEqual({ killed: 'hog' });
    held.run(100);
    expect(held.guest.kernel.processes.list()).toEqual([]);
    expect(() => control.handle(request({ verb: 'kill', pid }))).toThrow(
      `ESRCH: no process ${pid}`,
    );
  });
});

import { describe, expect, test } from 'vitest';
import { RealClock } from '../../../shared/lib/real-clock.ts';
import {
  ExposureError,
  requireSafeDial,
  requireSafeListen,
} from '../../../shared/transport/exposure.ts';
import { TLS } from './tls-files.ts';
import { TestServer } from './ws-harness.ts';

const NOTHING = { hasToken: false, hasTls: false, insecure: false };
const TOKEN = { ...NOTHING, hasToken: true };

describe('where a host listens', () => {
  test.each(['127.0.0.1', '127.0.0.2', '::1', '::ffff:127.0.0.1'])(
    '%s needs nothing',
    (address) => {
      expect(() => requireSafeListen(address, NOTHING)).not.toThrow();
    },
  );

  test.each([
    ['nothing', NOTHING, /needs a token/],
    ['TLS alone', { ...NOTHING, hasTls: true }, /needs a token/],
    ['--insecure alone', { ...NOTHING, insecure: true }, /needs a token/],
    ['a token alone', TOKEN, /needs --tls-cert and --tls-key, or --insecure/],
  ])('an address that others reach is refused with %s', (_name, protection, expected) => {
    for (const address of ['0.0.0.0', '::', '192.0.2.1', '::ffff:192.0.2.1']) {
      expect(() => requireSafeListen(address, protection)).toThrow(ExposureError);
      expect(() => requireSafeListen(address, protection)).toThrow(expected);
    }
  });

  test.each([
    ['a token and TLS', { ...TOKEN, hasTls: true }],
    ['a token and --insecure', { ...TOKEN, insecure: true }],
  ])('it is taken with %s', (_name, protection) => {
    expect(() => requireSafeListen('0.0.0.0', protection)).not.toThrow();
  });
});

describe('where a guest sends its token', () => {
  test.each([
    ['ws://127.0.0.1:7420/puff', TOKEN],
    ['ws://[::1]:7420/puff', TOKEN],
    ['ws://localhost:7420/puff', TOKEN],
    ['wss://host.example/puff', TOKEN],
    ['ws://host.example/puff', NOTHING],
    ['ws://host.example/puff', { ...TOKEN, insecure: true }],
  ])('%s with %j: yes', (url, protection) => {
    expect(() => requireSafeDial(url, protection)).not.toThrow();
  });

  test.each(['ws://host.example/puff', 'ws://10.0.0.1:7420/', 'ws://[2001:db8::1]/'])(
    '%s: not in the clear',
    (url) => {
      expect(() => requireSafeDial(url, TOKEN)).toThrow(/in the clear: use wss:\/\/ or --insecure/);
    },
  );
});

describe('a real port', () => {
  const listen = async (options: ConstructorParameters<typeof TestServer>[1]): Promise<number> => {
    const { server } = new TestServer(new RealClock(), options);
    const port = await server.listen('0.0.0.0', 0);
    await server.close();
    return port;
  };
  const token = 'a token of the test';

  test('does not open for other machines without a token, and TLS or insecure', async () => {
    await expect(listen({})).rejects.toThrow(ExposureError);
    await expect(listen({ tls: TLS.local })).rejects.toThrow(/needs a token/);
    await expect(listen({ token })).rejects.toThrow(/needs --tls-cert/);
    await expect(listen({ insecure: true })).rejects.toThrow(/needs a token/);
  });

  test('opens with them', async () => {
    expect(await listen({ token, tls: TLS.local })).toBeGreaterThan(0);
    expect(await listen({ token, insecure: true })).toBeGreaterThan(0);
  });
});

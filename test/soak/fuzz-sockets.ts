import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type WebSocket, WebSocketServer } from 'ws';
import { startGuest } from '../../guest/start-guest.ts';
import { type RunningHost, startHost } from '../../host/start-host.ts';
import { connectQmp } from '../../lab/qmp-client.ts';
import { Prng } from '../../shared/lib/prng.ts';
import { MIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { writePairs } from '../../shared/protocol/bodies.ts';
import { encode } from '../../shared/protocol/codec.ts';
import { Op, SUBPROTOCOL } from '../../shared/protocol/messages.ts';
import { makeHello } from '../../shared/transport/hello.ts';
import { NO_RATE_LIMITS } from '../../shared/transport/server-limits.ts';
import { RawPeer } from '../shared/transport/ws-harness.ts';
import { FrameSource } from './fuzz-frames.ts';
import { QmpSource } from './fuzz-qmp.ts';
import { recordSessions } from './fuzz-recordings.ts';

export interface SocketFuzz {
  readonly frames: number;
  readonly seed: number;
}

/** How often this was begun again, for a report. */
export interface SocketFuzzed {
  readonly connections: number;
}

const GUEST_BYTES = 64 * MIB;
const REGIONS = writePairs([{ start: 0, count: GUEST_BYTES / PAGE_SIZE }]);
/** Frames in one go; then the other side has a turn. */
const BURST = 20;

/** A host of its own, with QMP, for one part of a run; `check` sees that it still serves. */
async function withHost<Result>(
  body: (host: RunningHost, qmpDir: string) => Promise<Result>,
): Promise<Result> {
  const qmpDir = mkdtempSync(join(tmpdir(), 'puff-fuzz-'));
  const listen = { host: '127.0.0.1', port: 0 };
  const host = await startHost({ listen, qmpDir, limits: NO_RATE_LIMITS });
  try {
    const result = await body(host, qmpDir);
    await checkHost(host, qmpDir);
    return result;
  } finally {
    await host.close();
    rmSync(qmpDir, { recursive: true, force: true });
  }
}

/** An honest guest comes in and does what its controller says. */
async function checkHost({ url }: RunningHost, qmpDir: string): Promise<void> {
  const honest = await startGuest({ connect: url, id: 'honest', memoryBytes: GUEST_BYTES });
  try {
    const [guest] = honest.guests;
    await until(() => guest.kernel.core.state === 'bound');
    const qmp = await connectQmp(join(qmpDir, 'honest.qmp'));
    await qmp.execute('balloon', { value: GUEST_BYTES - 8 * MIB });
    await until(() => guest.kernel.balloon.numPages === (8 * MIB) / PAGE_SIZE);
    await qmp.close();
  } finally {
    await honest.close();
  }
}

async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; !done(); tries++) {
    if (tries > 3000) throw new Error('the honest peer got no further');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Hostile guests at a host's real port. */
export function fuzzHostPort({ frames, seed }: SocketFuzz): Promise<SocketFuzzed> {
  const prng = new Prng(seed).fork('host port');
  const recorded = recordSessions().map(({ guest }) => guest);
  const source = new FrameSource('guest', recorded, prng.fork('frames'));
  return withHost(async ({ url }) => {
    let sent = 0;
    let connections = 0;
    while (sent < frames) {
      const peer = await RawPeer.connect(url);
      const manner = source.begin();
      const guestId = `guest-${prng.below(50)}`;
      const fields = { guestId, epoch: ++connections, session: '', received: 0, regions: REGIONS };
      if (manner !== 'rude') peer.socket.send(encode(makeHello(fields)));
      for (let left = 1 + prng.below(200); left > 0 && peer.isOpen; left--) {
        peer.socket.send(source.next(manner));
        if (++sent % BURST === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      peer.socket.terminate();
      await peer.closed;
    }
    return { connections };
  });
}

/** Guests that dial a hostile host's real port, one after the other. */
export async function fuzzGuestPort({ frames, seed }: SocketFuzz): Promise<SocketFuzzed> {
  const prng = new Prng(seed).fork('guest port');
  const recorded = recordSessions().map(({ host }) => host);
  const source = new FrameSource('host', recorded, prng.fork('frames'));
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols });
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  let sent = 0;
  let connections = 0;
  server.on('connection', (socket) => {
    connections++;
    socket.on('error', () => {});
    void attack(socket);
  });
  const attack = async (socket: WebSocket): Promise<void> => {
    const manner = source.begin();
    await once(socket, 'message');
    if (manner !== 'rude') socket.send(encode([Op.welcome, 1, 'session', false, 0]));
    for (let left = 1 + prng.below(200); left > 0; left--) {
      if (socket.readyState !== socket.OPEN || sent >= frames) break;
      socket.send(source.next(manner));
      if (++sent % BURST === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    socket.close(1000, 'guest-gone');
  };
  while (sent < frames) {
    const connect = `ws://127.0.0.1:${port}`;
    const guest = await startGuest({ connect, id: 'vm0', memoryBytes: GUEST_BYTES });
    await guest.ended;
    await guest.close();
  }
  for (const socket of server.clients) socket.terminate();
  await new Promise((resolve) => server.close(resolve));
  return { connections };
}

function handleProtocols(): string {
  return SUBPROTOCOL;
}

/** Hostile clients at a guest's QMP socket. */
export function fuzzQmpSocket({ frames, seed }: SocketFuzz): Promise<SocketFuzzed> {
  const prng = new Prng(seed).fork('qmp');
  const source = new QmpSource(prng);
  return withHost(async ({ url }, qmpDir) => {
    const connect = { connect: url, memoryBytes: GUEST_BYTES };
    let guest = await startGuest({ ...connect, id: 'vm0' });
    await until(() => guest.guests[0].kernel.core.state === 'bound');
    let sent = 0;
    let connections = 0;
    while (sent < frames) {
      const socket = connectSocket(join(qmpDir, 'vm0.qmp'));
      socket.on('error', () => {});
      socket.resume();
      connections++;
      const closed = new Promise((resolve) => socket.once('close', resolve));
      for (let left = 1 + prng.below(100); left > 0 && socket.writable; left--) {
        socket.write(source.next());
        if (++sent % BURST === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      socket.destroySoon();
      await closed;
      // One of them may have said quit.
      if (guest.guests[0].power !== 'off') continue;
      await guest.close();
      guest = await startGuest({ ...connect, id: 'vm0' });
      await until(() => guest.guests[0].kernel.core.state === 'bound');
    }
    await guest.close();
    return { connections };
  });
}

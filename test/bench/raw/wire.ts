import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import type { Part } from '../child.ts';
import { cpuSeconds, nowNs } from '../measure.ts';
import { BitmapBuddy } from './bitmap-buddy.ts';

/**
 * Raw baseline: the least that two processes can do to move batches of PFNs over a WebSocket, one
 * batch at a time. The guest takes pages one by one from a bitmap, marks them and sends a frame
 * with a 16-byte header; the host sets the PFNs in a bitmap of its own, with a check for those set
 * already, and acknowledges. No sessions, no protocol beside the frame, no order of pages.
 */
const HEADER_BYTES = 16;
const ACK_BYTES = 12;
const OP_INFLATE = 1;
const OP_ACK = 2;
/** A zone of 16 GiB. */
export const ZONE_PAGES = 1 << 22;
const MAX_PAYLOAD = 1 << 20;
const BALLOONED = 3;

class RawHost {
  readonly #bitmap = new Int32Array(ZONE_PAGES >> 5);
  readonly #bytes = new Uint8Array(MAX_PAYLOAD);
  readonly #words = new Int32Array(this.#bytes.buffer);
  #count = 0;

  listen(): Promise<string> {
    const limits = { perMessageDeflate: false, maxPayload: MAX_PAYLOAD };
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...limits });
    server.on('connection', (socket, request) => this.#serve(socket, request.socket));
    return new Promise((resolve) => {
      server.once('listening', () => {
        resolve(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      });
    });
  }

  get count(): number {
    return this.#count;
  }

  clear(): void {
    this.#bitmap.fill(0);
    this.#count = 0;
  }

  /** Acknowledgements of one turn leave in one write. */
  #serve(socket: WebSocket, stream: Duplex): void {
    let corked = false;
    socket.on('message', (data: Buffer) => {
      const sequence = data.readUInt32LE(4);
      const pageCount = data.readUInt32LE(8);
      const length = HEADER_BYTES + pageCount * 4;
      if (data[0] !== OP_INFLATE || data.length !== length) return socket.close(1002);
      this.#bytes.set(data, 0);
      this.#setAll(pageCount);
      if (!corked) {
        corked = true;
        stream.cork();
        process.nextTick(() => {
          corked = false;
          stream.uncork();
        });
      }
      const ack = Buffer.allocUnsafe(ACK_BYTES);
      ack.writeUInt32LE(OP_ACK, 0);
      ack.writeUInt32LE(sequence, 4);
      ack.writeUInt32LE(pageCount, 8);
      socket.send(ack);
    });
  }

  #setAll(pageCount: number): void {
    const words = this.#words;
    const bitmap = this.#bitmap;
    let count = 0;
    for (let index = 0; index < pageCount; index++) {
      const pfn = words[(HEADER_BYTES >> 2) + index];
      const bit = 1 << (pfn & 31);
      const held = bitmap[pfn >>> 5];
      if ((held & bit) !== 0) continue;
      bitmap[pfn >>> 5] = held | bit;
      count++;
    }
    this.#count += count;
  }
}

class RawGuest {
  readonly #zone = new BitmapBuddy(ZONE_PAGES);
  readonly #flags = new Uint8Array(ZONE_PAGES);
  #socket: WebSocket | undefined;
  #stream: Duplex | undefined;

  connect(url: string): Promise<void> {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    socket.on('upgrade', ({ socket: stream }) => {
      this.#stream = stream;
    });
    this.#socket = socket;
    return new Promise((resolve) => socket.once('open', resolve));
  }

  /** Sends `pages` pages in batches of `batchPages`, the next one when the last is acknowledged. */
  async inflate(pages: number, batchPages: number): Promise<number> {
    const [socket, stream] = [this.#socket, this.#stream];
    if (socket === undefined || stream === undefined) throw new Error('the guest is not connected');
    const start = nowNs();
    let left = pages;
    let sequence = 0;
    await new Promise<void>((resolve) => {
      const next = (): void => {
        if (left === 0) {
          resolve();
          return;
        }
        const count = Math.min(batchPages, left);
        left -= count;
        stream.cork();
        socket.send(this.#frame(++sequence, count));
        stream.uncork();
      };
      socket.on('message', next);
      next();
    });
    const ns = nowNs() - start;
    socket.removeAllListeners('message');
    return ns;
  }

  /** All pages are free again. */
  clear(): void {
    const flags = this.#flags;
    for (let pfn = 0; pfn < flags.length; pfn++) {
      if (flags[pfn] === 0) continue;
      flags[pfn] = 0;
      this.#zone.release(pfn, 0);
    }
    if (this.#zone.free !== ZONE_PAGES) throw new Error('the raw guest lost pages');
  }

  #frame(sequence: number, count: number): Buffer {
    const frame = Buffer.allocUnsafeSlow(HEADER_BYTES + count * 4);
    const words = new Int32Array(frame.buffer);
    words[0] = OP_INFLATE;
    words[1] = sequence;
    words[2] = count;
    for (let index = 0; index < count; index++) {
      const pfn = this.#zone.alloc(0);
      this.#flags[pfn] = BALLOONED;
      words[(HEADER_BYTES >> 2) + index] = pfn;
    }
    return frame;
  }
}

export function rawHostPart(): Part {
  const host = new RawHost();
  return {
    listen: () => host.listen(),
    count: () => host.count,
    cpuSeconds: () => cpuSeconds(),
    clear: () => host.clear(),
  };
}

export interface RawRun {
  readonly pages: number;
  readonly batchPages: number;
}

export function rawGuestPart(): Part {
  const guest = new RawGuest();
  return {
    connect: (url: string) => guest.connect(url),
    inflate: ({ pages, batchPages }: RawRun) => guest.inflate(pages, batchPages),
    clear: () => guest.clear(),
    cpuSeconds: () => cpuSeconds(),
  };
}

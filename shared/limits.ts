import { assert } from './lib/assert.ts';

/**
 * Every maximum, in one file, each with its reason. A limit that a peer can hit has a name here,
 * the same name in the close frame or HTTP body, and a counter.
 */

/** Largest WebSocket message. 64 KiB holds 16,000 PFNs; larger frames gain nothing. */
export const MAX_PAYLOAD_BYTES = 64 * 1024;

/** Bytes of PFNs or ranges put in one message, so that the frame around them fits the payload. */
export const MAX_BODY_BYTES = 60 * 1024;

/** Nesting of a frame: the array around the message is one level and no field nests. */
export const MAX_FRAME_DEPTH = 8;

/** Values in a frame, arrays and maps included. The largest message has 8. */
export const MAX_FRAME_ITEMS = 64;

/** WebSocket fragments and unread chunks of one message: an honest peer sends one fragment. */
export const MAX_FRAGMENTS = 16;
export const MAX_BUFFERED_CHUNKS = 1024;

/** Schema errors of one connection before it is closed; the first ones are answered. */
export const MAX_SCHEMA_ERRORS = 3;

/** Messages received but not handled yet; beyond it the socket is paused until half are done. */
export const MAX_INBOUND_MESSAGES = 1024;

/** Bytes waiting in a socket: producers stop at the first, the link is cut at the second. */
export const OUTBOUND_SOFT_BYTES = 256 * 1024;
export const OUTBOUND_HARD_BYTES = 4 * 1024 * 1024;

/** Sent and not yet acknowledged by the peer's session; kept for a reconnect. */
export const MAX_RETAINED_MESSAGES = 8192;
export const MAX_RETAINED_BYTES = 4 * 1024 * 1024;

/** A session acknowledges at least this often, so the peer's retained list stays short. */
export const SESSION_ACK_EVERY = 64;

/** WebSocket ping period and the number of unanswered pings after which a link is dead. */
export const PING_INTERVAL_MS = 10_000;
export const PING_MISSES_MAX = 2;

/** The first message after the upgrade must be a hello within this time. */
export const HELLO_TIMEOUT_MS = 5_000;

/** How long a host keeps a guest whose link is lost before it takes it for dead. */
export const RESUME_WINDOW_MS = 30_000;

/** Handshakes under way at once; more get HTTP 503 with Retry-After. */
export const MAX_PENDING_HANDSHAKES = 64;

/** Guests of one host process. */
export const MAX_GUESTS = 10_000;

/** Guest ids become file names (`ID.qmp`) and log fields. */
export const MAX_GUEST_ID_LENGTH = 64;

/** Error and reason texts on the wire. */
export const MAX_TEXT_LENGTH = 256;

/** RAM regions a guest may announce; q35 has two. */
export const MAX_RAM_REGIONS = 16;

/** A PFN is a 32-bit number on the wire (D2), a ledger covers at most 1 TiB of guest. */
export const MAX_GUEST_PAGES = 2 ** 28;

/** Guest RAM sizes that have a boot layout. */
export const MIN_GUEST_MIB = 64;
export const MAX_GUEST_MIB = 64 * 1024;

/** Huge pages of 2 MiB one can ask for: what the largest guest would consist of. */
export const MAX_NR_HUGEPAGES = MAX_GUEST_MIB / 2;

/** Virtqueue sizes as QEMU 7.2 creates them (virtio-balloon-facts 2.3). */
export const QUEUE_SIZE_BALLOON = 128;
export const QUEUE_SIZE_STATS = 128;
export const QUEUE_SIZE_FREE_PAGE = 1024;
export const QUEUE_SIZE_REPORTING = 32;

/** Queues of a balloon device: inflate, deflate, stats, free page, reporting. */
export const MAX_QUEUES = 5;

/** PFNs of one inflate or deflate buffer: VIRTIO_BALLOON_ARRAY_PFNS_MAX in Linux. */
export const ARRAY_PFNS_MAX = 256;

/** PFNs a device takes in one buffer. Windows' driver sends 512; a whole body is tolerated. */
export const MAX_BUFFER_PFNS = MAX_BODY_BYTES / 4;

/** Entries of a statistics buffer a device reads; Firecracker's bound. */
export const MAX_STATS_ENTRIES = 256;

/** One QMP request; QEMU's own limit on a JSON value is 64 MiB in tokens, no client needs 1 MiB. */
export const MAX_QMP_REQUEST_BYTES = 1024 * 1024;

/** Nesting of QMP input, QEMU's MAX_NESTING. */
export const MAX_QMP_NESTING = 1024;

/** Clients of one QMP socket that wait for their turn. */
export const MAX_QMP_WAITING = 16;

/** Bytes of replies and events kept for a QMP client that does not read; then it is cut. */
export const MAX_QMP_OUTPUT_BYTES = 8 * 1024 * 1024;

/** One line of a control channel. */
export const MAX_CONTROL_LINE_BYTES = 1024 * 1024;

/** sun_path of a unix socket, less the final zero: the system refuses longer ones with EINVAL. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** BALLOON_CHANGE is limited to one event a second (QEMU's monitor). */
export const BALLOON_CHANGE_PERIOD_MS = 1000;

/** Slices of guest work between two looks at the socket, so that one guest cannot starve others. */
export const GUEST_STEPS_PER_SLICE = 4096;

assert(MAX_BODY_BYTES % 12 === 0, 'a body holds whole pairs and whole ranges');
assert(MAX_BODY_BYTES + 1024 < MAX_PAYLOAD_BYTES, 'a body and its header fit one payload');
assert(ARRAY_PFNS_MAX <= MAX_BUFFER_PFNS, 'a Linux buffer fits one message');

/** First and longest wait before a guest dials again; the wait doubles with each failure. */
export const RECONNECT_FIRST_MS = 100;
export const RECONNECT_MAX_MS = 5_000;

/** A session that received something acknowledges it within this time when traffic stops. */
export const SESSION_ACK_QUIET_MS = 50;

/** Bytes received but not handled yet, beside MAX_INBOUND_MESSAGES: 64 of the largest messages. */
export const MAX_INBOUND_BYTES = 4 * 1024 * 1024;

/** How long an orderly close waits for the peer's close frame before the socket is destroyed. */
export const CLOSE_TIMEOUT_MS = 5_000;

/** HTTP before the upgrade: an honest guest sends one small request at once. */
export const HTTP_HEADERS_TIMEOUT_MS = 5_000;
export const HTTP_REQUEST_TIMEOUT_MS = 10_000;
export const MAX_HTTP_HEADER_BYTES = 8 * 1024;
export const MAX_HTTP_HEADERS = 64;

/** Connections that the system queues before the host accepts them. */
export const LISTEN_BACKLOG = 128;

/** One unpacked file of a recording; the longest real one is 16 MiB. */
export const MAX_RECORDING_FILE_BYTES = 256 * 1024 * 1024;

/**
 * Frames a device takes from one free page report, 4 GiB and about 10 ms of work. Linux on x86
 * reports 32 blocks of 4 MiB; beyond it the rest of a report, which is a hint, is left alone.
 */
export const MAX_REPORT_PAGES = 2 ** 20;

/** Frames of all guests of one host together: 8 TiB, at worst 2 GiB of ledgers. */
export const MAX_HOST_PAGES = 2 ** 31;

/** The longest delay that Node's timers hold; a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** A closing QMP server waits this long for its client to read the last replies, then cuts it. */
export const QMP_CLOSE_TIMEOUT_MS = 1_000;

/** Lines of the host's store before it is written anew with one line a guest. */
export const MAX_STORE_LINES = 100_000;

/** Connections of the guest port, with a request or not: one for each of MAX_GUESTS. */
export const MAX_CONNECTIONS = 10_000;

/** Of one address, so that no single machine takes them all; loopback is exempt. */
export const MAX_CONNECTIONS_PER_ADDRESS = 1024;

/** New connections of all peers together; twice as many may come at once after a quiet second. */
export const MAX_ACCEPTS_PER_SECOND = 200;

/**
 * What one guest may send, twice as much at once after a quiet second. Stop-and-wait inflation
 * reaches 28,000 messages and 15 MiB a second on two cores of 2021, and a host takes 700,000 small
 * messages on one: a guest is never slowed down by its own work, nor a host by one guest.
 */
export const MAX_MESSAGES_PER_SECOND = 100_000;
export const MAX_BYTES_PER_SECOND = 128 * 1024 * 1024;

/** A guest that sends faster than it may for this long, never waiting for answers, is closed. */
export const FLOOD_CLOSE_MS = 10_000;

/** A guest sends something at least every KEEP_ALIVE_MS; after MAX_IDLE_MS it is closed. */
export const KEEP_ALIVE_MS = 20_000;
export const MAX_IDLE_MS = 60_000;

/** Of one peer in a log; the number of those left out is told. */
export const MAX_LOG_LINES_PER_SECOND = 10;

/** A token is a password: a short one is guessed. */
export const MIN_TOKEN_LENGTH = 16;
export const MAX_TOKEN_LENGTH = 512;

/**
 * A guest that was cut off tries again for this long although it is told that it is connected:
 * until the host's pings have found the dead connection out, with as much again to spare.
 */
export const DUPLICATE_RETRY_MS = 2 * PING_INTERVAL_MS * (PING_MISSES_MAX + 1);

/** Clients that one QMP socket may be told to serve at once; QEMU serves one. */
export const MAX_QMP_CLIENTS = 64;

/**
 * A file that a guest boots from or plays, packed and unpacked. The free lists of a guest of
 * MAX_GUEST_MIB that has half of its pages free, each apart, are 100 MiB of JSON.
 */
export const MAX_PACKED_FILE_BYTES = 64 * 1024 * 1024;
export const MAX_UNPACKED_FILE_BYTES = 256 * 1024 * 1024;

/**
 * States of one scenario of `puff explore`: a row of about 100 bytes and its edges each, so that a
 * scenario that is too large ends with a clear error below 1 GiB and not with the machine's memory.
 */
export const MAX_EXPLORED_STATES = 2_000_000;

/**
 * What one program may ask for. A program remembers what it wrote, 4 bytes a page or object and
 * again for each child, and the page cache and the disk some 100 bytes a page: so much and no more
 * is 256 MiB of this process.
 */
export const MAX_PROGRAM_PAGES = 2 ** 26;
export const MAX_PROGRAM_FILE_MIB = 8 * 1024;
export const MAX_PROGRAM_OBJECTS = 2 ** 26;

/** Cells of one page map: two for each pageblock of the largest guest; about a MiB of JSON. */
export const MAX_PAGE_MAP_CELLS = 65_536;

/**
 * Balloon devices of one guest, the first included. Each has a connection of its own, of which up
 * to 12 MiB wait in, wait out or are kept for a reconnect: so many stay below 200 MiB whatever
 * their hosts do. A page map has numbers for 127 books.
 */
export const MAX_BALLOON_DEVICES = 16;

/** The swap device of a guest: 11 bytes a page, 176 MiB at most, touched as it is used. */
export const MAX_SWAP_MIB = 65_536;

/** How long a ticket lets its bearer in, once: an operator's page needs a moment to be given it. */
export const TICKET_VALID_MS = 30_000;

/** Random bytes of a ticket: beyond guessing within its life, as a token of 43 characters is. */
export const TICKET_BYTES = 32;

/** Tickets that are neither used nor too old: more could not come in at once either. */
export const MAX_TICKETS = MAX_PENDING_HANDSHAKES;

/** Clients of one control socket at once; one more is told so and let go. */
export const MAX_CONTROL_CLIENTS = 64;

/**
 * Requests of one client of a control socket, twice as many at once after a quiet second; beyond it
 * the socket is not read for a while. The socket is its owner's: what is held back is a script that
 * runs away. 100 would hold back our own: one connection to a host carries the looks at all guests
 * of a fleet, each every 20 ms (lab/fleet.ts), which are 47 a second of one guest, 325 of 8 and no
 * more than 380 of 24 on two cores.
 */
export const MAX_CONTROL_REQUESTS_PER_SECOND = 1_000;

/**
 * The longest recording that `puff verify` replays: an hour of virtual time. The longest real one
 * is 18 s; a guest that is out of puff tries again five times a second, and polled statistics are
 * taken every second, so that an hour is some 20,000 steps.
 */
export const MAX_RECORDING_MS = 60 * 60 * 1000;

/*
 * One page in the balloon: leak_balloon of one page, the host that acknowledges, and compaction
 * that isolates the page and puts it back. The same grain as `puff explore dequeue isolate
 * --pages 1`: one option of the loop is one move, one valuation of the variables is one state.
 *
 * states: 180, transitions: 321
 */
#define FREE 0
#define ALLOCATED 1
#define BALLOON 2
#define ISOLATED 3

byte page = BALLOON;      /* who owns the frame; on the list exactly while BALLOON */
byte refs = 1;
bool pageLock;
bool balloonLock;         /* only the leak takes it */
bool pagesLock;           /* held by the leak over its walk */
byte numPages = 1, actual = 1, unmanaged = 1, running;
byte numPfns;
byte buffer;              /* deflate: 0 none, 1 available, 2 taken, 3 used */
bool hosts = 1;           /* the host's ledger */

mtype = { begin, lock, walk, tryPage, recheck, remove, unlockPage, giveUp, tell, ack,
          account, put, free, unlock, report, choose, pin, look, unlink, release, unpin,
          backLock, backRecheck, relink, backUnlock, backPut, done };
mtype leak = begin;
mtype compactor = choose;

inline dropReference(next) {
  refs--;
  if
  :: refs == 0 -> assert(!pageLock); assert(page == ALLOCATED); page = FREE
  :: else
  fi;
  compactor = next
}

active proctype world() {
end:
  do
  /* leak_balloon */
  :: d_step { leak == begin -> running++; leak = lock }
  :: d_step { leak == lock && !balloonLock ->
       balloonLock = 1; numPfns = 0;
       leak = (numPages > 0 -> walk : unlock) }
  :: d_step { leak == walk && !pagesLock ->
       if
       :: page == BALLOON -> pagesLock = 1; leak = tryPage
       :: else -> assert(page == ISOLATED); leak = unlock
       fi }
  :: d_step { leak == tryPage ->
       if
       :: !pageLock -> pageLock = 1; leak = recheck
       :: else -> pagesLock = 0; leak = unlock
       fi }
  :: d_step { leak == recheck -> leak = (page == BALLOON -> remove : giveUp) }
  :: d_step { leak == remove -> assert(page == BALLOON); page = ALLOCATED; leak = unlockPage }
  :: d_step { leak == unlockPage ->
       pageLock = 0; pagesLock = 0; numPfns = 1; numPages--; leak = tell }
  :: d_step { leak == giveUp -> pageLock = 0; pagesLock = 0; leak = unlock }
  :: d_step { leak == tell -> assert(buffer == 0); buffer = 1; leak = ack }
  :: d_step { leak == ack && buffer == 3 -> buffer = 0; leak = account }
  :: d_step { leak == account -> unmanaged--; leak = put }
  :: d_step { leak == put -> refs--; leak = (refs == 0 -> free : unlock) }
  :: d_step { leak == free -> assert(page == ALLOCATED); assert(!pageLock); page = FREE;
       leak = unlock }
  :: d_step { leak == unlock -> balloonLock = 0; leak = report }
  :: d_step { leak == report -> actual = numPages; running--; leak = done }
  /* isolate_movable_page, then putback_movable_pages */
  :: d_step { compactor == choose -> compactor = pin }
  :: d_step { compactor == pin ->
       if
       :: refs > 0 -> refs++; compactor = look
       :: else -> compactor = done
       fi }
  :: d_step { compactor == look ->
       compactor = (page == BALLOON || page == ISOLATED -> lock : unpin) }
  :: d_step { compactor == lock ->
       if
       :: !pageLock -> pageLock = 1; compactor = recheck
       :: else -> compactor = unpin
       fi }
  :: d_step { compactor == recheck -> compactor = (page == BALLOON -> unlink : unlockPage) }
  :: d_step { compactor == unlink && !pagesLock ->
       assert(page == BALLOON); page = ISOLATED; compactor = release }
  :: d_step { compactor == release -> pageLock = 0; compactor = backLock }
  :: d_step { compactor == unlockPage -> pageLock = 0; compactor = unpin }
  :: d_step { compactor == unpin -> dropReference(done) }
  :: d_step { compactor == backLock && !pageLock -> pageLock = 1; compactor = backRecheck }
  :: d_step { compactor == backRecheck ->
       compactor = (page == BALLOON || page == ISOLATED -> relink : backUnlock) }
  :: d_step { compactor == relink && !pagesLock ->
       assert(page == ISOLATED); page = BALLOON; compactor = backUnlock }
  :: d_step { compactor == backUnlock -> pageLock = 0; compactor = backPut }
  :: d_step { compactor == backPut -> dropReference(done) }
  /* the host */
  :: d_step { buffer == 1 -> assert(hosts); hosts = 0; buffer = 2 }
  :: d_step { buffer == 2 -> buffer = 3 }
  od
}

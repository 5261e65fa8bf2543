/*
 * Page 0 is isolated, page 1 is free: compaction migrates 0 to 1 with virtballoon_migratepage
 * while leak_balloon gives one page back; the host acknowledges what both tell it. The same grain
 * as `puff explore dequeue migrate --pages 1`: one option of the loop is one move, one valuation
 * of the variables is one state.
 *
 * states: 438, transitions: 753
 */
#define FREE 0
#define ALLOCATED 1
#define BALLOON 2
#define ISOLATED 3
#define REPLACED 4
#define MOVABLE(p) (page[p] >= BALLOON)

/* Who owns each frame; on the list exactly while BALLOON, of which there is at most one here. */
byte page[2], refs[2];
bool pageLock[2];
bool hosts[2];            /* the host's ledger */
byte balloonLock;         /* 0 nobody, 1 the leak, 2 the migration */
bool pagesLock;           /* held by the leak over its walk */
byte numPages = 1, actual = 1, unmanaged = 1, running;
byte numPfns, pfn;        /* vb->num_pfns and vb->pfns[0] */
byte cursor;              /* of the walk, 0 outside it */
byte inflate, deflate;    /* 0 none, 1 available, 2 taken, 3 used */
bool mayWait;             /* synchronous compaction, until the migration is over */
byte deflated;            /* the page in the deflate buffer, 0 where there is none */

mtype = { begin, lock, walk, tryPage, recheck, remove, unlockPage, giveUp, tell, ack,
          account, put, free, unlock, report, done };
mtype leak = begin;
mtype = { allocate, lockOld, lockNew, lockBalloon, insert, tellInflate, ackInflate, removeOld,
          tellDeflate, ackDeflate, unlockBalloon, putOld, unlockPages, putNew,
          accountOld, dropOld, freeOld, unlockBoth, unused,
          backLock, backRecheck, relink, backUnlock, backPut };
mtype compactor = allocate;

inline dropReference(p) {
  assert(refs[p] > 0);
  refs[p]--;
  if
  :: refs[p] == 0 -> assert(!pageLock[p]); assert(page[p] == ALLOCATED); page[p] = FREE
  :: else
  fi
}

init {
  d_step { page[0] = ISOLATED; refs[0] = 2; hosts[0] = 1 }
end:
  do
  /* leak_balloon */
  :: d_step { leak == begin -> running++; leak = lock }
  :: d_step { leak == lock && balloonLock == 0 ->
       balloonLock = 1; numPfns = 0; leak = (numPages > 0 -> walk : unlock) }
  :: d_step { leak == walk && !pagesLock ->
       if
       :: page[0] == BALLOON -> pagesLock = 1; cursor = 0; leak = tryPage
       :: page[1] == BALLOON -> pagesLock = 1; cursor = 1; leak = tryPage
       :: else -> assert(page[0] == ISOLATED); leak = unlock
       fi }
  :: d_step { leak == tryPage ->
       if
       :: !pageLock[cursor] -> pageLock[cursor] = 1; leak = recheck
       :: else -> pagesLock = 0; cursor = 0; leak = unlock
       fi }
  :: d_step { leak == recheck -> leak = (page[cursor] == BALLOON -> remove : giveUp) }
  :: d_step { leak == remove ->
       assert(page[cursor] == BALLOON); page[cursor] = ALLOCATED; leak = unlockPage }
  :: d_step { leak == unlockPage ->
       pageLock[cursor] = 0; pagesLock = 0; pfn = cursor; numPfns = 1; numPages--; cursor = 0;
       leak = tell }
  :: d_step { leak == giveUp ->
       pageLock[cursor] = 0; pagesLock = 0; cursor = 0; leak = unlock }
  :: d_step { leak == tell -> assert(deflate == 0); deflate = 1; deflated = pfn; leak = ack }
  :: d_step { leak == ack && deflate == 3 -> deflate = 0; deflated = 0; leak = account }
  :: d_step { leak == account -> unmanaged--; leak = put }
  :: d_step { leak == put -> refs[pfn]--; leak = (refs[pfn] == 0 -> free : unlock) }
  :: d_step { leak == free ->
       assert(page[pfn] == ALLOCATED); assert(!pageLock[pfn]); page[pfn] = FREE; leak = unlock }
  :: d_step { leak == unlock -> balloonLock = 0; leak = report }
  :: d_step { leak == report -> actual = numPages; running--; leak = done }
  /* unmap_and_move with virtballoon_migratepage in it */
  :: d_step { compactor == allocate -> page[1] = ALLOCATED; refs[1] = 1; compactor = lockOld }
  :: d_step { compactor == allocate -> page[1] = ALLOCATED; refs[1] = 1; mayWait = 1;
       compactor = lockOld }
  :: d_step { compactor == lockOld && !pageLock[0] -> pageLock[0] = 1; compactor = lockNew }
  :: d_step { compactor == lockOld && pageLock[0] && !mayWait -> compactor = unused }
  :: d_step { compactor == lockNew ->
       assert(!pageLock[1]); pageLock[1] = 1; compactor = lockBalloon }
  :: d_step { compactor == lockBalloon ->
       if
       :: balloonLock == 0 -> balloonLock = 2; compactor = insert
       :: else -> compactor = unlockBoth
       fi }
  :: d_step { compactor == insert && !pagesLock ->
       assert(page[0] == ISOLATED); refs[1]++; page[0] = REPLACED; page[1] = BALLOON;
       compactor = tellInflate }
  :: d_step { compactor == tellInflate -> assert(inflate == 0); inflate = 1;
       compactor = ackInflate }
  :: d_step { compactor == ackInflate && inflate == 3 -> inflate = 0; compactor = removeOld }
  :: d_step { compactor == removeOld && !pagesLock ->
       assert(hosts[1]); page[0] = ALLOCATED; compactor = tellDeflate }
  :: d_step { compactor == tellDeflate -> assert(deflate == 0); deflate = 1; deflated = 0;
       compactor = ackDeflate }
  :: d_step { compactor == ackDeflate && deflate == 3 -> deflate = 0; compactor = unlockBalloon }
  :: d_step { compactor == unlockBalloon -> balloonLock = 0; compactor = putOld }
  :: d_step { compactor == putOld -> dropReference(0); compactor = unlockPages }
  :: d_step { compactor == unlockPages -> pageLock[1] = 0; pageLock[0] = 0; compactor = putNew }
  :: d_step { compactor == putNew -> dropReference(1); compactor = accountOld }
  :: d_step { compactor == accountOld -> compactor = dropOld }
  :: d_step { compactor == dropOld -> refs[0]--; assert(refs[0] == 0); compactor = freeOld }
  :: d_step { compactor == freeOld -> assert(page[0] == ALLOCATED); page[0] = FREE;
       mayWait = 0; compactor = done }
  :: d_step { compactor == unlockBoth -> pageLock[1] = 0; pageLock[0] = 0; compactor = unused }
  :: d_step { compactor == unused -> dropReference(1); compactor = backLock }
  :: d_step { compactor == backLock && !pageLock[0] -> pageLock[0] = 1; compactor = backRecheck }
  :: d_step { compactor == backRecheck -> compactor = (MOVABLE(0) -> relink : backUnlock) }
  :: d_step { compactor == relink && !pagesLock ->
       assert(page[0] == ISOLATED); page[0] = BALLOON; compactor = backUnlock }
  :: d_step { compactor == backUnlock -> pageLock[0] = 0; compactor = backPut }
  :: d_step { compactor == backPut -> dropReference(0); mayWait = 0; compactor = done }
  /* the host */
  :: d_step { inflate == 1 -> assert(!hosts[1]); hosts[1] = 1; inflate = 2 }
  :: d_step { inflate == 2 -> inflate = 3 }
  :: d_step { deflate == 1 -> assert(hosts[deflated]); hosts[deflated] = 0; deflate = 2 }
  :: d_step { deflate == 2 -> deflate = 3 }
  od
}

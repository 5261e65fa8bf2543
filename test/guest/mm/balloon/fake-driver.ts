import type { BalloonMigration } from '../../../../guest/mm/balloon/book.ts';
import { WaitQueue } from '../../../../guest/sched/scheduler.ts';

/** A driver and a host in one: it acknowledges when the test says so. */
export class FakeDriver implements BalloonMigration {
  readonly acked = new WaitQueue('acked');
  readonly told: string[] = [];
  locked = false;
  answers = true;

  tryLock(): boolean {
    if (this.locked) return false;
    this.locked = true;
    return true;
  }

  unlock(): void {
    this.locked = false;
  }

  tellInflate(pfn: number): void {
    this.told.push(`inflate ${pfn}`);
  }

  tellDeflate(pfn: number): void {
    this.told.push(`deflate ${pfn}`);
  }

  inflateAcked(): boolean {
    return this.answers;
  }

  deflateAcked(): boolean {
    return this.answers;
  }
}

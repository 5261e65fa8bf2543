/** mm_page_alloc_extfrag: a block of another migratetype was taken. */
export interface FallbackTaken {
  readonly pfn: number;
  readonly order: number;
  readonly fallbackOrder: number;
  readonly migratetype: number;
  readonly fallbackMigratetype: number;
}

/** The kernel's kmem trace events, under their names there. */
export interface KmemTrace {
  mm_page_alloc(pfn: number, order: number, migratetype: number, gfp: number): void;
  mm_page_free(pfn: number, order: number): void;
  mm_page_free_batched(pfn: number): void;
  /** A block left the free lists; `refill` is percpu_refill: for a per-CPU list. */
  mm_page_alloc_zone_locked(pfn: number, order: number, migratetype: number, refill: boolean): void;
  mm_page_pcpu_drain(pfn: number, order: number, migratetype: number): void;
  mm_page_alloc_extfrag(taken: FallbackTaken): void;
}

/** Where the allocator's trace events go; nowhere until somebody listens. */
export class Tracepoints {
  sink: KmemTrace | undefined;
}

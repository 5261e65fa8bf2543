/**
 * The programs a guest can run, for the help of `puff ctl` and `puff run`; programSchema
 * (guest/workload/programs.ts) has their bounds.
 */
export const PROGRAMS_HELP = `Programs of a guest, as JSON. mib is MiB; seconds is how long one
holds what it has before it reads all of it again, checks it and exits; what is in brackets may be
left out:
  {"name":"hog","mib":100,"seconds":5,["lock":true]}
                                   touches memory of its own; locks it (mlock)
  {"name":"frag","mib":100,"keepEvery":4,"seconds":5}
                                   touches, then drops all but every 4th page
  {"name":"pt","times":50,"seconds":5}
                                   touches one page every 2 MiB: as many page tables as pages
  {"name":"daemon","mib":20,["periodMs":500]}
                                   grows and shrinks for ever
  {"name":"huge","mib":64,"seconds":5}
                                   huge pages; drops a part of every second one
  {"name":"forkserver","mib":8,"children":5,["writePercent":25],"seconds":5}
                                   children share its memory and write a part of it
  {"name":"reader","mib":100,["passes":2],"seconds":5}
                                   reads a file from disk through the page cache
  {"name":"writer","mib":100,"seconds":5}
                                   writes a file, fsync, reads it back
  {"name":"tmpfs","mib":64,["files":4],"seconds":5}
                                   files in memory; removes every second one
  {"name":"slab","mib":16,["objectBytes":1024],["reclaimable":false],"seconds":5}
                                   objects of the kernel, which cannot be moved`;

/* machine.h - what this process may use: processors by affinity and cgroup quota (cpu.max),
 * memory by the machine and the cgroup (memory.max).  Any thread. */
#ifndef LOQUAT_BASE_MACHINE_H
#define LOQUAT_BASE_MACHINE_H

#include <stdint.h>

unsigned machine_threads(void);          /* at least 1; a fractional quota is rounded up */
uint64_t machine_memory(void);           /* bytes this process may use in all */
uint64_t machine_memory_available(void); /* bytes it may still use now */
uint64_t machine_resident(void);         /* bytes resident now, 0 when unknown */
uint64_t machine_peak_resident(void);
uint64_t machine_cache(void); /* bytes of the largest cache of a processor; 32 MiB when unknown */
void machine_prepare(void);   /* how malloc keeps memory; first thing of the program */
void machine_trim(void);      /* gives freed memory that malloc holds back to the machine */

#endif

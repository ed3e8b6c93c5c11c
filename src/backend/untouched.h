/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_UNTOUCHED_H
#define AEGIS_BACKEND_UNTOUCHED_H

/*
 * Which ranges of a mapped file nobody reads, told by the pages that are in the page table. A fault
 * brings in the pages around it, and newer kernels all that one folio of the page cache holds, up
 * to 2 MiB: how far that reaches hangs on where the mapping lies and how the file came into memory.
 * Never does it reach past a mapping, so each range that is asked about is made one of its own, but
 * for the pages at its ends, which it may share with its neighbours.
 */
#include <stdbool.h>
#include <stdint.h>

/* Smaller ranges are not worth a mapping of their own and count as touched. */
#define AEGIS_UNTOUCHED_LEAST_BYTES (UINT64_C(256) << 10)

/* To be called before the range is read for the first time, or dropped with MADV_DONTNEED. Where
 * the kernel refuses, the range counts as touched when its neighbours are. Any thread. */
void aegis_untouched_set_apart(void *range, uint64_t size_bytes);

/* Whether nothing has read the range since it was mapped or dropped last. False when it is small,
 * and when the kernel does not tell. Any thread. */
bool aegis_untouched_since(const void *range, uint64_t size_bytes);

#endif

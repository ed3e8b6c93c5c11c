/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_THREAD_ALLOCATIONS_H
#define AEGIS_TEST_THREAD_ALLOCATIONS_H

/*
 * Counts calls of malloc, calloc, realloc and their kin by thread. Compile thread_allocations.inc
 * into a test executable to put it in front of the C library's allocator (not with sanitizers,
 * which have their own).
 */

#include <stdbool.h>
#include <stdint.h>

/* Allocations so far of the thread of this process whose name (comm) is `name`, summed over all
 * such threads. False when there is no such thread. */
bool test_thread_allocations(const char *name, uint64_t *ret_count);
/* Allocations so far of all threads. */
uint64_t test_all_allocations(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BASE_CACHE_H
#define AEGIS_BASE_CACHE_H

/* Puts bytes out of every cache of the machine, by address. */

#include <stdbool.h>
#include <stddef.h>

/* Written back first, so that nothing changes but the time of the next access. The bytes stay
 * mapped meanwhile; reading them must be allowed. False on processors other than x86-64 and
 * aarch64. Any thread. */
bool aegis_cache_evict(const void *bytes, size_t size);

/* What malloc has handed out so far from the heap of the system break: there lies what runtimes
 * keep of a model beside its tensors. `bytes` stays mapped until release, whatever other threads
 * free, because a block behind it is held. */
typedef struct aegis_heap_hold {
    const void *bytes; /* NULL: the calling thread's malloc takes memory from elsewhere */
    size_t size;
    void *block;
} aegis_heap_hold;

void aegis_heap_hold_take(aegis_heap_hold *ret_hold);
/* Also of a zeroed one. */
void aegis_heap_hold_release(aegis_heap_hold *hold);

#endif

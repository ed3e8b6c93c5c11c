/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cache.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---- one line after the other ---- */

#if defined(__x86_64__)

#define LEAF_FEATURES 1u
#define LEAF_MORE_FEATURES 7u
#define CLFLUSHOPT_BIT (1u << 23)

static size_t line_bytes(void)
{
    unsigned a, b, c, d;
    bool told = __get_cpuid(LEAF_FEATURES, &a, &b, &c, &d) != 0;
    size_t size = told ? 8 * (size_t)(b >> 8 & 0xff) : 0;
    return size != 0 ? size : 64;
}

/* Lines one after the other with clflush, which all of these processors have; clflushopt lets them
 * overlap. */
bool aegis_cache_evict(const void *bytes, size_t size)
{
    unsigned a, b = 0, c, d;
    bool overlap =
        __get_cpuid_count(LEAF_MORE_FEATURES, 0, &a, &b, &c, &d) != 0 && (b & CLFLUSHOPT_BIT) != 0;
    const size_t line = line_bytes();
    const char *end = (const char *)bytes + size;
    const char *at = (const char *)((uintptr_t)bytes & ~(uintptr_t)(line - 1));
    for (; overlap && at < end; at += line) {
        __asm__ volatile("clflushopt (%0)" : : "r"(at) : "memory");
    }
    for (; at < end; at += line) {
        __asm__ volatile("clflush (%0)" : : "r"(at) : "memory");
    }
    __asm__ volatile("mfence" : : : "memory");
    return true;
}

#elif defined(__aarch64__)

/* To the point of coherency, which lies behind all caches of the cores. */
bool aegis_cache_evict(const void *bytes, size_t size)
{
    uint64_t type;
    __asm__("mrs %0, ctr_el0" : "=r"(type));
    const size_t line = (size_t)4 << (type >> 16 & 0xf);
    const char *end = (const char *)bytes + size;
    const char *at = (const char *)((uintptr_t)bytes & ~(uintptr_t)(line - 1));
    for (; at < end; at += line) {
        __asm__ volatile("dc civac, %0" : : "r"(at) : "memory");
    }
    __asm__ volatile("dsb sy" : : : "memory");
    return true;
}

#else

bool aegis_cache_evict(const void *bytes, size_t size)
{
    (void)bytes;
    (void)size;
    return false;
}

#endif

/* ---- the heap ---- */

/* Below what malloc maps on its own. Holes of this size may be free anywhere, so blocks are taken
 * until one lies at the end; the others go back. */
#define BLOCK_BYTES ((size_t)64 << 10)
#define MOST_BLOCKS 1024u
#define END_BYTES (4 * BLOCK_BYTES)

static bool find_break(uintptr_t *ret_from, uintptr_t *ret_to)
{
    char line[512];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && !found && fgets(line, sizeof line, maps) != NULL) {
        char *dash;
        *ret_from = strtoul(line, &dash, 16);
        found = strstr(line, "[heap]") != NULL && *dash == '-';
        *ret_to = found ? strtoul(dash + 1, NULL, 16) : 0;
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return found;
}

/* The C library gives back the end of the heap only, and that only as far as nothing is in use. */
void aegis_heap_hold_take(aegis_heap_hold *ret_hold)
{
    uintptr_t from = 0, to = 0;
    void **taken = NULL, **highest = NULL; /* each block names the one before */
    *ret_hold = (aegis_heap_hold){0};
    for (unsigned i = 0; i < MOST_BLOCKS; i++) {
        void **block = malloc(BLOCK_BYTES);
        if (block == NULL || !find_break(&from, &to)) {
            free(block);
            break;
        }
        *block = taken;
        taken = block;
        if ((uintptr_t)block < from || (uintptr_t)block >= to) {
            break;
        }
        highest = block > highest ? block : highest;
        if (to - (uintptr_t)block <= END_BYTES) {
            break;
        }
    }
    while (taken != NULL) {
        void **before = *taken;
        if (taken != highest) {
            free(taken);
        }
        taken = before;
    }
    if (highest != NULL) {
        *ret_hold = (aegis_heap_hold){
            .bytes = (const void *)from, .size = (uintptr_t)highest - from, .block = highest};
    }
}

void aegis_heap_hold_release(aegis_heap_hold *hold)
{
    free(hold->block);
    *hold = (aegis_heap_hold){0};
}

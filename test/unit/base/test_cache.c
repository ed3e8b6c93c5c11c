/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES 4096u
#define BLOCKS 200u
#define BLOCK_BYTES ((size_t)50 << 10)

/* Whether it does what it is for, only a clock tells. */
static void eviction_changes_no_byte(void **state)
{
    (void)state;
    unsigned char bytes[BYTES];
    for (size_t from = 0; from < 130; from += 13) {
        for (size_t i = 0; i < BYTES; i++) {
            bytes[i] = (unsigned char)(i * 7 + from);
        }
        bool done = aegis_cache_evict(bytes + from, BYTES - 2 * from);
#if defined(__x86_64__) || defined(__aarch64__)
        assert_true(done);
#else
        assert_false(done);
#endif
        for (size_t i = 0; i < BYTES; i++) {
            assert_int_equal(bytes[i], (unsigned char)(i * 7 + from));
        }
    }
    aegis_cache_evict(NULL, 0);
}

/* Everything around it is freed and given back to the system. */
static void held_heap_stays_mapped(void **state)
{
    (void)state;
    static void *blocks[BLOCKS];
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    aegis_heap_hold hold;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BLOCK_BYTES);
        assert_non_null(blocks[i]);
    }
    aegis_heap_hold_take(&hold);
    bool held = hold.bytes != NULL; /* not with the allocator of a sanitizer */
    for (size_t i = 0; i < BLOCKS; i++) {
        uintptr_t at = (uintptr_t)blocks[i] - (uintptr_t)hold.bytes;
        assert_true(!held || at < hold.size);
        free(blocks[i]);
    }
    aegis_heap_trim();
    uintptr_t from = (uintptr_t)hold.bytes & ~(page - 1);
    for (uintptr_t at = from; held && at < (uintptr_t)hold.bytes + hold.size; at += page) {
        unsigned char resident;
        assert_int_equal(mincore((void *)at, 1, &resident), 0); /* ENOMEM: nothing is there */
    }
    assert_int_equal(aegis_cache_evict(hold.bytes, hold.size), aegis_cache_evict(NULL, 0));
    aegis_heap_hold_release(&hold);
    assert_null(hold.bytes);
    aegis_heap_hold_release(&hold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eviction_changes_no_byte),
        cmocka_unit_test(held_heap_stays_mapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

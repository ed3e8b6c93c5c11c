/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/pool.h>

#include "resource/pool_spans.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Never touched: a pool that read or wrote it would crash. */
#define BASE ((void *)(uintptr_t)0x100000000000)
#define GRANULE UINT64_C(64)
#define GRANULES UINT64_C(4096)

static aegis_pool *make(uint64_t size_bytes, uint32_t cached_blocks)
{
    aegis_allocator allocator = aegis_allocator_default();
    const aegis_pool_config config = {
        .base = BASE, .size_bytes = size_bytes, .cached_blocks = cached_blocks};
    aegis_pool *pool = NULL;
    assert_int_equal(aegis_pool_create(&config, &allocator, &pool, NULL), AEGIS_OK);
    return pool;
}

static uint64_t take(aegis_pool *pool, uint64_t size, uint64_t alignment)
{
    void *block = NULL;
    assert_int_equal(aegis_pool_allocate(pool, size, alignment, &block, NULL), AEGIS_OK);
    return (uint64_t)((uintptr_t)block - (uintptr_t)BASE);
}

static void give(aegis_pool *pool, uint64_t offset)
{
    assert_int_equal(aegis_pool_free(pool, (char *)BASE + offset, NULL), AEGIS_OK);
}

static void classes_waste_at_most_an_eighth(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 100000; n++) {
        uint32_t up = aegis_span_class(n), down = aegis_span_class_within(n);
        uint32_t size = aegis_span_class_granules(up);
        assert_true(size >= n);
        assert_true((size - n) * UINT64_C(8) <= n);
        assert_true(aegis_span_class_granules(down) <= n);
        assert_true(up == down ? size == n : up == down + 1);
        assert_int_equal(aegis_span_class(size), up);
        assert_int_equal(aegis_span_class_within(size), up);
    }
    assert_in_range(aegis_span_class_within(AEGIS_SPAN_MAX_GRANULES), 1, AEGIS_SPAN_CLASSES - 1);
}

static void blocks_are_rounded_aligned_and_apart(void **state)
{
    (void)state;
    aegis_pool *pool = make(GRANULE * GRANULES, 0);
    uint64_t small = take(pool, 1, 0), odd = take(pool, 17 * GRANULE, 8);
    assert_int_equal(small % GRANULE, 0);
    assert_int_equal(aegis_pool_block_bytes(pool, (char *)BASE + small), GRANULE);
    assert_int_equal(aegis_pool_block_bytes(pool, (char *)BASE + odd), 18 * GRANULE);
    assert_int_equal(aegis_pool_block_bytes(pool, (char *)BASE + odd + GRANULE), 0);
    assert_true(small + GRANULE <= odd || odd + 18 * GRANULE <= small);
    for (uint64_t alignment = 1; alignment <= 16384; alignment *= 2) {
        assert_int_equal(take(pool, 3 * GRANULE, alignment) % alignment, 0);
    }
    aegis_pool_destroy(pool);
}

static void what_is_freed_becomes_one_run_again(void **state)
{
    (void)state;
    aegis_pool *pool = make(GRANULE * 1024, 0);
    uint64_t blocks[256];
    for (int order = 0; order < 3; order++) {
        for (size_t i = 0; i < 256; i++) {
            blocks[i] = take(pool, 4 * GRANULE, 0);
        }
        void *none = pool;
        assert_int_equal(aegis_pool_allocate(pool, 1, 0, &none, NULL), AEGIS_ERROR_BUDGET_EXCEEDED);
        assert_ptr_equal(none, pool);
        for (size_t i = 0; i < 256; i++) {
            size_t k = order == 0 ? i : order == 1 ? 255 - i : i * 77 % 256;
            give(pool, blocks[k]);
        }
        /* The stack of the class still holds some: this takes all of them back. */
        uint64_t whole = take(pool, 1024 * GRANULE, 0);
        assert_int_equal(whole, 0);
        give(pool, whole);
    }
    aegis_pool_counters c;
    aegis_pool_read(pool, &c);
    assert_int_equal(c.used_bytes, 0);
    assert_int_equal(c.cached_bytes, 0);
    assert_int_equal(c.peak_bytes, 1024 * GRANULE);
    assert_int_equal(c.largest_free_bytes, 1024 * GRANULE);
    assert_int_equal(c.exhausted, 3);
    assert_true(c.reclaims >= 6);
    aegis_pool_destroy(pool);
}

static void a_class_keeps_a_bounded_number(void **state)
{
    (void)state;
    aegis_pool *pool = make(GRANULE * GRANULES, 4);
    uint64_t blocks[10];
    aegis_pool_counters c;
    for (size_t i = 0; i < 10; i++) {
        blocks[i] = take(pool, 2 * GRANULE, 0);
    }
    for (size_t i = 0; i < 10; i++) {
        give(pool, blocks[i]);
    }
    aegis_pool_read(pool, &c);
    assert_int_equal(c.cached_bytes, 8 * GRANULE);
    assert_int_equal(c.used_bytes, 0);
    assert_int_equal(c.slow, 16);
    for (size_t i = 0; i < 4; i++) { /* last in, first out, without the slow path */
        assert_int_equal(take(pool, 2 * GRANULE - 1, 0), blocks[3 - i]);
    }
    aegis_pool_read(pool, &c);
    assert_int_equal(c.slow, 16);
    assert_int_equal(c.used_bytes, 8 * GRANULE);
    aegis_pool_destroy(pool);
}

static void wrong_frees_are_refused_and_change_nothing(void **state)
{
    (void)state;
    aegis_pool *pool = make(GRANULE * GRANULES, 0);
    uint64_t small = take(pool, GRANULE, 0), large = take(pool, GRANULE * 1000, 0);
    char *base = BASE, elsewhere;
    const struct {
        void *pointer;
        aegis_status status;
    } wrong[] = {
        {&elsewhere, AEGIS_ERROR_INVALID_ARGUMENT},
        {base - GRANULE, AEGIS_ERROR_INVALID_ARGUMENT},
        {base + GRANULE * GRANULES, AEGIS_ERROR_INVALID_ARGUMENT},
        {base + large + 1, AEGIS_ERROR_INVALID_ARGUMENT},
        {base + large + GRANULE, AEGIS_ERROR_STATE},
        {base + large + 1023 * GRANULE, AEGIS_ERROR_STATE},
        {base + GRANULE * (GRANULES - 1), AEGIS_ERROR_STATE},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        aegis_error err = {0};
        assert_int_equal(aegis_pool_free(pool, wrong[i].pointer, &err), wrong[i].status);
        assert_int_equal(err.status, wrong[i].status);
    }
    give(pool, small); /* stays with its class */
    assert_int_equal(aegis_pool_free(pool, base + small, NULL), AEGIS_ERROR_STATE);
    give(pool, large); /* joins what is free */
    assert_int_equal(aegis_pool_free(pool, base + large, NULL), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_pool_free(pool, NULL, NULL), AEGIS_OK);
    aegis_pool_counters c;
    aegis_pool_read(pool, &c);
    assert_int_equal(c.refused_frees, sizeof wrong / sizeof wrong[0] + 2);
    assert_int_equal(c.used_bytes, 0);
    assert_int_equal(take(pool, GRANULES * GRANULE, 0), 0);
    aegis_pool_destroy(pool);
}

static void malformed_requests_are_refused(void **state)
{
    (void)state;
    aegis_pool *pool = make(GRANULE * GRANULES, 0);
    void *block = NULL;
    aegis_error err;
    assert_int_equal(aegis_pool_allocate(pool, 0, 0, &block, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_pool_allocate(pool, 1, 3, &block, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_pool_allocate(NULL, 1, 0, &block, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_pool_allocate(pool, UINT64_MAX, 0, &block, &err),
                     AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(strstr(err.message, "262144"));
    assert_int_equal(aegis_pool_allocate(pool, 1, UINT64_C(1) << 63, &block, &err),
                     AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(aegis_pool_free(NULL, pool, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(block);
    aegis_pool_destroy(pool);
    aegis_pool_destroy(NULL);
}

static void malformed_configurations_are_refused(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    const aegis_pool_config wrong[] = {
        {.size_bytes = 4096},
        {.base = (char *)BASE + 32, .size_bytes = 4096},
        {.base = BASE, .size_bytes = 63},
        {.base = BASE, .size_bytes = 4096, .granule_bytes = 96},
        {.base = BASE, .size_bytes = 4096, .granule_bytes = 4},
        {.base = BASE, .size_bytes = UINT64_C(1) << 33},
        {.base = BASE, .size_bytes = UINT64_MAX, .granule_bytes = UINT64_C(1) << 60},
        {.base = BASE, .size_bytes = 4096, .cached_blocks = 64},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        aegis_pool *pool = NULL;
        assert_int_equal(aegis_pool_create(&wrong[i], &allocator, &pool, NULL),
                         AEGIS_ERROR_INVALID_ARGUMENT);
        assert_null(pool);
    }
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    test_allocator counting = {0};
    aegis_allocator allocator = test_allocator_make(&counting);
    const aegis_pool_config config = {.base = BASE, .size_bytes = 1 << 20};
    aegis_pool *pool = NULL;
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    uint64_t failures = 0;
    for (uint64_t at = 1; at < 100 && status != AEGIS_OK; at++) {
        counting.calls = 0;
        counting.fail_at = at;
        status = aegis_pool_create(&config, &allocator, &pool, NULL);
        if (status != AEGIS_OK) {
            assert_int_equal(status, AEGIS_ERROR_NO_MEMORY);
            assert_null(pool);
            assert_int_equal(counting.blocks, 0);
            failures++;
        }
    }
    assert_int_equal(failures, 4);
    uint64_t calls = counting.calls;
    for (size_t i = 0; i < 1000; i++) { /* nothing is allocated after create */
        give(pool, take(pool, 1 + i * 13, 0));
    }
    assert_int_equal(counting.calls, calls);
    aegis_pool_destroy(pool);
    assert_int_equal(counting.blocks, 0);
    assert_int_equal(counting.wrong_sizes, 0);
}

static uint64_t used(const aegis_pool *pool)
{
    aegis_pool_counters c;
    aegis_pool_read(pool, &c);
    return c.used_bytes;
}

static aegis_status leave_early(aegis_pool *pool, bool keep, void **ret_block)
{
    AEGIS_POOL_SCOPED aegis_pool_guard a = {0};
    AEGIS_POOL_SCOPED aegis_pool_guard b = {0};
    aegis_status status = aegis_pool_guard_take(&a, pool, 100, 0, NULL);
    if (status == AEGIS_OK) {
        status = aegis_pool_guard_take(&b, pool, UINT64_C(1) << 40, 0, NULL);
    }
    assert_true(used(pool) > 0);
    if (keep) {
        *ret_block = aegis_pool_guard_keep(&a);
    }
    return status;
}

static void guards_release_what_they_hold(void **state)
{
    (void)state;
    aegis_pool *pool = make(GRANULE * GRANULES, 0);
    void *kept = NULL;
    assert_int_equal(leave_early(pool, false, NULL), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(used(pool), 0);
    assert_int_equal(leave_early(pool, true, &kept), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(used(pool), 2 * GRANULE);
    assert_int_equal(aegis_pool_free(pool, kept, NULL), AEGIS_OK);
    aegis_pool_guard guard = {0};
    assert_int_equal(aegis_pool_guard_take(&guard, pool, 1, 0, NULL), AEGIS_OK);
    assert_int_equal(aegis_pool_guard_take(&guard, pool, 1, 0, NULL), AEGIS_ERROR_STATE);
    aegis_pool_guard empty = {0};
    assert_int_equal(aegis_pool_guard_take(&empty, pool, 0, 0, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(empty.pool);
    aegis_pool_guard_release(&guard);
    aegis_pool_guard_release(&guard);
    assert_null(aegis_pool_guard_keep(&guard));
    assert_int_equal(used(pool), 0);
    aegis_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_waste_at_most_an_eighth),
        cmocka_unit_test(blocks_are_rounded_aligned_and_apart),
        cmocka_unit_test(what_is_freed_becomes_one_run_again),
        cmocka_unit_test(a_class_keeps_a_bounded_number),
        cmocka_unit_test(wrong_frees_are_refused_and_change_nothing),
        cmocka_unit_test(malformed_requests_are_refused),
        cmocka_unit_test(malformed_configurations_are_refused),
        cmocka_unit_test(create_survives_each_failed_allocation),
        cmocka_unit_test(guards_release_what_they_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

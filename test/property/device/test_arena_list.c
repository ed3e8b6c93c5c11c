/* SPDX-License-Identifier: Apache-2.0 */
/* Random takes and gives against a map of the arena's bytes: no two live buffers overlap, first fit
 * means first, a refusal means that no hole is large enough, and all given back is one hole again.
 * AEGISRT_TEST_SEED repeats a run. */
#include "base/base.h"
#include "device/arena_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum {
    ARENA = 4096,
    LIVE = 64,
    STEPS = 4000,
    SEEDS = 20,
    BASE = 0x10010
};

typedef struct model {
    unsigned char taken[ARENA];
    aegis_buffer live[LIVE];
    size_t count;
    uint64_t used, peak;
} model;

/* The offset that first fit must choose, or ARENA when nothing fits. */
static uint64_t expected_offset(const model *map, uint64_t size, uint64_t alignment)
{
    for (uint64_t offset = 0; offset + size <= ARENA; offset++) {
        if ((BASE + offset) % alignment == 0 &&
            memchr(map->taken + offset, 1, (size_t)size) == NULL) {
            return offset;
        }
    }
    return ARENA;
}

static void take_one(model *map, aegis_arena_list *list, uint64_t *seed)
{
    uint64_t size = 1 + aegis_random_next(seed) % 300;
    uint64_t alignment = UINT64_C(1) << aegis_random_next(seed) % 8;
    uint64_t expected = expected_offset(map, size, alignment);
    aegis_buffer buffer = {0};
    aegis_status status = aegis_arena_list_take(list, size, alignment, &buffer, NULL);
    assert_int_equal(status, expected == ARENA ? AEGIS_ERROR_NO_MEMORY : AEGIS_OK);
    if (status == AEGIS_OK) {
        assert_int_equal(buffer.offset_bytes, expected);
        memset(map->taken + expected, 1, (size_t)size);
        map->live[map->count++] = buffer;
        map->used += size;
        map->peak = map->used > map->peak ? map->used : map->peak;
    }
}

static void give_one(model *map, aegis_arena_list *list, uint64_t *seed)
{
    size_t which = (size_t)(aegis_random_next(seed) % map->count);
    aegis_buffer buffer = map->live[which];
    assert_int_equal(aegis_arena_list_give(list, &buffer, NULL), AEGIS_OK);
    assert_int_equal(aegis_arena_list_give(list, &buffer, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    memset(map->taken + buffer.offset_bytes, 0, (size_t)buffer.size_bytes);
    map->live[which] = map->live[--map->count];
    map->used -= buffer.size_bytes;
}

static void run_seed(uint64_t seed)
{
    static model map;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_arena_list *list;
    uint64_t used, peak;
    printf("seed %llu\n", (unsigned long long)seed);
    map = (model){0};
    assert_int_equal(
        aegis_arena_list_create((void *)(uintptr_t)BASE, ARENA, "ARENA", &allocator, &list, NULL),
        AEGIS_OK);
    for (int step = 0; step < STEPS; step++) {
        bool take = map.count == 0 || (map.count < LIVE && aegis_random_next(&seed) % 2 == 0);
        if (take) {
            take_one(&map, list, &seed);
        } else {
            give_one(&map, list, &seed);
        }
        aegis_arena_list_usage(list, &used, &peak);
        assert_true(used == map.used && peak == map.peak);
    }
    while (map.count > 0) {
        give_one(&map, list, &seed);
    }
    aegis_buffer all;
    assert_int_equal(aegis_arena_list_take(list, ARENA, 1, &all, NULL), AEGIS_OK);
    aegis_arena_list_destroy(list);
}

static void random_takes_and_gives(void **state)
{
    (void)state;
    const char *given = getenv("AEGISRT_TEST_SEED");
    if (given != NULL) {
        run_seed(strtoull(given, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_takes_and_gives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

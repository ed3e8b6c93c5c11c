/* SPDX-License-Identifier: Apache-2.0 */

/* Coalesced buffers: a plan of what is left is one of all, and packings cut at instants of their
 * own come down to the rectangle that they were cut out of. */

#include "resource/coalesce.h"

#include "base/base.h"
#include "property/resource/scale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 600

static uint64_t below(uint64_t *seed, uint64_t limit)
{
    return aegis_random_next(seed) % limit;
}

static int by_lifetime(const void *a, const void *b)
{
    const aegis_plan_buffer *x = a, *y = b;
    if (x->lower != y->lower) {
        return x->lower < y->lower ? -1 : 1;
    }
    return (x->upper > y->upper) - (x->upper < y->upper);
}

/* What is left stacked without sharing anything; expanded, that has to be a plan of `b` of the same
 * height. Returns how many are left. */
static size_t check(aegis_plan_buffer *b, size_t count)
{
    aegis_allocator allocator = aegis_allocator_default();
    uint64_t offsets[MOST], all[MOST], height = 0, most = 0;
    qsort(b, count, sizeof *b, by_lifetime);
    for (size_t i = 0; i < count; i++) { /* fixed ones lie below all others */
        uint64_t top = b[i].fixed ? b[i].fixed_offset + b[i].size_bytes : 0;
        height = top > height ? top : height;
    }
    aegis_coalesced c;
    assert_int_equal(aegis_coalesce(b, count, &allocator, &c, NULL), AEGIS_OK);
    size_t left = c.count, fixed = 0;
    for (size_t i = 0; i < c.count; i++) {
        assert_true(i == 0 || by_lifetime(&c.buffers[i - 1], &c.buffers[i]) <= 0);
        if (c.buffers[i].fixed) {
            offsets[i] = c.buffers[i].fixed_offset;
            fixed++;
            continue;
        }
        uint64_t alignment = c.buffers[i].alignment == 0 ? 1 : c.buffers[i].alignment;
        offsets[i] = (height + alignment - 1) / alignment * alignment;
        height = offsets[i] + c.buffers[i].size_bytes;
    }
    assert_int_equal(aegis_plan_verify(c.buffers, offsets, c.count, height, &allocator, NULL),
                     AEGIS_OK);
    aegis_coalesced_offsets(&c, offsets, all);
    aegis_error err;
    if (aegis_plan_verify(b, all, count, height, &allocator, &err) != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    for (size_t i = 0; i < count; i++) {
        most = all[i] + b[i].size_bytes > most ? all[i] + b[i].size_bytes : most;
        fixed -= b[i].fixed;
    }
    assert_int_equal(fixed, 0);
    assert_int_equal(most, height);
    aegis_coalesced_finish(&c, &allocator);
    return left;
}

/* Few instants and sizes, so that much can be joined; alignments that keep some apart. */
static void plans_of_what_is_left_are_plans_of_all(void **state)
{
    (void)state;
    uint64_t rounds = 3000 * property_scale(), joined = 0, apart = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t seed = PROPERTY_SEED + round, end = 0;
        property_at(seed);
        aegis_plan_buffer b[60];
        size_t count = 1 + (size_t)below(&seed, 60);
        for (size_t i = 0; i < count; i++) {
            b[i] = (aegis_plan_buffer){.id = (uint32_t)i, .lower = (int64_t)below(&seed, 8)};
            b[i].upper = b[i].lower + 1 + (int64_t)below(&seed, 4);
            b[i].size_bytes = 1 + below(&seed, 6);
            b[i].alignment = round % 2 == 0 ? 0 : UINT64_C(1) << below(&seed, 4);
            b[i].fixed = round % 3 == 0 && below(&seed, 4) == 0;
            if (b[i].fixed) { /* apart from each other */
                uint64_t alignment = b[i].alignment == 0 ? 1 : b[i].alignment;
                b[i].fixed_offset = (end + alignment - 1) / alignment * alignment;
                end = b[i].fixed_offset + b[i].size_bytes;
            }
        }
        size_t left = check(b, count);
        joined += left < count;
        apart += left > 1;
    }
    property_done();
    assert_true(joined > rounds / 2 && apart > rounds / 2);
}

/* Cuts the largest of three pieces across space or, at an instant that no other cut has, across
 * time. */
static void cut_apart(uint64_t *seed, aegis_plan_buffer *b, size_t count, int64_t horizon)
{
    static bool cut_here[100000];
    memset(cut_here, 0, sizeof cut_here);
    b[0] = (aegis_plan_buffer){.upper = horizon, .size_bytes = UINT64_C(1) << 30};
    for (size_t made = 1; made < count;) {
        size_t best = (size_t)below(seed, made);
        for (int k = 0; k < 2; k++) {
            size_t other = (size_t)below(seed, made);
            uint64_t area = b[best].size_bytes * (uint64_t)(b[best].upper - b[best].lower);
            best = b[other].size_bytes * (uint64_t)(b[other].upper - b[other].lower) > area ? other
                                                                                            : best;
        }
        aegis_plan_buffer *piece = &b[best], rest = *piece;
        if (below(seed, 2) == 0 && piece->size_bytes > 1) {
            piece->size_bytes = 1 + below(seed, rest.size_bytes - 1);
            rest.size_bytes -= piece->size_bytes;
        } else if (rest.upper - rest.lower > 1) {
            int64_t at =
                rest.lower + 1 + (int64_t)below(seed, (uint64_t)(rest.upper - rest.lower - 1));
            if (cut_here[at]) {
                continue;
            }
            cut_here[at] = true;
            piece->upper = rest.lower = at;
        } else {
            continue;
        }
        rest.id = (uint32_t)made;
        b[made++] = rest;
    }
}

static void straight_cuts_are_undone(void **state)
{
    (void)state;
    uint64_t rounds = 40 * property_scale();
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t seed = PROPERTY_SEED + round;
        property_at(seed);
        aegis_plan_buffer b[MOST];
        size_t count = 400 + (size_t)below(&seed, MOST - 400);
        cut_apart(&seed, b, count, 100000);
        assert_int_equal(check(b, count), 1);
    }
    property_done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_of_what_is_left_are_plans_of_all),
        cmocka_unit_test(straight_cuts_are_undone),
    };
    return cmocka_run_group_tests_name("coalesce", tests, property_start, property_end);
}

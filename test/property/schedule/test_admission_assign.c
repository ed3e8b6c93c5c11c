/* SPDX-License-Identifier: Apache-2.0 */
/* Audsley's priorities against every order there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "admission_tasks.h"

#include <cmocka.h>

static void require(bool holds, const char *what, uint64_t seed, const small_set *set)
{
    if (!holds) {
        print_set(what, seed, set);
        fail_msg("%s", what);
    }
}

static aegis_admission_result
analyse(aegis_analysis policy, const small_set *set, const size_t *order)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_task tasks[MAX_TASKS];
    for (int i = 0; i < set->count; i++) {
        tasks[i] = set->tasks[order[i]];
    }
    assert_int_equal(
        aegis_admission_test(policy, tasks, (size_t)set->count, NULL, &allocator, &result, NULL),
        AEGIS_OK);
    return result;
}

static void finish(aegis_admission_result *result)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result_finish(result, &allocator);
}

static bool accepts(aegis_analysis policy, const small_set *set, const size_t *order)
{
    aegis_admission_result result = analyse(policy, set, order);
    bool ok = result.verdict == AEGIS_SCHEDULABLE;
    finish(&result);
    return ok;
}

/* Whether an order of the entries from `from` on, those before as they are, is accepted. */
static bool some_order(aegis_analysis policy, const small_set *set, size_t *order, size_t from)
{
    size_t count = (size_t)set->count;
    if (from >= count || from >= MAX_TASKS) {
        return accepts(policy, set, order);
    }
    bool found = false;
    for (size_t k = from; k < count && !found; k++) {
        size_t first = order[from];
        order[from] = order[k];
        order[k] = first;
        found = some_order(policy, set, order, from + 1);
        order[k] = order[from];
        order[from] = first;
    }
    return found;
}

/* Each of the tasks up to `level`, in the place `level`, misses. */
static bool nobody_takes(aegis_analysis policy, const small_set *set, size_t *order, size_t level)
{
    bool taken = false;
    for (size_t k = 0; k <= level; k++) {
        size_t last = order[level];
        order[level] = order[k];
        order[k] = last;
        aegis_admission_result result = analyse(policy, set, order);
        taken = taken || result.tasks[level].meets;
        finish(&result);
        order[k] = order[level];
        order[level] = last;
    }
    return !taken;
}

static bool is_permutation(const size_t *order, size_t count)
{
    unsigned seen = 0;
    for (size_t i = 0; i < count; i++) {
        seen |= order[i] < count ? 1U << order[i] : 0;
    }
    return seen == (1U << count) - 1;
}

static void audsley_finds_an_order_when_there_is_one(void **unused)
{
    (void)unused;
    static const aegis_analysis policies[] = {AEGIS_ANALYSIS_NP_FP, AEGIS_ANALYSIS_FPP,
                                              AEGIS_ANALYSIS_FP};
    uint64_t seed = 9000;
    int found = 0, monotonic = 0, none = 0, sets = scaled(6000);
    for (int n = 0; n < sets; n++) {
        uint64_t start = seed;
        aegis_analysis policy = policies[n % 3];
        small_shape shape = {.min_tasks = 1,
                             .max_tasks = n % 10 == 0 ? 5 : 4,
                             .min_period = 4,
                             .max_period = 24,
                             .max_execution = 6,
                             .max_jitter = n % 2 == 0 ? 0 : 6,
                             .extra = 4,
                             .cut = policy == AEGIS_ANALYSIS_FPP};
        small_set set;
        size_t order[MAX_TASKS], by_deadline[MAX_TASKS], trial[MAX_TASKS] = {0, 1, 2, 3, 4};
        draw_set(&seed, &shape, true, &set);
        aegis_allocator allocator = aegis_allocator_default();
        aegis_priority_assignment assignment;
        assert_int_equal(aegis_admission_assign_priorities(policy, set.tasks, (size_t)set.count,
                                                           NULL, &allocator, order, &assignment,
                                                           NULL),
                         AEGIS_OK);
        require(is_permutation(order, (size_t)set.count), "no order at all", start, &set);
        bool exists = some_order(policy, &set, trial, 0);
        require(exists == (assignment.verdict == AEGIS_SCHEDULABLE), "another verdict than trying",
                start, &set);
        if (exists) {
            require(accepts(policy, &set, order), "an order that is refused", start, &set);
            aegis_admission_order_dm(set.tasks, (size_t)set.count, by_deadline);
            monotonic += accepts(policy, &set, by_deadline);
            found++;
        } else {
            require(nobody_takes(policy, &set, order, assignment.level), "the level can be taken",
                    start, &set);
            none++;
        }
    }
    printf("%d sets: %d orders found, of these %d deadline-monotonic; %d without any\n", sets,
           found, monotonic, none);
    assert_true(found > monotonic && monotonic > sets / 10 && none > sets / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(audsley_finds_an_order_when_there_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

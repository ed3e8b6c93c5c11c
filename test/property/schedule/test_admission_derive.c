/* SPDX-License-Identifier: Apache-2.0 */
/* Derivations add up: blocking and jobs give the completion, the completion the response. */
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

static int64_t longest_segment(const aegis_task *task)
{
    int64_t longest = task->segments == NULL ? task->execution : 0;
    for (size_t k = 0; task->segments != NULL && k < task->segment_count; k++) {
        longest = task->segments[k] > longest ? task->segments[k] : longest;
    }
    return longest;
}

static int64_t blocks_for(aegis_analysis policy, const aegis_task *task)
{
    bool cut = policy == AEGIS_ANALYSIS_FPP || policy == AEGIS_ANALYSIS_NP_EDF;
    return (cut ? longest_segment(task) : task->execution) - 1;
}

static bool adds_up(aegis_analysis policy, const small_set *set, const aegis_derivation *d)
{
    int64_t work = d->blocking;
    for (int j = 0; j < set->count; j++) {
        work += (int64_t)d->jobs[j] * set->tasks[j].execution;
    }
    bool blocked = d->blocker == SIZE_MAX
                       ? d->blocking == 0
                       : d->blocking == blocks_for(policy, &set->tasks[d->blocker]);
    return work == d->completion && blocked && d->task_count == (size_t)set->count;
}

/* Preemptive EDF: the demand at every deadline of the task up to far away. */
static int64_t least_room(const small_set *set, size_t which)
{
    const aegis_task *victim = &set->tasks[which];
    int64_t least = INT64_MAX;
    for (int64_t t = victim->deadline - victim->jitter; t < 4000; t += victim->period) {
        int64_t room = t;
        for (int j = 0; j < set->count; j++) {
            const aegis_task *task = &set->tasks[j];
            int64_t past = t + task->jitter - task->deadline;
            room -= past < 0 ? 0 : (past / task->period + 1) * task->execution;
        }
        least = room < least ? room : least;
    }
    return least;
}

static void derivations_add_up_to_the_response(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    uint64_t seed = 11000;
    int derived = 0, endless = 0;
    for (int n = scaled(6000); n > 0; n--) {
        uint64_t start = seed;
        small_shape shape = {.min_tasks = 1,
                             .max_tasks = 5,
                             .min_period = 3,
                             .max_period = 24,
                             .max_execution = 9,
                             .max_jitter = n % 2 == 0 ? 0 : 5,
                             .extra = 10,
                             .cut = n % 4 < 2};
        small_set set;
        draw_set(&seed, &shape, n % 8 == 0, &set);
        if (n % 49 == 0) {
            set.tasks[0].execution += set.tasks[0].period; /* overload */
            set.tasks[0].segments = NULL;
        }
        aegis_analysis policy = (aegis_analysis)(n % 6);
        aegis_admission_result result;
        assert_int_equal(aegis_admission_test(policy, set.tasks, (size_t)set.count, NULL,
                                              &allocator, &result, NULL),
                         AEGIS_OK);
        for (size_t i = 0; i < (size_t)set.count; i++) {
            aegis_derivation d;
            aegis_status status = aegis_admission_derive(policy, set.tasks, (size_t)set.count, i,
                                                         NULL, &allocator, &d, NULL);
            if (status == AEGIS_ERROR_UNDECIDED) {
                require(result.tasks[i].response == AEGIS_RESPONSE_UNSETTLED, "not derived", start,
                        &set);
                continue;
            }
            assert_int_equal(status, AEGIS_OK);
            endless += !d.found;
            if (!d.found) {
                require(result.tasks[i].response == AEGIS_RESPONSE_DIVERGES ||
                            (policy == AEGIS_ANALYSIS_EDF && result.utilisation_ppm > 1000000),
                        "no derivation", start, &set);
                continue;
            }
            require(adds_up(policy, &set, &d), "the work is another", start, &set);
            if (policy == AEGIS_ANALYSIS_EDF) {
                int64_t room = d.release + set.tasks[i].deadline - d.completion;
                require(least_room(&set, i) >= (room < 0 ? INT64_MIN : 0) &&
                            (least_room(&set, i) < 0) == (room < 0),
                        "another deadline has less room", start, &set);
            } else {
                require(d.completion - d.release == result.tasks[i].response, "another response",
                        start, &set);
            }
            derived++;
            aegis_derivation_finish(&d, &allocator);
            assert_null(d.jobs);
        }
        aegis_admission_result_finish(&result, &allocator);
    }
    printf("%d responses derived, %d have no end\n", derived, endless);
    assert_true(derived > 1000 && endless > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derivations_add_up_to_the_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

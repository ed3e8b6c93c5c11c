/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Background models in the proofs: with them on the lane, never idle, admitted foreground misses
 * nothing and no response passes its bound; where a test is exact the bound is attained; and the
 * verdict of EDF is that of demand and blocking computed here by the definition.
 *
 * AEGISRT_PROPERTY_SCALE multiplies the number of sets; a failure prints the seed of its set.
 */
#include <aegisrt/admission.h>
#include <aegisrt/ext/policy_ops.h>
#include <aegisrt/ext/simulator.h>

#include "base/base.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_FOREGROUND 6
#define MAX_MODELS (MAX_FOREGROUND + 2)
#define LONGEST_PERIOD 40
#define DURATION 3000
#define HORIZON 6000 /* above every busy period of these sets: U <= 0.93 */

typedef struct bed {
    uint64_t seed, random;
    size_t count, total; /* foreground; with background */
    aegis_simulator_model models[MAX_MODELS];
    int64_t longest; /* background segment */
    int64_t bounds[MAX_FOREGROUND];
    bool critical;
    uint64_t last[MAX_MODELS];
} bed;

static uint64_t pick(uint64_t *seed, uint64_t low, uint64_t high)
{
    return low + aegis_random_next(seed) % (high - low + 1);
}

static void add_background(bed *b, uint64_t *seed)
{
    size_t models = (size_t)pick(seed, 1, 2);
    for (size_t i = 0; i < models; i++) {
        aegis_core_model *model = &b->models[b->total].core;
        *model = (aegis_core_model){
            .model = (uint32_t)b->total,
            .background = true,
            .weight = (uint32_t)pick(seed, 1, 4),
            .share_ppm = pick(seed, 0, 2) > 0 ? 0 : (uint32_t)pick(seed, 1, 10) * 100000,
            .queue_depth = 2,
            .segment_count = (uint32_t)pick(seed, 1, 3)};
        for (uint32_t k = 0; k < model->segment_count; k++) {
            uint64_t length = pick(seed, 1, 9);
            model->segment_bound_ns[k] = model->segment_enforceable_ns[k] = length;
            b->longest = (int64_t)length > b->longest ? (int64_t)length : b->longest;
        }
        b->models[b->total++].continuous = true;
    }
}

/* Utilisation in thousandths is kept at most 930. */
static bool draw(bed *b, uint64_t seed)
{
    uint64_t use = 0;
    *b = (bed){.seed = seed, .random = seed + 17};
    b->count = (size_t)pick(&seed, 1, MAX_FOREGROUND);
    for (size_t i = 0; i < b->count; i++) {
        uint64_t period = pick(&seed, 5, LONGEST_PERIOD);
        uint64_t execution = pick(&seed, 1, period / (b->count < 3 ? 2 : 4) + 1);
        b->models[i].core = (aegis_core_model){
            .model = (uint32_t)i,
            .period_ns = period,
            .deadline_ns =
                aegis_random_next(&seed) % 2 == 0 ? period : pick(&seed, execution, 2 * period),
            .priority = (int32_t)pick(&seed, 0, 3),
            .queue_depth = 64,
            .segment_count = 1,
            .segment_bound_ns = {execution},
            .segment_enforceable_ns = {execution}};
        use += (execution * 1000 + period - 1) / period;
    }
    b->total = b->count;
    add_background(b, &seed);
    return use <= 930;
}

/* False: the policy's test refuses. The tasks are left in proof order in `tasks`. */
static bool admit(bed *b, const aegis_policy *policy, aegis_task *tasks)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_policy_model models[MAX_FOREGROUND];
    size_t order[MAX_FOREGROUND];
    aegis_analysis analysis;
    aegis_admission_result result;
    aegis_error err = {0};
    for (size_t i = 0; i < b->count; i++) {
        const aegis_core_model *core = &b->models[i].core;
        models[i] = (aegis_policy_model){.model = core->model,
                                         .period_ns = core->period_ns,
                                         .deadline_ns = core->deadline_ns,
                                         .priority = core->priority,
                                         .segment_count = 1};
    }
    assert_true(policy->ops->proof(policy->self, models, b->count, &analysis, order));
    for (size_t i = 0; i < b->count; i++) {
        const aegis_core_model *core = &b->models[order[i]].core;
        tasks[i] = (aegis_task){.execution = (int64_t)core->segment_bound_ns[0],
                                .period = (int64_t)core->period_ns,
                                .deadline = (int64_t)core->deadline_ns};
    }
    assert_true(
        aegis_policy_background_task(analysis, tasks, b->count, b->longest, &tasks[b->count]));
    if (aegis_admission_test(analysis, tasks, b->count + 1, NULL, &allocator, &result, &err) !=
        AEGIS_OK) {
        fail_msg("seed %" PRIu64 ": %s", b->seed, err.message);
    }
    for (size_t i = 0; i < b->count; i++) {
        b->bounds[order[i]] = result.tasks[i].response;
    }
    bool admitted = result.verdict == AEGIS_SCHEDULABLE;
    assert_true(result.verdict != AEGIS_ADMISSION_UNDECIDED);
    /* Its own utilisation is nowhere to be seen. */
    double use = 0;
    for (size_t i = 0; i < b->count; i++) {
        use += (double)tasks[i].execution / (double)tasks[i].period;
    }
    assert_true(result.utilisation - use < 1e-9 && use - result.utilisation < 1e-9);
    aegis_admission_result_finish(&result, &allocator);
    return admitted;
}

/* All at tick 1, when the longest background segment has just started; else sporadic. */
static uint64_t release_of(void *self, uint32_t model, uint64_t index)
{
    bed *b = self;
    uint64_t period = b->models[model].core.period_ns;
    if (b->critical) {
        return 1 + index * period;
    }
    uint64_t extra =
        aegis_random_next(&b->random) % 3 == 0 ? pick(&b->random, 0, LONGEST_PERIOD) : 0;
    b->last[model] = index == 0 ? extra : b->last[model] + period + extra;
    return b->last[model];
}

static void simulate(bed *b, const aegis_policy *policy, aegis_simulator_result *results)
{
    const aegis_core_config config = {.lanes = 1, .max_models = MAX_MODELS, .max_jobs = 512};
    const aegis_simulator_source source = {.self = b, .release_ns = release_of};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_error err = {0};
    aegis_simulator_model models[MAX_MODELS];
    memcpy(models, b->models, sizeof models);
    if (b->critical) { /* one background job alone, of one segment, begins the busy period */
        for (size_t i = b->count + 1; i < b->total; i++) {
            models[i].offset_ns = 1;
        }
        models[b->count].core.segment_bound_ns[0] = (uint64_t)b->longest;
        models[b->count].core.segment_enforceable_ns[0] = (uint64_t)b->longest;
        models[b->count].core.segment_count = 1;
    }
    if (aegis_simulate(&config, policy, models, b->total, DURATION, 0, &source, NULL, &allocator,
                       results, &err) != AEGIS_OK) {
        fail_msg("seed %" PRIu64 ": %s", b->seed, err.message);
    }
}

static void check_run(bed *b, const aegis_policy *policy, bool critical, bool attained)
{
    aegis_simulator_result results[MAX_MODELS];
    uint64_t background = 0;
    int64_t worst_of_all = 0, bound_of_all = 0, longest = 0;
    b->critical = critical;
    simulate(b, policy, results);
    for (size_t i = 0; i < b->count; i++) {
        int64_t worst = (int64_t)results[i].max_response_ns;
        int64_t execution = (int64_t)b->models[i].core.segment_bound_ns[0];
        if (results[i].counters.missed > 0 || worst > b->bounds[i]) {
            fail_msg("seed %" PRIu64 ", %s, task %zu: %" PRIu64 " missed, response %" PRId64
                     ", bound %" PRId64,
                     b->seed, aegis_policy_name(policy), i, results[i].counters.missed, worst,
                     b->bounds[i]);
        }
        worst_of_all = worst > worst_of_all ? worst : worst_of_all;
        bound_of_all = b->bounds[i] > bound_of_all ? b->bounds[i] : bound_of_all;
        longest = execution > longest ? execution : longest;
    }
    for (size_t i = b->count; i < b->total; i++) {
        background += results[i].counters.completed;
    }
    assert_true(background > 0); /* else nothing was shown */
    /* The blocker is the longest for everyone, so this instant is the worst there is. */
    if (critical && attained && b->longest >= longest && b->longest > 1 &&
        worst_of_all != bound_of_all) {
        fail_msg("seed %" PRIu64 ", %s: response %" PRId64 ", bound %" PRId64 " not attained",
                 b->seed, aegis_policy_name(policy), worst_of_all, bound_of_all);
    }
}

static uint64_t scale(void)
{
    const char *text = getenv("AEGISRT_PROPERTY_SCALE");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

/* `attained`: the largest response over all tasks is that of the critical instant. */
static void check_policy(const char *name, uint64_t sets, bool attained)
{
    aegis_policy policy;
    aegis_task tasks[MAX_FOREGROUND + 1];
    uint64_t admitted = 0;
    bed b;
    assert_int_equal(aegis_policy_find(name, &policy, NULL), AEGIS_OK);
    for (uint64_t seed = 1; admitted < sets * scale(); seed++) {
        assert_true(seed < 100 * sets * scale());
        if (!draw(&b, seed) || !admit(&b, &policy, tasks)) {
            continue;
        }
        admitted++;
        check_run(&b, &policy, true, attained);
        check_run(&b, &policy, false, false);
    }
}

static void fixed_priorities_hold_with_background(void **state)
{
    (void)state;
    check_policy("np-dm", 1500, true);
    check_policy("np-fp", 1500, true);
    check_policy("np-rm", 500, true);
}

static void fifo_holds_with_background(void **state)
{
    (void)state;
    check_policy("fifo", 1500, true);
}

static void edf_holds_with_background(void **state)
{
    (void)state;
    check_policy("np-edf", 2500, false);
}

/* George, Rivierre, Spuri 1996 by the letter: demand plus the longest blocking at every t. */
static bool fits_by_definition(const aegis_task *tasks, size_t count, int64_t longest)
{
    for (int64_t t = 1; t <= HORIZON; t++) {
        int64_t demand = 0, blocking = longest - 1;
        bool deadline = false;
        for (size_t i = 0; i < count; i++) {
            const aegis_task *task = &tasks[i];
            if (task->deadline <= t) {
                demand += ((t - task->deadline) / task->period + 1) * task->execution;
                deadline = deadline || (t - task->deadline) % task->period == 0;
            } else if (task->execution - 1 > blocking) {
                blocking = task->execution - 1;
            }
        }
        if (deadline && demand + blocking > t) {
            return false;
        }
    }
    return true;
}

static void edf_verdicts_are_those_of_blocking(void **state)
{
    (void)state;
    aegis_policy policy;
    aegis_task tasks[MAX_FOREGROUND + 1];
    uint64_t accepted = 0, refused = 0;
    bed b;
    assert_int_equal(aegis_policy_find("np-edf", &policy, NULL), AEGIS_OK);
    for (uint64_t seed = 1; seed <= 4000 * scale(); seed++) {
        if (!draw(&b, seed)) {
            continue;
        }
        bool admitted = admit(&b, &policy, tasks);
        if (admitted != fits_by_definition(tasks, b.count, b.longest)) {
            fail_msg("seed %" PRIu64 ": admitted %d", seed, admitted);
        }
        accepted += admitted;
        refused += !admitted;
    }
    assert_true(accepted > 300 && refused > 300);
}

static void preemptive_tests_know_no_background(void **state)
{
    (void)state;
    const aegis_task task = {.execution = 1, .period = 10, .deadline = 10};
    aegis_task background;
    assert_false(aegis_policy_background_task(AEGIS_ANALYSIS_FP, &task, 1, 3, &background));
    assert_false(aegis_policy_background_task(AEGIS_ANALYSIS_EDF, &task, 1, 3, &background));
    assert_false(aegis_policy_background_task(AEGIS_ANALYSIS_NP_FP, &task, 1, 0, &background));
    /* A lane that is used to the last tick: no horizon, so the deadline is as far as can be. */
    const aegis_task full = {.execution = 10, .period = 10, .deadline = 10};
    assert_true(aegis_policy_background_task(AEGIS_ANALYSIS_NP_EDF, &full, 1, 3, &background));
    assert_int_equal(background.deadline, INT64_MAX / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_priorities_hold_with_background),
        cmocka_unit_test(fifo_holds_with_background),
        cmocka_unit_test(edf_holds_with_background),
        cmocka_unit_test(edf_verdicts_are_those_of_blocking),
        cmocka_unit_test(preemptive_tests_know_no_background),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

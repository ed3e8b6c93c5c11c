/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What admission accepts misses no deadline in simulation, and no response passes its bound: random
 * sets under every policy that has a proof, at critical instants, sporadic, with release delays up
 * to the jitter, whole and cut into segments, with executions at and below their bounds.
 *
 * AEGISRT_PROPERTY_SCALE multiplies the number of sets, AEGISRT_PROPERTY_SEED replaces the first
 * seed; a failure prints the seed of its set.
 */
#include "base/base.h"

#include <aegisrt/admission.h>
#include <aegisrt/ext/policy_ops.h>
#include <aegisrt/ext/simulator.h>

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_TASKS 10
#define MAX_SEGMENTS 4
#define LONGEST_PERIOD 60
#define DURATION 1500
#define JITTER_MAX 9

typedef enum run_mode {
    RUN_CRITICAL = 0, /* one blocker, then all at once, then as dense as allowed */
    RUN_SPORADIC,     /* random gaps and delays, executions at their bounds */
    RUN_SHORTER,      /* the same with executions up to the bounds */
    RUN_MODES
} run_mode;

typedef struct random_set {
    uint64_t seed;
    size_t count;
    bool jitter, cut;
    aegis_simulator_model models[MAX_TASKS];
    int64_t segments[MAX_TASKS][MAX_SEGMENTS];
    uint64_t jitter_ns[MAX_TASKS]; /* of the driver and its own together */
    uint64_t wake_ns;
    /* of one run */
    run_mode mode;
    size_t blocker;
    uint64_t clock_ns[MAX_TASKS]; /* of the last release */
    uint64_t gap_seed;
} random_set;

static uint64_t pick(uint64_t *seed, uint64_t low, uint64_t high)
{
    return low + aegis_random_next(seed) % (high - low + 1);
}

static double fraction(uint64_t *seed)
{
    return (double)(aegis_random_next(seed) >> 11) * 0x1p-53;
}

/* ---- sets ---- */

static void
cut_model(uint64_t *seed, aegis_core_model *model, int64_t *segments, uint64_t execution)
{
    uint64_t left = execution;
    model->segment_count = 0;
    while (left > 0) {
        bool last = model->segment_count + 1 == MAX_SEGMENTS;
        uint64_t length = last ? left : pick(seed, 1, left);
        segments[model->segment_count] = (int64_t)length;
        model->segment_bound_ns[model->segment_count] = length;
        model->segment_enforceable_ns[model->segment_count] = length;
        model->segment_count++;
        left -= length;
    }
}

/* UUniFast (Bini & Buttazzo 2005): utilisations uniform over the simplex of their sum. */
static void draw(uint64_t seed, bool jitter, bool cut, random_set *set)
{
    *set = (random_set){.seed = seed, .jitter = jitter, .cut = cut};
    set->count = (size_t)pick(&seed, 2, MAX_TASKS);
    set->wake_ns = jitter ? pick(&seed, 1, JITTER_MAX / 3) : 0;
    double left = 0.3 + 0.7 * fraction(&seed);
    for (size_t i = 0; i < set->count; i++) {
        double rest = left * pow(fraction(&seed), 1.0 / (double)(set->count - i));
        double share = i + 1 == set->count ? left : left - rest;
        left = rest;
        uint64_t period = pick(&seed, 4, LONGEST_PERIOD);
        uint64_t execution = (uint64_t)(share * (double)period);
        execution = execution == 0 ? 1 : execution;
        aegis_core_model *model = &set->models[i].core;
        *model = (aegis_core_model){.model = (uint32_t)i,
                                    .period_ns = period,
                                    .priority = (int32_t)pick(&seed, 0, 5),
                                    .queue_depth = 64,
                                    .segment_count = 1};
        model->deadline_ns = aegis_random_next(&seed) % 2 == 0
                                 ? period
                                 : pick(&seed, execution, period + period / 2);
        model->jitter_ns = jitter ? pick(&seed, 0, JITTER_MAX - set->wake_ns) : 0;
        set->jitter_ns[i] = set->wake_ns + model->jitter_ns;
        if (cut) {
            cut_model(&seed, model, set->segments[i], execution);
        } else {
            set->segments[i][0] = (int64_t)execution;
            model->segment_bound_ns[0] = model->segment_enforceable_ns[0] = execution;
        }
    }
}

/* ---- admission, by the proof that the policy asks for ---- */

static bool admit(const random_set *set, const aegis_policy *policy, int64_t *ret_responses)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_policy_model models[MAX_TASKS];
    aegis_task tasks[MAX_TASKS];
    size_t order[MAX_TASKS];
    aegis_analysis analysis;
    aegis_admission_result result;
    aegis_error err = {0};
    for (size_t i = 0; i < set->count; i++) {
        const aegis_core_model *core = &set->models[i].core;
        models[i] = (aegis_policy_model){.model = core->model,
                                         .period_ns = core->period_ns,
                                         .deadline_ns = core->deadline_ns,
                                         .priority = core->priority,
                                         .segment_count = core->segment_count};
    }
    assert_true(policy->ops->proof(policy->self, models, set->count, &analysis, order));
    for (size_t i = 0; i < set->count; i++) {
        const aegis_core_model *core = &set->models[order[i]].core;
        tasks[i] = (aegis_task){.period = (int64_t)core->period_ns,
                                .deadline = (int64_t)core->deadline_ns,
                                .jitter = (int64_t)set->jitter_ns[order[i]]};
        for (size_t k = 0; k < core->segment_count; k++) {
            tasks[i].execution += set->segments[order[i]][k];
        }
        if (core->segment_count > 1) {
            tasks[i].segments = set->segments[order[i]];
            tasks[i].segment_count = core->segment_count;
        }
    }
    aegis_status status =
        aegis_admission_test(analysis, tasks, set->count, NULL, &allocator, &result, &err);
    if (status != AEGIS_OK) {
        fail_msg("seed %" PRIu64 ": %s", set->seed, err.message);
    }
    for (size_t i = 0; i < set->count; i++) {
        ret_responses[order[i]] = result.tasks[i].response;
    }
    bool admitted = result.verdict == AEGIS_SCHEDULABLE;
    aegis_admission_result_finish(&result, &allocator);
    return admitted;
}

/* ---- releases and executions ---- */

static uint64_t release_of(void *self, uint32_t model, uint64_t index)
{
    random_set *set = self;
    uint64_t period = set->models[model].core.period_ns;
    if (set->mode == RUN_CRITICAL) {
        uint64_t start = model == set->blocker ? 0 : 1 + JITTER_MAX - set->jitter_ns[model];
        if (model == set->blocker) {
            start = JITTER_MAX; /* starts one tick before the others are seen */
        }
        return start + index * period;
    }
    uint64_t gap = 0;
    if (index == 0) {
        gap = pick(&set->gap_seed, 0, 2 * LONGEST_PERIOD);
        set->clock_ns[model] = 0;
    } else {
        gap = period +
              (aegis_random_next(&set->gap_seed) % 4 == 0 ? pick(&set->gap_seed, 0, period) : 0);
    }
    set->clock_ns[model] += gap;
    return set->clock_ns[model];
}

static uint64_t delay_of(void *self, uint32_t model, uint64_t index)
{
    random_set *set = self;
    if (set->mode == RUN_CRITICAL) {
        return model != set->blocker && index == 0 ? set->jitter_ns[model] : 0;
    }
    return pick(&set->gap_seed, 0, set->jitter_ns[model]);
}

static uint64_t execution_of(void *self, uint32_t model, uint64_t index, uint32_t segment)
{
    random_set *set = self;
    (void)index;
    uint64_t bound = set->models[model].core.segment_bound_ns[segment];
    return set->mode == RUN_SHORTER ? pick(&set->gap_seed, 1, bound) : bound;
}

/* ---- the property ---- */

typedef struct tally {
    uint64_t sets, drawn, jobs, reached; /* reached: tasks whose simulated worst is the bound */
} tally;

static void
check_run(random_set *set, const aegis_policy *policy, const int64_t *bounds, tally *sum)
{
    const aegis_core_config config = {
        .lanes = 1, .max_models = MAX_TASKS, .max_jobs = 256, .wake_bound_ns = set->wake_ns};
    const aegis_simulator_source source = {
        .self = set, .release_ns = release_of, .delay_ns = delay_of, .execution_ns = execution_of};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_simulator_result results[MAX_TASKS];
    aegis_error err = {0};
    if (aegis_simulate(&config, policy, set->models, set->count, DURATION, 0, &source, NULL,
                       &allocator, results, &err) != AEGIS_OK) {
        fail_msg("seed %" PRIu64 ": %s", set->seed, err.message);
    }
    for (size_t i = 0; i < set->count; i++) {
        const aegis_core_counters *c = &results[i].counters;
        int64_t worst = (int64_t)results[i].max_response_ns;
        if (c->missed + c->aborted + c->dropped + c->skipped + c->refused + c->overruns != 0 ||
            (bounds[i] >= 0 && worst > bounds[i])) {
            fail_msg("seed %" PRIu64 ", %s, mode %d%s%s, task %zu: missed %" PRIu64
                     ", aborted %" PRIu64 ", refused %" PRIu64 ", overruns %" PRIu64
                     ", response %" PRId64 ", bound %" PRId64,
                     set->seed, aegis_policy_name(policy), (int)set->mode,
                     set->jitter ? ", jitter" : "", set->cut ? ", cut" : "", i, c->missed,
                     c->aborted, c->refused, c->overruns, worst, bounds[i]);
        }
        sum->jobs += c->jobs;
        sum->reached += worst == bounds[i];
    }
}

static bool check_set(uint64_t seed, const aegis_policy *policy, bool jitter, bool cut, tally *sum)
{
    random_set set;
    int64_t bounds[MAX_TASKS];
    draw(seed, jitter, cut, &set);
    sum->drawn++;
    if (!admit(&set, policy, bounds)) {
        return false;
    }
    for (int mode = 0; mode < RUN_MODES; mode++) {
        set.mode = (run_mode)mode;
        set.gap_seed = seed ^ UINT64_C(0x5bd1e995) * (uint64_t)(mode + 1);
        set.blocker = (size_t)pick(&set.gap_seed, 0, set.count - 1);
        check_run(&set, policy, bounds, sum);
    }
    sum->sets++;
    return true;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

/* `sets` admitted sets; those that are refused are drawn again. */
static void check_policy(const char *name, uint64_t sets, bool jitter, bool cut)
{
    aegis_policy policy;
    tally sum = {0};
    uint64_t first = setting("AEGISRT_PROPERTY_SEED", 1), seed = first;
    sets *= setting("AEGISRT_PROPERTY_SCALE", 1);
    assert_int_equal(aegis_policy_find(name, &policy, NULL), AEGIS_OK);
    while (sum.sets < sets) {
        (void)check_set(seed++, &policy, jitter, cut, &sum);
        assert_true(sum.drawn < 200 * sets + 1000); /* else hardly anything is admitted */
    }
    print_message("%-6s%s%s: seeds %" PRIu64 "..%" PRIu64 ", %" PRIu64 " sets of %" PRIu64
                  " drawn, %" PRIu64 " jobs, bound reached %" PRIu64 " times\n",
                  name, jitter ? " jitter" : "", cut ? " cut" : "", first, seed - 1, sum.sets,
                  sum.drawn, sum.jobs, sum.reached);
    /* Bounds that are never reached would leave the property without teeth. */
    assert_true(sum.reached > 0);
}

static void fifo_sets_hold(void **state)
{
    (void)state;
    check_policy("fifo", 1000, false, false);
    check_policy("fifo", 700, true, false);
    check_policy("fifo", 300, true, true);
}

static void np_rm_sets_hold(void **state)
{
    (void)state;
    check_policy("np-rm", 1000, false, false);
    check_policy("np-rm", 500, true, false);
}

static void np_dm_sets_hold(void **state)
{
    (void)state;
    check_policy("np-dm", 1000, false, false);
    check_policy("np-dm", 500, true, false);
}

static void np_fp_sets_hold(void **state)
{
    (void)state;
    check_policy("np-fp", 1000, false, false);
    check_policy("np-fp", 500, true, false);
}

static void np_edf_sets_hold(void **state)
{
    (void)state;
    check_policy("np-edf", 1000, false, false);
    check_policy("np-edf", 1000, true, false);
}

static void cut_sets_hold(void **state)
{
    (void)state;
    check_policy("np-dm", 800, false, true);
    check_policy("np-fp", 700, false, true);
    check_policy("np-edf", 1000, false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifo_sets_hold),   cmocka_unit_test(np_rm_sets_hold),
        cmocka_unit_test(np_dm_sets_hold),  cmocka_unit_test(np_fp_sets_hold),
        cmocka_unit_test(np_edf_sets_hold), cmocka_unit_test(cut_sets_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

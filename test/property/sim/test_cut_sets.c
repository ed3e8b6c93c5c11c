/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tolerances for cutting, proved by simulation. A segment as long as the others tolerate lets all
 * of them meet their deadlines, and one tick more makes one of them miss; sets whose models are cut
 * to their tolerances are accepted, and miss nothing when they run.
 *
 * AEGISRT_PROPERTY_SCALE multiplies the number of sets, AEGISRT_PROPERTY_SEED replaces the first
 * seed; a failure prints the seed of its set.
 */
#include "base/base.h"

#include <aegisrt/cuts.h>
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

#include <cmocka.h>

#define MAX_TASKS 6
#define MAX_PIECES 48
#define DURATION 2000

typedef struct cut_set {
    uint64_t seed;
    size_t count;
    aegis_task tasks[MAX_TASKS]; /* under fixed priorities in their order */
    int64_t pieces[MAX_TASKS][MAX_PIECES];
    size_t blocker; /* released one tick before the others; SIZE_MAX: none */
} cut_set;

static uint64_t pick(uint64_t *seed, uint64_t low, uint64_t high)
{
    return low + aegis_random_next(seed) % (high - low + 1);
}

static void draw(uint64_t seed, double utilisation, cut_set *set)
{
    *set = (cut_set){.seed = seed, .blocker = SIZE_MAX};
    set->count = (size_t)pick(&seed, 2, MAX_TASKS);
    double left = utilisation;
    for (size_t i = 0; i < set->count; i++) {
        double u = (double)(aegis_random_next(&seed) >> 11) * 0x1p-53;
        double rest = left * pow(u, 1.0 / (double)(set->count - i));
        double share = i + 1 == set->count ? left : left - rest;
        left = rest;
        int64_t period = (int64_t)pick(&seed, 5, 60);
        int64_t execution = (int64_t)(share * (double)period);
        execution = execution < 1 ? 1 : execution;
        int64_t deadline = aegis_random_next(&seed) % 2 == 0
                               ? period
                               : (int64_t)pick(&seed, (uint64_t)execution, (uint64_t)period);
        set->tasks[i] =
            (aegis_task){.execution = execution, .period = period, .deadline = deadline};
    }
}

static void tolerances_of(const cut_set *set, aegis_analysis analysis, aegis_cut_tolerance *t)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error err = {0};
    if (aegis_cut_tolerances(analysis, set->tasks, set->count, NULL, &allocator, t, &err) !=
        AEGIS_OK) {
        fail_msg("seed %" PRIu64 ": %s", set->seed, err.message);
    }
}

static aegis_admission_verdict verdict_of(const cut_set *set, aegis_analysis analysis)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_error err = {0};
    if (aegis_admission_test(analysis, set->tasks, set->count, NULL, &allocator, &result, &err) !=
        AEGIS_OK) {
        fail_msg("seed %" PRIu64 ": %s", set->seed, err.message);
    }
    aegis_admission_verdict verdict = result.verdict;
    aegis_admission_result_finish(&result, &allocator);
    return verdict;
}

static uint64_t release_of(void *self, uint32_t model, uint64_t index)
{
    const cut_set *set = self;
    uint64_t start = model == set->blocker ? 0 : 1;
    return start + index * (uint64_t)set->tasks[model].period;
}

static aegis_simulator_model model_of(const cut_set *set, size_t i)
{
    const aegis_task *task = &set->tasks[i];
    aegis_simulator_model model = {
        .core = {.model = (uint32_t)i,
                 .period_ns = (uint64_t)task->period,
                 .deadline_ns = (uint64_t)task->deadline,
                 .priority = (int32_t)i,
                 .queue_depth = 64,
                 .overrun = AEGIS_OVERRUN_REPORT,
                 .segment_count = task->segments == NULL ? 1 : (uint32_t)task->segment_count}};
    for (size_t k = 0; k < model.core.segment_count; k++) {
        uint64_t length = (uint64_t)(task->segments == NULL ? task->execution : task->segments[k]);
        model.core.segment_bound_ns[k] = model.core.segment_enforceable_ns[k] = length;
    }
    return model;
}

/* Misses of one task, or of all (SIZE_MAX), when everything is released at the critical instant. */
static uint64_t misses_of(cut_set *set, const char *policy_name, size_t blocker, size_t whose)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_simulator_source source = {.self = set, .release_ns = release_of};
    const aegis_core_config config = {
        .lanes = 1, .max_models = MAX_TASKS, .max_jobs = 64 * MAX_TASKS};
    aegis_simulator_model models[MAX_TASKS];
    aegis_simulator_result results[MAX_TASKS];
    aegis_policy policy;
    aegis_error err = {0};
    uint64_t misses = 0;
    set->blocker = blocker;
    for (size_t i = 0; i < set->count; i++) {
        models[i] = model_of(set, i);
    }
    assert_int_equal(aegis_policy_find(policy_name, &policy, &err), AEGIS_OK);
    if (aegis_simulate(&config, &policy, models, set->count, DURATION, 0, &source, NULL, &allocator,
                       results, &err) != AEGIS_OK) {
        fail_msg("seed %" PRIu64 ": %s", set->seed, err.message);
    }
    for (size_t i = 0; i < set->count; i++) {
        misses += whose == SIZE_MAX || whose == i ? results[i].counters.missed : 0;
    }
    return misses;
}

/* Splits a task into the fewest pieces of at most `longest`, as even as integers are. */
static bool split(cut_set *set, size_t i, int64_t longest)
{
    aegis_task *task = &set->tasks[i];
    int64_t count = longest <= 0 ? MAX_PIECES + 1 : (task->execution - 1) / longest + 1;
    task->segments = NULL;
    task->segment_count = 0;
    if (count > MAX_PIECES) {
        return false;
    }
    for (int64_t k = 0; k < count; k++) {
        set->pieces[i][k] = task->execution / count + (k < task->execution % count);
    }
    if (count > 1) {
        task->segments = set->pieces[i];
        task->segment_count = (size_t)count;
    }
    return true;
}

static int64_t longest_of(const aegis_task *task)
{
    int64_t longest = task->segments == NULL ? task->execution : 0;
    for (size_t k = 0; k < task->segment_count; k++) {
        longest = task->segments[k] > longest ? task->segments[k] : longest;
    }
    return longest;
}

/* np-edf: without overhead, cut to the tolerances means as good as preemptive. */
static size_t edf_cut_sets_are_as_good_as_preemptive(uint64_t seed)
{
    cut_set set;
    aegis_cut_tolerance t[MAX_TASKS];
    draw(seed, 0.3 + 0.7 * (double)(seed % 64) / 64, &set);
    bool whole = verdict_of(&set, AEGIS_ANALYSIS_NP_EDF) == AEGIS_SCHEDULABLE;
    bool preemptive = verdict_of(&set, AEGIS_ANALYSIS_EDF) == AEGIS_SCHEDULABLE;
    tolerances_of(&set, AEGIS_ANALYSIS_NP_EDF, t);
    for (size_t i = 0; i < set.count; i++) {
        if (!split(&set, i, t[i].segment)) {
            return 0; /* U > 1, or a miss without any blocking */
        }
    }
    bool cut = verdict_of(&set, AEGIS_ANALYSIS_NP_EDF) == AEGIS_SCHEDULABLE;
    if (cut != preemptive) {
        fail_msg("seed %" PRIu64 ": preemptive %d, cut to the tolerances %d", seed, preemptive,
                 cut);
    }
    for (size_t blocker = 0; cut && blocker < set.count; blocker++) {
        if (misses_of(&set, "np-edf", blocker, SIZE_MAX) > 0) {
            fail_msg("seed %" PRIu64 ": accepted, and misses behind %zu", seed, blocker);
        }
    }
    return cut && !whole;
}

/* Fixed priorities: the tolerances are met exactly when the test accepts. */
static size_t fp_verdict_is_that_of_the_tolerances(uint64_t seed)
{
    cut_set set;
    aegis_cut_tolerance t[MAX_TASKS];
    draw(seed, 0.3 + 0.6 * (double)(seed % 64) / 64, &set);
    bool whole = verdict_of(&set, AEGIS_ANALYSIS_NP_FP) == AEGIS_SCHEDULABLE;
    /* Cuts change the last segments and so the tolerances: a few rounds. */
    for (int round = 0; round < 6; round++) {
        tolerances_of(&set, AEGIS_ANALYSIS_FPP, t);
        for (size_t i = 0; i < set.count; i++) {
            if (longest_of(&set.tasks[i]) > t[i].segment && !split(&set, i, t[i].segment)) {
                return 0;
            }
        }
    }
    bool within = true;
    tolerances_of(&set, AEGIS_ANALYSIS_FPP, t);
    for (size_t i = 0; i < set.count; i++) {
        within = within && longest_of(&set.tasks[i]) <= t[i].segment;
    }
    bool accepted = verdict_of(&set, AEGIS_ANALYSIS_FPP) == AEGIS_SCHEDULABLE;
    /* The lowest task blocks nobody below: its own response is in no tolerance. */
    if (accepted && !within) {
        fail_msg("seed %" PRIu64 ": accepted beyond the tolerances", seed);
    }
    if (within && !accepted) {
        cut_set without = set;
        without.count--;
        if (without.count > 0 && verdict_of(&without, AEGIS_ANALYSIS_FPP) != AEGIS_SCHEDULABLE) {
            fail_msg("seed %" PRIu64 ": refused within the tolerances", seed);
        }
    }
    for (size_t blocker = 0; accepted && blocker < set.count; blocker++) {
        if (misses_of(&set, "np-fp", blocker, SIZE_MAX) > 0) {
            fail_msg("seed %" PRIu64 ": accepted, and misses behind %zu", seed, blocker);
        }
    }
    return accepted && !whole;
}

/* One tick more than tolerated: somebody misses behind that very segment. */
static size_t one_tick_more_misses(uint64_t seed, aegis_analysis analysis, const char *policy)
{
    cut_set set;
    aegis_cut_tolerance t[MAX_TASKS];
    size_t shown = 0;
    draw(seed, 0.3 + 0.5 * (double)(seed % 64) / 64, &set);
    tolerances_of(&set, analysis, t);
    for (size_t k = 0; k < set.count; k++) {
        if (t[k].segment <= 0 || t[k].segment == AEGIS_CUT_ANY_LENGTH) {
            continue;
        }
        /* The blocker runs once; under fixed priorities nothing else below i may block. */
        cut_set one = set;
        one.tasks[k].period = one.tasks[k].deadline = 100000;
        if (analysis == AEGIS_ANALYSIS_NP_EDF && set.tasks[k].deadline <= t[k].at) {
            fail_msg("seed %" PRIu64 ": %zu cannot block at %" PRId64, seed, k, t[k].at);
        }
        if (analysis != AEGIS_ANALYSIS_NP_EDF) {
            one.tasks[t[k].limited_by + 1] = one.tasks[k];
            one.count = t[k].limited_by + 2;
        }
        size_t blocker = analysis == AEGIS_ANALYSIS_NP_EDF ? k : t[k].limited_by + 1;
        size_t whose = analysis == AEGIS_ANALYSIS_NP_EDF ? SIZE_MAX : t[k].limited_by;
        one.tasks[blocker].execution = t[k].segment + 1;
        if (misses_of(&one, policy, blocker, whose) == 0) {
            fail_msg("seed %" PRIu64 ": %zu may run %" PRId64 ", and nobody misses at one more",
                     seed, k, t[k].segment);
        }
        one.tasks[blocker].execution = t[k].segment;
        if (analysis != AEGIS_ANALYSIS_NP_EDF && misses_of(&one, policy, blocker, whose) > 0) {
            fail_msg("seed %" PRIu64 ": %zu may run %" PRId64 ", and %zu misses", seed, k,
                     t[k].segment, whose);
        }
        shown++;
    }
    return shown;
}

static uint64_t first_seed(void)
{
    const char *text = getenv("AEGISRT_PROPERTY_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

static uint64_t sets(uint64_t count)
{
    const char *text = getenv("AEGISRT_PROPERTY_SCALE");
    uint64_t scale = text == NULL ? 1 : strtoull(text, NULL, 10);
    return count * (scale == 0 ? 1 : scale);
}

static void cut_sets_under_edf(void **state)
{
    (void)state;
    size_t gained = 0;
    for (uint64_t i = 0; i < sets(4000); i++) {
        gained += edf_cut_sets_are_as_good_as_preemptive(first_seed() + i);
    }
    printf("np-edf: %zu sets accepted only when cut\n", gained);
    assert_true(gained > 200);
}

static void cut_sets_under_fixed_priorities(void **state)
{
    (void)state;
    size_t gained = 0;
    for (uint64_t i = 0; i < sets(4000); i++) {
        gained += fp_verdict_is_that_of_the_tolerances(first_seed() + i);
    }
    printf("np-fp: %zu sets accepted only when cut\n", gained);
    assert_true(gained > 50);
}

static void tolerances_are_exact(void **state)
{
    (void)state;
    size_t edf = 0, fp = 0;
    for (uint64_t i = 0; i < sets(2000); i++) {
        edf += one_tick_more_misses(first_seed() + i, AEGIS_ANALYSIS_NP_EDF, "np-edf");
        fp += one_tick_more_misses(first_seed() + i, AEGIS_ANALYSIS_FPP, "np-fp");
    }
    printf("one tick more missed: %zu of np-edf, %zu of np-fp\n", edf, fp);
    assert_true(edf > 1000 && fp > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_sets_under_edf),
        cmocka_unit_test(cut_sets_under_fixed_priorities),
        cmocka_unit_test(tolerances_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

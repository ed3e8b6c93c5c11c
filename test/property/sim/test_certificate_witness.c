/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job set of a refusing certificate misses in the simulator too, which runs the scheduler's own
 * core: whoever believes neither the analysis nor the checker sees the miss there. Preemptive
 * policies are simulated as segments of one tick.
 *
 * AEGISRT_PROPERTY_SCALE multiplies the number of sets.
 */
#include "base/base.h"

#include <aegisrt/certificate.h>
#include <aegisrt/ext/policy_ops.h>
#include <aegisrt/ext/simulator.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <cmocka.h>

#define MAX_TASKS 5
#define MAX_JOBS 512
#define LONGEST_EXECUTION 7
#define SETS 1500
#define NEVER UINT64_C(1000000)

typedef struct witness {
    aegis_task tasks[MAX_TASKS];
    int64_t segments[MAX_TASKS][LONGEST_EXECUTION];
    size_t count;
    /* of the certificate */
    uint64_t nominal[MAX_TASKS][MAX_JOBS], delay[MAX_TASKS][MAX_JOBS];
    size_t jobs[MAX_TASKS];
} witness;

static int64_t pick(uint64_t *seed, int64_t low, int64_t high)
{
    return low + (int64_t)(aegis_random_next(seed) % (uint64_t)(high - low + 1));
}

static void draw(uint64_t *seed, bool jitter, bool cut, witness *w)
{
    *w = (witness){.count = (size_t)pick(seed, 2, MAX_TASKS)};
    for (size_t i = 0; i < w->count; i++) {
        aegis_task *task = &w->tasks[i];
        task->period = pick(seed, 4, 30);
        task->execution =
            pick(seed, 1, task->period < LONGEST_EXECUTION ? task->period : LONGEST_EXECUTION);
        task->deadline = pick(seed, task->execution, task->period + 5);
        task->jitter = jitter ? pick(seed, 0, 4) : 0;
        if (cut) {
            int64_t left = task->execution;
            task->segments = w->segments[i];
            while (left > 0) {
                int64_t length = pick(seed, 1, left);
                w->segments[i][task->segment_count++] = length;
                left -= length;
            }
        }
    }
}

/* ---- the certificate's jobs ---- */

static int64_t number(const json_t *list, size_t n)
{
    return json_integer_value(json_array_get(list, n));
}

/* Three numbers a job. */
static bool read_jobs(const json_t *jobs, witness *w)
{
    if (json_array_size(jobs) > 3 * MAX_JOBS) {
        return false;
    }
    for (size_t n = 0; n < json_array_size(jobs); n += 3) {
        size_t i = (size_t)number(jobs, n);
        int64_t nominal = number(jobs, n + 1), ready = number(jobs, n + 2);
        assert_true(i < w->count && nominal >= 0);
        w->nominal[i][w->jobs[i]] = (uint64_t)nominal;
        w->delay[i][w->jobs[i]++] = (uint64_t)(ready - nominal);
    }
    return true;
}

static uint64_t release_of(void *self, uint32_t model, uint64_t index)
{
    const witness *w = self;
    return index < w->jobs[model] ? w->nominal[model][index] : NEVER + index * 100;
}

static uint64_t delay_of(void *self, uint32_t model, uint64_t index)
{
    const witness *w = self;
    return index < w->jobs[model] ? w->delay[model][index] : 0;
}

static uint64_t execution_of(void *self, uint32_t model, uint64_t index, uint32_t segment)
{
    const witness *w = self;
    const aegis_task *task = &w->tasks[model];
    (void)index;
    return (uint64_t)(task->segments == NULL ? task->execution : task->segments[segment]);
}

/* ---- the simulation ---- */

static aegis_core_model core_model(const aegis_task *task, size_t i)
{
    aegis_core_model model = {.model = (uint32_t)i,
                              .period_ns = (uint64_t)task->period,
                              .deadline_ns = (uint64_t)task->deadline,
                              .jitter_ns = (uint64_t)task->jitter,
                              .priority = (int32_t)i,
                              .queue_depth = MAX_JOBS,
                              .segment_count = 1};
    model.segment_bound_ns[0] = model.segment_enforceable_ns[0] = (uint64_t)task->execution;
    if (task->segments != NULL) {
        model.segment_count = (uint32_t)task->segment_count;
        for (size_t s = 0; s < task->segment_count; s++) {
            model.segment_bound_ns[s] = model.segment_enforceable_ns[s] =
                (uint64_t)task->segments[s];
        }
    }
    return model;
}

/* Deadlines missed by the jobs listed: of task `target`, or of any. */
static uint64_t simulate(witness *w, const char *policy_name, size_t target)
{
    const aegis_core_config config = {.lanes = 1, .max_models = MAX_TASKS, .max_jobs = 2048};
    const aegis_simulator_source source = {
        .self = w, .release_ns = release_of, .delay_ns = delay_of, .execution_ns = execution_of};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_simulator_model models[MAX_TASKS];
    aegis_simulator_result results[MAX_TASKS];
    aegis_policy policy;
    aegis_error err = {0};
    uint64_t missed = 0;
    assert_int_equal(aegis_policy_find(policy_name, &policy, &err), AEGIS_OK);
    for (size_t i = 0; i < w->count; i++) {
        models[i] = (aegis_simulator_model){.core = core_model(&w->tasks[i], i)};
    }
    if (aegis_simulate(&config, &policy, models, w->count, NEVER / 2, 0, &source, NULL, &allocator,
                       results, &err) != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    for (size_t i = 0; i < w->count; i++) {
        assert_int_equal(results[i].counters.refused, 0);
        if (target == SIZE_MAX || i == target) {
            missed += results[i].counters.missed;
        }
    }
    return missed;
}

/* Puts the task that shall miss last: a tie then goes against it. */
static size_t put_last(witness *w, size_t target)
{
    size_t last = w->count - 1;
    witness copy = *w;
    for (size_t i = 0; i < w->count; i++) {
        size_t from = i == target ? last : i == last ? target : i;
        w->tasks[i] = copy.tasks[from];
        w->jobs[i] = copy.jobs[from];
        memcpy(w->nominal[i], copy.nominal[from], sizeof w->nominal[i]);
        memcpy(w->delay[i], copy.delay[from], sizeof w->delay[i]);
    }
    return last;
}

static void cut_to_ticks(witness *w)
{
    for (size_t i = 0; i < w->count; i++) {
        aegis_task *task = &w->tasks[i];
        task->segments = w->segments[i];
        task->segment_count = (size_t)task->execution;
        for (size_t s = 0; s < task->segment_count; s++) {
            w->segments[i][s] = 1;
        }
    }
}

/* ---- the property ---- */

/* The proof of a refusal by a miss; NULL when the verdict is another. */
static json_t *refusal(aegis_analysis analysis, const witness *w)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_error err = {0};
    json_t *root = NULL;
    char *text;
    size_t size;
    assert_int_equal(
        aegis_admission_test(analysis, w->tasks, w->count, NULL, &allocator, &result, &err),
        AEGIS_OK);
    if (result.verdict == AEGIS_NOT_SCHEDULABLE) {
        assert_int_equal(aegis_certificate_build(analysis, w->tasks, w->count, &result, NULL,
                                                 &allocator, &text, &size, &err),
                         AEGIS_OK);
        root = json_loadb(text, size, 0, NULL);
        aegis_certificate_free(text, size, &allocator);
    }
    aegis_admission_result_finish(&result, &allocator);
    if (root != NULL && strcmp(json_string_value(json_object_get(root, "proof")), "miss") != 0) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

static void check_policy(aegis_analysis analysis, const char *policy, bool jitter, bool cut)
{
    const char *scale = getenv("AEGISRT_PROPERTY_SCALE");
    int sets = scale == NULL ? SETS : (int)(SETS * strtod(scale, NULL)) + 1, seen = 0;
    bool preemptive = analysis == AEGIS_ANALYSIS_FP || analysis == AEGIS_ANALYSIS_EDF;
    bool edf = analysis == AEGIS_ANALYSIS_NP_EDF || analysis == AEGIS_ANALYSIS_EDF;
    uint64_t seed = 77 + (uint64_t)analysis;
    static witness w;
    for (int n = 0; n < sets; n++) {
        uint64_t first = seed;
        draw(&seed, jitter, cut, &w);
        json_t *root = refusal(analysis, &w);
        json_t *jobs = json_object_get(root, "miss");
        if (root != NULL && read_jobs(jobs, &w)) {
            size_t target = edf ? SIZE_MAX : (size_t)number(jobs, json_array_size(jobs) - 3);
            if (preemptive) {
                cut_to_ticks(&w);
            }
            if (analysis == AEGIS_ANALYSIS_FIFO) {
                target = put_last(&w, target);
            }
            if (simulate(&w, policy, target) == 0) {
                fail_msg("%s, seed %llu: the witness does not miss: %s",
                         aegis_analysis_name(analysis), (unsigned long long)first,
                         json_dumps(root, 0));
            }
            seen++;
        }
        json_decref(root);
    }
    print_message("%-6s%s%s: %d witnesses of %d sets miss in the simulator\n",
                  aegis_analysis_name(analysis), jitter ? " jitter" : "", cut ? " cut" : "", seen,
                  sets);
    assert_true(seen > sets / 20);
}

static void np_fp_witnesses_miss(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_NP_FP, "np-fp", false, false);
    check_policy(AEGIS_ANALYSIS_NP_FP, "np-fp", true, false);
}

static void fpp_witnesses_miss(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_FPP, "np-fp", false, true);
    check_policy(AEGIS_ANALYSIS_FPP, "np-fp", true, true);
}

static void fp_witnesses_miss(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_FP, "np-fp", false, false);
    check_policy(AEGIS_ANALYSIS_FP, "np-fp", true, false);
}

static void np_edf_witnesses_miss(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_NP_EDF, "np-edf", false, false);
    check_policy(AEGIS_ANALYSIS_NP_EDF, "np-edf", true, false);
    check_policy(AEGIS_ANALYSIS_NP_EDF, "np-edf", false, true);
    check_policy(AEGIS_ANALYSIS_NP_EDF, "np-edf", true, true);
}

static void edf_witnesses_miss(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_EDF, "np-edf", false, false);
    check_policy(AEGIS_ANALYSIS_EDF, "np-edf", true, false);
}

static void fifo_witnesses_miss(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_FIFO, "fifo", false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(np_fp_witnesses_miss), cmocka_unit_test(fpp_witnesses_miss),
        cmocka_unit_test(fp_witnesses_miss),    cmocka_unit_test(np_edf_witnesses_miss),
        cmocka_unit_test(edf_witnesses_miss),   cmocka_unit_test(fifo_witnesses_miss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

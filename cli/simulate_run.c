/* SPDX-License-Identifier: Apache-2.0 */
/* Runs: each is a pure function of the set, the options and its number, so that the worst one can
 * be had again with its records. */
#include "simulate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DEFAULT_JOBS 100000
#define SEARCH_JOBS 10000
#define LONGEST_RUN (UINT64_C(1) << 61)

/* splitmix64 of a few numbers: does not depend on the order of calls */
static uint64_t dice(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t state = seed + a * UINT64_C(0x9e3779b97f4a7c15) + b * UINT64_C(0xd1b54a32d192ed03) +
                     c * UINT64_C(0x8cb92ba72f3d8dd7);
    state = (state ^ (state >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    state = (state ^ (state >> 27)) * UINT64_C(0x94d049bb133111eb);
    return state ^ (state >> 31);
}

static double fraction(uint64_t random)
{
    return (double)(random >> 11) * 0x1p-53;
}

/* ---- releases ---- */

static uint64_t first_release(const sim_run *run, size_t task)
{
    const sim_task *of = &run->set->tasks[task];
    switch (run->offsets) {
    case SIM_DECLARED:
        return of->offset;
    case SIM_SYNCHRONOUS:
        return 0;
    case SIM_SCATTERED:
        return of->policy.period_ns == 0 ? 0 : dice(run->seed, task, 0, 1) % of->policy.period_ns;
    case SIM_CRITICAL:
        break;
    }
    /* All are seen at one instant, the blocker of their lane a tick before. */
    return run->blocks[task] ? run->latest_jitter : run->latest_jitter + 1 - of->jitter;
}

static uint64_t release_of(void *self, uint32_t model, uint64_t index)
{
    sim_run *run = self;
    uint64_t period = run->set->tasks[model].policy.period_ns;
    uint64_t release = first_release(run, model);
    if (index > 0) {
        uint64_t random = dice(run->seed, model, index, 2);
        bool late = run->options->sporadic && random % 4 == 0;
        release = run->last[model] + period + (late ? random / 4 % (period + 1) : 0);
    }
    run->last[model] = release;
    return release;
}

static uint64_t delay_of(void *self, uint32_t model, uint64_t index)
{
    const sim_run *run = self;
    uint64_t jitter = run->set->tasks[model].jitter;
    if (run->set->tasks[model].background || run->offsets == SIM_DECLARED ||
        run->offsets == SIM_SYNCHRONOUS) {
        return 0;
    }
    if (run->offsets == SIM_CRITICAL) {
        return index == 0 && !run->blocks[model] ? jitter : 0;
    }
    return dice(run->seed, model, index, 3) % (jitter + 1);
}

/* ---- executions ---- */

/* Straight lines between the figures of a profile, as a share of the bound. */
static double profile_share(const aegis_profile *profile, double u, double bound)
{
    const aegis_profile_series *series = &profile->loaded;
    const double at[] = {0, 0.5, profile->quantile, 1};
    const double ns[] = {(double)series->best_ns, (double)series->median_ns,
                         (double)series->quantile_ns, (double)series->worst_ns};
    for (int i = 0; i < 3; i++) {
        if (u <= at[i + 1] && at[i + 1] > at[i]) {
            double time = ns[i] + (u - at[i]) / (at[i + 1] - at[i]) * (ns[i + 1] - ns[i]);
            return time < bound ? time / bound : 1;
        }
    }
    return 1;
}

static uint64_t execution_of(void *self, uint32_t model, uint64_t index, uint32_t segment)
{
    const sim_run *run = self;
    const sim_task *task = &run->set->tasks[model];
    uint64_t bound = (uint64_t)task->segments[segment];
    if (run->options->execution == SIM_RANDOM) {
        return 1 + dice(run->seed, model, index, 16 + segment) % bound;
    }
    double u = fraction(dice(run->seed, model, index, 4));
    double share = profile_share(task->profile, u, (double)task->execution);
    uint64_t time = (uint64_t)(share * (double)bound);
    return time < 1 ? 1 : time > bound ? bound : time;
}

/* ---- one run ---- */

static void pass_record(void *self, const aegis_trace_record *record)
{
    sim_run *run = self;
    run->record(run->record_self, record);
}

static aegis_status
execute(sim_run *run, uint64_t until, aegis_simulator_result *results, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    const sim_set *set = run->set;
    bool plain = run->offsets == SIM_DECLARED && !run->options->sporadic;
    const aegis_core_config config = {.lanes = set->lanes,
                                      .max_models = (uint32_t)set->count,
                                      .max_jobs =
                                          (uint32_t)set->count * set->models[0].core.queue_depth,
                                      .wake_bound_ns = set->wake_bound};
    const aegis_simulator_source source = {
        .self = run,
        .execution_ns = run->options->execution == SIM_WORST ? NULL : execution_of,
        .release_ns = plain ? NULL : release_of,
        .delay_ns = plain ? NULL : delay_of,
        .record = run->record != NULL ? pass_record : NULL};
    uint64_t duration = until > 0 && until < run->duration ? until : run->duration;
    return aegis_simulate(&config, &set->policy, set->models, set->count, duration, 0, &source,
                          NULL, &allocator, results, err);
}

/* ---- numbers of runs ---- */

/* The blocker of each lane: the longest segment, on the lane of `chosen` that one. */
static void choose_blockers(sim_run *run, size_t chosen)
{
    const sim_set *set = run->set;
    run->latest_jitter = 0;
    for (size_t i = 0; i < set->count; i++) {
        const sim_task *task = &set->tasks[i];
        run->latest_jitter = task->jitter > run->latest_jitter ? task->jitter : run->latest_jitter;
        run->blocks[i] = i == chosen;
        if (task->policy.lane == set->tasks[chosen].policy.lane) {
            continue;
        }
        run->blocks[i] = true;
        for (size_t k = 0; k < set->count; k++) {
            const sim_task *other = &set->tasks[k];
            bool longer = other->segments[0] > task->segments[0] ||
                          (other->segments[0] == task->segments[0] && k < i);
            if (other->policy.lane == task->policy.lane && longer) {
                run->blocks[i] = false;
            }
        }
    }
}

/* Run 0 is what the options say. A search goes on with each task as the blocker of a critical
 * instant, then with random offsets. */
static void set_up(sim_run *run, uint64_t number)
{
    run->number = number;
    run->seed = dice(run->options->seed, number, 0, 0);
    run->offsets = run->options->offsets;
    if (number > 0 && number <= run->set->count) {
        run->offsets = SIM_CRITICAL;
        run->blocker = (size_t)number - 1;
        choose_blockers(run, run->blocker);
    } else if (number > 0) {
        run->offsets = SIM_SCATTERED;
    }
}

const char *sim_run_name(const sim_set *set, const sim_options *options, uint64_t number)
{
    static const char *const names[] = {[SIM_DECLARED] = "declared offsets",
                                        [SIM_SYNCHRONOUS] = "synchronous",
                                        [SIM_SCATTERED] = "random offsets",
                                        [SIM_CRITICAL] = "critical instant"};
    if (number == 0) {
        return names[options->offsets];
    }
    return names[number <= set->count ? SIM_CRITICAL : SIM_SCATTERED];
}

/* ---- how long ---- */

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The hyperperiod, or LONGEST_RUN when it is longer. */
static uint64_t hyperperiod(const sim_set *set)
{
    uint64_t multiple = 1;
    for (size_t i = 0; i < set->count; i++) {
        uint64_t period = set->tasks[i].policy.period_ns;
        if (period == 0) {
            continue;
        }
        uint64_t factor = period / greatest_divisor(multiple, period);
        if (factor > LONGEST_RUN / multiple) {
            return LONGEST_RUN;
        }
        multiple *= factor;
    }
    return multiple;
}

static double jobs_per_tick(const sim_set *set)
{
    double rate = 0;
    for (size_t i = 0; i < set->count; i++) {
        const sim_task *task = &set->tasks[i];
        /* A continuous model has a job every execution at most. */
        uint64_t distance = task->policy.period_ns > 0 ? task->policy.period_ns : task->execution;
        rate += 1 / (double)distance;
    }
    return rate;
}

static uint64_t duration_of(const sim_set *set, const sim_options *options)
{
    if (options->duration_ns > 0) {
        return options->duration_ns < LONGEST_RUN ? options->duration_ns : LONGEST_RUN;
    }
    uint64_t jobs = options->jobs > 0     ? options->jobs
                    : options->search > 1 ? SEARCH_JOBS
                                          : DEFAULT_JOBS;
    double wanted = (double)jobs / jobs_per_tick(set) + 1;
    uint64_t duration = wanted < (double)LONGEST_RUN ? (uint64_t)wanted : LONGEST_RUN;
    uint64_t period = hyperperiod(set);
    bool repeats = options->jobs == 0 && options->execution == SIM_WORST && !options->sporadic;
    for (size_t i = 0; i < set->count; i++) {
        repeats = repeats && !set->tasks[i].background;
    }
    /* From the second hyperperiod on an underloaded schedule repeats. */
    return repeats && period < duration / 2 ? 2 * period : duration;
}

/* ---- the search ---- */

static void add_counters(aegis_core_counters *sum, const aegis_core_counters *more)
{
    sum->jobs += more->jobs;
    sum->completed += more->completed;
    sum->missed += more->missed;
    sum->aborted += more->aborted;
    sum->dropped += more->dropped;
    sum->skipped += more->skipped;
    sum->pending += more->pending;
}

static void
add_run(sim_outcome *outcome, size_t count, const aegis_simulator_result *results, uint64_t number)
{
    for (size_t i = 0; i < count; i++) {
        sim_worst *worst = &outcome->tasks[i];
        add_counters(&worst->counters, &results[i].counters);
        worst->executed += results[i].executed_ns;
        if (results[i].max_response_ns > worst->response) {
            worst->response = results[i].max_response_ns;
            worst->release = results[i].max_release_ns;
            worst->run = number;
        }
    }
}

double sim_severity(const sim_set *set, const sim_outcome *outcome, size_t task)
{
    const sim_task *of = &set->tasks[task];
    return of->background ? 0
                          : (double)outcome->tasks[task].response / (double)of->policy.deadline_ns;
}

static void find_worst(const sim_set *set, sim_outcome *outcome)
{
    outcome->worst_task = SIZE_MAX;
    for (size_t i = 0; i < set->count; i++) {
        if (outcome->tasks[i].response > 0 && !set->tasks[i].background &&
            (outcome->worst_task == SIZE_MAX ||
             sim_severity(set, outcome, i) > sim_severity(set, outcome, outcome->worst_task))) {
            outcome->worst_task = i;
        }
    }
}

uint64_t sim_total_jobs(const sim_set *set, const sim_outcome *outcome)
{
    uint64_t jobs = 0;
    for (size_t i = 0; i < set->count; i++) {
        jobs += outcome->tasks[i].counters.jobs;
    }
    return jobs;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static aegis_status run_each(sim_run *run,
                             uint64_t first,
                             uint64_t end,
                             uint64_t until,
                             aegis_simulator_result *results,
                             sim_outcome *outcome,
                             aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint64_t number = first; number < end && status == AEGIS_OK; number++) {
        set_up(run, number);
        status = execute(run, until, results, err);
        if (status == AEGIS_OK && outcome != NULL) {
            add_run(outcome, run->set->count, results, number);
        }
    }
    return status;
}

static int run_all(sim_run *run,
                   uint64_t first,
                   uint64_t end,
                   uint64_t until,
                   sim_outcome *outcome,
                   const cli_common *common)
{
    size_t count = run->set->count;
    aegis_error error = {0};
    aegis_simulator_result *results = calloc(count + 1, sizeof *results);
    run->last = calloc(count + 1, sizeof *run->last);
    run->blocks = calloc(count + 1, sizeof *run->blocks);
    aegis_status status;
    if (results == NULL || run->last == NULL || run->blocks == NULL) {
        status = aegis_error_set(&error, AEGIS_HERE("cli.simulate"), AEGIS_ERROR_NO_MEMORY,
                                 "no memory for a run of %zu tasks", count);
    } else {
        status = run_each(run, first, end, until, results, outcome, &error);
    }
    free(results);
    free(run->last);
    free(run->blocks);
    return status == AEGIS_OK ? CLI_EXIT_OK : cli_fail(common, &error);
}

int sim_search(const sim_set *set,
               const sim_options *options,
               const cli_common *common,
               sim_outcome *ret_outcome)
{
    sim_outcome outcome = {.tasks = calloc(set->count + 1, sizeof *outcome.tasks),
                           .runs = options->search > 0 ? options->search : 1,
                           .duration = duration_of(set, options),
                           .worst_task = SIZE_MAX};
    sim_run run = {.set = set, .options = options, .duration = outcome.duration};
    if (outcome.tasks == NULL) {
        aegis_error error = {0};
        aegis_error_set(&error, AEGIS_HERE("cli.simulate"), AEGIS_ERROR_NO_MEMORY,
                        "no memory for the results");
        return cli_fail(common, &error);
    }
    double start = now_s();
    int code = run_all(&run, 0, outcome.runs, 0, &outcome, common);
    outcome.seconds = now_s() - start;
    find_worst(set, &outcome);
    *ret_outcome = outcome;
    return code;
}

void sim_outcome_finish(sim_outcome *outcome)
{
    free(outcome->tasks);
}

int sim_repeat(const sim_set *set,
               const sim_options *options,
               const cli_common *common,
               const sim_outcome *outcome,
               uint64_t number,
               uint64_t until,
               void (*record)(void *self, const aegis_trace_record *record),
               void *self)
{
    sim_run run = {.set = set,
                   .options = options,
                   .duration = outcome->duration,
                   .record = record,
                   .record_self = self};
    return run_all(&run, number, number + 1, until, NULL, common);
}

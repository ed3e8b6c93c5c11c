/* SPDX-License-Identifier: Apache-2.0 */
/* How long a segment of each task the others of its lane tolerate. */
#include <aegisrt/cuts.h>

#include "base/base.h"

#include <string.h>

__extension__ typedef __int128 cut_sum;

#define COMPONENT "schedule.cuts"
#define DEFAULT_STEPS UINT64_C(200000000)

/* One search under way. */
typedef struct search {
    const aegis_task *tasks;
    size_t count;
    uint64_t steps;
    const volatile bool *cancel;
    const aegis_allocator *allocator;
    aegis_cut_tolerance *tolerances;
} search;

/* A segment blocks for its length less one tick. */
static int64_t segment_of(int64_t blocking)
{
    return blocking < 0 ? 0 : blocking == INT64_MAX ? INT64_MAX : blocking + 1;
}

static aegis_status take_steps(search *s, uint64_t steps, aegis_error *err)
{
    if (s->steps < steps || (s->cancel != NULL && *s->cancel)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNDECIDED,
                               "the search for tolerances used up its steps or was cancelled: "
                               "raise the limit or count time in larger ticks");
    }
    s->steps -= steps;
    return AEGIS_OK;
}

/* ---- earliest deadline first ---- */

static int64_t first_deadline(const aegis_task *task)
{
    return task->deadline - task->jitter;
}

/* The deadline after `at`, INT64_MAX when there is none in 63 bits; and whose it is. */
static int64_t next_deadline(const search *s, int64_t at, size_t *ret_task)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < s->count; i++) {
        const aegis_task *task = &s->tasks[i];
        int64_t own = first_deadline(task);
        if (own <= at) {
            cut_sum gone = ((cut_sum)at - own) / task->period + 1;
            cut_sum after = own + gone * task->period;
            own = after > INT64_MAX ? INT64_MAX : (int64_t)after;
        }
        if (own < next) {
            next = own;
            *ret_task = i;
        }
    }
    return next;
}

/* Demand of the jobs due by t in the worst pattern, as in the test of np-edf. */
static cut_sum demand_at(const search *s, int64_t t)
{
    cut_sum sum = 0;
    for (size_t i = 0; i < s->count; i++) {
        int64_t first = first_deadline(&s->tasks[i]);
        if (first <= t) {
            sum += (((cut_sum)t - first) / s->tasks[i].period + 1) * s->tasks[i].execution;
        }
    }
    return sum;
}

/* Every task that is due later than `at` may block there. */
static void apply_slack(search *s, int64_t at, size_t due, int64_t slack)
{
    for (size_t k = 0; k < s->count; k++) {
        if (first_deadline(&s->tasks[k]) > at && segment_of(slack) < s->tolerances[k].segment) {
            s->tolerances[k] = (aegis_cut_tolerance){
                .segment = segment_of(slack), .limited_by = due, .slack = slack, .at = at};
        }
    }
}

static aegis_status edf_tolerances(search *s, aegis_error *err)
{
    int64_t last = INT64_MIN, least = INT64_MAX;
    size_t due = SIZE_MAX;
    for (size_t k = 0; k < s->count; k++) {
        int64_t first = first_deadline(&s->tasks[k]);
        last = first > last ? first : last;
    }
    for (int64_t at = next_deadline(s, INT64_MIN, &due); at < last;
         at = next_deadline(s, at, &due)) {
        aegis_status status = take_steps(s, 1, err);
        if (status != AEGIS_OK) {
            return status;
        }
        /* Whoever is due later sees what the others see, and more: only a new minimum counts. */
        cut_sum slack = at - demand_at(s, at);
        if (slack < least) {
            least = slack < -INT64_MAX ? -INT64_MAX : (int64_t)slack;
            apply_slack(s, at, due, least);
        }
    }
    return AEGIS_OK;
}

/* ---- fixed priorities ---- */

/* Whether task i meets its deadline when something below blocks it for so long. `level` holds the
 * tasks down to i and the blocker behind them, whatever else there is. */
static aegis_status
meets(search *s, aegis_task *level, size_t i, int64_t blocking, bool *ret_meets, aegis_error *err)
{
    const aegis_admission_limits limits = {.steps = s->steps, .cancel = s->cancel};
    aegis_admission_result result;
    level[i + 1] =
        (aegis_task){.execution = blocking + 1, .period = INT64_MAX / 4, .deadline = INT64_MAX / 4};
    aegis_status status =
        aegis_admission_test(AEGIS_ANALYSIS_FPP, level, i + 2, &limits, s->allocator, &result, err);
    if (status != AEGIS_OK) {
        return status;
    }
    bool settled = result.tasks[i].response != AEGIS_RESPONSE_UNSETTLED;
    *ret_meets = result.tasks[i].meets;
    aegis_admission_result_finish(&result, s->allocator);
    return take_steps(s, settled ? 1 : UINT64_MAX, err);
}

/* The largest blocking below `most`, with which task i misses; -1 when it misses without any. */
static aegis_status largest_blocking(
    search *s, aegis_task *level, size_t i, int64_t most, int64_t *ret_blocking, aegis_error *err)
{
    bool good = false;
    int64_t low = -1, high = most;
    while (high - low > 1) {
        int64_t middle = low < 0 ? 0 : low + (high - low) / 2;
        aegis_status status = meets(s, level, i, middle, &good, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (good) {
            low = middle;
        } else if (middle == 0) {
            break;
        } else {
            high = middle;
        }
    }
    *ret_blocking = low;
    return AEGIS_OK;
}

/* Every task inherits the least tolerance of those above it, so that a level is searched only when
 * it does not tolerate that. A response is at least the blocking and one tick, hence D bounds it.
 */
static aegis_status fixed_priority_tolerances(search *s, aegis_task *level, aegis_error *err)
{
    aegis_cut_tolerance least = {.segment = AEGIS_CUT_ANY_LENGTH, .limited_by = SIZE_MAX};
    for (size_t i = 0; i + 1 < s->count; i++) {
        const aegis_task *task = &s->tasks[i];
        int64_t blocking = task->deadline, inherited = least.segment - 1;
        bool good = least.segment == 0;
        aegis_status status = AEGIS_OK;
        level[i] = *task;
        if (!good && inherited < blocking) {
            blocking = inherited;
            status = meets(s, level, i, blocking, &good, err);
        }
        if (status == AEGIS_OK && !good) {
            status = largest_blocking(s, level, i, blocking, &blocking, err);
            least = (aegis_cut_tolerance){.segment = segment_of(blocking),
                                          .limited_by = i,
                                          .slack = blocking,
                                          .at = task->deadline};
        }
        if (status != AEGIS_OK) {
            return status;
        }
        s->tolerances[i + 1] = least;
    }
    return AEGIS_OK;
}

/* ---- both ---- */

static aegis_status check(aegis_analysis analysis, const search *s, aegis_error *err)
{
    if (analysis == AEGIS_ANALYSIS_FP || analysis == AEGIS_ANALYSIS_EDF) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "under %s nothing blocks, so there is nothing to cut",
                               aegis_analysis_name(analysis));
    }
    for (size_t i = 0; i < s->count; i++) {
        const aegis_task *task = &s->tasks[i];
        if (task->execution <= 0 || task->period <= 0 || task->deadline <= 0 || task->jitter < 0 ||
            task->deadline > INT64_MAX / 2 || task->jitter > INT64_MAX / 2) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                                   "task %zu (%s): C, T and D must be positive, J not negative and "
                                   "D and J below 2^62",
                                   i, task->name == NULL ? "unnamed" : task->name);
        }
    }
    return AEGIS_OK;
}

aegis_status aegis_cut_tolerances(aegis_analysis analysis,
                                  const aegis_task *tasks,
                                  size_t count,
                                  const aegis_admission_limits *limits,
                                  const aegis_allocator *allocator,
                                  aegis_cut_tolerance *ret_tolerances,
                                  aegis_error *err)
{
    search s = {.tasks = tasks,
                .count = count,
                .steps = limits == NULL || limits->steps == 0 ? DEFAULT_STEPS : limits->steps,
                .cancel = limits == NULL ? NULL : limits->cancel,
                .allocator = allocator,
                .tolerances = ret_tolerances};
    aegis_status status = check(analysis, &s, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        ret_tolerances[i] =
            (aegis_cut_tolerance){.segment = AEGIS_CUT_ANY_LENGTH, .limited_by = SIZE_MAX};
    }
    if (analysis == AEGIS_ANALYSIS_FIFO || count < 2) {
        return AEGIS_OK;
    }
    if (analysis == AEGIS_ANALYSIS_NP_EDF) {
        return edf_tolerances(&s, err);
    }
    aegis_task *level = aegis_allocate_zeroed(allocator, count + 1, sizeof *level);
    if (level == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to analyse %zu tasks", count);
    }
    status = fixed_priority_tolerances(&s, level, err);
    aegis_deallocate(allocator, level, count + 1, sizeof *level);
    return status;
}

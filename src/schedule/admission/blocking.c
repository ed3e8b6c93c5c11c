/* SPDX-License-Identifier: Apache-2.0 */
/* The longest delay of each task by lower-priority or later work, for all tasks at once. */
#include "schedule/admission/internal.h"

int64_t aegis_admission_blocking(const int64_t *executions, size_t count)
{
    int64_t longest = 1;
    for (size_t i = 0; i < count; i++) {
        longest = executions[i] > longest ? executions[i] : longest;
    }
    return longest - 1;
}

static void fill_fixed_priority(aegis_analysis_run *run)
{
    uint64_t longest = 0;
    for (size_t i = run->count; i-- > 0;) {
        uint64_t blocks = run->tasks[i].largest - 1;
        run->blocking[i] = longest;
        longest = blocks > longest ? blocks : longest;
    }
}

/* The two longest of a suffix of the tasks by deadline: no task blocks itself. */
typedef struct longest_two {
    uint64_t best, second;
    size_t who;
} longest_two;

static void add_to_two(longest_two *two, size_t task, uint64_t blocks)
{
    if (blocks > two->best) {
        two->second = two->best;
        two->best = blocks;
        two->who = task;
    } else if (blocks > two->second) {
        two->second = blocks;
    }
}

static int64_t deadline_key(const void *tasks, size_t i)
{
    return (int64_t)((const aegis_atask *)tasks)[i].deadline;
}

/* First position of the order whose deadline is after `t`. */
static size_t first_after(const aegis_analysis_run *run, const size_t *order, int64_t t)
{
    size_t low = 0, high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((int64_t)run->tasks[order[middle]].deadline > t) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Jobs due later than a job of the task that can be ready a tick before it is: D_k > D_i - J_i. */
static void fill_np_edf(aegis_analysis_run *run, size_t *order, longest_two *suffix)
{
    aegis_order_by(run->tasks, run->count, deadline_key, order);
    suffix[run->count] = (longest_two){.who = SIZE_MAX};
    for (size_t k = run->count; k-- > 0;) {
        suffix[k] = suffix[k + 1];
        add_to_two(&suffix[k], order[k], run->tasks[order[k]].largest - 1);
    }
    for (size_t i = 0; i < run->count; i++) {
        const longest_two *two =
            &suffix[first_after(run, order, aegis_first_deadline(&run->tasks[i]))];
        run->blocking[i] = two->who == i ? two->second : two->best;
    }
}

static aegis_outcome allocate_and_fill(aegis_analysis_run *run)
{
    aegis_outcome outcome = AEGIS_OUTCOME_NO_MEMORY;
    size_t *order = aegis_allocate_zeroed(run->allocator, run->count, sizeof *order);
    longest_two *suffix = aegis_allocate_zeroed(run->allocator, run->count + 1, sizeof *suffix);
    if (order != NULL && suffix != NULL) {
        fill_np_edf(run, order, suffix);
        outcome = AEGIS_OUTCOME_DONE;
    }
    aegis_deallocate(run->allocator, suffix, run->count + 1, sizeof *suffix);
    aegis_deallocate(run->allocator, order, run->count, sizeof *order);
    return outcome;
}

aegis_outcome aegis_blocking_fill(aegis_analysis_run *run)
{
    switch (run->analysis) { /* coverage: every value has its case */
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FPP:
        fill_fixed_priority(run);
        break;
    case AEGIS_ANALYSIS_NP_EDF:
        return allocate_and_fill(run);
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_EDF:
    case AEGIS_ANALYSIS_FIFO:
        break; /* nothing blocks: zero from the start */
    }
    return AEGIS_OUTCOME_DONE;
}

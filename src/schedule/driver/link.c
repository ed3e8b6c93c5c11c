/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first of two stages of models with early copies: the link. Copies are served first come first
 * served, each at most K, and come as releases do: J is how late the driver sees an instant and the
 * model's own. What the test of the queue (admission/fifo.c) gives is how long after a nominal
 * release the inputs have come at the latest; the driver may see that later by its wake bound once
 * more. The lane's test takes the sum as jitter: a release that comes in the best case at once, in
 * the worst then (two stages in a row: the jitter of the second is the worst less the best
 * completion of the first).
 */
#include "schedule/driver/internal.h"

#define LINK_STEPS UINT64_C(20000000)

static void take_responses(const aegis_scheduler *scheduler,
                           const aegis_admission_result *result,
                           aegis_candidate_set *set)
{
    size_t next = 0;
    set->link.utilisation = result->utilisation;
    for (size_t i = 0; i < set->count; i++) {
        aegis_candidate *candidate = &set->candidates[i];
        if (candidate->copy_ns == 0) {
            continue;
        }
        const int64_t response = result->tasks[next++].response;
        if (response < 0) {
            set->link.verdict =
                response == AEGIS_RESPONSE_DIVERGES ? AEGIS_LINK_OVERLOADED : AEGIS_LINK_UNDECIDED;
            continue;
        }
        candidate->copy_response_ns = response;
        if (candidate->fixed) { /* copies of who has left may still be felt: it only grows */
            const int64_t before =
                (int64_t)atomic_load(&scheduler->entries[candidate->id]->copy_response_ns);
            candidate->copy_response_ns = response > before ? response : before;
        }
        candidate->jitter_ns =
            (uint64_t)candidate->copy_response_ns + scheduler->config.wake_bound_ns;
    }
}

aegis_status
aegis_link_test(const aegis_scheduler *scheduler, aegis_candidate_set *set, aegis_error *err)
{
    const aegis_allocator *allocator = &scheduler->allocator;
    const aegis_admission_limits limits = {.steps = LINK_STEPS};
    aegis_admission_result result;
    size_t count = 0;
    aegis_task *tasks = aegis_allocate_zeroed(allocator, set->count, sizeof *tasks);
    if (tasks == NULL) {
        return aegis_error_set(err, AEGIS_HERE("schedule.link"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to analyse %zu copies", set->count);
    }
    for (size_t i = 0; i < set->count; i++) {
        const aegis_candidate *candidate = &set->candidates[i];
        if (candidate->copy_ns > 0) {
            tasks[count] = aegis_candidate_task(candidate);
            tasks[count].execution = candidate->copy_ns;
            tasks[count].segments = NULL;
            tasks[count++].segment_count = 0;
        }
    }
    aegis_status status = AEGIS_OK;
    set->link = (aegis_link){.verdict = AEGIS_LINK_HOLDS};
    if (count > 0) {
        status = aegis_admission_test(AEGIS_ANALYSIS_FIFO, tasks, count, &limits, allocator,
                                      &result, err);
    }
    if (count > 0 && status == AEGIS_OK) {
        take_responses(scheduler, &result, set);
        aegis_admission_result_finish(&result, allocator);
    }
    aegis_deallocate(allocator, tasks, set->count, sizeof *tasks);
    return status;
}

void aegis_link_refuse(const aegis_link *link, aegis_refusal *ret_refusal)
{
    *ret_refusal = (aegis_refusal){.rationale = link->verdict == AEGIS_LINK_UNDECIDED
                                                    ? AEGIS_WHY_ANALYSIS_UNDECIDED
                                                    : AEGIS_WHY_LINK,
                                   .lane = AEGIS_TRACE_NONE,
                                   .culprit = AEGIS_TRACE_NONE,
                                   .blocker = AEGIS_TRACE_NONE,
                                   .utilisation = link->utilisation};
}

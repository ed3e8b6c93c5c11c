/* SPDX-License-Identifier: Apache-2.0 */
/* What is left at an instant s of the jobs due by d, behind the blocking b(d), in a busy period:
 *   W(s) - s,   W(s) = b(d) + sum_j min(floor((s + J_j) / T_j) + 1, N_j(d)) C_j.
 * edf_response.c looks for the instants at which that is no more than a last segment. None comes
 * before the dip, the first at which it is no more than the longest last segment, and the dip only
 * grows with d. From there the releases are gone through one by one, as many as there are tasks:
 * where more are left, a leap by the fixed point costs less. */
#include "schedule/admission/internal.h"

aegis_outcome aegis_backlog_init(aegis_backlog *backlog, const aegis_analysis_run *run)
{
    *backlog = (aegis_backlog){.count = run->count, .allocator = run->allocator};
    backlog->reciprocals =
        aegis_allocate_zeroed(run->allocator, run->count, sizeof *backlog->reciprocals);
    backlog->heap = aegis_allocate_zeroed(run->allocator, run->count, sizeof *backlog->heap);
    if (backlog->reciprocals == NULL || backlog->heap == NULL) {
        aegis_backlog_finish(backlog);
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    for (size_t i = 0; i < run->count; i++) {
        const aegis_atask *task = &run->tasks[i];
        backlog->reciprocals[i] = UINT64_MAX / task->period;
        backlog->longest_last =
            task->last > backlog->longest_last ? task->last : backlog->longest_last;
    }
    return AEGIS_OUTCOME_DONE;
}

void aegis_backlog_finish(aegis_backlog *backlog)
{
    aegis_deallocate(backlog->allocator, backlog->reciprocals, backlog->count,
                     sizeof *backlog->reciprocals);
    aegis_deallocate(backlog->allocator, backlog->heap, backlog->count, sizeof *backlog->heap);
    backlog->reciprocals = NULL;
    backlog->heap = NULL;
}

/* Jobs of `j` due by d and nominally released after s: ceil((last release - s) / T). A quotient is
 * the product with (2^64 - 1) / T rounded down, or one more: dividing would take most of the time.
 */
static uint64_t
jobs_after(const aegis_backlog *backlog, const aegis_scan *scan, size_t j, uint64_t s)
{
    const int64_t last = scan->last[j];
    if (last <= 0 || s >= (uint64_t)last) {
        return 0;
    }
    uint64_t period = scan->tasks[j].period, since = (uint64_t)last - s - 1;
    uint64_t periods = (uint64_t)(((aegis_u128)since * backlog->reciprocals[j]) >> 64);
    return periods + 1 + (since - periods * period >= period);
}

uint64_t aegis_backlog_work_by(const aegis_backlog *backlog,
                               const aegis_scan *scan,
                               uint64_t blocking,
                               uint64_t s)
{
    uint64_t later = 0;
    for (size_t j = 0; j < scan->count; j++) {
        later += jobs_after(backlog, scan, j, s) * scan->tasks[j].execution;
    }
    return blocking + scan->demand - later;
}

/* The first instant from *s on at which no more than `most` is left, with the work until then. */
static aegis_outcome leap(aegis_backlog *backlog,
                          const aegis_scan *scan,
                          uint64_t blocking,
                          uint64_t most,
                          aegis_budget *budget,
                          uint64_t *s)
{
    uint64_t next = *s;
    do {
        if (!aegis_budget_take(budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
        *s = next;
        backlog->work = aegis_backlog_work_by(backlog, scan, blocking, *s);
        next = backlog->work > *s + most ? backlog->work - most : *s;
    } while (next > *s);
    return AEGIS_OUTCOME_DONE;
}

static void gather_releases(aegis_backlog *backlog, const aegis_scan *scan, uint64_t s)
{
    backlog->live = 0;
    for (size_t j = 0; j < scan->count; j++) {
        uint64_t jobs = jobs_after(backlog, scan, j, s);
        if (jobs > 0) {
            uint64_t at = (uint64_t)scan->last[j] - (jobs - 1) * scan->tasks[j].period;
            if (at < backlog->end) {
                backlog->heap[backlog->live++] = (aegis_scan_event){.at = (int64_t)at, .task = j};
            }
        }
    }
    aegis_events_order(backlog->heap, backlog->live);
}

aegis_outcome aegis_backlog_begin(aegis_backlog *backlog,
                                  const aegis_scan *scan,
                                  const aegis_backlog_look *look,
                                  aegis_budget *budget)
{
    const bool from_dip = look->from <= backlog->dip;
    uint64_t s = from_dip ? backlog->dip : look->from;
    aegis_outcome outcome = leap(backlog, scan, look->blocking,
                                 from_dip ? backlog->longest_last : look->longest_last, budget, &s);
    if (outcome == AEGIS_OUTCOME_DONE) {
        backlog->dip = from_dip ? s : backlog->dip;
        backlog->end = look->end;
        gather_releases(backlog, scan, s);
    }
    return outcome;
}

uint64_t aegis_backlog_until(const aegis_backlog *backlog)
{
    return backlog->live == 0 ? UINT64_MAX : (uint64_t)backlog->heap[0].at;
}

void aegis_backlog_advance(aegis_backlog *backlog, const aegis_scan *scan)
{
    aegis_scan_event *first = &backlog->heap[0];
    const aegis_atask *task = &scan->tasks[first->task];
    backlog->work += task->execution;
    /* There is a later one where this is not the last, so that the sum fits. */
    if (first->at == scan->last[first->task] ||
        (uint64_t)first->at + task->period >= backlog->end) {
        *first = backlog->heap[--backlog->live];
    } else {
        first->at += (int64_t)task->period;
    }
    aegis_events_sink(backlog->heap, backlog->live, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A k-way merge of the tasks' deadlines (or arrivals) with a binary heap: O(log n) an event, and
 * the demand up to the present instant carried along instead of summed anew. */
#include "schedule/admission/internal.h"

void aegis_events_sink(aegis_scan_event *heap, size_t live, size_t at)
{
    aegis_scan_event moving = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= live) {
            break;
        }
        if (child + 1 < live && heap[child + 1].at < heap[child].at) {
            child++;
        }
        if (heap[child].at >= moving.at) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

void aegis_events_order(aegis_scan_event *heap, size_t live)
{
    for (size_t i = live / 2; i-- > 0;) {
        aegis_events_sink(heap, live, i);
    }
}

aegis_outcome aegis_scan_init(aegis_scan *scan, const aegis_analysis_run *run, bool arrivals)
{
    *scan = (aegis_scan){.tasks = run->tasks,
                         .count = run->count,
                         .live = run->count,
                         .arrivals = arrivals,
                         .allocator = run->allocator};
    scan->heap = aegis_allocate_zeroed(scan->allocator, scan->count, sizeof *scan->heap);
    scan->jobs = aegis_allocate_zeroed(scan->allocator, scan->count, sizeof *scan->jobs);
    scan->last = aegis_allocate_zeroed(scan->allocator, scan->count, sizeof *scan->last);
    scan->present = aegis_allocate_zeroed(scan->allocator, scan->count, sizeof *scan->present);
    if (scan->heap == NULL || scan->jobs == NULL || scan->last == NULL || scan->present == NULL) {
        aegis_scan_finish(scan);
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    for (size_t i = 0; i < scan->count; i++) {
        const aegis_atask *task = &scan->tasks[i];
        int64_t first = arrivals ? -(int64_t)task->jitter : aegis_first_deadline(task);
        scan->heap[i] = (aegis_scan_event){.at = first, .task = i};
        scan->last[i] = INT64_MIN;
    }
    aegis_events_order(scan->heap, scan->live);
    return AEGIS_OUTCOME_DONE;
}

uint64_t aegis_scan_skip(aegis_scan *scan, int64_t before)
{
    uint64_t skipped = 0;
    for (size_t k = 0; k < scan->live; k++) {
        aegis_scan_event *next = &scan->heap[k];
        const aegis_atask *task = &scan->tasks[next->task];
        if (next->at < before) {
            uint64_t jobs = ((uint64_t)before - (uint64_t)next->at - 1) / task->period + 1;
            next->at += (int64_t)(jobs * task->period);
            scan->jobs[next->task] += jobs;
            scan->last[next->task] = next->at - (int64_t)(task->period + task->deadline);
            scan->demand += jobs * task->execution;
            skipped += jobs;
        }
    }
    aegis_events_order(scan->heap, scan->live);
    return skipped;
}

void aegis_scan_finish(aegis_scan *scan)
{
    aegis_deallocate(scan->allocator, scan->heap, scan->count, sizeof *scan->heap);
    aegis_deallocate(scan->allocator, scan->jobs, scan->count, sizeof *scan->jobs);
    aegis_deallocate(scan->allocator, scan->last, scan->count, sizeof *scan->last);
    aegis_deallocate(scan->allocator, scan->present, scan->count, sizeof *scan->present);
    scan->heap = NULL;
    scan->jobs = NULL;
    scan->last = NULL;
    scan->present = NULL;
}

/* Counts the first event and puts the task's next one in its place. */
static bool take_first(aegis_scan *scan)
{
    aegis_scan_event *first = &scan->heap[0];
    const aegis_atask *task = &scan->tasks[first->task];
    scan->present[scan->present_count++] = first->task;
    scan->started += scan->jobs[first->task]++ == 0;
    scan->last[first->task] = scan->arrivals ? first->at : first->at - (int64_t)task->deadline;
    if (!aegis_ticks_add(&scan->demand, 1, task->execution)) {
        return false;
    }
    if (__builtin_add_overflow(first->at, (int64_t)task->period, &first->at)) {
        *first = scan->heap[--scan->live];
    }
    aegis_events_sink(scan->heap, scan->live, 0);
    return true;
}

aegis_outcome aegis_scan_next(aegis_scan *scan, int64_t *ret_at)
{
    if (scan->live == 0) {
        return AEGIS_OUTCOME_DIVERGES;
    }
    int64_t at = scan->heap[0].at;
    scan->present_count = 0;
    while (scan->live > 0 && scan->heap[0].at == at) {
        if (!take_first(scan)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
    }
    *ret_at = at;
    return AEGIS_OUTCOME_DONE;
}

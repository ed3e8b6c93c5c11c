/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event of the core, and what it decided: done first, then written down, in the order in which
 * the core saw and made it. Whoever has the turn.
 */
#include "schedule/driver/internal.h"

static uint64_t now_ns(const aegis_scheduler *scheduler)
{
    return aegis_clock_now_ns(&scheduler->config.clock);
}

/* ---- what the core decided ---- */

static void deliver(void *argument)
{
    aegis_call_record *record = argument;
    aegis_entry *entry = record->entry;
    if (record->callback != NULL) {
        record->callback(record->callback_self, &record->result);
    }
    aegis_entry_give_record(entry, record);
}

/* Hands the end of a job to the callback thread, when its submitter wants to hear of it. The
 * callback ring is as long as there are records, so it has room. */
static void end_job(aegis_scheduler *scheduler,
                    aegis_entry *entry,
                    const aegis_core_action *action,
                    aegis_job_end end,
                    const aegis_job_result *times)
{
    uint32_t index = aegis_job_table_find(&scheduler->jobs, action->job);
    if (index == AEGIS_NO_RECORD) {
        return;
    }
    aegis_job_table_remove(&scheduler->jobs, action->job);
    aegis_call_record *record = &entry->records[index];
    record->result = *times;
    record->result.model = entry->id;
    record->result.job = action->job;
    record->result.end = end;
    record->result.rationale = action->rationale;
    record->result.slot = entry->request.external ? index : index % entry->request.slots;
    aegis_command command = {.kind = AEGIS_COMMAND_CALL,
                             .of.call = {.function = deliver, .argument = record}};
    aegis_error error;
    if (aegis_worker_put(scheduler->callbacks, &command, &error) != AEGIS_OK) {
        scheduler->loop_status = AEGIS_ERROR_INTERNAL;
        scheduler->loop_error = error;
    }
    scheduler->has_results = true;
}

uint32_t
aegis_driver_data_slot(const aegis_scheduler *scheduler, const aegis_entry *entry, uint64_t job)
{
    uint32_t index = aegis_job_table_find(&scheduler->jobs, job);
    if (index == AEGIS_NO_RECORD) {
        return 0;
    }
    return entry->request.external ? index : index % entry->request.slots;
}

static void dispatch(aegis_scheduler *scheduler,
                     aegis_entry *entry,
                     const aegis_core_action *action,
                     uint64_t now)
{
    aegis_lane *lane = &scheduler->lanes[action->lane];
    aegis_error error;
    lane->entry = entry;
    lane->job = action->job;
    lane->segment = action->segment;
    lane->data_slot = aegis_driver_data_slot(scheduler, entry, action->job);
    lane->dispatched_ns = now;
    entry->in_job = true;
    aegis_status status = aegis_context_acquire_stream(entry->context, &error);
    if (status == AEGIS_OK) {
        aegis_ahead_open(lane); /* first: all else may wait, and this is waited for */
    }
    lane->running = true;
    aegis_driver_watch(lane, now);
    atomic_store_explicit(&lane->done, false, memory_order_relaxed);
    if (status == AEGIS_OK) {
        aegis_ahead_want(lane, now);
        status = aegis_lane_dispatch(lane, &error);
    } else {
        status = AEGIS_ERROR_INTERNAL; /* the core runs one segment of a model at a time */
    }
    if (status != AEGIS_OK) {
        lane->status = status;
        lane->error = error;
        lane->start_ns = lane->end_ns = now;
        atomic_store_explicit(&lane->done, true, memory_order_relaxed);
        aegis_wake_ring(&scheduler->wake);
    }
}

static void
finish_job(aegis_scheduler *scheduler, aegis_entry *entry, const aegis_core_action *action)
{
    aegis_job_result times = {.release_ns = (uint64_t)action->a,
                              .deadline_ns = (uint64_t)action->b,
                              .finish_ns = (uint64_t)action->c};
    entry->in_job = false;
    if (action->kind == AEGIS_TRACE_ABORT) {
        times.status = (aegis_status)action->d;
        end_job(scheduler, entry, action, AEGIS_JOB_ABORTED, &times);
        return;
    }
    aegis_model_commit(entry->model);
    entry->odd = !entry->odd;
    aegis_histogram_add(&entry->response, (uint64_t)action->d);
    aegis_promise_judge(&entry->promise, &scheduler->lanes[action->lane].promise, action);
    end_job(scheduler, entry, action,
            action->kind == AEGIS_TRACE_MISS ? AEGIS_JOB_MISSED : AEGIS_JOB_COMPLETED, &times);
}

/* ---- continuous models: in the release heap when they want one more job ---- */

void aegis_driver_want_job(aegis_scheduler *scheduler, aegis_entry *entry, uint64_t from_ns)
{
    if (!entry->continuous_waits && entry->continuous_jobs < AEGIS_CONTINUOUS_JOBS &&
        atomic_load_explicit(&entry->active, memory_order_relaxed)) {
        entry->continuous_waits = true;
        entry->next_release_ns = from_ns;
        aegis_release_heap_push(scheduler, entry->id);
    }
}

/* A job ended: the next one comes. One that was refused for lack of room is tried again later; a
 * faulted model waits until its fault is cleared. */
static void
continue_model(aegis_scheduler *scheduler, aegis_entry *entry, const aegis_core_action *action)
{
    bool rejected = action->kind == AEGIS_TRACE_REJECT;
    bool ended = rejected || action->kind == AEGIS_TRACE_COMPLETE ||
                 action->kind == AEGIS_TRACE_ABORT || action->kind == AEGIS_TRACE_SKIP;
    if (!ended || !aegis_request_is_continuous(&entry->request)) {
        return;
    }
    entry->continuous_jobs--;
    if (!rejected) {
        aegis_driver_want_job(scheduler, entry, now_ns(scheduler));
    } else if (action->rationale == AEGIS_WHY_QUEUE_FULL) {
        aegis_driver_want_job(scheduler, entry, now_ns(scheduler) + AEGIS_NS_PER_MS);
    }
}

static void apply(aegis_scheduler *scheduler, const aegis_core_action *action, uint64_t now)
{
    aegis_entry *entry =
        action->model < scheduler->config.max_models ? scheduler->entries[action->model] : NULL;
    aegis_job_result none = {.release_ns = (uint64_t)action->a};
    if (action->lane < scheduler->config.lane_count) {
        aegis_promise_see(&scheduler->lanes[action->lane].promise, action, now);
    }
    if (entry == NULL) {
        return; /* timers and lanes concern no model */
    }
    if (action->kind == AEGIS_TRACE_DISPATCH) {
        entry->is_due = false;
        dispatch(scheduler, entry, action, now);
    } else if (action->kind == AEGIS_TRACE_COPY_IN) {
        aegis_copies_begin(scheduler, entry, action->job,
                           aegis_driver_data_slot(scheduler, entry, action->job), now);
    } else if (action->kind == AEGIS_TRACE_TERMINATE) {
        aegis_model_terminate(entry->model);
    } else if (action->kind == AEGIS_TRACE_COMPLETE || action->kind == AEGIS_TRACE_MISS ||
               action->kind == AEGIS_TRACE_ABORT) {
        aegis_streaming_expect(entry, 0);
        aegis_copies_forget(entry, action->job);
        finish_job(scheduler, entry, action);
    } else if (action->kind == AEGIS_TRACE_REJECT) {
        end_job(scheduler, entry, action, AEGIS_JOB_REJECTED, &none);
    } else if (action->kind == AEGIS_TRACE_SKIP) {
        end_job(scheduler, entry, action, AEGIS_JOB_SKIPPED, &none);
    }
    continue_model(scheduler, entry, action);
}

/* ---- events ---- */

aegis_status aegis_driver_step(aegis_scheduler *scheduler, const aegis_core_event *event)
{
    aegis_trace_record records[AEGIS_MAX_SEGMENTS + 2];
    size_t count = 0;
    uint64_t now = now_ns(scheduler);
    aegis_error error;
    aegis_status status =
        aegis_core_step(scheduler->core, now, event, scheduler->actions, &count, &error);
    uint64_t after = now_ns(scheduler);
    if (status != AEGIS_OK) {
        scheduler->loop_status = status;
        scheduler->loop_error = error;
        return status;
    }
    /* What was decided is done before it is written down: a lane waits for it. */
    for (size_t i = 0; i < count; i++) {
        apply(scheduler, &scheduler->actions[i], now);
    }
    if (event->kind != AEGIS_CORE_SUBMIT || !event->more) {
        aegis_ahead_want_again(scheduler, now);
    }
    if (scheduler->has_results) { /* a wake takes longer than a decision: after the lanes' */
        scheduler->has_results = false;
        aegis_worker_wake(scheduler->callbacks);
    }
    size_t record_count = aegis_core_event_to_records(event, now, records);
    for (size_t i = 0; i < record_count; i++) {
        aegis_trace_record_write(scheduler->ring, &records[i]);
    }
    for (size_t i = 0; i < count; i++) {
        aegis_trace_record record = aegis_core_action_to_record(&scheduler->actions[i], now);
        aegis_trace_record_write(scheduler->ring, &record);
    }
    if (count > 0) {
        aegis_histogram_add(&scheduler->decision_times, after - now);
        atomic_fetch_add_explicit(&scheduler->decisions, count, memory_order_relaxed);
    }
    return AEGIS_OK;
}

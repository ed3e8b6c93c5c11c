/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies in, on a stream of their own. When the core releases a job of a model with early copies it
 * asks for the job's inputs; they are enqueued behind those that are on their way, while the lanes
 * execute what they execute, and the job is ready when the core hears that they have come. One copy
 * of a model is under way at a time, so the ring has room for all.
 */
#include "schedule/driver/internal.h"

#include <assert.h>

aegis_status aegis_copies_check(const aegis_entry *entry, aegis_error *err)
{
    const bool wanted = entry->request.early_copies;
    if (aegis_model_copies_early(entry->model) == wanted) {
        return AEGIS_OK;
    }
    return aegis_error_set(err, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_CONFIG,
                           "%s was opened %s early copies and admitted %s; say the same in "
                           "aegis_model_config and aegis_admission_request",
                           aegis_context_name(entry->context), wanted ? "without" : "with",
                           wanted ? "with" : "without");
}

/* ---- on the stream's own thread ---- */

static void enqueue(void *argument)
{
    aegis_entry *entry = argument;
    aegis_stream *stream = entry->scheduler->config.copy_stream;
    aegis_copy *copy = &entry->copy;
    copy->start_ns = aegis_clock_now_ns(&entry->scheduler->config.clock);
    aegis_stream_expect(stream, entry->profile.copy_least_ns);
    copy->status = aegis_model_enqueue_inputs(entry->model, copy->data_slot, stream, &copy->error);
}

static void finish(void *argument)
{
    aegis_entry *entry = argument;
    aegis_scheduler *scheduler = entry->scheduler;
    aegis_copy *copy = &entry->copy;
    aegis_error error;
    copy->end_ns = aegis_clock_now_ns(&scheduler->config.clock);
    aegis_status status = aegis_stream_take_failure(scheduler->config.copy_stream, &error);
    if (status != AEGIS_OK && copy->status == AEGIS_OK) {
        copy->status = status;
        copy->error = error;
        aegis_error_prefix(&copy->error, "copying its inputs");
    }
    atomic_store_explicit(&copy->done, true, memory_order_release);
    aegis_driver_segment_ended(scheduler); /* from here on the entry may go */
}

/* ---- in the turn ---- */

void aegis_copies_begin(
    aegis_scheduler *scheduler, aegis_entry *entry, uint64_t job, uint32_t data_slot, uint64_t now)
{
    aegis_stream *stream = scheduler->config.copy_stream;
    aegis_copy *copy = &entry->copy;
    const uint64_t hang_ns = scheduler->config.hang_ns;
    const uint32_t at =
        (scheduler->first_copy + scheduler->copy_count) % scheduler->config.max_models;
    if (scheduler->copies_hang) {
        return; /* it would never come */
    }
    assert(!copy->under_way);
    copy->job = job;
    copy->data_slot = data_slot;
    copy->under_way = true;
    copy->begun_ns = now;
    copy->hung_at_ns = hang_ns == 0 ? UINT64_MAX : now + entry->core.jitter_ns + hang_ns;
    atomic_store_explicit(&copy->done, false, memory_order_relaxed);
    scheduler->copies[at] = entry;
    scheduler->copy_count++;
    aegis_status status = aegis_stream_call(stream, enqueue, entry, &copy->error);
    if (status == AEGIS_OK) {
        status = aegis_stream_notify(stream, finish, entry, &copy->error);
    }
    if (status != AEGIS_OK) {
        copy->status = status;
        copy->start_ns = copy->end_ns = now;
        atomic_store_explicit(&copy->done, true, memory_order_release);
        aegis_wake_ring(&scheduler->wake);
    }
}

static void take_failure(aegis_scheduler *scheduler, aegis_entry *entry, uint64_t job)
{
    const aegis_copy *copy = &entry->copy;
    aegis_driver_keep_fatal_copy(scheduler, entry);
    if (copy->status == AEGIS_OK || copy->error.category == AEGIS_CATEGORY_TRANSIENT) {
        return;
    }
    aegis_trace_record record = {.time_ns = copy->end_ns,
                                 .job = job,
                                 .kind = AEGIS_TRACE_FAULT,
                                 .model = (uint16_t)entry->id,
                                 .lane = AEGIS_TRACE_NONE,
                                 .a = copy->error.status,
                                 .b = copy->error.category,
                                 .c = copy->error.native_code};
    aegis_context_set_error(entry->context, &copy->error);
    aegis_trace_record_write(scheduler->ring, &record);
}

static void tell_core(aegis_scheduler *scheduler, aegis_entry *entry)
{
    aegis_copy *copy = &entry->copy;
    const aegis_core_event event = {.kind = AEGIS_CORE_INPUTS_READY,
                                    .model = entry->id,
                                    .job = copy->job,
                                    .start_ns = copy->start_ns,
                                    .end_ns = copy->end_ns,
                                    .status = copy->status};
    take_failure(scheduler, entry, event.job);
    if (event.status == AEGIS_OK) {
        aegis_histogram_add(&entry->arrival, event.end_ns - copy->begun_ns);
    }
    copy->job = 0;
    copy->under_way = false;
    if (event.job != 0) {
        aegis_driver_step(scheduler, &event);
    }
}

bool aegis_copies_collect(aegis_scheduler *scheduler)
{
    bool any = false;
    while (scheduler->copy_count > 0) {
        aegis_entry *entry = scheduler->copies[scheduler->first_copy];
        if (!atomic_load_explicit(&entry->copy.done, memory_order_acquire)) {
            break;
        }
        any = true;
        scheduler->first_copy = (scheduler->first_copy + 1) % scheduler->config.max_models;
        scheduler->copy_count--;
        tell_core(scheduler, entry);
    }
    return any;
}

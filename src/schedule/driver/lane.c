/* SPDX-License-Identifier: Apache-2.0 */
/* One segment on one lane, on the stream's own thread. */
#include "schedule/driver/internal.h"

static void fill_execute_record(const aegis_lane *lane, aegis_trace_record *record)
{
    *record = (aegis_trace_record){.time_ns = lane->end_ns,
                                   .job = lane->job,
                                   .kind = AEGIS_TRACE_EXECUTE,
                                   .model = (uint16_t)lane->entry->id,
                                   .lane = lane->index,
                                   .a = lane->segment,
                                   .b = (int64_t)lane->start_ns,
                                   .c = (int64_t)lane->end_ns,
                                   .d = lane->status};
}

/* Of a paged model whose weights were not there. */
static void record_page_in(const aegis_lane *lane)
{
    uint64_t bytes = aegis_model_last_paged_bytes(lane->entry->model);
    aegis_trace_record record = {.time_ns = lane->end_ns,
                                 .job = lane->job,
                                 .kind = AEGIS_TRACE_PAGE_IN,
                                 .model = (uint16_t)lane->entry->id,
                                 .lane = lane->index,
                                 .a = lane->segment,
                                 .b = (int64_t)bytes};
    if (bytes > 0) {
        atomic_fetch_add_explicit(&lane->entry->page_ins, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&lane->entry->paged_in_bytes, bytes, memory_order_relaxed);
        aegis_trace_record_write(lane->ring, &record);
    }
}

static void record_fault(const aegis_lane *lane)
{
    aegis_model_spill spill;
    aegis_trace_record record = {.time_ns = lane->end_ns,
                                 .job = lane->job,
                                 .kind = AEGIS_TRACE_FAULT,
                                 .model = (uint16_t)lane->entry->id,
                                 .lane = lane->index,
                                 .a = lane->error.status,
                                 .b = lane->error.category,
                                 .c = lane->error.native_code};
    aegis_trace_record_write(lane->ring, &record);
    aegis_model_last_spill(lane->entry->model, &spill);
    if (spill.first_index >= 0) {
        record.kind = AEGIS_TRACE_SPILL;
        record.a = spill.first_index;
        record.b = (int64_t)spill.asked_bytes;
        record.c = (int64_t)spill.expected_bytes;
        aegis_trace_record_write(lane->ring, &record);
    }
}

static void execute(void *argument)
{
    aegis_lane *lane = argument;
    aegis_model *model = lane->entry->model;
    if (lane->opened) { /* it has been running since the decision */
        lane->start_ns = lane->dispatched_ns;
        aegis_stream_expect(lane->stream, lane->entry->least_ns[lane->segment]);
        aegis_stream_ahead_take(lane->stream);
        lane->status = aegis_model_take_ahead(model, lane->segment, lane->data_slot, &lane->error);
    } else {
        lane->start_ns = aegis_clock_now_ns(&lane->scheduler->config.clock);
        aegis_stream_expect(lane->stream, lane->entry->least_ns[lane->segment]);
        lane->status =
            aegis_model_execute(model, lane->segment, lane->data_slot, lane->stream, &lane->error);
    }
    if (lane->status == AEGIS_OK) {
        aegis_ahead_put(lane);
    }
}

/* What the backend enqueued may have failed after its call returned. */
static void take_failure(aegis_lane *lane)
{
    aegis_error error;
    aegis_status status = aegis_stream_take_failure(lane->stream, &error);
    if (status != AEGIS_OK && lane->status == AEGIS_OK) {
        lane->status = status;
        lane->error = error;
        aegis_error_prefix(&lane->error, "segment %u", lane->segment);
    }
}

/* After the device has finished the segment. What only tells about it comes after the decision that
 * waits for it: by then the lane may be another segment's. */
static void finish(void *argument)
{
    aegis_lane *lane = argument;
    aegis_trace_record record;
    lane->end_ns = aegis_clock_now_ns(&lane->scheduler->config.clock);
    take_failure(lane);
    uint64_t took_ns = lane->end_ns - lane->start_ns;
    fill_execute_record(lane, &record);
    record_page_in(lane);
    if (lane->status != AEGIS_OK && lane->error.category != AEGIS_CATEGORY_TRANSIENT) {
        aegis_context_set_error(lane->entry->context, &lane->error);
        record_fault(lane);
    }
    atomic_store_explicit(&lane->done, true, memory_order_release);
    aegis_driver_segment_ended(lane->scheduler);
    atomic_fetch_add_explicit(&lane->busy_ns, took_ns, memory_order_relaxed);
    aegis_trace_record_write(lane->ring, &record);
}

aegis_status aegis_lane_dispatch(aegis_lane *lane, aegis_error *err)
{
    aegis_status status = aegis_stream_call(lane->stream, execute, lane, err);
    return status != AEGIS_OK ? status : aegis_stream_notify(lane->stream, finish, lane, err);
}

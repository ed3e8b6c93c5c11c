/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/timeline.h"

#include "base/base.h"
#include "trace/file.h"
#include "trace/sort.h"

/* More jobs of one model (or runs on one lane) than this at once are not drawn as slices. */
#define MOST_ROWS 256

/* Order of the events of one instant: what ends makes room for what begins. A slice without length
 * begins and ends in between, after its job's submission and before the job's completion, for a
 * viewer follows flows in this order. */
enum {
    PHASE_END,
    PHASE_INSTANT,
    PHASE_EMPTY_SLICE,
    PHASE_JOB_END,
    PHASE_BEGIN
};

/* Something with a length on a lane (an execution) or a model (a job). */
typedef struct slice {
    uint64_t track; /* its first row */
    uint64_t start_ns, end_ns;
    uint32_t record;
} slice;

static uint64_t instant(int64_t ns)
{
    return ns < 0 ? 0 : (uint64_t)ns;
}

static uint64_t model_track(uint16_t model)
{
    return model == AEGIS_TRACE_NONE ? aegis_trace_track(TRACE_TRACK_SCHEDULER, 0, 0, 0)
                                     : aegis_trace_track(TRACE_TRACK_MODEL, 0, model, 0);
}

static uint64_t lane_track(uint16_t lane)
{
    return lane == AEGIS_TRACE_NONE ? aegis_trace_track(TRACE_TRACK_SCHEDULER, 0, 0, 0)
                                    : aegis_trace_track(TRACE_TRACK_LANE, 0, lane, 0);
}

static uint64_t queue_track(uint16_t model)
{
    return aegis_trace_track(TRACE_TRACK_COUNTER, AEGIS_COUNTER_QUEUE_DEPTH, model, 0);
}

static slice make_slice(uint64_t track, int64_t start, int64_t end, uint32_t index)
{
    slice made = {
        .track = track, .start_ns = instant(start), .end_ns = instant(end), .record = index};
    if (made.end_ns < made.start_ns) {
        made.end_ns = made.start_ns;
    }
    return made;
}

/* Executions on lanes; jobs, from release to the record that ends them, on models. */
static bool slice_of(const aegis_trace_record *record, uint32_t index, slice *ret_slice)
{
    switch (record->kind) {
    case AEGIS_TRACE_EXECUTE:
        *ret_slice = make_slice(lane_track(record->lane), record->b, record->c, index);
        return true;
    case AEGIS_TRACE_COMPLETE:
    case AEGIS_TRACE_MISS:
    case AEGIS_TRACE_ABORT:
        *ret_slice = make_slice(model_track(record->model), record->a, record->c, index);
        return true;
    default:
        return false;
    }
}

/* Everything else that is drawn. False for kinds that would only be noise. */
static bool event_of(const aegis_trace_record *record, trace_event *event)
{
    event->time_ns = record->time_ns;
    event->type = TRACE_EVENT_INSTANT;
    event->phase = PHASE_INSTANT;
    switch (record->kind) {
    case AEGIS_TRACE_COMPLETE:
    case AEGIS_TRACE_MISS:
    case AEGIS_TRACE_ABORT:
        event->time_ns = instant(record->c);
        event->phase = PHASE_JOB_END;
        event->track = model_track(record->model);
        return true;
    case AEGIS_TRACE_REJECT:
    case AEGIS_TRACE_SKIP:
        event->phase = PHASE_JOB_END;
        event->track = model_track(record->model);
        return true;
    case AEGIS_TRACE_EVENT_SUBMIT:
    case AEGIS_TRACE_ADMISSION_STEP:
    case AEGIS_TRACE_ADMITTED:
    case AEGIS_TRACE_REFUSED:
    case AEGIS_TRACE_EVICTED:
    case AEGIS_TRACE_SPILL:
    case AEGIS_TRACE_FAULT:
        event->track = model_track(record->model);
        return true;
    case AEGIS_TRACE_OVERRUN:
    case AEGIS_TRACE_TERMINATE:
    case AEGIS_TRACE_LANE_WHOLE:
    case AEGIS_TRACE_IDLE_UNTIL:
    case AEGIS_TRACE_SYNCHRONIZE:
        event->track = lane_track(record->lane);
        return true;
    case AEGIS_TRACE_DISPATCH:
    case AEGIS_TRACE_EVENT_MODE:
    case AEGIS_TRACE_PLAN:
    case AEGIS_TRACE_PRESSURE:
    case AEGIS_TRACE_MARK:
        event->track = aegis_trace_track(TRACE_TRACK_SCHEDULER, 0, 0, 0);
        return true;
    case AEGIS_TRACE_COUNTER:
        event->type = TRACE_EVENT_COUNTER;
        event->track =
            aegis_trace_track(TRACE_TRACK_COUNTER, (unsigned)record->a & 0xff, record->model, 0);
        return record->a == AEGIS_COUNTER_MEMORY_BYTES ||
               record->a == AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES;
    default:
        return false;
    }
}

/* A job comes to its model or leaves it: its queue is as long as there are jobs that have not
 * ended. False for all other records. `jobs` is filled in when all events are in order. */
static bool step_of(const aegis_trace_record *record, trace_event *event)
{
    bool comes = record->kind == AEGIS_TRACE_EVENT_SUBMIT;
    bool leaves = event_of(record, event) && event->phase == PHASE_JOB_END;
    if (record->model == AEGIS_TRACE_NONE || (!comes && !leaves)) {
        return false;
    }
    event->type = TRACE_EVENT_COUNTER;
    event->track = queue_track(record->model);
    return true;
}

static void add_event(trace_timeline *timeline, trace_event event)
{
    timeline->events[timeline->event_count++] = event;
}

static void add_slice(trace_timeline *timeline, const slice *drawn, uint32_t row)
{
    bool is_empty = drawn->start_ns == drawn->end_ns;
    add_event(timeline, (trace_event){.time_ns = drawn->start_ns,
                                      .track = drawn->track + row,
                                      .record = drawn->record,
                                      .type = TRACE_EVENT_BEGIN,
                                      .phase = is_empty ? PHASE_EMPTY_SLICE : PHASE_BEGIN});
    add_event(timeline, (trace_event){.time_ns = drawn->end_ns,
                                      .track = drawn->track + row,
                                      .record = drawn->record,
                                      .type = TRACE_EVENT_END,
                                      .phase = is_empty ? PHASE_EMPTY_SLICE : PHASE_END});
}

/* Gives each slice the first row of its track that is free, for slices of one row must not overlap.
 * `slices` are in order of track, start and end. */
static void add_slices(trace_timeline *timeline, const slice *slices, size_t count)
{
    uint64_t free_at[MOST_ROWS];
    uint32_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || slices[i].track != slices[i - 1].track) {
            rows = 0;
        }
        uint32_t row = 0;
        while (row < rows && free_at[row] > slices[i].start_ns) {
            row++;
        }
        if (row == MOST_ROWS) {
            continue;
        }
        rows = row == rows ? rows + 1 : rows;
        free_at[row] = slices[i].end_ns;
        add_slice(timeline, &slices[i], row);
    }
}

static bool is_slice_before(const void *context, const void *b, const void *a)
{
    (void)context;
    const slice *early = b, *late = a;
    if (early->track != late->track) {
        return early->track < late->track;
    }
    if (early->start_ns != late->start_ns) {
        return early->start_ns < late->start_ns;
    }
    return early->end_ns < late->end_ns;
}

static bool is_event_before(const void *context, const void *b, const void *a)
{
    (void)context;
    const trace_event *early = b, *late = a;
    if (early->time_ns != late->time_ns) {
        return early->time_ns < late->time_ns;
    }
    return early->phase < late->phase;
}

static bool is_track_before(const void *context, const void *b, const void *a)
{
    (void)context;
    return *(const uint64_t *)b < *(const uint64_t *)a;
}

static void collect(trace_timeline *timeline,
                    const aegis_trace_record *records,
                    size_t count,
                    slice *slices,
                    slice *scratch)
{
    size_t slice_count = 0;
    for (size_t i = 0; i < count; i++) {
        trace_event event = {.record = (uint32_t)i};
        if (event_of(&records[i], &event)) {
            add_event(timeline, event);
        }
        if (step_of(&records[i], &event)) {
            add_event(timeline, event);
        }
        slice_count += slice_of(&records[i], (uint32_t)i, &slices[slice_count]);
    }
    aegis_trace_sort(slices, scratch, slice_count, sizeof *slices, is_slice_before, NULL);
    add_slices(timeline, slices, slice_count);
}

/* A trace that begins in the middle holds ends of jobs whose submission it does not hold. */
static void count_jobs(trace_timeline *timeline, const aegis_trace_record *records, uint32_t *jobs)
{
    for (size_t i = 0; i < timeline->event_count; i++) {
        trace_event *event = &timeline->events[i];
        const aegis_trace_record *record = &records[event->record];
        if (event->type != TRACE_EVENT_COUNTER || record->kind == AEGIS_TRACE_COUNTER) {
            continue;
        }
        uint32_t *of_model = &jobs[record->model];
        if (record->kind == AEGIS_TRACE_EVENT_SUBMIT) {
            (*of_model)++;
        } else if (*of_model > 0) {
            (*of_model)--;
        }
        event->jobs = (uint16_t)(*of_model < UINT16_MAX ? *of_model : UINT16_MAX);
    }
}

static size_t count_steps(const aegis_trace_record *records, size_t count)
{
    trace_event unused;
    size_t steps = 0;
    for (size_t i = 0; i < count; i++) {
        steps += step_of(&records[i], &unused);
    }
    return steps;
}

static size_t count_slices(const aegis_trace_record *records, size_t count)
{
    slice unused;
    size_t slices = 0;
    for (size_t i = 0; i < count; i++) {
        slices += slice_of(&records[i], 0, &unused);
    }
    return slices;
}

static aegis_status out_of_memory(aegis_error *err, size_t count)
{
    return aegis_error_set(err, AEGIS_HERE("trace.timeline"), AEGIS_ERROR_NO_MEMORY,
                           "no memory for the timeline of %zu trace records", count);
}

static aegis_status
collect_events(trace_timeline *timeline, const aegis_trace_file *file, aegis_error *err)
{
    size_t count;
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    const aegis_allocator *allocator = &timeline->allocator;
    size_t room = 2 * (count_slices(records, count) + 1); /* one is looked at before it is kept */
    slice *slices = aegis_allocate_zeroed(allocator, room, sizeof *slices);
    uint32_t *jobs = aegis_allocate_zeroed(allocator, AEGIS_TRACE_NONE, sizeof *jobs);
    timeline->event_capacity = count + room + count_steps(records, count);
    timeline->events =
        aegis_allocate_zeroed(allocator, timeline->event_capacity, sizeof *timeline->events);
    trace_event *scratch =
        aegis_allocate_zeroed(allocator, timeline->event_capacity, sizeof *scratch);
    bool is_enough = slices != NULL && jobs != NULL && timeline->events != NULL && scratch != NULL;
    if (is_enough) {
        collect(timeline, records, count, slices, slices + room / 2);
        aegis_trace_sort(timeline->events, scratch, timeline->event_count, sizeof *scratch,
                         is_event_before, NULL);
        count_jobs(timeline, records, jobs);
    }
    aegis_deallocate(allocator, jobs, AEGIS_TRACE_NONE, sizeof *jobs);
    aegis_deallocate(allocator, scratch, timeline->event_capacity, sizeof *scratch);
    aegis_deallocate(allocator, slices, room, sizeof *slices);
    return is_enough ? AEGIS_OK : out_of_memory(err, count);
}

static void add_track(trace_timeline *timeline, uint64_t track)
{
    timeline->tracks[timeline->track_count++] = track;
}

static void remove_duplicates(trace_timeline *timeline)
{
    size_t kept = 0;
    for (size_t i = 0; i < timeline->track_count; i++) {
        if (kept == 0 || timeline->tracks[i] != timeline->tracks[kept - 1]) {
            timeline->tracks[kept++] = timeline->tracks[i];
        }
    }
    timeline->track_count = kept;
}

/* The tracks of all events, and those of the lanes and models of the header though nothing
 * happened there. */
static aegis_status
collect_tracks(trace_timeline *timeline, const aegis_trace_file *file, aegis_error *err)
{
    size_t lanes = aegis_trace_file_header_lanes(file);
    size_t models = aegis_trace_file_model_count(file);
    models = models < AEGIS_TRACE_NONE ? models : AEGIS_TRACE_NONE;
    timeline->track_capacity = timeline->event_count + lanes + models + 1;
    timeline->tracks = aegis_allocate_zeroed(&timeline->allocator, timeline->track_capacity,
                                             sizeof *timeline->tracks);
    uint64_t *scratch =
        aegis_allocate_zeroed(&timeline->allocator, timeline->track_capacity, sizeof *scratch);
    bool is_enough = timeline->tracks != NULL && scratch != NULL;
    if (is_enough) {
        add_track(timeline, aegis_trace_track(TRACE_TRACK_SCHEDULER, 0, 0, 0));
        for (size_t i = 0; i < lanes; i++) {
            add_track(timeline, lane_track((uint16_t)i));
        }
        for (size_t i = 0; i < models; i++) {
            add_track(timeline, model_track((uint16_t)i));
        }
        for (size_t i = 0; i < timeline->event_count; i++) {
            add_track(timeline, timeline->events[i].track);
        }
        aegis_trace_sort(timeline->tracks, scratch, timeline->track_count, sizeof *scratch,
                         is_track_before, NULL);
        remove_duplicates(timeline);
    }
    aegis_deallocate(&timeline->allocator, scratch, timeline->track_capacity, sizeof *scratch);
    return is_enough ? AEGIS_OK : out_of_memory(err, timeline->event_count);
}

aegis_status
aegis_trace_timeline_init(trace_timeline *timeline, const aegis_trace_file *file, aegis_error *err)
{
    *timeline = (trace_timeline){.allocator = file->allocator};
    aegis_status status = collect_events(timeline, file, err);
    if (status == AEGIS_OK) {
        status = collect_tracks(timeline, file, err);
    }
    if (status != AEGIS_OK) {
        aegis_trace_timeline_finish(timeline);
    }
    return status;
}

void aegis_trace_timeline_finish(trace_timeline *timeline)
{
    const aegis_allocator *allocator = &timeline->allocator;
    aegis_deallocate(allocator, timeline->events, timeline->event_capacity,
                     sizeof *timeline->events);
    aegis_deallocate(allocator, timeline->tracks, timeline->track_capacity,
                     sizeof *timeline->tracks);
    timeline->events = NULL;
    timeline->tracks = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_TIMELINE_H
#define AEGIS_TRACE_TIMELINE_H

/* A trace as events on tracks in the order in which a viewer must get them. */

#include <aegisrt/trace.h>

typedef enum trace_track_type {
    TRACE_TRACK_PROCESS = 1,
    TRACE_TRACK_SCHEDULER,
    TRACE_TRACK_LANE,
    TRACE_TRACK_MODEL,
    TRACE_TRACK_COUNTER
} trace_track_type;

/* A track's number says what it is: type, counter (for counters), lane or model, and the row among
 * those that overlap. Never 0. */
static inline uint64_t
aegis_trace_track(trace_track_type type, unsigned counter, uint16_t index, uint32_t row)
{
    return (uint64_t)type << 56 | (uint64_t)(counter & 0xff) << 48 | (uint64_t)index << 32 | row;
}

static inline trace_track_type aegis_trace_track_type(uint64_t track)
{
    return (trace_track_type)(track >> 56);
}

static inline unsigned aegis_trace_track_counter(uint64_t track)
{
    return (unsigned)(track >> 48 & 0xff);
}

static inline uint16_t aegis_trace_track_index(uint64_t track)
{
    return (uint16_t)(track >> 32 & 0xffff);
}

/* Values are those of Perfetto's TrackEvent.Type. */
typedef enum trace_event_type {
    TRACE_EVENT_BEGIN = 1,
    TRACE_EVENT_END = 2,
    TRACE_EVENT_INSTANT = 3,
    TRACE_EVENT_COUNTER = 4
} trace_event_type;

typedef struct trace_event {
    uint64_t time_ns;
    uint64_t track;
    uint32_t record; /* index into the trace's records */
    uint8_t type;    /* trace_event_type */
    uint8_t phase;   /* order among the events of one instant */
    uint16_t jobs;   /* of a COUNTER that no record holds: jobs of the model that have not ended */
} trace_event;

typedef struct trace_timeline {
    aegis_allocator allocator;
    size_t event_count, event_capacity;
    trace_event *events; /* in order; every BEGIN has its END on the same track */
    size_t track_count, track_capacity;
    uint64_t *tracks; /* each once, lanes before models before counters */
} trace_timeline;

/* NO_MEMORY. */
aegis_status
aegis_trace_timeline_init(trace_timeline *timeline, const aegis_trace_file *file, aegis_error *err);
void aegis_trace_timeline_finish(trace_timeline *timeline);

#endif

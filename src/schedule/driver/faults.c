/* SPDX-License-Identifier: Apache-2.0 */
/* What ends a run for good: a device that is lost, and a segment that does not end. Whoever has the
 * turn. The first failure is kept; stop returns it, and others may ask for it while it runs. */
#include "schedule/driver/internal.h"

#include <inttypes.h>
#include <stdio.h>

#define COPIES "copy stream"

static void keep(aegis_scheduler *scheduler,
                 const char *stream,
                 const aegis_entry *entry,
                 const aegis_error *error)
{
    if (scheduler->loop_status != AEGIS_OK) {
        return;
    }
    scheduler->loop_status = error->status;
    scheduler->loop_error = *error;
    aegis_error_prefix(&scheduler->loop_error, "%s: model '%s'", stream,
                       aegis_context_name(entry->context));
    atomic_store_explicit(&scheduler->failed, true, memory_order_release);
}

static void
keep_of_lane(aegis_scheduler *scheduler, const aegis_lane *lane, const aegis_error *error)
{
    char name[16];
    snprintf(name, sizeof name, "lane %u", lane->index);
    keep(scheduler, name, lane->entry, error);
}

void aegis_driver_keep_fatal(aegis_scheduler *scheduler, const aegis_lane *lane)
{
    if (lane->status != AEGIS_OK && lane->error.category == AEGIS_CATEGORY_FATAL) {
        keep_of_lane(scheduler, lane, &lane->error);
    }
}

void aegis_driver_keep_fatal_copy(aegis_scheduler *scheduler, const aegis_entry *entry)
{
    if (entry->copy.status != AEGIS_OK && entry->copy.error.category == AEGIS_CATEGORY_FATAL) {
        keep(scheduler, COPIES, entry, &entry->copy.error);
    }
}

/* The thread of its stream may still write into lane, copy, rings and model: nothing of the
 * scheduler may be given back any more. */
static void end_hung(aegis_scheduler *scheduler,
                     aegis_entry *entry,
                     const aegis_error *error,
                     aegis_trace_record record)
{
    aegis_context_set_error(entry->context, error);
    record.kind = AEGIS_TRACE_FAULT;
    record.model = (uint16_t)entry->id;
    record.a = error->status;
    record.b = error->category;
    aegis_trace_record_write(scheduler->ring, &record);
    atomic_store(&scheduler->hung, true);
    atomic_store(&scheduler->accepting, false);
}

static void give_up(aegis_scheduler *scheduler, aegis_lane *lane, uint64_t now)
{
    aegis_error error;
    aegis_error_set(&error, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_DEVICE_LOST,
                    "segment %" PRIu32 " has been running for %" PRIu64 " ms, %" PRIu64
                    " ms past its bound ([schedule] hang): it does not end; end the process",
                    lane->segment, (now - lane->dispatched_ns) / AEGIS_NS_PER_MS,
                    scheduler->config.hang_ns / AEGIS_NS_PER_MS);
    keep_of_lane(scheduler, lane, &error);
    end_hung(scheduler, lane->entry, &error,
             (aegis_trace_record){.time_ns = now, .job = lane->job, .lane = lane->index});
    lane->running = false;
    lane->hung = true;
}

/* Those behind it wait for it. */
static void give_up_copies(aegis_scheduler *scheduler, aegis_entry *entry, uint64_t now)
{
    aegis_error error;
    aegis_error_set(&error, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_DEVICE_LOST,
                    "the copy of its inputs has been under way for %" PRIu64 " ms, %" PRIu64
                    " ms past its bound ([schedule] hang): it does not end; end the process",
                    (now - entry->copy.begun_ns) / AEGIS_NS_PER_MS,
                    scheduler->config.hang_ns / AEGIS_NS_PER_MS);
    keep(scheduler, COPIES, entry, &error);
    end_hung(
        scheduler, entry, &error,
        (aegis_trace_record){.time_ns = now, .job = entry->copy.job, .lane = AEGIS_TRACE_NONE});
    scheduler->copies_hang = true;
    scheduler->copy_count = 0;
}

static aegis_entry *first_copy(const aegis_scheduler *scheduler)
{
    return scheduler->copy_count > 0 ? scheduler->copies[scheduler->first_copy] : NULL;
}

void aegis_driver_watch(aegis_lane *lane, uint64_t now)
{
    uint64_t hang_ns = lane->scheduler->config.hang_ns;
    lane->hung_at_ns =
        hang_ns == 0 ? UINT64_MAX
                     : now + lane->entry->core.segment_enforceable_ns[lane->segment] + hang_ns;
}

void aegis_driver_find_hung(aegis_scheduler *scheduler)
{
    if (scheduler->config.hang_ns == 0) {
        return;
    }
    uint64_t now = aegis_clock_now_ns(&scheduler->config.clock);
    for (uint16_t i = 0; i < scheduler->config.lane_count; i++) {
        aegis_lane *lane = &scheduler->lanes[i];
        if (lane->running && now >= lane->hung_at_ns &&
            !atomic_load_explicit(&lane->done, memory_order_acquire)) {
            give_up(scheduler, lane, now);
        }
    }
    aegis_entry *copied = first_copy(scheduler);
    if (copied != NULL && now >= copied->copy.hung_at_ns &&
        !atomic_load_explicit(&copied->copy.done, memory_order_acquire)) {
        give_up_copies(scheduler, copied, now);
    }
}

uint64_t aegis_driver_next_hang(const aegis_scheduler *scheduler)
{
    uint64_t next = UINT64_MAX;
    for (uint16_t i = 0; i < scheduler->config.lane_count && scheduler->config.hang_ns > 0; i++) {
        const aegis_lane *lane = &scheduler->lanes[i];
        if (lane->running && lane->hung_at_ns < next) {
            next = lane->hung_at_ns;
        }
    }
    const aegis_entry *copied = scheduler->config.hang_ns > 0 ? first_copy(scheduler) : NULL;
    next = copied != NULL && copied->copy.hung_at_ns < next ? copied->copy.hung_at_ns : next;
    return next;
}

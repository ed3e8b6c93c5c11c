/* SPDX-License-Identifier: Apache-2.0 */
/* What ends a run for good: a device that is lost, and a segment that does not end. Whoever has the
 * turn. The first failure is kept; stop returns it, and others may ask for it while it runs. */
#include "schedule/driver/internal.h"

#include <inttypes.h>

static void keep(aegis_scheduler *scheduler, const aegis_lane *lane, const aegis_error *error)
{
    if (scheduler->loop_status != AEGIS_OK) {
        return;
    }
    scheduler->loop_status = error->status;
    scheduler->loop_error = *error;
    aegis_error_prefix(&scheduler->loop_error, "lane %u: model '%s'", lane->index,
                       aegis_context_name(lane->entry->context));
    atomic_store_explicit(&scheduler->failed, true, memory_order_release);
}

void aegis_driver_keep_fatal(aegis_scheduler *scheduler, const aegis_lane *lane)
{
    if (lane->status != AEGIS_OK && lane->error.category == AEGIS_CATEGORY_FATAL) {
        keep(scheduler, lane, &lane->error);
    }
}

/* Its thread may still write into the lane, the rings and the model: nothing of the scheduler may
 * be given back any more. */
static void give_up(aegis_scheduler *scheduler, aegis_lane *lane, uint64_t now)
{
    aegis_entry *entry = lane->entry;
    aegis_error error;
    aegis_error_set(&error, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_DEVICE_LOST,
                    "segment %" PRIu32 " has been running for %" PRIu64 " ms, %" PRIu64
                    " ms past its bound ([schedule] hang): it does not end; end the process",
                    lane->segment, (now - lane->dispatched_ns) / AEGIS_NS_PER_MS,
                    scheduler->config.hang_ns / AEGIS_NS_PER_MS);
    keep(scheduler, lane, &error);
    aegis_context_set_error(entry->context, &error);
    aegis_trace_record record = {.time_ns = now,
                                 .job = lane->job,
                                 .kind = AEGIS_TRACE_FAULT,
                                 .model = (uint16_t)entry->id,
                                 .lane = lane->index,
                                 .a = error.status,
                                 .b = error.category};
    aegis_trace_record_write(scheduler->ring, &record);
    lane->running = false;
    lane->hung = true;
    atomic_store(&scheduler->hung, true);
    atomic_store(&scheduler->accepting, false);
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
    return next;
}

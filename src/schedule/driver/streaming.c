/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models whose weights come from a disk while they run. A segment that waits for bytes is kept from
 * the lane until the model says that they are there: then the core hears of it by an event, so that
 * a replay needs no disk. The model rings the driver's bell whenever bytes came.
 */
#include "schedule/driver/internal.h"

static void ring(void *self)
{
    aegis_wake_ring(self);
}

aegis_status aegis_streaming_watch(aegis_scheduler *scheduler, aegis_entry *entry, aegis_error *err)
{
    entry->core.awaited_segments = aegis_model_awaited_segments(entry->model);
    if (entry->core.awaited_segments != 0 && !entry->request.background) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_CONFIG,
                               "%s has a deadline and waits for its weights to come from a disk, "
                               "which no proof bounds; make it a background model or keep its "
                               "weights in memory",
                               aegis_context_name(entry->context));
    }
    if (entry->core.awaited_segments != 0) {
        aegis_model_watch(entry->model, ring, &scheduler->wake);
    }
    return AEGIS_OK;
}

void aegis_streaming_unwatch(aegis_entry *entry)
{
    if (entry->core.awaited_segments != 0) {
        aegis_model_watch(entry->model, NULL, NULL);
    }
}

void aegis_streaming_unwatch_all(aegis_scheduler *scheduler)
{
    for (uint32_t i = 0; i < scheduler->config.max_models; i++) {
        if (scheduler->entries[i] != NULL) {
            aegis_streaming_unwatch(scheduler->entries[i]);
        }
    }
}

void aegis_streaming_add(aegis_scheduler *scheduler, aegis_entry *entry)
{
    aegis_streaming_expect(entry, 0);
    if (entry->core.awaited_segments != 0) {
        scheduler->streaming[scheduler->streaming_count++] = entry->id;
    }
}

void aegis_streaming_remove(aegis_scheduler *scheduler, aegis_entry *entry)
{
    for (uint32_t i = 0; i < scheduler->streaming_count; i++) {
        if (scheduler->streaming[i] == entry->id) {
            scheduler->streaming[i] = scheduler->streaming[--scheduler->streaming_count];
            return;
        }
    }
}

aegis_entry *aegis_streaming_take_ready(aegis_scheduler *scheduler)
{
    for (uint32_t i = 0; i < scheduler->streaming_count; i++) {
        aegis_entry *entry = scheduler->entries[scheduler->streaming[i]];
        const bool awaited = entry->is_due && entry->due_segment < entry->core.segment_count &&
                             (entry->core.awaited_segments >> entry->due_segment & 1) != 0;
        if (awaited && aegis_model_is_ready(entry->model, entry->due_segment)) {
            entry->is_due = false;
            return entry;
        }
    }
    return NULL;
}

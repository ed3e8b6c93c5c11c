/* SPDX-License-Identifier: Apache-2.0 */
/* What can be read of a scheduler while it runs. */
#include "schedule/driver/internal.h"

#define COMPONENT "schedule.scheduler"

aegis_status aegis_scheduler_get_metrics(const aegis_scheduler *scheduler,
                                         aegis_scheduler_metrics *ret_metrics,
                                         aegis_error *err)
{
    (void)err;
    aegis_scheduler_metrics metrics = {.decisions = atomic_load(&scheduler->decisions),
                                       .lane_turns = atomic_load(&scheduler->lane_turns),
                                       .opened = atomic_load(&scheduler->opened),
                                       .lane_count = scheduler->config.lane_count};
    uint64_t now =
        scheduler->stop_ns > 0 ? scheduler->stop_ns : aegis_clock_now_ns(&scheduler->config.clock);
    if (scheduler->start_ns > 0 && now > scheduler->start_ns) {
        metrics.elapsed_ns = now - scheduler->start_ns;
    }
    for (uint16_t i = 0; i < metrics.lane_count; i++) {
        metrics.lane_busy_ns[i] = atomic_load(&scheduler->lanes[i].busy_ns);
        aegis_promise_read_lane(&scheduler->lanes[i].promise, now, &metrics.lane_proofs[i]);
    }
    aegis_histogram_summarise(&scheduler->wakes, &metrics.wake_ns);
    aegis_histogram_summarise(&scheduler->decision_times, &metrics.decision_ns);
    *ret_metrics = metrics;
    return AEGIS_OK;
}

aegis_status aegis_scheduler_model_metrics(const aegis_scheduler *scheduler,
                                           uint32_t model,
                                           aegis_model_metrics *ret_metrics,
                                           aegis_error *err)
{
    const aegis_entry *entry = aegis_scheduler_entry(scheduler, model);
    aegis_model_metrics metrics = {0};
    if (entry == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_FOUND,
                               "model %u is not admitted", model);
    }
    if (entry->in_core) {
        aegis_status status =
            aegis_core_model_counters(scheduler->core, model, &metrics.counters, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    aegis_histogram_summarise(&entry->response, &metrics.response_ns);
    aegis_histogram_summarise(&entry->execution, &metrics.execution_ns);
    aegis_histogram_summarise(&entry->start, &metrics.start_ns);
    aegis_histogram_summarise(&entry->arrival, &metrics.arrival_ns);
    metrics.drift = aegis_profile_drift(&entry->profile, metrics.execution_ns.count,
                                        atomic_load(&entry->past_claim));
    metrics.busy_ns = atomic_load(&entry->busy_ns);
    aegis_promise_read(&entry->promise, &metrics.past_proof);
    metrics.page_ins = atomic_load(&entry->page_ins);
    metrics.paged_in_bytes = atomic_load(&entry->paged_in_bytes);
    *ret_metrics = metrics;
    return AEGIS_OK;
}

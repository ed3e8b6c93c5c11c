/* SPDX-License-Identifier: Apache-2.0 */
/* Submission: from any thread, without a lock. */
#include "schedule/driver/internal.h"

#include <inttypes.h>

#define COMPONENT "schedule.scheduler"

static aegis_status
copy_inputs(aegis_entry *entry, uint32_t slot, const aegis_submission *submission, aegis_error *err)
{
    aegis_device *device = aegis_stream_device(entry->scheduler->lanes[0].stream);
    for (size_t i = 0; i < submission->input_count; i++) {
        const aegis_job_input *input = &submission->inputs[i];
        void *data;
        uint64_t size;
        aegis_status status = aegis_model_input(entry->model, slot, input->name, &data, &size, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (size != input->size_bytes) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                                   "input %s of %s has %" PRIu64 " bytes, %zu were given",
                                   input->name, aegis_context_name(entry->context), size,
                                   input->size_bytes);
        }
        status = aegis_device_copy(device, data, input->data, input->size_bytes, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

static aegis_status
check_submission(const aegis_entry *entry, const aegis_submission *submission, aegis_error *err)
{
    if (submission->input_count > 0 && !entry->request.external) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%s has inputs of its own: admit it with source = \"external\" to "
                               "give inputs with each job",
                               aegis_context_name(entry->context));
    }
    if (aegis_request_is_continuous(&entry->request)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%s runs without end and takes no submissions: give it a period, or "
                               "source = \"external\"",
                               aegis_context_name(entry->context));
    }
    return AEGIS_OK;
}

static aegis_status put_submission(aegis_scheduler *scheduler,
                                   aegis_entry *entry,
                                   const aegis_submission *submission,
                                   const aegis_call_record *record,
                                   uint64_t *ret_job,
                                   aegis_error *err)
{
    uint64_t now = aegis_clock_now_ns(&scheduler->config.clock);
    uint64_t earliest = submission->earliest_start_ns;
    aegis_submit_item item = {.job = atomic_fetch_add(&scheduler->next_job, 1),
                              .release_ns = earliest > now ? earliest : now,
                              .deadline_ns = submission->deadline_ns,
                              .priority = submission->priority,
                              .record = record->index};
    if (!aegis_submit_queue_put(&entry->queue, &item)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_QUEUE_FULL,
                               "the submission queue of %s is full (%u)",
                               aegis_context_name(entry->context), entry->request.queue_depth);
    }
    if (ret_job != NULL) {
        *ret_job = item.job;
    }
    atomic_fetch_or(&scheduler->submitted[entry->id / 64], UINT64_C(1) << (entry->id % 64));
    aegis_wake_ring(&scheduler->wake);
    return AEGIS_OK;
}

static aegis_status submit(aegis_scheduler *scheduler,
                           uint32_t model,
                           const aegis_submission *wanted,
                           uint64_t *ret_job,
                           aegis_error *err)
{
    if (!atomic_load(&scheduler->accepting)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "the scheduler is not running");
    }
    aegis_entry *entry = aegis_scheduler_entry(scheduler, model);
    if (entry == NULL || !atomic_load(&entry->active)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_ADMITTED,
                               "model %u is not admitted", model);
    }
    aegis_status status = check_submission(entry, wanted, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_call_record *record = aegis_entry_take_record(entry);
    if (record == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_QUEUE_FULL,
                               "%s has %u jobs under way, as many as it may",
                               aegis_context_name(entry->context), entry->record_count);
    }
    record->callback = wanted->callback;
    record->callback_self = wanted->callback_self;
    record->result = (aegis_job_result){.model = model};
    status = copy_inputs(entry, record->index, wanted, err);
    if (status == AEGIS_OK) {
        status = put_submission(scheduler, entry, wanted, record, ret_job, err);
    }
    if (status != AEGIS_OK) {
        aegis_entry_give_record(entry, record);
    }
    return status;
}

aegis_status aegis_scheduler_submit(aegis_scheduler *scheduler,
                                    uint32_t model,
                                    const aegis_submission *submission,
                                    uint64_t *ret_job,
                                    aegis_error *err)
{
    static const aegis_submission plain;
    unsigned half = aegis_visitors_enter(&scheduler->visitors);
    aegis_status status =
        submit(scheduler, model, submission == NULL ? &plain : submission, ret_job, err);
    aegis_visitors_leave(&scheduler->visitors, half);
    return status;
}

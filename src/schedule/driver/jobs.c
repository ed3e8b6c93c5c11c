/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/driver/internal.h"

#include <string.h>

#define NO_JOB UINT64_C(0)

aegis_status aegis_job_table_init(aegis_job_table *table,
                                  uint32_t jobs,
                                  const aegis_allocator *allocator,
                                  aegis_error *err)
{
    uint64_t size = 16;
    while (size < 2 * (uint64_t)jobs) {
        size *= 2;
    }
    table->mask = size - 1;
    table->jobs = aegis_allocate_zeroed(allocator, size, sizeof *table->jobs);
    table->records = aegis_allocate_zeroed(allocator, size, sizeof *table->records);
    if (table->jobs == NULL || table->records == NULL) {
        aegis_job_table_finish(table, allocator);
        return aegis_error_set(err, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for a table of %u jobs", jobs);
    }
    return AEGIS_OK;
}

void aegis_job_table_finish(aegis_job_table *table, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, table->jobs, table->mask + 1, sizeof *table->jobs);
    aegis_deallocate(allocator, table->records, table->mask + 1, sizeof *table->records);
    table->jobs = NULL;
    table->records = NULL;
}

static uint64_t home(const aegis_job_table *table, uint64_t job)
{
    return (job * UINT64_C(0x9e3779b97f4a7c15) >> 20) & table->mask;
}

static uint64_t position(const aegis_job_table *table, uint64_t job)
{
    uint64_t at = home(table, job);
    while (table->jobs[at] != NO_JOB && table->jobs[at] != job) {
        at = (at + 1) & table->mask;
    }
    return at;
}

void aegis_job_table_put(aegis_job_table *table, uint64_t job, uint32_t record)
{
    uint64_t at = position(table, job);
    table->jobs[at] = job;
    table->records[at] = record;
}

uint32_t aegis_job_table_find(const aegis_job_table *table, uint64_t job)
{
    uint64_t at = position(table, job);
    return table->jobs[at] == job ? table->records[at] : AEGIS_NO_RECORD;
}

/* Moves later members of the run back over the gap, so that no marks for removed jobs are needed
 * (Knuth, volume 3, algorithm 6.4R). */
void aegis_job_table_remove(aegis_job_table *table, uint64_t job)
{
    uint64_t gap = position(table, job);
    if (table->jobs[gap] != job) {
        return;
    }
    uint64_t at = gap;
    for (;;) {
        at = (at + 1) & table->mask;
        if (table->jobs[at] == NO_JOB) {
            break;
        }
        uint64_t wanted = home(table, table->jobs[at]);
        if (((at - wanted) & table->mask) >= ((at - gap) & table->mask)) {
            table->jobs[gap] = table->jobs[at];
            table->records[gap] = table->records[at];
            gap = at;
        }
    }
    table->jobs[gap] = NO_JOB;
}

static size_t bit_words(uint32_t count)
{
    return (count + 63u) / 64u;
}

static void fill_core_model(aegis_entry *entry)
{
    const aegis_admission_request *request = &entry->request;
    entry->core = (aegis_core_model){.model = entry->id,
                                     .period_ns = request->period_ns,
                                     .deadline_ns = request->deadline_ns,
                                     .jitter_ns = request->jitter_ns,
                                     .priority = request->priority,
                                     .queue_depth = request->queue_depth,
                                     .overrun = request->overrun,
                                     .early = request->early,
                                     .background = request->background,
                                     .copies_early = request->early_copies,
                                     .weight = request->weight,
                                     .share_ppm = request->share_ppm,
                                     .compute_budget_ns =
                                         aegis_context_budget(entry->context)->compute_budget_ns};
}

void aegis_entry_set_profile(aegis_entry *entry, const aegis_profile *profile)
{
    entry->profile = *profile;
    entry->request.profile = &entry->profile;
    entry->core.segment_count = aegis_profile_segments(profile);
    for (uint32_t i = 0; i < entry->core.segment_count; i++) {
        entry->core.segment_bound_ns[i] = aegis_profile_segment_at(profile, i).bound_ns;
        entry->core.segment_enforceable_ns[i] =
            aegis_admit_segment_ns(entry->scheduler, &entry->request, profile, i);
        entry->claimed_ns[i] = aegis_profile_claimed_ns(profile, i);
        entry->least_ns[i] = aegis_profile_segment_at(profile, i).series.best_ns;
    }
}

aegis_status aegis_entry_create(aegis_scheduler *scheduler,
                                aegis_context *context,
                                const aegis_admission_request *request,
                                aegis_entry **ret_entry,
                                aegis_error *err)
{
    const aegis_allocator *allocator = &scheduler->allocator;
    aegis_status status;
    aegis_entry *entry = aegis_allocate_zeroed(allocator, 1, sizeof *entry);
    if (entry == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for the model %s", aegis_context_name(context));
    }
    entry->scheduler = scheduler;
    entry->context = context;
    entry->model = aegis_context_model(context);
    entry->id = aegis_context_id(context);
    entry->request = *request;
    entry->request.changes = NULL; /* were borrowed for the call */
    entry->request.change_count = 0;
    if (entry->request.slots == 0) {
        entry->request.slots = 1;
    }
    fill_core_model(entry);
    aegis_entry_set_profile(entry, request->profile);
    status = aegis_submit_queue_init(&entry->queue, entry->request.queue_depth, allocator, err);
    if (status != AEGIS_OK) {
        goto fail;
    }
    entry->record_count =
        entry->request.external ? entry->request.slots : entry->request.queue_depth;
    entry->records = aegis_allocate_zeroed(allocator, entry->record_count, sizeof *entry->records);
    entry->record_bits = aegis_allocate_zeroed(allocator, bit_words(entry->record_count),
                                               sizeof *entry->record_bits);
    if (entry->records == NULL || entry->record_bits == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory for %u jobs of %s", entry->record_count,
                                 aegis_context_name(context));
        goto fail;
    }
    for (uint32_t i = 0; i < entry->record_count; i++) {
        entry->records[i] = (aegis_call_record){.entry = entry, .index = i};
        atomic_fetch_or(&entry->record_bits[i / 64], UINT64_C(1) << (i % 64));
    }
    *ret_entry = entry;
    return AEGIS_OK;
fail:
    aegis_entry_destroy(entry);
    return status;
}

void aegis_entry_destroy(aegis_entry *entry)
{
    if (entry == NULL) {
        return;
    }
    const aegis_allocator allocator = entry->scheduler->allocator;
    aegis_submit_queue_finish(&entry->queue, &allocator);
    aegis_deallocate(&allocator, entry->records, entry->record_count, sizeof *entry->records);
    aegis_deallocate(&allocator, entry->record_bits, bit_words(entry->record_count),
                     sizeof *entry->record_bits);
    aegis_deallocate(&allocator, entry, 1, sizeof *entry);
}

aegis_call_record *aegis_entry_take_record(aegis_entry *entry)
{
    for (size_t word = 0; word < bit_words(entry->record_count); word++) {
        uint64_t free_bits = atomic_load(&entry->record_bits[word]);
        while (free_bits != 0) {
            uint64_t lowest = free_bits & -free_bits;
            if (atomic_compare_exchange_weak(&entry->record_bits[word], &free_bits,
                                             free_bits & ~lowest)) {
                return &entry->records[word * 64 + (size_t)__builtin_ctzll(lowest)];
            }
        }
    }
    return NULL;
}

void aegis_entry_give_record(aegis_entry *entry, aegis_call_record *record)
{
    atomic_fetch_or(&entry->record_bits[record->index / 64], UINT64_C(1) << (record->index % 64));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The job releases that refute an acceptance. */
#include "schedule/admission/internal.h"

#define WITNESS_LIMIT 1024

/* Jobs of a task from the worst pattern, whose interval begins at `start`. */
static void add_jobs(const aegis_analysis_run *run,
                     size_t i,
                     int64_t start,
                     size_t room,
                     aegis_admission_result *result)
{
    const aegis_atask *task = &run->tasks[i];
    uint64_t jobs = aegis_demand_jobs(task, result->violation_at);
    result->witness_total += jobs;
    for (uint64_t k = 0; k < jobs && result->witness_count < room; k++) {
        int64_t nominal = (int64_t)(k * task->period) - (int64_t)task->jitter;
        result->witness[result->witness_count++] =
            (aegis_witness_job){.task = i,
                                .release = start + (nominal > 0 ? nominal : 0),
                                .deadline = start + nominal + (int64_t)task->deadline,
                                .execution = (int64_t)task->execution};
    }
}

/* The blocking job starts at 0 and all others are ready at 1 at the earliest; without blocking the
 * interval begins at 0. */
aegis_outcome aegis_witness_build(const aegis_analysis_run *run, aegis_admission_result *result)
{
    size_t blocker;
    uint64_t total = 0;
    aegis_demand_blocking(run, result->violation_at, &blocker);
    for (size_t i = 0; i < run->count; i++) {
        total += aegis_demand_jobs(&run->tasks[i], result->violation_at);
    }
    total += blocker != SIZE_MAX;
    size_t room = total < WITNESS_LIMIT ? (size_t)total : WITNESS_LIMIT;
    result->witness = aegis_allocate_zeroed(run->allocator, room, sizeof *result->witness);
    if (result->witness == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    if (blocker != SIZE_MAX) {
        const aegis_atask *task = &run->tasks[blocker];
        result->witness[0] = (aegis_witness_job){.task = blocker,
                                                 .deadline = (int64_t)task->deadline,
                                                 .execution = (int64_t)task->largest,
                                                 .blocks = true};
        result->witness_count = 1;
        result->witness_total = 1;
    }
    for (size_t i = 0; i < run->count; i++) {
        add_jobs(run, i, blocker != SIZE_MAX ? 1 : 0, room, result);
    }
    return AEGIS_OUTCOME_DONE;
}

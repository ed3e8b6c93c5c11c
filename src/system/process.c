/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of the process as a whole: arena, what runtimes hold beside it, and trials. */
#include "system/internal.h"

#include "device/host/host_capabilities.h"

#include <aegisrt/doctor.h>

#include <inttypes.h>

static uint64_t less(uint64_t have, uint64_t taken)
{
    return have > taken ? have - taken : 0;
}

/* What admitted models will hold that are not loaded yet. */
static uint64_t owed_bytes(const aegis_system *system)
{
    uint64_t owed = 0;
    for (size_t i = 0; i < system->workload->model_count; i++) {
        owed += system->models[i].admitted && system->entries[i].model == NULL
                    ? system->models[i].overhead_bytes
                    : 0;
    }
    return owed;
}

aegis_status aegis_system_check_held(aegis_system *system, const char *when, aegis_error *err)
{
    const uint64_t budget = system->workload->process_bytes;
    uint64_t held, peak;
    if (budget == 0) {
        return AEGIS_OK;
    }
    aegis_status status = aegis_process_memory(NULL, &held, &peak, err);
    if (status != AEGIS_OK || held <= budget) {
        return status;
    }
    system->process_missing = held - budget;
    return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_BUDGET_EXCEEDED,
                           "the process holds %" PRIu64 " bytes %s, and [device] process_memory is "
                           "%" PRIu64 "; raise it",
                           held, when, budget);
}

aegis_status aegis_system_reserve(void *self, uint64_t bytes, aegis_error *err)
{
    aegis_system *system = self;
    const uint64_t budget = system->workload->process_bytes, need = bytes + owed_bytes(system);
    const char *whose = "[device] process_memory";
    aegis_host_facts facts;
    uint64_t held, peak, room;
    aegis_status status = aegis_host_facts_read("/", &facts, err);
    if (status == AEGIS_OK) {
        status = aegis_process_memory(NULL, &held, &peak, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    room = less(budget, held);
    if (budget == 0 || facts.available_bytes < room) {
        room = facts.available_bytes;
        whose = facts.limited_by_cgroup ? "the control group (memory.max)" : "this machine";
    }
    if (need <= room) {
        return AEGIS_OK;
    }
    system->process_missing = need - room;
    return aegis_error_set(
        err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_BUDGET_EXCEEDED,
        "loading it takes %" PRIu64 " bytes beside the arena, and %s leaves %" PRIu64
        ": the process needs %" PRIu64 " with the %" PRIu64
        " that it holds; raise that, lower [device] memory, or let the model need less (a shorter "
        "context, a smaller dtype, residency = \"streamed\")",
        need, whose, room, held + need, held);
}

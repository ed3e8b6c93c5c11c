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
    char has[64], limit[64];
    system->process_missing = held - budget;
    system->process_need = held;
    return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_BUDGET_EXCEEDED,
                           "the process holds %s (%" PRIu64
                           " bytes) %s, and [device] process_memory is %s; raise it",
                           aegis_format_size(held, has, sizeof has), held, when,
                           aegis_format_size(budget, limit, sizeof limit));
}

/* What the process may still take, and who says so. */
typedef struct room {
    uint64_t held, bytes;
    const char *whose;
} room;

static aegis_status find_room(const aegis_system *system, room *ret_room, aegis_error *err)
{
    const uint64_t budget = system->workload->process_bytes;
    aegis_host_facts facts;
    uint64_t peak;
    room found = {.whose = "[device] process_memory"};
    aegis_status status = aegis_host_facts_read("/", &facts, err);
    if (status == AEGIS_OK) {
        status = aegis_process_memory(NULL, &found.held, &peak, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    found.bytes = less(budget, found.held);
    if (budget == 0 || facts.available_bytes < found.bytes) {
        found.bytes = facts.available_bytes;
        found.whose = facts.limited_by_cgroup ? "the control group (memory.max, memory.high)"
                                              : "this machine";
    }
    *ret_room = found;
    return AEGIS_OK;
}

aegis_status aegis_system_reserve(void *self, uint64_t bytes, aegis_error *err)
{
    aegis_system *system = self;
    const uint64_t need = bytes + owed_bytes(system);
    room left = {0};
    if (!system->started) {
        aegis_heap_trim(); /* what was freed is held until the system has it back */
    }
    if (system->placing) { /* its trial took as much, and those loaded since were owed then */
        return AEGIS_OK;
    }
    aegis_status status = find_room(system, &left, err);
    if (status != AEGIS_OK || need <= left.bytes) {
        return status;
    }
    system->process_missing = need - left.bytes;
    system->process_need = need;
    return aegis_error_set(
        err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_BUDGET_EXCEEDED,
        "it takes %" PRIu64 " bytes beside the arena, and %s leaves %" PRIu64
        ": the process needs %" PRIu64 " with the %" PRIu64
        " that it holds; raise that, lower [device] memory, or let the model need less (a shorter "
        "context, a smaller dtype, residency = \"streamed\")",
        need, left.whose, left.bytes, left.held + need, left.held);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "device/budget.h"

#include <inttypes.h>

#define COMPONENT "device.budget"
#define MIB(bytes) ((double)(bytes) / 1048576.0)

static aegis_status beyond_host(const aegis_budget *budget, uint64_t arena_bytes, aegis_error *err)
{
    return aegis_error_set(
        err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
        "%" PRIu64 " bytes (%.1f MiB of arena, %.1f MiB pinned) do not fit into the host's memory: "
        "%" PRIu64 " bytes (%.1f MiB) are available %s; reduce arena_bytes ([device] memory) or "
        "pinned_bytes ([device] pinned), %s",
        arena_bytes + budget->pinned_bytes, MIB(arena_bytes), MIB(budget->pinned_bytes),
        budget->available_bytes, MIB(budget->available_bytes),
        budget->limited_by_cgroup ? "in this control group" : "on this machine (MemAvailable)",
        budget->limited_by_cgroup ? "or raise memory.max and memory.high of the group"
                                  : "or end other programs");
}

aegis_status aegis_budget_check(const aegis_budget *budget,
                                const aegis_device_capabilities *device,
                                aegis_error *err)
{
    uint64_t in_host = device->integrated ? budget->arena_bytes : 0;
    if (in_host > budget->available_bytes ||
        budget->pinned_bytes > budget->available_bytes - in_host) {
        return beyond_host(budget, in_host, err);
    }
    if (budget->arena_bytes > device->total_memory_bytes) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "an arena of %" PRIu64
                               " bytes (%.1f MiB) does not fit on '%s', which "
                               "has %" PRIu64 " bytes (%.1f MiB); reduce arena_bytes ([device] "
                               "memory)",
                               budget->arena_bytes, MIB(budget->arena_bytes), device->name,
                               device->total_memory_bytes, MIB(device->total_memory_bytes));
    }
    return AEGIS_OK;
}

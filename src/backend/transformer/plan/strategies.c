/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/plan/plan.h"

#include "base/base.h"

#include <inttypes.h>
#include <string.h>

static const aegis_partition_strategy strategies[] = {
    {.version = 1, .name = "sequential", .plan = aegis_plan_sequential},
    {.version = 1, .name = "greedy-grouping", .plan = aegis_plan_greedy},
    {.version = 1, .name = "speculative-prefetch", .plan = aegis_plan_prefetch},
    {.version = 1, .name = "resident-stream", .plan = aegis_plan_resident},
    {.version = 1, .name = "auto", .plan = aegis_plan_auto},
};

const aegis_partition_strategy *aegis_partition_strategy_at(uint32_t index)
{
    return index < AEGIS_ARRAY_LENGTH(strategies) ? &strategies[index] : NULL;
}

const aegis_partition_strategy *aegis_partition_strategy_find(const char *name)
{
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(strategies); i++) {
        if (strcmp(strategies[i].name, name) == 0) {
            return &strategies[i];
        }
    }
    return NULL;
}

uint64_t aegis_partition_whole_bytes(const aegis_partition_request *request, bool lookups)
{
    uint64_t sum = 0;
    for (uint32_t u = 0; u < request->unit_count; u++) {
        if (lookups || !request->units[u].lookup) {
            sum = aegis_align_up(sum, 64) + aegis_partition_unit_bytes(&request->units[u]);
        }
    }
    return sum;
}

uint64_t aegis_partition_largest_row(const aegis_partition_request *request)
{
    uint64_t largest = 0;
    for (uint32_t u = 0; u < request->unit_count; u++) {
        if (!request->units[u].lookup && request->units[u].row_bytes > largest) {
            largest = request->units[u].row_bytes;
        }
    }
    return largest;
}

aegis_status aegis_partition_refuse(const char *name,
                                    uint64_t need_bytes,
                                    const aegis_partition_request *request,
                                    aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("transformer.plan"), AEGIS_ERROR_BUDGET_EXCEEDED,
                           "strategy %s needs %" PRIu64 " bytes for weights and buffers, %" PRIu64
                           " are left of the budget",
                           name, need_bytes, request->available_bytes);
}

aegis_status
aegis_partition_add_lookups(aegis_partition_builder *builder, uint64_t room, aegis_error *err)
{
    const aegis_partition_request *request = builder->request;
    aegis_status status = AEGIS_OK;
    while (status == AEGIS_OK && builder->unit < request->unit_count) {
        const aegis_partition_unit *unit = &request->units[builder->unit];
        const uint64_t bytes = aegis_partition_unit_bytes(unit) + 64;
        if (bytes <= room) {
            room -= bytes;
            status = aegis_partition_pin(builder, unit->rows, err);
        } else {
            status = aegis_partition_leave(builder, err);
        }
    }
    return status;
}

/* The tile of the resident stream at its smallest, three times: it needs the least of all but
 * `sequential` with parts of one tile. */
uint64_t aegis_partition_least_bytes(const aegis_partition_request *request)
{
    const uint64_t row = aegis_partition_largest_row(request);
    const uint64_t tile = row > AEGIS_PARTITION_LEAST_TILE ? row : AEGIS_PARTITION_LEAST_TILE;
    const uint64_t least = aegis_align_up(tile + AEGIS_PARTITION_SLACK, AEGIS_PARTITION_BLOCK);
    const uint64_t whole = aegis_partition_whole_bytes(request, false);
    return whole < least ? whole : least;
}

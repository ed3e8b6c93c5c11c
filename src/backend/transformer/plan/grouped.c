/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/plan/plan.h"

#include "base/base.h"

/* Strategies that keep nothing from token to token: `sequential`, `greedy-grouping` and
 * `speculative-prefetch`. */

/* How groups are made. */
typedef struct grouping {
    const char *name;
    uint32_t buffers;
    bool whole_layers; /* a group ends with its layer */
    uint64_t limit;    /* bytes of a buffer */
} grouping;

static uint64_t least_buffer(const aegis_partition_request *request)
{
    const uint64_t row = aegis_partition_largest_row(request);
    const uint64_t tile = row > AEGIS_PARTITION_LEAST_TILE ? row : AEGIS_PARTITION_LEAST_TILE;
    return aegis_align_up(tile + AEGIS_PARTITION_SLACK, AEGIS_PARTITION_BLOCK);
}

static aegis_status
check_limit(const grouping *how, const aegis_partition_request *request, aegis_error *err)
{
    const uint64_t least = least_buffer(request);
    if (how->limit < least) {
        return aegis_partition_refuse(how->name, least * how->buffers, request, err);
    }
    return AEGIS_OK;
}

static uint64_t layer_bytes(const aegis_partition_request *request, uint32_t layer)
{
    uint64_t sum = 0;
    for (uint32_t u = 0; u < request->unit_count; u++) {
        if (request->units[u].layer == layer && !request->units[u].lookup) {
            sum += aegis_partition_unit_bytes(&request->units[u]) + AEGIS_PARTITION_SLACK;
        }
    }
    return sum;
}

/* Adds units to groups of at most `limit` bytes; a layer that does not fit into what is left of a
 * group begins the next one, one that fits into no group is cut by rows. */
static aegis_status add_groups(const grouping *how,
                               const aegis_partition_request *request,
                               aegis_partition_builder *builder,
                               aegis_error *err)
{
    uint64_t used = 0;
    aegis_status status = AEGIS_OK;
    uint32_t layer = UINT32_MAX;
    while (status == AEGIS_OK && builder->unit < request->unit_count &&
           !request->units[builder->unit].lookup) {
        const aegis_partition_unit *unit = &request->units[builder->unit];
        if (unit->layer != layer) {
            layer = unit->layer;
            const uint64_t whole = layer_bytes(request, layer);
            if (how->whole_layers || (whole <= how->limit && used + whole > how->limit)) {
                aegis_partition_end_group(builder);
                used = 0;
            }
        }
        const uint64_t room = how->limit - used;
        uint64_t rows =
            room > AEGIS_PARTITION_SLACK ? (room - AEGIS_PARTITION_SLACK) / unit->row_bytes : 0;
        const uint64_t left = unit->rows - builder->row;
        rows = rows < left ? rows : left;
        if (rows == 0) {
            aegis_partition_end_group(builder);
            used = 0;
            continue;
        }
        status = aegis_partition_stream(builder, (uint32_t)rows, err);
        used += rows * unit->row_bytes + AEGIS_PARTITION_SLACK;
    }
    return status;
}

static aegis_status plan_groups(const grouping *how,
                                const aegis_partition_request *request,
                                aegis_partition_builder *builder,
                                aegis_error *err)
{
    aegis_status status = check_limit(how, request, err);
    if (status == AEGIS_OK) {
        status = aegis_partition_set_buffers(builder, how->buffers, err);
    }
    if (status == AEGIS_OK) {
        status = add_groups(how, request, builder, err);
    }
    return status == AEGIS_OK ? aegis_partition_add_lookups(builder, 0, err) : status;
}

/* Everything in memory when it fits: then there is one group, read once. */
static bool fits_whole(const aegis_partition_request *request)
{
    return aegis_partition_whole_bytes(request, false) <= request->available_bytes;
}

static aegis_status pin_all_units(const aegis_partition_request *request,
                                  aegis_partition_builder *builder,
                                  aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    while (status == AEGIS_OK && builder->unit < request->unit_count &&
           !request->units[builder->unit].lookup) {
        status = aegis_partition_pin(builder, request->units[builder->unit].rows, err);
    }
    const uint64_t used = aegis_partition_whole_bytes(request, false);
    return status == AEGIS_OK
               ? aegis_partition_add_lookups(builder, request->available_bytes - used, err)
               : status;
}

/* One layer after the other in one buffer as large as the largest block. What is larger than a
 * block, the head as a rule, is cut to that size: memory stays at its least. */
aegis_status aegis_plan_sequential(void *self,
                                   const aegis_partition_request *request,
                                   aegis_partition_builder *builder,
                                   aegis_error *err)
{
    (void)self;
    const uint32_t first = request->units[0].layer;
    uint64_t limit = layer_bytes(request, first);
    for (uint32_t u = 0; u < request->unit_count; u++) {
        const aegis_partition_unit *unit = &request->units[u];
        const bool last = u + 1 == request->unit_count || request->units[u + 1].lookup;
        if (!last && !unit->lookup) { /* the head is the last one */
            const uint64_t bytes = layer_bytes(request, unit->layer);
            limit = bytes > limit ? bytes : limit;
        }
    }
    limit = limit > least_buffer(request) ? limit : least_buffer(request);
    limit = limit < request->available_bytes ? limit : request->available_bytes;
    const grouping how = {"sequential", 1, true, limit};
    return plan_groups(&how, request, builder, err);
}

aegis_status aegis_plan_greedy(void *self,
                               const aegis_partition_request *request,
                               aegis_partition_builder *builder,
                               aegis_error *err)
{
    (void)self;
    if (fits_whole(request)) {
        return pin_all_units(request, builder, err);
    }
    const grouping how = {"greedy-grouping", 1, false, request->available_bytes};
    return plan_groups(&how, request, builder, err);
}

aegis_status aegis_plan_prefetch(void *self,
                                 const aegis_partition_request *request,
                                 aegis_partition_builder *builder,
                                 aegis_error *err)
{
    (void)self;
    if (fits_whole(request)) {
        return pin_all_units(request, builder, err);
    }
    const uint64_t half =
        request->available_bytes / 2 / AEGIS_PARTITION_BLOCK * AEGIS_PARTITION_BLOCK;
    const grouping how = {"speculative-prefetch", 2, false, half};
    return plan_groups(&how, request, builder, err);
}

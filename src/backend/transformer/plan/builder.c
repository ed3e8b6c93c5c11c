/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/plan/plan.h"

#include "base/base.h"

#include <inttypes.h>
#include <string.h>

#define HERE AEGIS_HERE("transformer.plan")
#define LONGEST_ARRAY (UINT32_C(1) << 24)

/* Room for one more element of an array that doubles. */
static aegis_status grow(const aegis_allocator *allocator,
                         void **array,
                         uint32_t count,
                         uint32_t *capacity,
                         size_t size,
                         aegis_error *err)
{
    if (count < *capacity) {
        return AEGIS_OK;
    }
    const uint32_t wanted = *capacity == 0 ? 64 : *capacity * 2;
    void *larger = wanted <= LONGEST_ARRAY ? aegis_allocate_zeroed(allocator, wanted, size) : NULL;
    if (larger == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for %u pieces of a plan", wanted);
    }
    if (count > 0) {
        memcpy(larger, *array, (size_t)count * size);
    }
    aegis_deallocate(allocator, *array, *capacity, size);
    *array = larger;
    *capacity = wanted;
    return AEGIS_OK;
}

static aegis_status
add_piece(aegis_partition_builder *builder, uint32_t rows, uint32_t group, aegis_error *err)
{
    aegis_partition *plan = builder->partition;
    const aegis_partition_request *request = builder->request;
    if (builder->unit >= request->unit_count || rows == 0 ||
        rows > request->units[builder->unit].rows - builder->row) {
        return aegis_error_set(
            err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
            "strategy \"%s\" adds %u rows to unit %u at row %u: more than it has", plan->strategy,
            rows, builder->unit, builder->row);
    }
    void *pieces = plan->pieces;
    aegis_status status = grow(&plan->allocator, &pieces, plan->piece_count, &plan->piece_capacity,
                               sizeof *plan->pieces, err);
    plan->pieces = pieces;
    if (status != AEGIS_OK) {
        return status;
    }
    plan->pieces[plan->piece_count++] = (aegis_partition_piece){
        .unit = builder->unit, .first = builder->row, .count = rows, .group = group};
    builder->row += rows;
    if (builder->row == request->units[builder->unit].rows) {
        builder->row = 0;
        builder->unit++;
    }
    return AEGIS_OK;
}

aegis_status
aegis_partition_set_buffers(aegis_partition_builder *builder, uint32_t buffers, aegis_error *err)
{
    if (buffers == 0 || buffers > 64 || builder->partition->group_count > 0) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "strategy \"%s\" wants %u buffers; 1 to 64, before the first group",
                               builder->partition->strategy, buffers);
    }
    builder->partition->buffers = buffers;
    return AEGIS_OK;
}

aegis_status aegis_partition_pin(aegis_partition_builder *builder, uint32_t rows, aegis_error *err)
{
    builder->group_open = false;
    return add_piece(builder, rows, AEGIS_PARTITION_PINNED, err);
}

aegis_status
aegis_partition_stream(aegis_partition_builder *builder, uint32_t rows, aegis_error *err)
{
    aegis_partition *plan = builder->partition;
    if (plan->buffers == 0 || (builder->unit < builder->request->unit_count &&
                               builder->request->units[builder->unit].lookup)) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "strategy \"%s\" streams %s", plan->strategy,
                               plan->buffers == 0 ? "without buffers" : "a lookup table");
    }
    if (!builder->group_open) {
        void *groups = plan->groups;
        aegis_status status = grow(&plan->allocator, &groups, plan->group_count,
                                   &plan->group_capacity, sizeof *plan->groups, err);
        plan->groups = groups;
        if (status != AEGIS_OK) {
            return status;
        }
        plan->groups[plan->group_count++] =
            (aegis_partition_group){.first_piece = plan->piece_count};
        builder->group_open = true;
    }
    aegis_status status = add_piece(builder, rows, plan->group_count - 1, err);
    if (status == AEGIS_OK) {
        plan->groups[plan->group_count - 1].piece_count++;
    }
    return status;
}

aegis_status aegis_partition_leave(aegis_partition_builder *builder, aegis_error *err)
{
    const aegis_partition_request *request = builder->request;
    builder->group_open = false;
    if (builder->unit >= request->unit_count || !request->units[builder->unit].lookup) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "strategy \"%s\" leaves unit %u on disk, which is no lookup table",
                               builder->partition->strategy, builder->unit);
    }
    return add_piece(builder, request->units[builder->unit].rows - builder->row,
                     AEGIS_PARTITION_ON_DISK, err);
}

void aegis_partition_end_group(aegis_partition_builder *builder)
{
    builder->group_open = false;
}

/* --- the figures of a finished plan --------------------------------------------------------- */

static uint64_t begin_of(const aegis_partition_request *request, const aegis_partition_piece *piece)
{
    const aegis_partition_unit *unit = &request->units[piece->unit];
    return unit->offset + unit->row_bytes * piece->first;
}

static uint64_t bytes_of(const aegis_partition_request *request, const aegis_partition_piece *piece)
{
    return request->units[piece->unit].row_bytes * piece->count;
}

static aegis_status add_extent(aegis_partition *plan,
                               aegis_partition_group *group,
                               const aegis_partition_extent *extent,
                               aegis_error *err)
{
    void *extents = plan->extents;
    aegis_status status = grow(&plan->allocator, &extents, plan->extent_count,
                               &plan->extent_capacity, sizeof *plan->extents, err);
    plan->extents = extents;
    if (status == AEGIS_OK) {
        plan->extents[plan->extent_count++] = *extent;
        group->extent_count++;
    }
    return status;
}

/* Pieces of a group that follow one another in a file are read in one stretch. */
static aegis_status lay_group(const aegis_partition_request *request,
                              aegis_partition *plan,
                              aegis_partition_group *group,
                              aegis_error *err)
{
    group->first_extent = plan->extent_count;
    aegis_partition_extent open = {0};
    uint64_t end = 0; /* of the last piece, in its file */
    for (uint32_t p = group->first_piece; p < group->first_piece + group->piece_count; p++) {
        aegis_partition_piece *piece = &plan->pieces[p];
        const uint64_t begin = begin_of(request, piece), bytes = bytes_of(request, piece);
        const uint32_t file = request->units[piece->unit].file;
        if (open.bytes == 0 || open.file != file || end != begin) {
            aegis_status status = open.bytes == 0 ? AEGIS_OK : add_extent(plan, group, &open, err);
            if (status != AEGIS_OK) {
                return status;
            }
            open = (aegis_partition_extent){.file = file,
                                            .file_offset = begin / AEGIS_PARTITION_BLOCK *
                                                           AEGIS_PARTITION_BLOCK,
                                            .buffer_offset = open.buffer_offset + open.bytes};
        }
        piece->offset = open.buffer_offset + (begin - open.file_offset);
        end = begin + bytes;
        open.bytes = aegis_align_up(end - open.file_offset, AEGIS_PARTITION_BLOCK);
        plan->streamed_bytes += bytes;
    }
    group->buffer_bytes = open.buffer_offset + open.bytes;
    return add_extent(plan, group, &open, err);
}

/* Pieces of one unit lie one behind the other, each unit begins on a cache line. */
static void lay_pinned(const aegis_partition_request *request, aegis_partition *plan)
{
    uint32_t unit = UINT32_MAX;
    for (uint32_t p = 0; p < plan->piece_count; p++) {
        aegis_partition_piece *piece = &plan->pieces[p];
        if (piece->group != AEGIS_PARTITION_PINNED) {
            continue;
        }
        if (piece->unit != unit) {
            plan->pinned_bytes = aegis_align_up(plan->pinned_bytes, 64);
            unit = piece->unit;
        }
        piece->offset = plan->pinned_bytes;
        plan->pinned_bytes += bytes_of(request, piece);
    }
}

static void estimate(const aegis_partition_request *request, aegis_partition *plan)
{
    if (request->disk_rate <= 0 || request->memory_rate <= 0) {
        return;
    }
    uint64_t computed = 0;
    for (uint32_t u = 0; u < request->unit_count; u++) {
        computed += request->units[u].lookup ? 0 : aegis_partition_unit_bytes(&request->units[u]);
    }
    plan->estimated_load_s = (double)plan->read_bytes / request->disk_rate;
    plan->estimated_compute_s = (double)computed / request->memory_rate;
    const double longer = plan->estimated_load_s > plan->estimated_compute_s
                              ? plan->estimated_load_s
                              : plan->estimated_compute_s;
    plan->estimated_token_s =
        plan->buffers > 1 ? longer : plan->estimated_load_s + plan->estimated_compute_s;
}

static aegis_status finish(aegis_partition_builder *builder, aegis_error *err)
{
    const aegis_partition_request *request = builder->request;
    aegis_partition *plan = builder->partition;
    if (builder->unit != request->unit_count) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INTERNAL,
                               "strategy \"%s\" stops at row %u of unit %u; there are %u units",
                               plan->strategy, builder->row, builder->unit, request->unit_count);
    }
    for (uint32_t u = 0; u < request->unit_count; u++) {
        plan->model_bytes += aegis_partition_unit_bytes(&request->units[u]);
    }
    lay_pinned(request, plan);
    for (uint32_t g = 0; g < plan->group_count; g++) {
        aegis_status status = lay_group(request, plan, &plan->groups[g], err);
        if (status != AEGIS_OK) {
            return status;
        }
        const uint64_t bytes = plan->groups[g].buffer_bytes;
        plan->read_bytes += bytes;
        plan->buffer_bytes = bytes > plan->buffer_bytes ? bytes : plan->buffer_bytes;
    }
    plan->buffers = plan->group_count == 0              ? 0
                    : plan->buffers > plan->group_count ? plan->group_count
                                                        : plan->buffers;
    plan->memory_bytes = plan->pinned_bytes + plan->buffers * plan->buffer_bytes;
    if (plan->memory_bytes > request->available_bytes) {
        return aegis_partition_refuse(plan->strategy, plan->memory_bytes, request, err);
    }
    estimate(request, plan);
    return AEGIS_OK;
}

static bool usable(const aegis_partition_request *request)
{
    bool lookup = false, good = request->unit_count > 0 && request->tile_bytes > 0;
    for (uint32_t u = 0; good && u < request->unit_count; u++) {
        const aegis_partition_unit *unit = &request->units[u];
        good = unit->rows > 0 && unit->row_bytes > 0 && (unit->lookup || !lookup);
        lookup = unit->lookup;
    }
    return good && !request->units[0].lookup;
}

aegis_status aegis_partition_plan(const aegis_partition_strategy *strategy,
                                  const aegis_partition_request *request,
                                  const aegis_allocator *allocator,
                                  aegis_partition **ret_partition,
                                  aegis_error *err)
{
    if (strategy->version != AEGIS_PARTITION_STRATEGY_VERSION || strategy->plan == NULL ||
        strategy->name == NULL || !usable(request)) {
        return aegis_error_set(
            err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
            "strategy of version %u without name or plan function, or units that "
            "are empty or out of order",
            strategy->version);
    }
    aegis_partition *plan = aegis_allocate_zeroed(allocator, 1, sizeof *plan);
    if (plan == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a plan");
    }
    plan->allocator = *allocator;
    strncpy(plan->strategy, strategy->name, sizeof plan->strategy - 1);
    aegis_partition_builder builder = {.request = request, .partition = plan};
    aegis_status status = strategy->plan(strategy->self, request, &builder, err);
    if (status == AEGIS_OK) {
        status = finish(&builder, err);
    }
    if (status != AEGIS_OK) {
        aegis_partition_free(plan);
        return status;
    }
    *ret_partition = plan;
    return AEGIS_OK;
}

void aegis_partition_free(aegis_partition *partition)
{
    if (partition == NULL) {
        return;
    }
    const aegis_allocator allocator = partition->allocator;
    aegis_deallocate(&allocator, partition->pieces, partition->piece_capacity,
                     sizeof *partition->pieces);
    aegis_deallocate(&allocator, partition->groups, partition->group_capacity,
                     sizeof *partition->groups);
    aegis_deallocate(&allocator, partition->extents, partition->extent_capacity,
                     sizeof *partition->extents);
    aegis_deallocate(&allocator, partition, 1, sizeof *partition);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which weights of a runner stay in memory. Of a model that is larger than its memory every segment
 * of a step keeps the same share of its bytes, and the rest comes through a ring: so disk and
 * computing alternate evenly, and a step reads little more than model minus memory. What comes is
 * the end of each segment, in few long stretches of the files.
 */
#include "backend/transformer/backend/runner_internal.h"

#include "backend/transformer/plan/plan.h"
#include "base/base.h"

#include <inttypes.h>

#define HERE AEGIS_HERE("transformer.runner")
/* Segments that the blocks of a model become at most; the head has a few more, below the 64 of a
 * model of the scheduler. */
#define MOST_BLOCK_SEGMENTS 48u
#define MOST_HEAD_SEGMENTS 12u
/* A segment computes, one is ready and one is read. */
#define RING_SEGMENTS 3u

static uint64_t units_bytes(const aegis_runner *runner, uint32_t first, uint32_t end)
{
    uint64_t bytes = 0;
    for (uint32_t u = first; u < end; u++) {
        bytes += (uint64_t)runner->weights.units[u].rows * runner->weights.units[u].row_bytes;
    }
    return bytes;
}

/* The first unit of a block; behind the last one that of the head. */
static uint32_t unit_of_block(const aegis_runner *runner, uint32_t block)
{
    const aegis_weights *weights = &runner->weights;
    return block < weights->config->layers ? weights->blocks[block].qkv[0].unit
                                           : weights->head.unit;
}

/* The largest run of units that makes one group. */
static uint64_t largest_chunk(const aegis_runner *runner)
{
    uint64_t largest = 0;
    for (uint32_t b = 0; b < runner->weights.config->layers; b++) {
        const uint64_t bytes =
            units_bytes(runner, unit_of_block(runner, b), unit_of_block(runner, b + 1));
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

/* --- adding rows in pieces of a bounded size ----------------------------------------------------
 */

static aegis_status add_rows(aegis_partition_builder *builder,
                             const aegis_partition_request *request,
                             uint32_t unit,
                             uint32_t rows,
                             bool pinned,
                             aegis_error *err)
{
    const uint64_t fit = request->tile_bytes / request->units[unit].row_bytes;
    aegis_status status = AEGIS_OK;
    while (rows > 0 && status == AEGIS_OK) {
        const uint32_t some = fit == 0 ? 1 : fit < rows ? (uint32_t)fit : rows;
        status = pinned ? aegis_partition_pin(builder, some, err)
                        : aegis_partition_stream(builder, some, err);
        rows -= some;
    }
    return status;
}

static aegis_status pin_units(aegis_partition_builder *builder,
                              const aegis_partition_request *request,
                              uint32_t first,
                              uint32_t end,
                              aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint32_t u = first; u < end && status == AEGIS_OK; u++) {
        status = add_rows(builder, request, u, request->units[u].rows, true, err);
    }
    return status;
}

/* Of units [first, end) the first `kept` bytes stay, whole rows of them; the rest is one group. */
static aegis_status add_block(aegis_partition_builder *builder,
                              const aegis_partition_request *request,
                              uint32_t first,
                              uint32_t end,
                              uint64_t kept,
                              aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint32_t u = first; u < end && status == AEGIS_OK; u++) {
        const aegis_partition_unit *unit = &request->units[u];
        const uint64_t fit = kept / unit->row_bytes;
        const uint32_t rows = fit < unit->rows ? (uint32_t)fit : unit->rows;
        kept = rows < unit->rows ? 0 : kept - rows * unit->row_bytes;
        status = add_rows(builder, request, u, rows, true, err);
        if (status == AEGIS_OK) {
            status = add_rows(builder, request, u, unit->rows - rows, false, err);
        }
    }
    aegis_partition_end_group(builder);
    return status;
}

/* --- strategies ---------------------------------------------------------------------------------
 */

static aegis_status plan_tiles(void *self,
                               const aegis_partition_request *request,
                               aegis_partition_builder *builder,
                               aegis_error *err)
{
    (void)self;
    return pin_units(builder, request, 0, request->unit_count, err);
}

/* Parts per million of a block's bytes that come from the files, as few as possible: with a share
 * f, (1 - f) of all blocks and `ring` buffers of f of the largest one must fit. */
static aegis_status streamed_share(const aegis_runner *runner,
                                   const aegis_partition_request *request,
                                   uint32_t ring,
                                   uint64_t *ret_ppm,
                                   aegis_error *err)
{
    const uint32_t head = runner->weights.head.unit;
    const uint64_t chunk = largest_chunk(runner), blocks = units_bytes(runner, 0, head);
    const uint64_t fixed = units_bytes(runner, head, request->unit_count);
    /* Stretches of the files are read in whole blocks, and rows are not divided. */
    const uint64_t stretches = (uint64_t)unit_of_block(runner, 1) * AEGIS_PARTITION_SLACK;
    const uint64_t slack = ring * (stretches + aegis_partition_largest_row(request)) +
                           (uint64_t)request->unit_count * 64;
    const uint64_t least = fixed + ring * chunk + slack;
    if (least > request->available_bytes) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_BUDGET_EXCEEDED,
                               "its weights have %" PRIu64 " bytes to stay in; streaming needs "
                               "%" PRIu64 " at least: %" PRIu64 " of tables and head, which stay, "
                               "and %u buffers of a block",
                               request->available_bytes, least, fixed, ring);
    }
    const uint64_t missing = blocks + fixed + slack - request->available_bytes;
    const aegis_u128 share = (aegis_u128)missing * 1000000 / (blocks - ring * chunk);
    *ret_ppm = share >= 1000000 ? 1000000 : (uint64_t)share + 1;
    return AEGIS_OK;
}

static aegis_status plan_shares(void *self,
                                const aegis_partition_request *request,
                                aegis_partition_builder *builder,
                                aegis_error *err)
{
    const aegis_runner *runner = self;
    const uint32_t layers = runner->weights.config->layers, head = runner->weights.head.unit;
    uint32_t ring = RING_SEGMENTS * runner->blocks_together;
    ring = ring < layers ? ring : layers - 1;
    while (ring > 1 && ring * largest_chunk(runner) >= units_bytes(runner, 0, head)) {
        ring--; /* blocks of very different sizes */
    }
    uint64_t ppm = 0;
    aegis_status status = streamed_share(runner, request, ring, &ppm, err);
    if (status == AEGIS_OK) {
        status = aegis_partition_set_buffers(builder, ring, err);
    }
    for (uint32_t b = 0; b < layers && status == AEGIS_OK; b++) {
        const uint32_t first = unit_of_block(runner, b), end = unit_of_block(runner, b + 1);
        const uint64_t bytes = units_bytes(runner, first, end);
        const uint64_t kept = (uint64_t)((aegis_u128)bytes * (1000000 - ppm) / 1000000);
        status = add_block(builder, request, first, end, kept, err);
    }
    return status == AEGIS_OK ? pin_units(builder, request, head, request->unit_count, err)
                              : status;
}

aegis_status aegis_runner_plan(aegis_runner *runner, uint64_t available, aegis_error *err)
{
    const aegis_partition_request request = {.units = runner->weights.units,
                                             .unit_count = runner->weights.unit_count,
                                             .available_bytes = available,
                                             .tile_bytes = AEGIS_RUNNER_TILE_BYTES};
    const uint32_t head = runner->weights.head.unit;
    const bool fits =
        units_bytes(runner, 0, request.unit_count) + request.unit_count * UINT64_C(64) <= available;
    const aegis_partition_strategy strategy = {.version = AEGIS_PARTITION_STRATEGY_VERSION,
                                               .name = fits ? "tiles" : "shares",
                                               .plan = fits ? plan_tiles : plan_shares,
                                               .self = runner};
    const uint32_t layers = runner->weights.config->layers;
    if (!fits && layers < 2) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_BUDGET_EXCEEDED,
                               "a model of one block cannot be streamed; it needs all its %" PRIu64
                               " bytes of weights",
                               units_bytes(runner, 0, request.unit_count));
    }
    runner->blocks_together = (layers + MOST_BLOCK_SEGMENTS - 1) / MOST_BLOCK_SEGMENTS;
    runner->head_bytes = units_bytes(runner, head, head + 1) / MOST_HEAD_SEGMENTS;
    const uint64_t chunk = runner->blocks_together * largest_chunk(runner);
    runner->head_bytes = runner->head_bytes < chunk ? chunk : runner->head_bytes;
    return aegis_partition_plan(&strategy, &request, &runner->allocator, &runner->partition, err);
}

/* --- segments of a streamed model ---------------------------------------------------------------
 */

bool aegis_runner_begins_segment(const aegis_runner *runner, uint32_t piece)
{
    const aegis_weights *weights = &runner->weights;
    const aegis_partition_piece *one = &runner->partition->pieces[piece];
    if (one->unit == weights->head.unit) {
        const uint64_t at = one->first * weights->units[one->unit].row_bytes;
        const uint64_t before =
            one->first == 0 ? 0 : at - (one - 1)->count * weights->units[one->unit].row_bytes;
        return one->first == 0 || at / runner->head_bytes != before / runner->head_bytes;
    }
    const uint32_t block = aegis_runner_block_of(runner, piece);
    return one->first == 0 && one->unit == weights->blocks[block].qkv[0].unit &&
           block % runner->blocks_together == 0;
}

void aegis_runner_groups(const aegis_runner *runner,
                         uint32_t first,
                         uint32_t end,
                         uint32_t *ret_first,
                         uint32_t *ret_end)
{
    *ret_first = *ret_end = 0;
    for (uint32_t p = first; p < end; p++) {
        const uint32_t group = runner->partition->pieces[p].group;
        if (group < runner->partition->group_count) {
            *ret_first = *ret_end == 0 ? group : *ret_first;
            *ret_end = group + 1;
        }
    }
}

static void announce(const aegis_runner *runner)
{
    while (aegis_weight_stream_announce(runner->weights.stream, runner->partition->group_count)) {
    }
}

bool aegis_runner_has(aegis_runner *runner, uint32_t first_group, uint32_t end_group)
{
    aegis_weight_stream *stream = runner->weights.stream;
    if (stream == NULL) {
        return true;
    }
    announce(runner);
    if (end_group == first_group) {
        return true;
    }
    if (runner->forward->group != NULL) { /* of a segment that was ended part-way */
        aegis_weight_stream_put_back(stream);
        runner->forward->group = NULL;
    }
    /* Part-way through a step that was given up: what is left of its pass goes by. */
    while (aegis_weight_stream_position(stream) != first_group) {
        if (!aegis_weight_stream_is_ready(stream)) {
            return false;
        }
        aegis_weight_stream_release(stream);
        announce(runner);
    }
    return aegis_weight_stream_has(stream, end_group - first_group);
}

void aegis_runner_watch(aegis_runner *runner, void (*wake)(void *self), void *self)
{
    if (runner->weights.stream != NULL) {
        aegis_weight_stream_watch(runner->weights.stream, wake, self);
    }
}

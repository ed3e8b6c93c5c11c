/* SPDX-License-Identifier: Apache-2.0 */
/* Where a step computes, and how it goes on. */
#include "backend/transformer/backend/runner_internal.h"

#include "backend/transformer/engine/sampler.h"
#include "base/base.h"

#include <string.h>
#include <sys/mman.h>

/* Bytes that are there twice while the weights move: whole pages. */
#define MOVED_BYTES ((uint64_t)4 << 20)
/* f32 0x3c3c3c3c is 0.0115: no subnormals, no infinities. */
#define CACHE_FILLING 0x3c

/* --- memory ----------------------------------------------------------------------------------- */

/* Hands out parts of an area; with a NULL base it only counts. */
typedef struct carver {
    uint8_t *base;
    uint64_t used;
} carver;

static void *carve(carver *area, uint64_t count, size_t size)
{
    void *at = area->base != NULL ? area->base + area->used : NULL;
    area->used = aegis_align_up(area->used + count * size, 64);
    return at;
}

/* At a cut only the residual stream, its norm and the angles of the position are live: norms are
 * computed before the first matrix of the next block (or the head) is. */
static void lay_out(const aegis_runner *runner,
                    aegis_forward *forward,
                    float **ret_saved_x,
                    float **ret_saved_normed,
                    carver *crossing,
                    carver *working)
{
    const aegis_decoder_config *config = runner->weights.config;
    const uint64_t half = config->head_width / 2 + 1;
    const uint64_t query = (uint64_t)config->heads * config->head_width;
    const uint64_t kv = (uint64_t)config->kv_heads * config->head_width;
    forward->x = carve(crossing, config->width, sizeof(float));
    forward->normed = carve(crossing, config->width, sizeof(float));
    forward->cosines = carve(crossing, half, sizeof(float));
    forward->sines = carve(crossing, half, sizeof(float));
    forward->rows = carve(crossing, 1, sizeof *forward->rows);
    forward->logits_row = carve(crossing, 1, sizeof *forward->logits_row);
    *ret_saved_x = carve(crossing, config->width, sizeof(float));
    *ret_saved_normed = carve(crossing, config->width, sizeof(float));
    forward->qkv = carve(working, query + 2 * kv, sizeof(float));
    forward->attention = carve(working, query, sizeof(float));
    forward->up[0] = carve(working, config->feed_forward, sizeof(float));
    if (config->architecture == AEGIS_ARCHITECTURE_LLAMA) {
        forward->up[1] = carve(working, config->feed_forward, sizeof(float));
    }
    forward->added = carve(working, config->width, sizeof(float));
    forward->scores = carve(working, runner->limits.positions, sizeof(float));
}

void aegis_runner_measure(const aegis_runner *runner, uint64_t *ret_crossing, uint64_t *ret_working)
{
    aegis_forward shape = {0};
    float *x, *normed;
    carver crossing = {0}, working = {0};
    lay_out(runner, &shape, &x, &normed, &crossing, &working);
    *ret_crossing = crossing.used;
    *ret_working = working.used;
}

void aegis_runner_bind(aegis_runner *runner, void *crossing, void *working, float *logits)
{
    carver first = {.base = crossing}, second = {.base = working};
    lay_out(runner, runner->forward, &runner->saved_x, &runner->saved_normed, &first, &second);
    runner->forward->logits = logits;
}

void aegis_runner_move(aegis_runner *runner, void *weights, void *buffers, void *cache)
{
    const uint64_t size = runner->facts.sizes.weights;
    uint8_t *from = runner->weights.pinned, *to = weights;
    for (uint64_t at = 0; at < size; at += MOVED_BYTES) {
        const uint64_t bytes = size - at < MOVED_BYTES ? size - at : MOVED_BYTES;
        memcpy(to + at, from + at, bytes);
        if (!runner->moved && bytes == MOVED_BYTES) {
            madvise(from + at, bytes, MADV_DONTNEED); /* advice: a failure costs memory only */
        }
    }
    if (!runner->moved) {
        aegis_pages_unmap(from, size);
        aegis_pages_unmap(runner->forward->cache, runner->forward->cache_bytes);
    }
    if (runner->weights.stream != NULL) {
        aegis_weight_stream_move(runner->weights.stream, buffers);
        runner->forward->group = NULL;
    }
    runner->weights.pinned = weights;
    runner->forward->cache = cache;
    runner->moved = true;
}

void aegis_runner_visit(const aegis_runner *runner,
                        void (*visit)(void *self, const void *bytes, size_t size),
                        void *self)
{
    const aegis_weights *weights = &runner->weights;
    const aegis_partition *partition = runner->partition;
    visit(self, weights->pinned, runner->facts.sizes.weights);
    visit(self, weights->vectors, weights->vector_bytes);
    visit(self, runner->forward->cache, runner->forward->cache_bytes);
    visit(self, partition->pieces, partition->piece_count * sizeof *partition->pieces);
    if (weights->stream != NULL) {
        uint64_t size;
        const void *buffers = aegis_weight_stream_buffers(weights->stream, &size);
        visit(self, buffers, size);
    }
}

void aegis_runner_fill_cache(aegis_runner *runner)
{
    memset(runner->forward->cache, CACHE_FILLING, runner->forward->cache_bytes);
}

/* --- cuts ------------------------------------------------------------------------------------- */

uint32_t aegis_runner_block_of(const aegis_runner *runner, uint32_t piece)
{
    const aegis_weights *weights = &runner->weights;
    uint32_t block = 0;
    while (block < weights->config->layers &&
           runner->partition->pieces[piece].unit > weights->blocks[block].down.unit) {
        block++;
    }
    return block;
}

/* The first unit of a block is that of its queries. */
static bool begins_block(const aegis_runner *runner, uint32_t piece, uint32_t block)
{
    const aegis_partition_piece *one = &runner->partition->pieces[piece];
    return one->first == 0 && one->unit == runner->weights.blocks[block].qkv[0].unit;
}

bool aegis_runner_can_cut(const aegis_runner *runner,
                          uint32_t piece,
                          uint32_t *ret_tensors,
                          uint64_t *ret_bytes)
{
    const aegis_decoder_config *config = runner->weights.config;
    if (piece == 0 || piece >= runner->facts.pieces) {
        return false;
    }
    const uint32_t block = aegis_runner_block_of(runner, piece);
    if (block < config->layers && !begins_block(runner, piece, block)) {
        return false;
    }
    const bool angles = config->architecture == AEGIS_ARCHITECTURE_LLAMA && block < config->layers;
    const uint64_t values = block == config->layers ? config->width
                            : angles ? 2 * (uint64_t)config->width + config->head_width
                                     : 2 * (uint64_t)config->width;
    *ret_tensors = block == config->layers ? 1 : angles ? 4 : 2;
    *ret_bytes = values * sizeof(float);
    return true;
}

/* --- a step ----------------------------------------------------------------------------------- */

aegis_status
aegis_runner_begin(aegis_runner *runner, uint32_t token, uint32_t position, aegis_error *err)
{
    const aegis_forward_row row = {.position = position, .token = token, .wants_logits = true};
    return aegis_forward_begin(runner->forward, &row, 1, false, false, err);
}

aegis_status aegis_runner_run(aegis_runner *runner, uint32_t until, aegis_error *err)
{
    aegis_weight_stream *stream = runner->weights.stream;
    bool done;
    aegis_status status = aegis_forward_run(runner->forward, until, &done, err);
    /* Bytes that could not be read go by, and are read again in the next pass. */
    if (status != AEGIS_OK && stream != NULL && aegis_weight_stream_announced(stream) != 0 &&
        aegis_weight_stream_is_ready(stream)) {
        aegis_weight_stream_release(stream);
    }
    return status;
}

void aegis_runner_save(aegis_runner *runner)
{
    const aegis_forward *forward = runner->forward;
    const size_t bytes = runner->weights.config->width * sizeof(float);
    memcpy(runner->saved_x, forward->x, bytes);
    memcpy(runner->saved_normed, forward->normed, bytes);
    runner->block = forward->block;
    runner->stage = forward->stage;
    runner->piece = forward->piece;
    runner->active = forward->active;
    runner->head_begun = forward->head_begun;
}

void aegis_runner_restore(aegis_runner *runner)
{
    aegis_forward *forward = runner->forward;
    const size_t bytes = runner->weights.config->width * sizeof(float);
    memcpy(forward->x, runner->saved_x, bytes);
    memcpy(forward->normed, runner->saved_normed, bytes);
    forward->block = runner->block;
    forward->stage = runner->stage;
    forward->piece = runner->piece;
    forward->active = runner->active;
    forward->head_begun = runner->head_begun;
}

uint32_t aegis_runner_choose(const aegis_runner *runner)
{
    return aegis_sample_greedy(runner->forward->logits, runner->facts.vocabulary);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/forward_internal.h"

#include "base/base.h"

#include <math.h>
#include <string.h>

#define HERE AEGIS_HERE("transformer.forward")

uint64_t aegis_forward_cache_bytes(const aegis_decoder_config *config,
                                   const aegis_forward_limits *limits)
{
    return (uint64_t)config->layers * 2 * limits->sequences * config->kv_heads * limits->positions *
           config->head_width * (limits->half_cache ? sizeof(uint16_t) : sizeof(float));
}

/* Hands out the arrays of the work mapping; with a NULL base it only counts. */
typedef struct carver {
    uint8_t *base;
    uint64_t used;
} carver;

static void *carve(carver *all, uint64_t count, size_t size)
{
    void *at = all->base != NULL ? all->base + all->used : NULL;
    all->used = aegis_align_up(all->used + count * size, 64);
    return at;
}

static void lay_out(aegis_forward *forward,
                    const aegis_decoder_config *config,
                    const aegis_forward_limits *limits,
                    uint32_t threads,
                    carver *all)
{
    const uint64_t rows = limits->rows, half = config->head_width / 2 + 1;
    const uint64_t query = (uint64_t)config->heads * config->head_width;
    const uint64_t kv = (uint64_t)config->kv_heads * config->head_width;
    forward->x = carve(all, rows * config->width, sizeof(float));
    forward->normed = carve(all, rows * config->width, sizeof(float));
    forward->qkv = carve(all, rows * (query + 2 * kv), sizeof(float));
    forward->attention = carve(all, rows * query, sizeof(float));
    forward->up[0] = carve(all, rows * config->feed_forward, sizeof(float));
    if (config->architecture == AEGIS_ARCHITECTURE_LLAMA) {
        forward->up[1] = carve(all, rows * config->feed_forward, sizeof(float));
    }
    forward->added = carve(all, rows * config->width, sizeof(float));
    forward->logits = carve(all, (uint64_t)limits->logits * config->vocabulary, sizeof(float));
    forward->scores = carve(all, (uint64_t)threads * limits->positions, sizeof(float));
    forward->cosines = carve(all, rows * half, sizeof(float));
    forward->sines = carve(all, rows * half, sizeof(float));
    forward->frequencies = carve(all, half, sizeof(float));
    forward->scratch = carve(all, threads * limits->scratch_bytes, 1);
    forward->rows = carve(all, rows, sizeof *forward->rows);
    forward->logits_row = carve(all, limits->logits, sizeof *forward->logits_row);
}

uint64_t aegis_forward_work_bytes(const aegis_decoder_config *config,
                                  const aegis_forward_limits *limits,
                                  uint32_t threads)
{
    aegis_forward shape = {0};
    carver all = {0};
    lay_out(&shape, config, limits, threads, &all);
    return aegis_align_up(all.used, AEGIS_READ_BLOCK);
}

/* theta^(-2 i / width) in f32, as the models were trained. */
static void set_frequencies(aegis_forward *forward)
{
    const uint32_t half = forward->config->head_width / 2;
    for (uint32_t i = 0; i < half && forward->config->rope_theta > 0; i++) {
        const float exponent = (float)(2 * i) / (float)forward->config->head_width;
        forward->frequencies[i] = 1.0f / (float)pow(forward->config->rope_theta, (double)exponent);
    }
}

aegis_status aegis_forward_create(aegis_weights *weights,
                                  const aegis_kernels *kernels,
                                  aegis_compute_pool *pool,
                                  const aegis_forward_limits *limits,
                                  const aegis_allocator *allocator,
                                  aegis_forward **ret_forward,
                                  aegis_error *err)
{
    const aegis_decoder_config *config = weights->config;
    const uint32_t threads = aegis_compute_pool_threads(pool);
    aegis_forward *forward = aegis_allocate_zeroed(allocator, 1, sizeof *forward);
    if (forward == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a forward pass");
    }
    *forward = (aegis_forward){.allocator = *allocator,
                               .weights = weights,
                               .config = config,
                               .kernels = kernels,
                               .pool = pool,
                               .limits = *limits,
                               .query_width = config->heads * config->head_width,
                               .kv_width = config->kv_heads * config->head_width};
    forward->cache_bytes = aegis_forward_cache_bytes(config, limits);
    forward->work_bytes = aegis_forward_work_bytes(config, limits, threads);
    forward->cache = aegis_pages_map(forward->cache_bytes);
    forward->work = aegis_pages_map(forward->work_bytes);
    if (forward->cache == NULL || forward->work == NULL) {
        aegis_forward_destroy(forward);
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for %u sequences of %u positions", limits->sequences,
                               limits->positions);
    }
    carver all = {.base = forward->work};
    lay_out(forward, config, limits, threads, &all);
    set_frequencies(forward);
    *ret_forward = forward;
    return AEGIS_OK;
}

void aegis_forward_multiply_by(aegis_forward *forward, const aegis_multiplier *multiplier)
{
    forward->multiplier = multiplier;
}

void aegis_forward_destroy(aegis_forward *forward)
{
    if (forward == NULL) {
        return;
    }
    aegis_pages_unmap(forward->cache, forward->cache_bytes);
    aegis_pages_unmap(forward->work, forward->work_bytes);
    const aegis_allocator allocator = forward->allocator;
    aegis_deallocate(&allocator, forward, 1, sizeof *forward);
}

/* --- begin ------------------------------------------------------------------------------------ */

static aegis_status check_rows(const aegis_forward *forward,
                               const aegis_forward_row *rows,
                               uint32_t count,
                               aegis_error *err)
{
    const aegis_forward_limits *limits = &forward->limits;
    uint32_t logits = 0;
    for (uint32_t r = 0; r < count; r++) {
        logits += rows[r].wants_logits;
        if (rows[r].token >= forward->config->vocabulary || rows[r].sequence >= limits->sequences ||
            rows[r].position >= limits->positions) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                                   "token %u at position %u of sequence %u; the limits are %u, %u "
                                   "and %u",
                                   rows[r].token, rows[r].position, rows[r].sequence,
                                   forward->config->vocabulary, limits->positions,
                                   limits->sequences);
        }
    }
    if (count == 0 || count > limits->rows || logits > limits->logits) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "%u rows with %u logits in a pass; the limits are %u and %u", count,
                               logits, limits->rows, limits->logits);
    }
    return AEGIS_OK;
}

static aegis_status embed(aegis_forward *forward, uint32_t r, aegis_error *err)
{
    aegis_weights *weights = forward->weights;
    const aegis_forward_row *row = &forward->rows[r];
    const uint32_t width = forward->config->width;
    float *x = forward->x + (size_t)r * width;
    aegis_status status =
        aegis_weights_lookup(weights, &weights->tokens, row->token, forward->kernels, x, err);
    if (status == AEGIS_OK && weights->positions.tensor != NULL) {
        status = aegis_weights_lookup(weights, &weights->positions, row->position, forward->kernels,
                                      forward->added, err);
        if (status == AEGIS_OK) {
            forward->kernels->add(forward->added, width, x);
        }
    }
    return status;
}

static void set_angles(aegis_forward *forward, uint32_t r)
{
    const uint32_t half = forward->config->head_width / 2;
    for (uint32_t i = 0; i < half; i++) {
        const float angle = (float)forward->rows[r].position * forward->frequencies[i];
        forward->cosines[(size_t)r * half + i] = (float)cos((double)angle);
        forward->sines[(size_t)r * half + i] = (float)sin((double)angle);
    }
}

/* Sees to it that the stream's next pass is this one, and announces the one behind it. */
static void announce(aegis_forward *forward, bool follows, bool next_logits)
{
    const aegis_weights *weights = forward->weights;
    if (weights->stream == NULL) {
        return;
    }
    const uint32_t all = weights->partition->group_count, headless = weights->headless_groups;
    const uint32_t groups = forward->logits_count > 0 ? all : headless;
    const uint32_t next = next_logits ? all : headless;
    const uint32_t expected = aegis_weight_stream_announced(weights->stream);
    if (expected != 0 && expected != groups) {
        aegis_weight_stream_rewind(weights->stream); /* another pass than was foreseen */
    }
    if (groups != 0 && expected != groups) {
        aegis_weight_stream_announce(weights->stream, groups);
    }
    if (follows && next != 0) {
        aegis_weight_stream_announce(weights->stream, next);
    }
}

aegis_status aegis_forward_begin(aegis_forward *forward,
                                 const aegis_forward_row *rows,
                                 uint32_t count,
                                 bool follows,
                                 bool next_logits,
                                 aegis_error *err)
{
    aegis_status status = check_rows(forward, rows, count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (forward->active) { /* the one before was given up on its way */
        forward->group = NULL;
        if (forward->weights->stream != NULL && !forward->never_rewinds) {
            aegis_weight_stream_rewind(forward->weights->stream);
        }
    }
    memcpy(forward->rows, rows, count * sizeof *rows);
    forward->count = count;
    forward->logits_count = 0;
    for (uint32_t r = 0; r < count; r++) {
        if (rows[r].wants_logits) {
            forward->logits_row[forward->logits_count++] = r;
        }
    }
    forward->active = true;
    forward->block = forward->stage = forward->piece = 0;
    forward->head_begun = false;
    announce(forward, follows, next_logits);
    for (uint32_t r = 0; status == AEGIS_OK && r < count; r++) {
        status = embed(forward, r, err);
        if (forward->config->architecture == AEGIS_ARCHITECTURE_LLAMA) {
            set_angles(forward, r);
        }
    }
    return status;
}

float *aegis_forward_logits(const aegis_forward *forward, uint32_t index)
{
    return forward->logits + (size_t)index * forward->config->vocabulary;
}

/* --- the stages ------------------------------------------------------------------------------- */

static void normalise(
    const aegis_forward *forward, const float *x, const float *weight, const float *bias, float *y)
{
    const aegis_decoder_config *config = forward->config;
    if (config->architecture == AEGIS_ARCHITECTURE_GPT2) {
        forward->kernels->layer_norm(x, weight, bias, config->norm_epsilon, config->width, y);
    } else {
        forward->kernels->rms_norm(x, weight, config->norm_epsilon, config->width, y);
    }
}

/* Work on single rows that needs no weights from the partition. */
static void run_row(void *argument, uint32_t r, uint32_t thread)
{
    (void)thread;
    aegis_forward *forward = argument;
    const aegis_decoder_config *config = forward->config;
    const aegis_kernels *kernels = forward->kernels;
    const aegis_block_weights *block = &forward->weights->blocks[forward->block];
    const size_t width = config->width, wide = config->feed_forward;
    float *x = forward->x + r * width, *normed = forward->normed + r * width;
    float *up = forward->up[0] + r * wide, *added = forward->added + r * width;
    switch ((forward_stage)forward->stage) {
    case FORWARD_ATTENTION_NORM:
        normalise(forward, x, block->attention_norm, block->attention_norm_bias, normed);
        break;
    case FORWARD_FEED_FORWARD_NORM:
        if (block->output_bias != NULL) {
            kernels->add(block->output_bias, config->width, added);
        }
        kernels->add(added, config->width, x);
        normalise(forward, x, block->feed_forward_norm, block->feed_forward_norm_bias, normed);
        break;
    case FORWARD_ACTIVATION:
        if (config->architecture == AEGIS_ARCHITECTURE_LLAMA) {
            kernels->silu_gate(forward->up[1] + r * wide, config->feed_forward, up);
            break;
        }
        kernels->add(block->up_bias, config->feed_forward, up);
        if (config->activation == AEGIS_ACTIVATION_GELU) {
            kernels->gelu_erf(up, config->feed_forward);
        } else {
            kernels->gelu(up, config->feed_forward);
        }
        break;
    case FORWARD_BLOCK_END:
        if (block->down_bias != NULL) {
            kernels->add(block->down_bias, config->width, added);
        }
        kernels->add(added, config->width, x);
        break;
    case FORWARD_QKV:
    case FORWARD_CACHE:
    case FORWARD_ATTENTION:
    case FORWARD_OUTPUT:
    case FORWARD_UP:
    case FORWARD_DOWN:
    case FORWARD_STAGES:
        break;
    }
}

static void keep_keys_and_values(aegis_forward *forward)
{
    const aegis_block_weights *block = &forward->weights->blocks[forward->block];
    const uint32_t width = forward->query_width + 2 * forward->kv_width;
    for (uint32_t r = 0; block->qkv_bias != NULL && r < forward->count; r++) {
        forward->kernels->add(block->qkv_bias, width, forward->qkv + (size_t)r * width);
    }
    if (forward->config->architecture == AEGIS_ARCHITECTURE_LLAMA) {
        aegis_forward_rotate(forward);
    }
    aegis_forward_store(forward, forward->block);
}

/* A product of the current block; `normed` is its input but for the output and down matrices. */
static aegis_status
multiply(aegis_forward *forward, uint32_t until, bool *ret_done, aegis_error *err)
{
    const aegis_block_weights *block = &forward->weights->blocks[forward->block];
    const size_t width = forward->config->width, wide = forward->config->feed_forward;
    const size_t qkv = forward->query_width + 2 * (size_t)forward->kv_width;
    const aegis_rows normed = {forward->normed, width};
    aegis_forward_product products[3];
    uint32_t count = 0;
    size_t at = 0;
    if (forward->stage == FORWARD_QKV) {
        for (; count < block->qkv_count; count++) {
            products[count] =
                (aegis_forward_product){&block->qkv[count], normed, {forward->qkv + at, qkv}};
            at += block->qkv[count].outputs;
        }
    } else if (forward->stage == FORWARD_OUTPUT) {
        products[count++] = (aegis_forward_product){
            &block->output, {forward->attention, forward->query_width}, {forward->added, width}};
    } else if (forward->stage == FORWARD_UP) {
        for (; count < block->up_count; count++) {
            products[count] =
                (aegis_forward_product){&block->up[count], normed, {forward->up[count], wide}};
        }
    } else {
        products[count++] =
            (aegis_forward_product){&block->down, {forward->up[0], wide}, {forward->added, width}};
    }
    return aegis_forward_products(forward, products, count, forward->count, until, ret_done, err);
}

static aegis_status
run_stage(aegis_forward *forward, uint32_t until, bool *ret_done, aegis_error *err)
{
    *ret_done = true;
    switch ((forward_stage)forward->stage) {
    case FORWARD_QKV:
    case FORWARD_OUTPUT:
    case FORWARD_UP:
    case FORWARD_DOWN:
        return multiply(forward, until, ret_done, err);
    case FORWARD_CACHE:
        keep_keys_and_values(forward);
        break;
    case FORWARD_ATTENTION:
        aegis_forward_attend(forward, forward->block);
        break;
    case FORWARD_ATTENTION_NORM:
    case FORWARD_FEED_FORWARD_NORM:
    case FORWARD_ACTIVATION:
    case FORWARD_BLOCK_END:
    case FORWARD_STAGES:
        aegis_compute_pool_run(forward->pool, forward->count, run_row, forward);
        break;
    }
    return AEGIS_OK;
}

/* Final norm and head of the rows that want logits. */
static aegis_status
run_head(aegis_forward *forward, uint32_t until, bool *ret_done, aegis_error *err)
{
    const aegis_weights *weights = forward->weights;
    const size_t width = forward->config->width;
    for (uint32_t i = 0; !forward->head_begun && i < forward->logits_count; i++) {
        normalise(forward, forward->x + forward->logits_row[i] * width, weights->final_norm,
                  weights->final_norm_bias, forward->normed + i * width);
    }
    forward->head_begun = true;
    const aegis_forward_product product = {
        &weights->head, {forward->normed, width}, {forward->logits, forward->config->vocabulary}};
    return aegis_forward_products(forward, &product, 1, forward->logits_count, until, ret_done,
                                  err);
}

aegis_status
aegis_forward_run(aegis_forward *forward, uint32_t until, bool *ret_done, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    bool done = true;
    while (status == AEGIS_OK && done && forward->block < forward->config->layers) {
        status = run_stage(forward, until, &done, err);
        if (status == AEGIS_OK && done && ++forward->stage == FORWARD_STAGES) {
            forward->stage = 0;
            forward->block++;
        }
    }
    if (status == AEGIS_OK && done && forward->logits_count > 0) {
        status = run_head(forward, until, &done, err);
    }
    if (status != AEGIS_OK) {
        /* The next pass begins anew. */
        if (forward->weights->stream != NULL && !forward->never_rewinds) {
            aegis_weight_stream_rewind(forward->weights->stream);
        }
        forward->group = NULL;
        forward->active = false;
        return status;
    }
    if (done) {
        aegis_forward_let_go(forward);
        forward->active = false;
    }
    *ret_done = done;
    return AEGIS_OK;
}

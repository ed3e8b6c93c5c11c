/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/forward_internal.h"

#include <math.h>
#include <string.h>

/* Rotary positions on halves (Su et al. 2021, in the layout of Hugging Face), grouped queries
 * (Ainslie et al. 2023), keys and values in the cache: [block][key, value][sequence][kv head]
 * [position][head width]. */

static size_t element_bytes(const aegis_forward *forward)
{
    return forward->limits.half_cache ? sizeof(uint16_t) : sizeof(float);
}

static uint8_t *cache_at(
    const aegis_forward *forward, uint32_t block, uint32_t value, uint32_t sequence, uint32_t head)
{
    const aegis_decoder_config *config = forward->config;
    const uint64_t line =
        (uint64_t)forward->limits.positions * config->head_width * element_bytes(forward);
    const uint64_t index =
        (((uint64_t)block * 2 + value) * forward->limits.sequences + sequence) * config->kv_heads +
        head;
    return forward->cache + index * line;
}

void aegis_forward_rotate(aegis_forward *forward)
{
    const aegis_decoder_config *config = forward->config;
    const uint32_t half = config->head_width / 2;
    const uint32_t heads = config->heads + config->kv_heads; /* queries, then keys */
    const size_t stride = forward->query_width + 2 * (size_t)forward->kv_width;
    for (uint32_t r = 0; r < forward->count; r++) {
        float *row = forward->qkv + r * stride;
        for (uint32_t h = 0; h < heads; h++) {
            forward->kernels->rotate(forward->cosines + (size_t)r * half,
                                     forward->sines + (size_t)r * half, half,
                                     row + (size_t)h * config->head_width);
        }
    }
}

void aegis_forward_store(aegis_forward *forward, uint32_t block)
{
    const aegis_decoder_config *config = forward->config;
    const uint32_t width = config->head_width;
    const size_t stride = forward->query_width + 2 * (size_t)forward->kv_width;
    for (uint32_t r = 0; r < forward->count; r++) {
        const aegis_forward_row *row = &forward->rows[r];
        for (uint32_t i = 0; i < 2 * config->kv_heads; i++) {
            const uint32_t value = i / config->kv_heads, head = i % config->kv_heads;
            const float *from = forward->qkv + r * stride + forward->query_width +
                                (size_t)value * forward->kv_width + (size_t)head * width;
            uint8_t *to = cache_at(forward, block, value, row->sequence, head) +
                          (size_t)row->position * width * element_bytes(forward);
            if (forward->limits.half_cache) {
                forward->kernels->narrow(from, width, (uint16_t *)(void *)to);
            } else {
                memcpy(to, from, width * sizeof(float));
            }
        }
    }
}

typedef struct attention {
    aegis_forward *forward;
    uint32_t block;
} attention;

/* softmax(q K / sqrt(width)) V of one head of one row; each sum over rising positions. */
static void attend_head(void *argument, uint32_t chunk, uint32_t thread)
{
    const attention *all = argument;
    const aegis_forward *forward = all->forward;
    const aegis_decoder_config *config = forward->config;
    const aegis_kernels *kernels = forward->kernels;
    const uint32_t r = chunk / config->heads, h = chunk % config->heads;
    const uint32_t kv = h / (config->heads / config->kv_heads), width = config->head_width;
    const aegis_forward_row *row = &forward->rows[r];
    const size_t stride = forward->query_width + 2 * (size_t)forward->kv_width;
    const float *query = forward->qkv + r * stride + (size_t)h * width;
    float *out = forward->attention + (size_t)r * forward->query_width + (size_t)h * width;
    float *scores = forward->scores + (size_t)thread * forward->limits.positions;
    const void *keys = cache_at(forward, all->block, 0, row->sequence, kv);
    const void *values = cache_at(forward, all->block, 1, row->sequence, kv);
    const uint32_t count = row->position + 1;
    for (uint32_t t = 0; t < count; t++) {
        const size_t at = (size_t)t * width;
        scores[t] = forward->limits.half_cache
                        ? kernels->dot_half(query, (const uint16_t *)keys + at, width)
                        : kernels->dot(query, (const float *)keys + at, width);
    }
    kernels->scale(1.0f / sqrtf((float)width), count, scores);
    const float sum = kernels->exponentials(scores, count);
    memset(out, 0, width * sizeof *out);
    for (uint32_t t = 0; t < count; t++) {
        const size_t at = (size_t)t * width;
        if (forward->limits.half_cache) {
            kernels->add_scaled_half(scores[t], (const uint16_t *)values + at, width, out);
        } else {
            kernels->add_scaled(scores[t], (const float *)values + at, width, out);
        }
    }
    kernels->scale(1.0f / sum, width, out);
}

void aegis_forward_attend(aegis_forward *forward, uint32_t block)
{
    attention all = {forward, block};
    aegis_compute_pool_run(forward->pool, forward->count * forward->config->heads, attend_head,
                           &all);
}

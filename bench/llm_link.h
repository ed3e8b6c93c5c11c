/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BENCH_LLM_LINK_H
#define AEGIS_BENCH_LLM_LINK_H

/* Language models whose layers come from pinned memory: what the link gives, and what budgets mean.
 * The arena has to hold LLM_LINK_BYTES for it, and so has pinned memory. */

#include "llm_gpu.h"

#define LLM_LINK_BYTES ((uint64_t)256 << 20)
#define LLM_LINK_COPIED_BYTES (4 * LLM_LINK_BYTES)
#define LLM_LINK_CHUNK_BYTES ((uint64_t)16 << 20)
#define LLM_LINK_ROUNDS 9

static inline void llm_copy_once(const llm_bed *b, const aegis_buffer *from, const aegis_buffer *to)
{
    aegis_error err;
    for (uint64_t at = 0; at < LLM_LINK_BYTES; at += LLM_LINK_CHUNK_BYTES) {
        gpu_check(aegis_stream_copy(b->stream, (uint8_t *)to->pointer + at,
                                    (const uint8_t *)from->pointer + at, LLM_LINK_CHUNK_BYTES,
                                    &err),
                  &err);
    }
}

/* Bytes a second from pinned memory to the device; reported. */
static inline double llm_measure_link(llm_bed *b)
{
    aegis_buffer from, to;
    aegis_error err;
    double rates[LLM_LINK_ROUNDS];
    gpu_check(aegis_device_pinned_alloc(b->device, LLM_LINK_BYTES, 4096, &from, &err), &err);
    gpu_check(aegis_device_alloc(b->device, LLM_LINK_BYTES, 4096, &to, &err), &err);
    for (uint64_t i = 0; i < LLM_LINK_BYTES / 8; i++) {
        ((uint64_t *)from.pointer)[i] = i * 0x9e3779b97f4a7c15u;
    }
    for (int round = -1; round < LLM_LINK_ROUNDS; round++) { /* the first warms up */
        const uint64_t since = bench_now_ns();
        for (uint64_t copied = 0; copied < LLM_LINK_COPIED_BYTES; copied += LLM_LINK_BYTES) {
            llm_copy_once(b, &from, &to);
        }
        llm_await(b);
        rates[round < 0 ? 0 : round] =
            (double)LLM_LINK_COPIED_BYTES / ((double)(bench_now_ns() - since) / 1e9);
    }
    gpu_check(aegis_device_pinned_free(b->device, &from, &err), &err);
    gpu_check(aegis_device_free(b->device, &to, &err), &err);
    bench_sort(rates, LLM_LINK_ROUNDS);
    const double rate = bench_percentile(rates, LLM_LINK_ROUNDS, 0.5);
    bench_report_value(&b->report, "pinned memory to device, median", "bytes/s", rate);
    fprintf(stderr, "link %.2f GB/s\n", rate / 1e9);
    return rate;
}

/* What the refusal of a budget that holds nothing asks for: of a streamed model the least, of a
 * resident one all. 0: refused for another reason. */
static inline uint64_t llm_needed_bytes(const llm_bed *b, const aegis_model_config *config)
{
    aegis_model_config scarce = *config;
    aegis_model *model = NULL;
    aegis_error err;
    scarce.memory_limit_bytes = 1;
    const aegis_status status = aegis_model_open(b->backend, &scarce, &model, &err);
    const char *needs =
        status == AEGIS_ERROR_BUDGET_EXCEEDED ? strstr(err.message, "needs ") : NULL;
    if (status == AEGIS_OK) {
        aegis_model_close(model);
    }
    return needs != NULL ? strtoull(needs + strlen("needs "), NULL, 10) : 0;
}

/* ", 9 of 12 layers from pinned memory" in a label: those that come, and all; 0 where all stay. */
static inline uint32_t llm_streamed_layers(const aegis_model *model, uint32_t *ret_layers)
{
    const char *label = aegis_model_label(model);
    const char *end = strstr(label, " layers from pinned memory");
    const char *comma = NULL;
    for (const char *at = label; end != NULL && at < end; at++) {
        comma = *at == ',' ? at : comma;
    }
    uint32_t come = 0, layers = 0;
    if (comma == NULL || sscanf(comma, ", %u of %u", &come, &layers) != 2) {
        come = 0;
    }
    *ret_layers = layers;
    return come;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_ENGINE_H
#define AEGIS_TRANSFORMER_ENGINE_H

/* The object behind the three states. Their types are never completed: a pointer to one is a
 * pointer to this, and only the functions of its state take it. */

#include "backend/transformer/engine/forward.h"
#include "backend/transformer/engine/sampler.h"
#include "backend/transformer/tokenizer/tokenizer.h"

#include <aegisrt/transformer.h>

#define AEGIS_ENGINE_MAX_SEQUENCES 64
#define AEGIS_ENGINE_MAX_DRAFT 31
#define AEGIS_ENGINE_TILE_BYTES ((uint64_t)512 << 10)
#define AEGIS_ENGINE_READ_THREADS 4

typedef struct aegis_engine {
    aegis_allocator allocator;
    aegis_transformer_config config; /* strings are the engine's own */
    const aegis_partition_strategy *strategy;
    const aegis_kernels *kernels;
    aegis_multiplier multiplier;
    uint32_t threads;

    /* planned */
    aegis_tokenizer *tokenizer;
    aegis_graph_validated *graph;
    aegis_weights weights;
    aegis_forward_limits limits;
    aegis_transformer_memory memory;
    uint64_t peak_before; /* of the process, when the model was loaded: not this engine's */
    aegis_partition *partition;
    double disk_rate, memory_rate;

    /* ready */
    aegis_compute_pool *pool;
    aegis_forward *forward;
} aegis_engine;

/* Divides a budget: what is left for weights and buffers; false when nothing is. */
bool aegis_engine_divide(const aegis_engine *engine,
                         uint64_t budget,
                         aegis_transformer_memory *ret_memory,
                         uint64_t *ret_available);
aegis_partition_request aegis_engine_request(const aegis_engine *engine, uint64_t available);
/* Fills in disk_rate and memory_rate, with at most `room` bytes of memory. */
aegis_status aegis_engine_measure(aegis_engine *engine, uint64_t room, aegis_error *err);
/* Bytes of resident memory of this process; 0 when not known. */
uint64_t aegis_process_resident_bytes(const char *system_root);
/* The most that the process held since the model was loaded, as far as the kernel tells: its peak
 * when it rose since then, what is resident now otherwise. 0 when not known. */
uint64_t aegis_engine_held_bytes(const aegis_engine *engine);
/* With weights loaded, keys, values and activations not touched yet: BUDGET_EXCEEDED when the
 * process held more than the budget, or will with what was promised to those. */
aegis_status aegis_engine_check_held(aegis_engine *engine, aegis_error *err);

#endif

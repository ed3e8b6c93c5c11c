/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PROMPT_H
#define AEGIS_TRANSFORMER_CUDA_PROMPT_H

/*
 * A block of a prompt: up to `rows` tokens through the layers at once, products by cuBLAS and the
 * rest by kernels of our own. What it leaves is what the steps of these tokens would: keys and
 * values in the cache, and the last token's residual stream, from which the step's kernel makes the
 * head, the choice and the next cursor. All launches and their sizes are the same for every block;
 * where it begins and how many tokens it has stands in device memory.
 *
 * Weights stay packed for the step's kernel (layout.h). In front of a product they are unpacked to
 * rows of f32, into one of two scratches that stay in L2: while one is multiplied the other is
 * filled. So weights are read once a block and are there once.
 *
 * All products are of f32. Weights of 16 bits are exact in TF32, and what they are multiplied with
 * is divided into two values that are, each a row of its own: so tensor cores compute, and results
 * are as precise as those of f32. Weights of f32 are multiplied as they are.
 */

#include "backend/transformer/cuda/cublas.h"
#include "backend/transformer/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_PROMPT_MAX_ROWS 1024u

/* What a block's first launch finds out. */
typedef struct aegis_prompt_state {
    uint32_t position, count; /* of the block's first token; tokens, 0: nothing to compute */
    int64_t cursor[2];        /* for the step that follows */
} aegis_prompt_state;

/* ---- prompt_plan.c: plain C, tested where there is no GPU ---- */

/* Sizes of a model's blocks, and where what they need begins in memory that holds nothing between
 * jobs, aligned to 256. */
typedef struct aegis_prompt_plan {
    uint32_t rows;                                /* tokens */
    uint32_t parts;                               /* rows that a token has in a product */
    uint32_t units;                               /* of a layer: entries of the table */
    uint32_t before[AEGIS_DECODE_LAYER_PRODUCTS]; /* of them, in the products before each */
    uint32_t scratch; /* units that are unpacked at once; there are two */
    uint64_t state, residual[2], inputs, outputs, queries, weights, workspace;
    uint64_t bytes;
} aegis_prompt_plan;

/* `step`: what is the same for every launch; `type` as for aegis_decode_launch. */
void aegis_prompt_plan_make(const aegis_decode_step *step,
                            uint32_t type,
                            uint32_t rows,
                            uint64_t workspace_bytes,
                            aegis_prompt_plan *ret_plan);
/* Of a product of a layer: its inputs, its tiles; of an unpacked unit: its floats. */
uint32_t aegis_prompt_inputs(const aegis_decode_step *step, uint32_t product);
uint32_t aegis_prompt_tiles(const aegis_decode_step *step, uint32_t product);
uint32_t aegis_prompt_unit_floats(uint32_t type);
/* Units of a layer that are unpacked together begin at `first`, which begins a tile, and end there:
 * whole tiles, and whole products where they fit. */
uint32_t aegis_prompt_piece_end(const aegis_prompt_plan *plan,
                                const aegis_decode_step *step,
                                uint32_t first);

/* ---- prompt.cu ---- */

/* That cuBLAS gets on the current device: what NVIDIA recommends. */
uint64_t aegis_prompt_workspace_bytes(void);
/* Sets the kernels' attributes: once before the first launch. DEVICE and the like. */
aegis_status aegis_prompt_prepare(const aegis_decode_step *step, uint32_t type, aegis_error *err);

typedef struct aegis_prompt_memory {
    uint8_t *block;        /* of plan->bytes */
    const uint32_t *where; /* the table: aegis_decode_where */
} aegis_prompt_memory;

/* Where the block's last token stands, for the step that follows; a device address. */
const int64_t *aegis_prompt_cursor(const aegis_prompt_plan *plan,
                                   const aegis_prompt_memory *memory);

/* The lane's stream, another on which weights are unpacked beside it, and what orders the two. */
typedef struct aegis_prompt_lane {
    struct CUstream_st *stream, *unpacking;
    struct CUevent_st *multiplied, *unpacked[2];
} aegis_prompt_lane;

/* Enqueues; allocates nothing. Finds out where the block begins (of a measured job: as late as it
 * can) and writes its embeddings. */
aegis_status aegis_prompt_begin(const aegis_prompt_plan *plan,
                                const aegis_decode_step *step,
                                uint32_t type,
                                const aegis_prompt_memory *memory,
                                struct CUstream_st *stream,
                                aegis_error *err);
/* Layers [step->first, step->last) from residual `from` to `to`, and behind the last layer the last
 * token's stream to step->crossing_out. Can be captured, and repeated where these are two. All of
 * the weights are read when lane->stream gets behind it, also after a failure. */
aegis_status aegis_prompt_layers(const aegis_prompt_plan *plan,
                                 const aegis_decode_step *step,
                                 uint32_t type,
                                 const aegis_prompt_memory *memory,
                                 uint32_t from,
                                 uint32_t to,
                                 aegis_cublas *cublas,
                                 const aegis_prompt_lane *lane,
                                 aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif

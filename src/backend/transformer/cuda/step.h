/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_STEP_H
#define AEGIS_TRANSFORMER_CUDA_STEP_H

/*
 * One step (a token through blocks [first, last), and the head) as one kernel. C and CUDA. The
 * fields of aegis_decode_step are what the kernel reads; every pointer is a device address.
 */

#include "backend/transformer/cuda/clusters.h"

#include <aegisrt/error.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_DECODE_MAX_WIDTH 4096u /* of the residual stream: kept in registers */
#define AEGIS_DECODE_MAX_HEAD_WIDTH 256u
#define AEGIS_DECODE_MAX_SPLITS 8u /* blocks that share the positions of one head */
#define AEGIS_DECODE_MAX_ENDS 8u

enum {
    AEGIS_DECODE_F32 = 0,
    AEGIS_DECODE_F16,
    AEGIS_DECODE_BF16
};
/* In clusters, whether matrices of this type have the norms in front of them within (layout.h). */
#define AEGIS_CLUSTERS_FOLD(type) ((type) == AEGIS_DECODE_F32)

/* What the kernel leaves for the host when a job cannot be computed; in pinned memory. */
enum {
    AEGIS_DECODE_FINE = 0,
    AEGIS_DECODE_BAD_CURSOR,
    AEGIS_DECODE_BAD_TOKEN
};
typedef struct aegis_decode_fault {
    volatile uint32_t kind;
    volatile int64_t position, token;
} aegis_decode_fault;

/* Words that outlive a kernel. Zero at first. */
typedef struct aegis_decode_control {
    uint32_t epoch, ticket;
} aegis_decode_control;

/* Vectors of one layer, floats from its begin. Norms as {g0, g1, b0, b1} for two elements each. */
typedef struct aegis_decode_vectors {
    uint32_t attention_norm, feed_forward_norm;
    uint32_t biases[4]; /* of the products of a layer */
    uint32_t stride;    /* of a layer */
} aegis_decode_vectors;

/* Packets of one layer, from the begin of its half. */
typedef struct aegis_decode_exchange {
    uint32_t results[4]; /* of the products of a layer */
    uint32_t attention;
    uint32_t stride; /* of a half: layers take them in turns */
} aegis_decode_exchange;

typedef struct aegis_decode_step {
    /* the model */
    uint32_t layers, width, heads, kv_heads, head_width, feed_forward, vocabulary;
    uint32_t context;
    uint32_t llama, gelu_erf, biases;
    float epsilon, width_inverse, score_factor;
    uint32_t units[5]; /* of a tile, per product */
    uint32_t rows[4];  /* of the products of a layer */
    uint32_t attention_chunk, attention_groups;
    aegis_decode_clusters clusters;
    uint32_t ring_bytes; /* of a block of a cluster: weights ahead */

    /* this launch */
    uint32_t blocks, splits;
    uint32_t first, last;
    uint32_t head;          /* the last segment: logits, token, next cursor */
    uint32_t measured;      /* at the last position, whatever the cursor says; no next cursor */
    uint32_t keep_in_cache; /* leave the weights in L2 as long as there is room */

    /* weights; layer_weights is that of layer `first` */
    const void *layer_weights;
    uint64_t layer_bytes;
    const void *head_weights;
    const aegis_decode_share *shares; /* [product][block] */
    const aegis_decode_lane *lanes;   /* [block][warp] */
    const aegis_decode_head_tile *head_tiles;
    const float *vectors; /* of layer 0 */
    aegis_decode_vectors at;
    const float *final_norm, *frequencies;
    const void *tokens;    /* a table of rows; NULL: the head is the table */
    const void *positions; /* gpt2 */

    /* memory of the step */
    float *cache; /* [layer][key, value][kv head][position][head width] */
    uint64_t *exchange;
    aegis_decode_exchange packets;
    uint64_t *best; /* per block */
    aegis_decode_control *control;
    const float *crossing_in;
    float *crossing_out;

    /* the model's surface */
    const int64_t *prompt;
    uint32_t prompt_count;
    uint32_t stop_at_end;
    const int64_t *cursor;
    int64_t *next_cursor, *token;
    int64_t *next_position; /* NULL, or where the host reads next_cursor's; in pinned memory */
    float *logits;
    uint32_t end_count, ends[AEGIS_DECODE_MAX_ENDS];
    aegis_decode_fault *fault;
} aegis_decode_step;

/* One compiled form of the kernel. */
typedef struct aegis_decode_form {
    uint32_t warps, depth; /* depth: units that each warp reads ahead */
    bool clusters;         /* clusters.cuh; of what a block reads ahead `ring_bytes` tells */
} aegis_decode_form;

/* Forms by number, best first; warps 0 behind the last. */
aegis_decode_form aegis_decode_form_at(uint32_t index);
/* Fills in what follows from the head's width. */
void aegis_decode_set_attention(aegis_decode_step *step, uint32_t warps);
/* Bytes of shared memory that a block takes. */
uint32_t aegis_decode_shared_bytes(const aegis_decode_step *step, const aegis_decode_form *form);
/* The number of blocks that run at once on the current device, 0 when the form does not fit. Sets
 * the kernel's attributes: once before the first launch. Of a form in clusters it fills in these.
 * DEVICE and the like. */
aegis_status aegis_decode_prepare(
    aegis_decode_step *step, uint32_t type, uint32_t form, uint32_t *ret_blocks, aegis_error *err);

struct CUstream_st;
/* Enqueues; allocates nothing. */
aegis_status aegis_decode_launch(const aegis_decode_step *step,
                                 uint32_t type,
                                 uint32_t form,
                                 struct CUstream_st *stream,
                                 aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif

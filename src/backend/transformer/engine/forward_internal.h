/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_FORWARD_INTERNAL_H
#define AEGIS_TRANSFORMER_FORWARD_INTERNAL_H

#include "backend/transformer/engine/forward.h"

/* What a block does, in order; the head follows the last block. */
typedef enum forward_stage {
    FORWARD_ATTENTION_NORM = 0,
    FORWARD_QKV,
    FORWARD_CACHE,
    FORWARD_ATTENTION,
    FORWARD_OUTPUT,
    FORWARD_FEED_FORWARD_NORM,
    FORWARD_UP,
    FORWARD_ACTIVATION,
    FORWARD_DOWN,
    FORWARD_BLOCK_END,
    FORWARD_STAGES
} forward_stage;

struct aegis_forward {
    aegis_allocator allocator;
    aegis_weights *weights;
    const aegis_decoder_config *config;
    const aegis_kernels *kernels;
    aegis_compute_pool *pool;
    aegis_forward_limits limits;
    uint32_t query_width, kv_width;
    const aegis_multiplier *multiplier;

    uint8_t *cache;
    uint64_t cache_bytes;
    uint8_t *work; /* the arrays below in one mapping */
    uint64_t work_bytes;
    float *x;               /* [rows][width] */
    float *normed;          /* [rows][max(width, query width)] */
    float *qkv;             /* [rows][query width + 2 kv width] */
    float *attention;       /* [rows][query width] */
    float *up[2];           /* [rows][feed forward] */
    float *added;           /* [rows][width] */
    float *logits;          /* [logits][vocabulary] */
    float *scores;          /* [threads][positions] */
    float *cosines, *sines; /* [rows][head width / 2] */
    float *frequencies;     /* [head width / 2] */
    float *scratch;         /* [threads][multiplier's] */
    aegis_forward_row *rows;
    uint32_t *logits_row;

    /* The pass. */
    uint32_t count, logits_count;
    uint32_t block, stage;
    uint32_t piece; /* next piece to compute */
    bool active;
    bool head_begun;
    bool never_rewinds;   /* its stream goes on forwards only; begin finds it before a pass */
    const uint8_t *group; /* bytes of the group that is held */
    uint32_t group_number;
};

/* forward_attention.c */
void aegis_forward_rotate(aegis_forward *forward);
void aegis_forward_store(aegis_forward *forward, uint32_t block);
void aegis_forward_attend(aegis_forward *forward, uint32_t block);

/* forward_products.c: y = x W for up to three matrices of equal input. Returns through ret_done
 * whether all pieces are computed; false when `until` came first. */
typedef struct aegis_forward_product {
    const aegis_matrix *matrix;
    aegis_rows x, y;
} aegis_forward_product;
aegis_status aegis_forward_products(aegis_forward *forward,
                                    const aegis_forward_product *products,
                                    uint32_t count,
                                    uint32_t rows,
                                    uint32_t until,
                                    bool *ret_done,
                                    aegis_error *err);
/* Gives a held group back. */
void aegis_forward_let_go(aegis_forward *forward);

#endif

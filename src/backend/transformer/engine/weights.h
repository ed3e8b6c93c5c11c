/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_WEIGHTS_H
#define AEGIS_TRANSFORMER_WEIGHTS_H

/* The weights of a model as the forward pass asks for them: some in memory, some coming by. */

#include "backend/transformer/engine/reader.h"
#include "backend/transformer/engine/stream.h"
#include "backend/transformer/model/graph.h"
#include "backend/transformer/tensor/tensor.h"

#include <aegisrt/ext/partition_ops.h>

/* A matrix and the unit of the partition that it is. */
typedef struct aegis_matrix {
    const aegis_graph_tensor *tensor;
    aegis_matrix_layout layout; /* of the file; BANDS once loaded and pinned in one place */
    uint32_t inputs, outputs;
    uint32_t unit;
    uint32_t first_piece, piece_count; /* once a partition is bound */
    const float *scales;               /* i8; once loaded */
} aegis_matrix;

/* NULL where the architecture has none. */
typedef struct aegis_block_weights {
    aegis_matrix qkv[3];              /* one fused, or query, key, value */
    aegis_matrix output, up[2], down; /* up: gate and up, or up alone */
    uint32_t qkv_count, up_count;
    const float *attention_norm, *attention_norm_bias, *feed_forward_norm, *feed_forward_norm_bias;
    const float *qkv_bias, *output_bias, *up_bias, *down_bias;
} aegis_block_weights;

typedef struct aegis_weights {
    aegis_allocator allocator;
    const aegis_graph_validated *graph; /* borrowed */
    const aegis_decoder_config *config;
    aegis_block_weights *blocks;
    aegis_matrix head;
    aegis_matrix tokens;    /* the table; the head's unit when tied */
    aegis_matrix positions; /* gpt2 */
    const float *final_norm, *final_norm_bias;
    aegis_partition_unit *units;
    uint32_t unit_count;
    uint64_t vector_bytes; /* of norms, biases and scales, as f32 */

    /* From here on once loaded. */
    float *vectors;
    aegis_weight_reader reader;
    const aegis_partition *partition; /* borrowed */
    aegis_weight_stream *stream;      /* NULL when everything is pinned */
    uint8_t *pinned;
    uint32_t headless_groups; /* groups that a pass without logits needs */
    uint32_t head_piece;      /* first piece of the head */
    void *row;                /* blocks for one row of a table */
    uint64_t row_bytes;
    uint64_t lookup_bytes; /* read for single rows */
} aegis_weights;

/* The matrices of a validated graph as units. Borrows the graph. NO_MEMORY, UNSUPPORTED (a matrix
 * of more than 2^32 rows). */
aegis_status aegis_weights_init(aegis_weights *weights,
                                const aegis_graph_validated *graph,
                                const aegis_allocator *allocator,
                                aegis_error *err);
/* Reads vectors and pinned pieces, puts pinned matrices that are stored by inputs into bands, and
 * starts the stream. Borrows the partition. IO, NO_MEMORY. */
aegis_status aegis_weights_load(aegis_weights *weights,
                                const aegis_partition *partition,
                                uint32_t read_threads,
                                uint64_t read_bytes,
                                aegis_error *err);
/* Of a zeroed one too. */
void aegis_weights_finish(aegis_weights *weights);

/* Row `row` of a table as f32. IO. */
aegis_status aegis_weights_lookup(aegis_weights *weights,
                                  const aegis_matrix *table,
                                  uint32_t row,
                                  const aegis_kernels *kernels,
                                  float *ret_values,
                                  aegis_error *err);
/* Bytes of the block that lookups read into. */
uint64_t aegis_weights_row_bytes(const aegis_weights *weights);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_CLUSTERS_H
#define AEGIS_TRANSFORMER_CUDA_CLUSTERS_H

/*
 * How the matrices of a GPT-2 lie in a GPU's memory for the kernel of clusters.cuh. C and CUDA.
 *
 * A head is a cluster's of eight blocks, and so is a part of the hidden units of the feed-forward;
 * clusters without a head have more of these. What a warp reads of a layer is one stretch, in the
 * order of its products, and so is what it reads of the head. It is made of slots, which are copied
 * as a whole, these of units of 512 bytes, 16 for each lane: E elements of one row, one behind the
 * other. A slot has as many units as the warp has rows of the product, or rows / 32 and so on:
 *
 *   queries, keys and values, up, and the head: slot s, unit i of warp w, lane l: of the i-th row
 *       of the warp, elements from E (32 s + l) on
 *   output: row 4 (rows w + i) + l / 8 of the block's, of its head elements from 8 (l % 8) + E s on
 *   down: row 32 (rows w + i) + l, of the block's hidden units those from E s on
 *
 * Rows and hidden units that are missing at the end are zeros.
 */

#include "backend/transformer/cuda/item.h"

#include <stdbool.h>

#define AEGIS_CLUSTER_BLOCKS 8u
#define AEGIS_CLUSTER_WARPS 8u
#define AEGIS_CLUSTER_HEAD_WIDTH 64u
#define AEGIS_CLUSTER_MOST 16u     /* clusters */
#define AEGIS_CLUSTER_UNIT_ROWS 3u /* of queries, keys and values that a warp computes */

typedef struct aegis_decode_clusters {
    uint32_t clusters;  /* 0: the model is not computed in clusters */
    uint32_t heads;     /* so many of them have one */
    uint32_t rows;      /* width / 256 */
    uint32_t hidden[2]; /* units that a warp computes, where there is a head and elsewhere */
    uint32_t row_units; /* of a row of `width` elements */
    uint32_t head_rows; /* of the vocabulary, that a warp computes at most */
} aegis_decode_clusters;

AEGIS_DECODE_BOTH bool aegis_clusters_has_head(const aegis_decode_clusters *is, uint32_t block)
{
    return block < is->heads * AEGIS_CLUSTER_BLOCKS;
}

/* Units of a warp, of each product. */
AEGIS_DECODE_BOTH uint32_t aegis_clusters_units(const aegis_decode_clusters *is,
                                                uint32_t product,
                                                uint32_t block)
{
    const bool has = aegis_clusters_has_head(is, block);
    switch (product) {
    case AEGIS_DECODE_QKV:
        return has ? is->row_units * AEGIS_CLUSTER_UNIT_ROWS : 0;
    case AEGIS_DECODE_OUTPUT: /* 8 elements a lane of `rows` times four rows: as a row of the stream
                               */
        return has ? is->row_units : 0;
    case AEGIS_DECODE_HEAD:
        return is->row_units * is->head_rows;
    default: /* up, and down: as large */
        return is->row_units * is->hidden[has ? 0 : 1];
    }
}

AEGIS_DECODE_BOTH uint32_t aegis_clusters_layer_units(const aegis_decode_clusters *is,
                                                      uint32_t block)
{
    uint32_t units = 0;
    for (uint32_t product = 0; product < AEGIS_DECODE_LAYER_PRODUCTS; product++) {
        units += aegis_clusters_units(is, product, block);
    }
    return units;
}

/* Where a warp's stretch of a layer begins; behind the last block: the units of a layer. */
AEGIS_DECODE_BOTH uint32_t aegis_clusters_begin(const aegis_decode_clusters *is,
                                                uint32_t block,
                                                uint32_t warp)
{
    const uint32_t with = is->heads * AEGIS_CLUSTER_BLOCKS;
    const uint32_t first = block < with ? block : with;
    return first * AEGIS_CLUSTER_WARPS * aegis_clusters_layer_units(is, 0) +
           (block - first) * AEGIS_CLUSTER_WARPS * aegis_clusters_layer_units(is, with) +
           warp * aegis_clusters_layer_units(is, block);
}

AEGIS_DECODE_BOTH uint32_t aegis_clusters_head_units(const aegis_decode_clusters *is)
{
    return aegis_clusters_units(is, AEGIS_DECODE_HEAD, 0);
}

/* The first hidden unit of a block. */
AEGIS_DECODE_BOTH uint32_t aegis_clusters_hidden(const aegis_decode_clusters *is, uint32_t block)
{
    const uint32_t with = is->heads * AEGIS_CLUSTER_BLOCKS;
    return AEGIS_CLUSTER_WARPS * (block < with
                                      ? block * is->hidden[0]
                                      : with * is->hidden[0] + (block - with) * is->hidden[1]);
}

/* Row `index` of the vocabulary that a warp computes. */
AEGIS_DECODE_BOTH uint32_t aegis_clusters_word(const aegis_decode_clusters *is,
                                               uint32_t block,
                                               uint32_t warp,
                                               uint32_t index)
{
    return (index * is->clusters * AEGIS_CLUSTER_BLOCKS + block) * AEGIS_CLUSTER_WARPS + warp;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_LAYOUT_H
#define AEGIS_TRANSFORMER_CUDA_LAYOUT_H

/*
 * How the matrices of a model lie in a GPU's memory. One kernel computes a whole step on blocks
 * that all run at once; each warp of each block owns certain rows and reads nothing else. So
 * weights are stored in the order in which their warp will multiply them: whoever reads ahead adds
 * 512 to an address, across the borders of matrices and layers.
 *
 *   unit    512 bytes: 8 rows of a matrix, 64 bytes of each. Lane 4 n + q of a warp holds bytes
 *           [16 q, 16 q + 16) of row n.
 *   tile    8 rows whole: `units` units.
 *   share   the tiles of one block, contiguous: as many for each block as for any other, or one
 * more where it has had fewer bytes so far. item    what one warp does of a share: the same columns
 * of each tile (aegis_decode_item_of).
 *
 * A layer is one stretch of bytes: all units of warp 0 of block 0, in the order of products, then
 * those of warp 1, and so on. The head is another. Rows and columns that are missing at the end are
 * zeros.
 *
 * Plain C, no CUDA: packing is tested where there is no GPU.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include "backend/transformer/cuda/clusters.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct aegis_decode_product {
    uint32_t rows, columns; /* outputs, inputs */
    uint32_t tiles, units;  /* units: of a tile */
} aegis_decode_product;

typedef struct aegis_decode_layout {
    aegis_allocator allocator;
    uint32_t blocks, warps, element_bytes;
    aegis_decode_product products[AEGIS_DECODE_PRODUCTS];
    aegis_decode_share *shares; /* [product][block] */
    aegis_decode_lane *lanes;   /* [block][warp] */
    aegis_decode_head_tile *head_tiles;
    uint32_t layer_units, head_units; /* in all */
} aegis_decode_layout;

/*
 * `rows` and `columns` of the five products; `blocks` at most the tiles of AEGIS_DECODE_UP, so that
 * each block computes something in every layer: aegis_decode_most_blocks says. NO_MEMORY.
 */
aegis_status aegis_decode_layout_init(aegis_decode_layout *layout,
                                      const uint32_t rows[AEGIS_DECODE_PRODUCTS],
                                      const uint32_t columns[AEGIS_DECODE_PRODUCTS],
                                      uint32_t element_bytes,
                                      uint32_t blocks,
                                      uint32_t warps,
                                      const aegis_allocator *allocator,
                                      aegis_error *err);
/* The same in clusters: nothing but sizes; the places follow from `clusters`. */
void aegis_decode_layout_init_clusters(aegis_decode_layout *layout,
                                       const uint32_t rows[AEGIS_DECODE_PRODUCTS],
                                       const uint32_t columns[AEGIS_DECODE_PRODUCTS],
                                       const aegis_decode_clusters *clusters);
/* Of a zeroed one too. */
void aegis_decode_layout_finish(aegis_decode_layout *layout);
uint32_t aegis_decode_most_blocks(uint32_t up_rows, uint32_t blocks);

/* A stored matrix: rows of outputs, or (transposed) rows of inputs. */
typedef struct aegis_decode_source {
    const void *data;
    uint32_t rows; /* outputs */
    bool transposed;
} aegis_decode_source;

/* A product's: its rows are those of the sources one behind the other, or taken from them in turns.
 */
typedef struct aegis_decode_matrix {
    const aegis_decode_source *sources;
    uint32_t count;
    bool in_turns;
    uint32_t rows, columns, element_bytes;
} aegis_decode_matrix;

/* Writes the units of one product into its layer's stretch (or the head's). */
void aegis_decode_pack(const aegis_decode_layout *layout,
                       uint32_t product,
                       const aegis_decode_matrix *matrix,
                       void *to);
/* The same in clusters. */
void aegis_clusters_pack(const aegis_decode_clusters *clusters,
                         uint32_t product,
                         const aegis_decode_matrix *matrix,
                         void *to);

/*
 * A layer norm within the f32 matrix W behind it: W norm(x) + bias = V x / deviation(x) + bias'.
 * V, rows of `columns`: each row times the norm's scale, less its mean, so that the mean of x
 * counts for nothing. bias': what W gives of the norm's shift is added to `biases`.
 */
void aegis_decode_fold_scale(const aegis_decode_source *source,
                             uint32_t columns,
                             const float *scale,
                             float *ret_rows);
void aegis_decode_fold_shift(const aegis_decode_source *source,
                             uint32_t columns,
                             const float *shift,
                             float *biases);

/* Where each unit of a layer lies in its stretch, for who wants the matrices whole: `ret_where` has
 * layer_units entries; those of a product lie behind those of the one before, tile by tile. */
void aegis_decode_where(const aegis_decode_layout *layout, uint32_t *ret_where);

#endif

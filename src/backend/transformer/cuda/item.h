/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_ITEM_H
#define AEGIS_TRANSFORMER_CUDA_ITEM_H

/* What packing and kernel must agree on: C and CUDA. */

#include <stdint.h>

#ifdef __CUDACC__
#define AEGIS_DECODE_BOTH static __host__ __device__ __forceinline__
#else
#define AEGIS_DECODE_BOTH static inline
#endif

#define AEGIS_DECODE_TILE_ROWS 8u
#define AEGIS_DECODE_UNIT_BYTES 512u
#define AEGIS_DECODE_UNIT_ROW_BYTES 64u /* of one row in a unit */

/* In the order in which a block of the model needs them. */
enum {
    AEGIS_DECODE_QKV = 0, /* queries, then keys, then values */
    AEGIS_DECODE_OUTPUT,
    AEGIS_DECODE_UP, /* llama: row 2 i is row i of the gate, row 2 i + 1 of up */
    AEGIS_DECODE_DOWN,
    AEGIS_DECODE_LAYER_PRODUCTS,
    AEGIS_DECODE_HEAD = AEGIS_DECODE_LAYER_PRODUCTS,
    AEGIS_DECODE_PRODUCTS
};

typedef struct aegis_decode_share {
    uint32_t first, count; /* tiles */
} aegis_decode_share;

/* The units of one warp: where they begin in a layer's stretch and in the head's, and how many. */
typedef struct aegis_decode_lane {
    uint32_t layer_first, layer_units, head_first, head_units;
} aegis_decode_lane;

/* Tiles that a warp multiplies at once, so that it reads each input once for all of them. */
#define AEGIS_DECODE_ROUND_TILES 4u

/* What a warp does in a round of a share: units [first_unit, first_unit + units) of each of its
 * tiles. In memory: the first unit of each tile, then the second of each, and so on. */
typedef struct aegis_decode_item {
    uint32_t first_unit, units;
} aegis_decode_item;

AEGIS_DECODE_BOTH aegis_decode_item aegis_decode_item_of(uint32_t units,
                                                         uint32_t warp,
                                                         uint32_t warps)
{
    aegis_decode_item item;
    item.first_unit = units * warp / warps;
    item.units = units * (warp + 1) / warps - item.first_unit;
    return item;
}

/* Tiles of round `round` of `count`. */
AEGIS_DECODE_BOTH uint32_t aegis_decode_round_tiles(uint32_t count, uint32_t round)
{
    const uint32_t left = count - round * AEGIS_DECODE_ROUND_TILES;
    return left < AEGIS_DECODE_ROUND_TILES ? left : AEGIS_DECODE_ROUND_TILES;
}

/* Of the head a warp takes whole tiles, every `warps`-th of the share; this is how many. It goes
 * through them in rounds as above. */
AEGIS_DECODE_BOTH uint32_t aegis_decode_head_tiles(uint32_t count, uint32_t warp, uint32_t warps)
{
    return warp < count ? (count - warp + warps - 1) / warps : 0;
}

/* Where a tile of the head begins, and from one of its units to the next. */
typedef struct aegis_decode_head_tile {
    uint32_t first, stride;
} aegis_decode_head_tile;

#endif

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

/* A round computes up to `warps` tiles of a share. `parts` warps share a tile. */
typedef struct aegis_decode_item {
    uint32_t tiles, parts;       /* of the round */
    uint32_t tile;               /* this warp's, within the round */
    uint32_t first_unit, units;  /* of the tile; units 0: nothing to do */
} aegis_decode_item;

/* Round `round` of a share of `count` tiles of `units` units each, for warp `warp` of `warps`. */
AEGIS_DECODE_BOTH aegis_decode_item
aegis_decode_item_of(uint32_t count, uint32_t units, uint32_t round, uint32_t warp, uint32_t warps)
{
    aegis_decode_item item = {0, 1, 0, 0, 0};
    const uint32_t left = count - round * warps;
    item.tiles = left < warps ? left : warps;
    item.parts = warps / item.tiles;
    item.tile = warp / item.parts;
    if (item.tile < item.tiles) {
        const uint32_t part = warp % item.parts;
        item.first_unit = units * part / item.parts;
        item.units = units * (part + 1) / item.parts - item.first_unit;
    }
    return item;
}

/* Of the head: a warp takes whole tiles, every `warps`-th; returns how many. */
AEGIS_DECODE_BOTH uint32_t aegis_decode_head_tiles(uint32_t count, uint32_t warp, uint32_t warps)
{
    return warp < count ? (count - warp + warps - 1) / warps : 0;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/cuda/layout.h"

#include "base/base.h"

#include <string.h>

#define HERE AEGIS_HERE("transformer.cuda")

uint32_t aegis_decode_most_blocks(uint32_t up_rows, uint32_t blocks)
{
    const uint32_t tiles = (up_rows + AEGIS_DECODE_TILE_ROWS - 1) / AEGIS_DECODE_TILE_ROWS;
    return tiles < blocks ? tiles : blocks;
}

static aegis_decode_share *share_of(const aegis_decode_layout *layout, uint32_t product, uint32_t b)
{
    return &layout->shares[(size_t)product * layout->blocks + b];
}

/* As many tiles for each block, or one more for those that have the fewest units so far: all wait
 * for the block that has most of a product. */
static void deal(aegis_decode_layout *layout, uint32_t product, uint32_t *dealt)
{
    const aegis_decode_product *is = &layout->products[product];
    const uint32_t blocks = layout->blocks, each = is->tiles / blocks;
    for (uint32_t b = 0; b < blocks; b++) {
        share_of(layout, product, b)->count = each;
        dealt[b] += each * is->units;
    }
    for (uint32_t extra = is->tiles - each * blocks; extra > 0; extra--) {
        uint32_t least = UINT32_MAX;
        for (uint32_t b = 0; b < blocks; b++) {
            const bool may = share_of(layout, product, b)->count == each;
            if (may && (least == UINT32_MAX || dealt[b] < dealt[least])) {
                least = b;
            }
        }
        share_of(layout, product, least)->count++;
        dealt[least] += is->units;
    }
    for (uint32_t b = 0, first = 0; b < blocks; b++) {
        share_of(layout, product, b)->first = first;
        first += share_of(layout, product, b)->count;
    }
}

static uint32_t
units_of(const aegis_decode_layout *layout, uint32_t product, uint32_t block, uint32_t warp)
{
    return share_of(layout, product, block)->count *
           aegis_decode_item_of(layout->products[product].units, warp, layout->warps).units;
}

/* The tiles of the head that are one warp's, from unit `first` on; returns how many units. */
static uint32_t
place_head(aegis_decode_layout *layout, uint32_t block, uint32_t warp, uint32_t first)
{
    const aegis_decode_share *share = share_of(layout, AEGIS_DECODE_HEAD, block);
    const uint32_t units = layout->products[AEGIS_DECODE_HEAD].units;
    const uint32_t count = aegis_decode_head_tiles(share->count, warp, layout->warps);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t round = i / AEGIS_DECODE_ROUND_TILES, of = i % AEGIS_DECODE_ROUND_TILES;
        layout->head_tiles[share->first + warp + i * layout->warps] =
            (aegis_decode_head_tile){.first = first + round * AEGIS_DECODE_ROUND_TILES * units + of,
                                     .stride = aegis_decode_round_tiles(count, round)};
    }
    return count * units;
}

static void place_lanes(aegis_decode_layout *layout)
{
    for (uint32_t i = 0; i < layout->blocks * layout->warps; i++) {
        const uint32_t block = i / layout->warps, warp = i % layout->warps;
        aegis_decode_lane lane = {.layer_first = layout->layer_units,
                                  .head_first = layout->head_units};
        for (uint32_t p = 0; p < AEGIS_DECODE_LAYER_PRODUCTS; p++) {
            lane.layer_units += units_of(layout, p, block, warp);
        }
        lane.head_units = place_head(layout, block, warp, lane.head_first);
        layout->layer_units += lane.layer_units;
        layout->head_units += lane.head_units;
        layout->lanes[i] = lane;
    }
}

aegis_status aegis_decode_layout_init(aegis_decode_layout *layout,
                                      const uint32_t rows[AEGIS_DECODE_PRODUCTS],
                                      const uint32_t columns[AEGIS_DECODE_PRODUCTS],
                                      uint32_t element_bytes,
                                      uint32_t blocks,
                                      uint32_t warps,
                                      const aegis_allocator *allocator,
                                      aegis_error *err)
{
    static const uint32_t largest_first[] = {AEGIS_DECODE_DOWN, AEGIS_DECODE_UP, AEGIS_DECODE_QKV,
                                             AEGIS_DECODE_OUTPUT};
    const uint32_t columns_of_unit = AEGIS_DECODE_UNIT_ROW_BYTES / element_bytes;
    *layout = (aegis_decode_layout){
        .allocator = *allocator, .blocks = blocks, .warps = warps, .element_bytes = element_bytes};
    for (uint32_t p = 0; p < AEGIS_DECODE_PRODUCTS; p++) {
        layout->products[p] = (aegis_decode_product){
            .rows = rows[p],
            .columns = columns[p],
            .tiles = (rows[p] + AEGIS_DECODE_TILE_ROWS - 1) / AEGIS_DECODE_TILE_ROWS,
            .units = (columns[p] + columns_of_unit - 1) / columns_of_unit};
    }
    const uint32_t head_tiles = layout->products[AEGIS_DECODE_HEAD].tiles;
    layout->shares = aegis_allocate_zeroed(allocator, (size_t)blocks * AEGIS_DECODE_PRODUCTS,
                                           sizeof *layout->shares);
    layout->lanes = aegis_allocate_zeroed(allocator, (size_t)blocks * warps, sizeof *layout->lanes);
    layout->head_tiles = aegis_allocate_zeroed(allocator, head_tiles, sizeof *layout->head_tiles);
    uint32_t *dealt = aegis_allocate_zeroed(allocator, blocks, sizeof *dealt);
    if (layout->shares == NULL || layout->lanes == NULL || layout->head_tiles == NULL ||
        dealt == NULL) {
        aegis_deallocate(allocator, dealt, blocks, sizeof *dealt);
        aegis_decode_layout_finish(layout);
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for the tables of %u blocks", blocks);
    }
    for (uint32_t i = 0; i < AEGIS_ARRAY_LENGTH(largest_first); i++) {
        deal(layout, largest_first[i], dealt);
    }
    memset(dealt, 0, blocks * sizeof *dealt);
    deal(layout, AEGIS_DECODE_HEAD, dealt);
    aegis_deallocate(allocator, dealt, blocks, sizeof *dealt);
    place_lanes(layout);
    return AEGIS_OK;
}

void aegis_decode_layout_finish(aegis_decode_layout *layout)
{
    const aegis_allocator *allocator = &layout->allocator;
    if (allocator->free != NULL) {
        aegis_deallocate(allocator, layout->shares, (size_t)layout->blocks * AEGIS_DECODE_PRODUCTS,
                         sizeof *layout->shares);
        aegis_deallocate(allocator, layout->lanes, (size_t)layout->blocks * layout->warps,
                         sizeof *layout->lanes);
        aegis_deallocate(allocator, layout->head_tiles, layout->products[AEGIS_DECODE_HEAD].tiles,
                         sizeof *layout->head_tiles);
    }
    *layout = (aegis_decode_layout){0};
}

/* ---- packing ---- */

typedef struct packer {
    const aegis_decode_layout *layout;
    const aegis_decode_product *product;
    const aegis_decode_source *sources;
    uint32_t count;
    bool in_turns;
    uint8_t *to;
} packer;

/* The source of an output, and which of its outputs that is. */
static const aegis_decode_source *find(const packer *all, uint32_t row, uint32_t *ret_row)
{
    const aegis_decode_source *source = all->sources;
    if (all->in_turns) {
        *ret_row = row / all->count;
        return &source[row % all->count];
    }
    while (row >= source->rows) {
        row -= source->rows;
        source++;
    }
    *ret_row = row;
    return source;
}

/* 64 bytes of one row of the product; what does not exist is zero. */
static void pack_row(const packer *all, uint32_t row, uint32_t column, uint8_t *to)
{
    const uint32_t size = all->layout->element_bytes;
    const uint32_t columns = all->product->columns, room = AEGIS_DECODE_UNIT_ROW_BYTES / size;
    memset(to, 0, AEGIS_DECODE_UNIT_ROW_BYTES);
    if (row >= all->product->rows || column >= columns) {
        return;
    }
    const uint32_t some = columns - column < room ? columns - column : room;
    uint32_t own;
    const aegis_decode_source *source = find(all, row, &own);
    const uint8_t *data = source->data;
    if (!source->transposed) {
        memcpy(to, data + ((size_t)own * columns + column) * size, (size_t)some * size);
        return;
    }
    for (uint32_t i = 0; i < some; i++) {
        memcpy(to + (size_t)i * size, data + ((size_t)(column + i) * source->rows + own) * size,
               size);
    }
}

static void pack_unit(const packer *all, uint32_t tile, uint32_t unit, uint8_t *to)
{
    const uint32_t columns = AEGIS_DECODE_UNIT_ROW_BYTES / all->layout->element_bytes;
    for (uint32_t n = 0; n < AEGIS_DECODE_TILE_ROWS; n++) {
        pack_row(all, tile * AEGIS_DECODE_TILE_ROWS + n, unit * columns,
                 to + (size_t)n * AEGIS_DECODE_UNIT_ROW_BYTES);
    }
}

/* One unit of a product: which it is, and where it lies in the layer's stretch. */
typedef void (*unit_visit)(void *self, uint32_t tile, uint32_t unit, size_t at);

static void visit_lane(const aegis_decode_layout *layout,
                       uint32_t product,
                       uint32_t block,
                       uint32_t warp,
                       size_t at,
                       unit_visit visit,
                       void *self)
{
    const aegis_decode_share *share = share_of(layout, product, block);
    const aegis_decode_item item =
        aegis_decode_item_of(layout->products[product].units, warp, layout->warps);
    for (uint32_t round = 0; round * AEGIS_DECODE_ROUND_TILES < share->count; round++) {
        const uint32_t tiles = aegis_decode_round_tiles(share->count, round);
        const uint32_t first = share->first + round * AEGIS_DECODE_ROUND_TILES;
        for (uint32_t i = 0; i < item.units * tiles; i++) {
            visit(self, first + i % tiles, item.first_unit + i / tiles, at++);
        }
    }
}

static void
visit_units(const aegis_decode_layout *layout, uint32_t product, unit_visit visit, void *self)
{
    for (uint32_t i = 0; i < layout->blocks * layout->warps; i++) {
        const uint32_t block = i / layout->warps, warp = i % layout->warps;
        size_t at = layout->lanes[i].layer_first;
        for (uint32_t p = 0; p < product; p++) {
            at += units_of(layout, p, block, warp);
        }
        visit_lane(layout, product, block, warp, at, visit, self);
    }
}

static void pack_at(void *self, uint32_t tile, uint32_t unit, size_t at)
{
    const packer *all = self;
    pack_unit(all, tile, unit, all->to + at * AEGIS_DECODE_UNIT_BYTES);
}

static void pack_head(packer *all)
{
    for (uint32_t tile = 0; tile < all->product->tiles; tile++) {
        const aegis_decode_head_tile *is = &all->layout->head_tiles[tile];
        for (uint32_t unit = 0; unit < all->product->units; unit++) {
            const size_t at = is->first + (size_t)unit * is->stride;
            pack_at(all, tile, unit, at);
        }
    }
}

void aegis_decode_pack(const aegis_decode_layout *layout,
                       uint32_t product,
                       const aegis_decode_source *sources,
                       uint32_t count,
                       bool in_turns,
                       void *to)
{
    packer all = {layout, &layout->products[product], sources, count, in_turns, to};
    if (product == AEGIS_DECODE_HEAD) {
        pack_head(&all);
    } else {
        visit_units(layout, product, pack_at, &all);
    }
}

/* ---- what is packed, in order ---- */

typedef struct unit_list {
    uint32_t *where; /* of the product's units */
    uint32_t units;  /* of a tile */
} unit_list;

static void note(void *self, uint32_t tile, uint32_t unit, size_t at)
{
    const unit_list *list = self;
    list->where[tile * list->units + unit] = (uint32_t)at;
}

void aegis_decode_where(const aegis_decode_layout *layout, uint32_t *ret_where)
{
    for (uint32_t p = 0; p < AEGIS_DECODE_LAYER_PRODUCTS; p++) {
        unit_list list = {ret_where, layout->products[p].units};
        visit_units(layout, p, note, &list);
        ret_where += layout->products[p].tiles * layout->products[p].units;
    }
}

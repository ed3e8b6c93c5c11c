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

/* The source of an output, and which of its outputs that is. */
static const aegis_decode_source *
find(const aegis_decode_matrix *matrix, uint32_t row, uint32_t *ret_row)
{
    const aegis_decode_source *source = matrix->sources;
    if (matrix->in_turns) {
        *ret_row = row / matrix->count;
        return &source[row % matrix->count];
    }
    while (row >= source->rows) {
        row -= source->rows;
        source++;
    }
    *ret_row = row;
    return source;
}

/* Elements of a row from a column on, as many as `bytes` hold; zeros for those that do not exist.
 */
static void
pack_row(const aegis_decode_matrix *matrix, uint32_t row, uint32_t column, uint32_t bytes, void *to)
{
    const uint32_t size = matrix->element_bytes, columns = matrix->columns, room = bytes / size;
    memset(to, 0, bytes);
    if (row >= matrix->rows || column >= columns) {
        return;
    }
    const uint32_t some = columns - column < room ? columns - column : room;
    uint32_t own;
    const aegis_decode_source *source = find(matrix, row, &own);
    const uint8_t *data = source->data;
    if (!source->transposed) {
        memcpy(to, data + ((size_t)own * columns + column) * size, (size_t)some * size);
        return;
    }
    for (uint32_t i = 0; i < some; i++) {
        memcpy((uint8_t *)to + (size_t)i * size,
               data + ((size_t)(column + i) * source->rows + own) * size, size);
    }
}

static void pack_unit(const aegis_decode_matrix *matrix, uint32_t tile, uint32_t unit, uint8_t *to)
{
    const uint32_t columns = AEGIS_DECODE_UNIT_ROW_BYTES / matrix->element_bytes;
    for (uint32_t n = 0; n < AEGIS_DECODE_TILE_ROWS; n++) {
        pack_row(matrix, tile * AEGIS_DECODE_TILE_ROWS + n, unit * columns,
                 AEGIS_DECODE_UNIT_ROW_BYTES, to + (size_t)n * AEGIS_DECODE_UNIT_ROW_BYTES);
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

/* What visits pack: the units of `matrix`. */
typedef struct packer {
    const aegis_decode_matrix *matrix;
    uint8_t *to;
} packer;

static void pack_at(void *self, uint32_t tile, uint32_t unit, size_t at)
{
    const packer *all = self;
    pack_unit(all->matrix, tile, unit, all->to + at * AEGIS_DECODE_UNIT_BYTES);
}

static void
pack_head(const aegis_decode_layout *layout, const aegis_decode_matrix *matrix, uint8_t *to)
{
    const aegis_decode_product *product = &layout->products[AEGIS_DECODE_HEAD];
    for (uint32_t tile = 0; tile < product->tiles; tile++) {
        const aegis_decode_head_tile *is = &layout->head_tiles[tile];
        for (uint32_t unit = 0; unit < product->units; unit++) {
            const size_t at = is->first + (size_t)unit * is->stride;
            pack_unit(matrix, tile, unit, to + at * AEGIS_DECODE_UNIT_BYTES);
        }
    }
}

void aegis_decode_pack(const aegis_decode_layout *layout,
                       uint32_t product,
                       const aegis_decode_matrix *matrix,
                       void *to)
{
    packer all = {matrix, to};
    if (product == AEGIS_DECODE_HEAD) {
        pack_head(layout, matrix, to);
    } else {
        visit_units(layout, product, pack_at, &all);
    }
}

/* ---- a norm within the matrix behind it ---- */

#define FOLD_ROWS 64u /* at once: rows of a transposed matrix lie side by side */

static double
element_of(const aegis_decode_source *source, uint32_t columns, uint32_t r, uint32_t c)
{
    const size_t at = source->transposed ? (size_t)c * source->rows + r : (size_t)r * columns + c;
    float value;
    memcpy(&value, (const uint8_t *)source->data + at * sizeof value, sizeof value);
    return value;
}

/* Rows from `first` on times a vector; returns how many. */
static uint32_t multiply_rows(const aegis_decode_source *source,
                              uint32_t columns,
                              const float *vector,
                              uint32_t first,
                              double ret_sums[FOLD_ROWS])
{
    const uint32_t left = source->rows - first, count = left < FOLD_ROWS ? left : FOLD_ROWS;
    memset(ret_sums, 0, FOLD_ROWS * sizeof *ret_sums);
    for (uint32_t c = 0; c < columns; c++) {
        for (uint32_t r = 0; r < count; r++) {
            ret_sums[r] += element_of(source, columns, first + r, c) * (double)vector[c];
        }
    }
    return count;
}

void aegis_decode_fold_scale(const aegis_decode_source *source,
                             uint32_t columns,
                             const float *scale,
                             float *ret_rows)
{
    double sums[FOLD_ROWS];
    for (uint32_t first = 0; first < source->rows; first += FOLD_ROWS) {
        const uint32_t count = multiply_rows(source, columns, scale, first, sums);
        for (uint32_t c = 0; c < columns; c++) {
            for (uint32_t r = 0; r < count; r++) {
                const double scaled = element_of(source, columns, first + r, c) * (double)scale[c];
                ret_rows[(size_t)(first + r) * columns + c] = (float)(scaled - sums[r] / columns);
            }
        }
    }
}

void aegis_decode_fold_shift(const aegis_decode_source *source,
                             uint32_t columns,
                             const float *shift,
                             float *biases)
{
    double sums[FOLD_ROWS];
    for (uint32_t first = 0; first < source->rows; first += FOLD_ROWS) {
        const uint32_t count = multiply_rows(source, columns, shift, first, sums);
        for (uint32_t r = 0; r < count; r++) {
            biases[first + r] = (float)((double)biases[first + r] + sums[r]);
        }
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

/* ---- the same for clusters ---- */

void aegis_decode_layout_init_clusters(aegis_decode_layout *layout,
                                       const uint32_t rows[AEGIS_DECODE_PRODUCTS],
                                       const uint32_t columns[AEGIS_DECODE_PRODUCTS],
                                       const aegis_decode_clusters *clusters)
{
    const uint32_t blocks = clusters->clusters * AEGIS_CLUSTER_BLOCKS;
    *layout = (aegis_decode_layout){.layer_units = aegis_clusters_begin(clusters, blocks, 0),
                                    .head_units = blocks * AEGIS_CLUSTER_WARPS *
                                                  aegis_clusters_head_units(clusters)};
    for (uint32_t p = 0; p < AEGIS_DECODE_PRODUCTS; p++) {
        layout->products[p] = (aegis_decode_product){.rows = rows[p], .columns = columns[p]};
    }
}

typedef struct lane_place {
    uint32_t product, block, warp, slot, unit, lane, elements; /* in 16 bytes */
} lane_place;

/* Which elements of a product the 16 bytes there hold: those of a row from a column on. */
static void find_elements(const aegis_decode_clusters *is,
                          const lane_place *at,
                          uint32_t *ret_row,
                          uint32_t *ret_column)
{
    const uint32_t rank = at->block % AEGIS_CLUSTER_BLOCKS, head = at->block / AEGIS_CLUSTER_BLOCKS;
    const uint32_t width = AEGIS_CLUSTER_WARPS * 32 * is->rows, own = 32 * is->rows;
    const uint32_t first = rank * AEGIS_CLUSTER_WARPS + at->warp;
    const bool has = aegis_clusters_has_head(is, at->block);
    *ret_column = at->elements * (32 * at->slot + at->lane);
    switch (at->product) {
    case AEGIS_DECODE_QKV: {
        const uint32_t row = first * AEGIS_CLUSTER_UNIT_ROWS + at->unit;
        *ret_row = row / AEGIS_CLUSTER_HEAD_WIDTH * width + head * AEGIS_CLUSTER_HEAD_WIDTH +
                   row % AEGIS_CLUSTER_HEAD_WIDTH;
        break;
    }
    case AEGIS_DECODE_OUTPUT:
        *ret_row = rank * own + (at->warp * is->rows + at->unit) * 4 + at->lane / 8;
        *ret_column = head * AEGIS_CLUSTER_HEAD_WIDTH + at->lane % 8 * 8 + at->slot * at->elements;
        break;
    case AEGIS_DECODE_UP:
        *ret_row =
            aegis_clusters_hidden(is, at->block) + at->warp * is->hidden[has ? 0 : 1] + at->unit;
        break;
    case AEGIS_DECODE_DOWN:
        *ret_row = (at->warp * is->rows + at->unit) * 32 + at->lane;
        *ret_column = aegis_clusters_hidden(is, at->block) + at->slot * at->elements;
        break;
    default: { /* a row of the head takes several slots */
        const uint32_t slots = is->row_units / is->rows;
        *ret_row = aegis_clusters_word(is, at->block, at->warp, at->slot / slots);
        *ret_column = at->elements * (32 * (at->slot % slots * is->rows + at->unit) + at->lane);
    }
    }
}

/* Units of a slot. */
static uint32_t slot_units(const aegis_decode_clusters *is, uint32_t product, uint32_t block)
{
    return product == AEGIS_DECODE_QKV  ? AEGIS_CLUSTER_UNIT_ROWS
           : product == AEGIS_DECODE_UP ? is->hidden[aegis_clusters_has_head(is, block) ? 0 : 1]
                                        : is->rows;
}

void aegis_clusters_pack(const aegis_decode_clusters *is,
                         uint32_t product,
                         const aegis_decode_matrix *matrix,
                         void *to)
{
    for (uint32_t i = 0; i < is->clusters * AEGIS_CLUSTER_BLOCKS * AEGIS_CLUSTER_WARPS; i++) {
        lane_place at = {.product = product,
                         .block = i / AEGIS_CLUSTER_WARPS,
                         .warp = i % AEGIS_CLUSTER_WARPS,
                         .elements = 16 / matrix->element_bytes};
        const uint32_t each = slot_units(is, product, at.block);
        size_t unit = product == AEGIS_DECODE_HEAD ? (size_t)i * aegis_clusters_head_units(is)
                                                   : aegis_clusters_begin(is, at.block, at.warp);
        for (uint32_t p = 0; p < product && product != AEGIS_DECODE_HEAD; p++) {
            unit += aegis_clusters_units(is, p, at.block);
        }
        uint8_t *bytes = (uint8_t *)to + unit * AEGIS_DECODE_UNIT_BYTES;
        const uint32_t lanes = aegis_clusters_units(is, product, at.block) * 32;
        for (uint32_t l = 0; l < lanes; l++, bytes += 16) {
            uint32_t row, column;
            at.slot = l / 32 / each;
            at.unit = l / 32 % each;
            at.lane = l % 32;
            find_elements(is, &at, &row, &column);
            pack_row(matrix, row, column, 16, bytes);
        }
    }
}

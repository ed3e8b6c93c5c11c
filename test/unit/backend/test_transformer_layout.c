/* SPDX-License-Identifier: Apache-2.0 */
/* How matrices are packed for a GPU's kernel, read back in the order in which the kernel does: each
 * weight of each row is met once, by the warp that sums the row, and nowhere else. */
#include "backend/transformer/cuda/layout.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

typedef struct shape {
    uint32_t width, query, kv, feed_forward, vocabulary, element_bytes, blocks, warps;
    bool llama;
} shape;

static const shape shapes[] = {
    {48, 48, 48, 192, 301, 4, 24, 16, false},       {48, 48, 48, 192, 301, 2, 24, 12, false},
    {72, 72, 24, 152, 301, 2, 38, 16, true},        {64, 64, 32, 96, 301, 4, 7, 16, true},
    {576, 576, 192, 1536, 4915, 2, 132, 16, true},  {768, 768, 768, 3072, 5025, 2, 132, 16, false},
    {768, 768, 768, 3072, 5025, 4, 132, 12, false}, {768, 768, 768, 3072, 1003, 2, 8, 16, false},
    {40, 40, 40, 24, 9, 2, 1, 16, false},
};

/* A value that tells where it comes from; exact in 16 bits for these sizes' low parts. */
static uint32_t value_of(uint32_t source, uint32_t row, uint32_t column)
{
    return (source * 1000003u + row * 8191u + column * 17u) | 1u;
}

static void *
make_matrix(const shape *s, uint32_t source, uint32_t rows, uint32_t columns, bool transposed)
{
    uint8_t *data = malloc((size_t)rows * columns * s->element_bytes);
    assert_non_null(data);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < columns; c++) {
            const uint32_t value = value_of(source, r, c);
            const size_t at = transposed ? (size_t)c * rows + r : (size_t)r * columns + c;
            memcpy(data + at * s->element_bytes, &value, s->element_bytes);
        }
    }
    return data;
}

typedef struct packed {
    const shape *s;
    aegis_decode_layout layout;
    uint8_t *layer, *head;
    uint8_t *met; /* units that were read */
} packed;

/* Reads unit `unit` of `tile` at the cursor: what its eight rows must be. */
static void
check_unit(const packed *all, uint32_t product, uint32_t tile, uint32_t unit, const uint8_t *at)
{
    const shape *s = all->s;
    const aegis_decode_product *is = &all->layout.products[product];
    const uint32_t columns = AEGIS_DECODE_UNIT_ROW_BYTES / s->element_bytes;
    for (uint32_t i = 0; i < AEGIS_DECODE_TILE_ROWS * columns; i++) {
        const uint32_t row = tile * AEGIS_DECODE_TILE_ROWS + i / columns;
        const uint32_t column = unit * columns + i % columns;
        uint32_t wanted = 0, got = 0;
        if (row < is->rows && column < is->columns) {
            uint32_t source = 0, own = row;
            if (product == AEGIS_DECODE_UP && s->llama) {
                source = row % 2;
                own = row / 2;
            } else if (product == AEGIS_DECODE_QKV && s->llama && row >= s->query) {
                source = row < s->query + s->kv ? 1 : 2;
                own = row - s->query - (source - 1) * s->kv;
            }
            wanted = value_of(source, own, column);
        }
        memcpy(&got, at + (size_t)i * s->element_bytes, s->element_bytes);
        if (s->element_bytes == 2) {
            wanted &= 0xffffu;
        }
        assert_int_equal(got, wanted);
    }
}

/* What a warp reads of a layer, one unit behind the other, as the kernel does. */
static void read_lane(packed *all, uint32_t block, uint32_t warp)
{
    const aegis_decode_layout *layout = &all->layout;
    const aegis_decode_lane *lane = &layout->lanes[block * layout->warps + warp];
    uint32_t at = lane->layer_first;
    for (uint32_t p = 0; p < AEGIS_DECODE_LAYER_PRODUCTS; p++) {
        const aegis_decode_share *share = &layout->shares[p * layout->blocks + block];
        const aegis_decode_item item =
            aegis_decode_item_of(layout->products[p].units, warp, layout->warps);
        for (uint32_t round = 0; round * AEGIS_DECODE_ROUND_TILES < share->count; round++) {
            const uint32_t tiles = aegis_decode_round_tiles(share->count, round);
            for (uint32_t u = item.first_unit; u < item.first_unit + item.units; u++) {
                for (uint32_t t = 0; t < tiles; t++) {
                    assert_int_equal(all->met[at], 0);
                    all->met[at] = 1;
                    check_unit(all, p, share->first + round * AEGIS_DECODE_ROUND_TILES + t, u,
                               all->layer + (size_t)at * AEGIS_DECODE_UNIT_BYTES);
                    at++;
                }
            }
        }
    }
    assert_int_equal(at, lane->layer_first + lane->layer_units);
}

static void read_head(packed *all, uint32_t block, uint32_t warp)
{
    const aegis_decode_layout *layout = &all->layout;
    const aegis_decode_lane *lane = &layout->lanes[block * layout->warps + warp];
    const aegis_decode_share *share = &layout->shares[AEGIS_DECODE_HEAD * layout->blocks + block];
    uint32_t at = lane->head_first;
    const uint32_t count = aegis_decode_head_tiles(share->count, warp, layout->warps);
    for (uint32_t round = 0; round * AEGIS_DECODE_ROUND_TILES < count; round++) {
        const uint32_t tiles = aegis_decode_round_tiles(count, round);
        for (uint32_t u = 0; u < layout->products[AEGIS_DECODE_HEAD].units; u++) {
            for (uint32_t t = 0; t < tiles; t++) {
                const uint32_t tile =
                    share->first + warp + (round * AEGIS_DECODE_ROUND_TILES + t) * layout->warps;
                const aegis_decode_head_tile *is = &layout->head_tiles[tile];
                assert_int_equal(is->first + u * is->stride, at);
                check_unit(all, AEGIS_DECODE_HEAD, tile, u,
                           all->head + (size_t)at * AEGIS_DECODE_UNIT_BYTES);
                at++;
            }
        }
    }
    assert_int_equal(at, lane->head_first + lane->head_units);
}

/* Each tile belongs to one block, and each block has some of UP. */
static void check_shares(const aegis_decode_layout *layout)
{
    for (uint32_t p = 0; p < AEGIS_DECODE_PRODUCTS; p++) {
        uint32_t next = 0;
        for (uint32_t b = 0; b < layout->blocks; b++) {
            const aegis_decode_share *share = &layout->shares[p * layout->blocks + b];
            const uint32_t tiles = layout->products[p].tiles;
            assert_int_equal(share->first, next);
            assert_in_range(share->count, tiles / layout->blocks,
                            (tiles + layout->blocks - 1) / layout->blocks);
            assert_true(p != AEGIS_DECODE_UP || share->count > 0);
            next += share->count;
        }
        assert_int_equal(next, layout->products[p].tiles);
    }
}

static void pack(packed *all, uint32_t product, uint32_t count, const uint32_t *rows, uint8_t *to)
{
    const shape *s = all->s;
    const bool transposed = !s->llama && product != AEGIS_DECODE_HEAD;
    aegis_decode_source sources[3];
    void *data[3];
    for (uint32_t i = 0; i < count; i++) {
        data[i] = make_matrix(s, i, rows[i], all->layout.products[product].columns, transposed);
        sources[i] = (aegis_decode_source){data[i], rows[i], transposed};
    }
    const aegis_decode_matrix matrix = {.sources = sources,
                                        .count = count,
                                        .in_turns = product == AEGIS_DECODE_UP && count > 1,
                                        .rows = all->layout.products[product].rows,
                                        .columns = all->layout.products[product].columns,
                                        .element_bytes = s->element_bytes};
    aegis_decode_pack(&all->layout, product, &matrix, to);
    for (uint32_t i = 0; i < count; i++) {
        free(data[i]);
    }
}

/* Unit by unit, as who wants the matrices whole finds them. */
static void check_where(const packed *all)
{
    const aegis_decode_layout *layout = &all->layout;
    uint32_t *where = calloc(layout->layer_units, sizeof *where), at = 0;
    assert_non_null(where);
    aegis_decode_where(layout, where);
    for (uint32_t p = 0; p < AEGIS_DECODE_LAYER_PRODUCTS; p++) {
        const aegis_decode_product *is = &layout->products[p];
        for (uint32_t i = 0; i < is->tiles * is->units; i++, at++) {
            assert_in_range(where[at], 0, layout->layer_units - 1);
            check_unit(all, p, i / is->units, i % is->units,
                       all->layer + (size_t)where[at] * AEGIS_DECODE_UNIT_BYTES);
        }
    }
    assert_int_equal(at, layout->layer_units);
    free(where);
}

static void check_shape(const shape *s)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const uint32_t up = s->llama ? 2 * s->feed_forward : s->feed_forward;
    const uint32_t rows[] = {s->query + 2 * s->kv, s->width, up, s->width, s->vocabulary};
    const uint32_t columns[] = {s->width, s->query, s->width, s->feed_forward, s->width};
    packed all = {.s = s};
    aegis_error err;
    assert_int_equal(aegis_decode_most_blocks(up, s->blocks),
                     s->blocks < (up + 7) / 8 ? s->blocks : (up + 7) / 8);
    const uint32_t blocks = aegis_decode_most_blocks(up, s->blocks);
    assert_int_equal(aegis_decode_layout_init(&all.layout, rows, columns, s->element_bytes, blocks,
                                              s->warps, &allocator, &err),
                     AEGIS_OK);
    all.layer = calloc(all.layout.layer_units, AEGIS_DECODE_UNIT_BYTES);
    all.head = calloc(all.layout.head_units, AEGIS_DECODE_UNIT_BYTES);
    all.met = calloc(all.layout.layer_units, 1);
    assert_true(all.layer != NULL && all.head != NULL && all.met != NULL);
    const uint32_t qkv[] = {s->query, s->kv, s->kv}, fused = s->query + 2 * s->kv;
    const uint32_t gated[] = {s->feed_forward, s->feed_forward};
    pack(&all, AEGIS_DECODE_QKV, s->llama ? 3 : 1, s->llama ? qkv : &fused, all.layer);
    pack(&all, AEGIS_DECODE_OUTPUT, 1, &s->width, all.layer);
    pack(&all, AEGIS_DECODE_UP, s->llama ? 2 : 1, gated, all.layer);
    pack(&all, AEGIS_DECODE_DOWN, 1, &s->width, all.layer);
    pack(&all, AEGIS_DECODE_HEAD, 1, &s->vocabulary, all.head);
    check_shares(&all.layout);
    for (uint32_t b = 0; b < blocks; b++) {
        for (uint32_t w = 0; w < s->warps; w++) {
            read_lane(&all, b, w);
            read_head(&all, b, w);
        }
    }
    check_where(&all);
    for (uint32_t u = 0; u < all.layout.layer_units; u++) {
        assert_int_equal(all.met[u], 1);
    }
    aegis_decode_layout_finish(&all.layout);
    free(all.layer);
    free(all.head);
    free(all.met);
}

static void every_weight_is_where_its_warp_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(shapes); i++) {
        check_shape(&shapes[i]);
    }
}

/* The block that has most of a layer has hardly more than the mean: it is the one that all wait
 * for. */
static void blocks_have_about_equal_bytes(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const uint32_t rows[] = {2304, 768, 3072, 768, 50257}, columns[] = {768, 768, 768, 3072, 768};
    aegis_decode_layout layout;
    aegis_error err;
    uint32_t most = 0;
    assert_int_equal(aegis_decode_layout_init(&layout, rows, columns, 2, 132, 12, &allocator, &err),
                     AEGIS_OK);
    for (uint32_t b = 0; b < 132; b++) {
        uint32_t sum = 0;
        for (uint32_t w = 0; w < 12; w++) {
            sum += layout.lanes[b * 12 + w].layer_units;
        }
        most = sum > most ? sum : most;
    }
    assert_true(most * 132 <= layout.layer_units * 6 / 5);
    aegis_decode_layout_finish(&layout);
}

/* Where the kernel in clusters takes the elements of a lane's 16 bytes to be (clusters.h). */
static void expect_elements(const aegis_decode_clusters *is,
                            uint32_t product,
                            const uint32_t at[5], /* block, warp, slot, unit, lane */
                            uint32_t elements,
                            uint32_t *ret_row,
                            uint32_t *ret_column)
{
    const uint32_t block = at[0], w = at[1], s = at[2], i = at[3], l = at[4], r = is->rows;
    const uint32_t hidden = block < 96 ? block * 8 * is->hidden[0]
                                       : 96 * 8 * is->hidden[0] + (block - 96) * 8 * is->hidden[1];
    *ret_column = elements * (32 * s + l);
    if (product == AEGIS_DECODE_QKV) {
        const uint32_t own = (block % 8 * 8 + w) * 3 + i;
        *ret_row = own / 64 * 768 + block / 8 * 64 + own % 64;
    } else if (product == AEGIS_DECODE_OUTPUT) {
        *ret_row = block % 8 * 96 + (w * r + i) * 4 + l / 8;
        *ret_column = block / 8 * 64 + l % 8 * 8 + s * elements;
    } else if (product == AEGIS_DECODE_UP) {
        *ret_row = hidden + w * is->hidden[block < 96 ? 0 : 1] + i;
    } else if (product == AEGIS_DECODE_DOWN) {
        *ret_row = (w * r + i) * 32 + l;
        *ret_column = hidden + s * elements;
    } else {
        const uint32_t slots = 8 / elements;
        *ret_row = (s / slots * is->clusters * 8 + block) * 8 + w;
        *ret_column = elements * (32 * (s % slots * r + i) + l);
    }
}

/* Reads the product back; each weight is met once, and beyond the matrix are zeros. */
static void check_clusters(const aegis_decode_clusters *is,
                           uint32_t product,
                           const aegis_decode_matrix *matrix,
                           const uint8_t *units_at)
{
    const uint32_t size = matrix->element_bytes, elements = 16 / size;
    uint8_t *met = calloc((size_t)matrix->rows * matrix->columns, 1);
    assert_non_null(met);
    size_t begin = 0, next = 0;
    for (uint32_t b = 0; b < is->clusters * 8; b++) {
        const bool has = b < 96;
        const uint32_t hidden = is->hidden[has ? 0 : 1], slots = 8 / elements, row = 3 * slots;
        const uint32_t units[] = {has ? 3 * row : 0, has ? row : 0, row * hidden, row * hidden,
                                  row * is->head_rows};
        const uint32_t each[] = {3, 3, hidden, 3, 3};
        for (uint32_t w = 0; w < 8; w++) {
            const bool head = product == AEGIS_DECODE_HEAD;
            begin = next;
            for (uint32_t p = 0; p < product && !head; p++) {
                begin += units[p];
            }
            next += head ? units[4] : units[0] + units[1] + units[2] + units[3];
            for (uint32_t l = 0; l < units[product] * 32; l++) {
                const uint32_t unit = l / 32;
                const uint32_t at[] = {b, w, unit / each[product], unit % each[product], l % 32};
                uint32_t r, column;
                expect_elements(is, product, at, elements, &r, &column);
                for (uint32_t e = 0; e < elements; e++) {
                    uint32_t got = 0, wanted = 0;
                    memcpy(&got, units_at + (begin + unit) * 512 + l % 32 * 16 + e * size, size);
                    if (r < matrix->rows && column + e < matrix->columns) {
                        const uint32_t value = value_of(0, r, column + e);
                        memcpy(&wanted, &value, size);
                        met[(size_t)r * matrix->columns + column + e]++;
                    }
                    assert_int_equal(got, wanted);
                }
            }
        }
    }
    for (size_t i = 0; i < (size_t)matrix->rows * matrix->columns; i++) {
        assert_int_equal(met[i], 1);
    }
    free(met);
}

static void clusters_have_every_weight_once(void **state)
{
    (void)state;
    static const uint32_t hidden[][3] = {{15, 3, 4}, {16, 3, 3}}; /* clusters, units */
    for (uint32_t k = 0; k < 4; k++) {
        const shape s = {768, 768, 768, 3072, 4001, k / 2 == 0 ? 4 : 2, 0, 0, false};
        const uint32_t *of = hidden[k % 2], words = of[0] * 64;
        const aegis_decode_clusters is = {of[0],
                                          12,
                                          3,
                                          {of[1], of[2]},
                                          s.element_bytes * 3 / 2,
                                          (s.vocabulary + words - 1) / words};
        const uint32_t rows[] = {2304, 768, 3072, 768, s.vocabulary};
        const uint32_t columns[] = {768, 768, 768, 3072, 768};
        aegis_decode_layout layout;
        aegis_decode_layout_init_clusters(&layout, rows, columns, &is);
        uint8_t *layer = calloc(layout.layer_units, 512), *head = calloc(layout.head_units, 512);
        assert_true(layer != NULL && head != NULL);
        for (uint32_t p = 0; p < AEGIS_DECODE_PRODUCTS; p++) {
            const bool transposed = p != AEGIS_DECODE_HEAD;
            const aegis_decode_source source = {make_matrix(&s, 0, rows[p], columns[p], transposed),
                                                rows[p], transposed};
            const aegis_decode_matrix matrix = {&source, 1,          false,
                                                rows[p], columns[p], s.element_bytes};
            uint8_t *to = p == AEGIS_DECODE_HEAD ? head : layer;
            aegis_clusters_pack(&is, p, &matrix, to);
            check_clusters(&is, p, &matrix, to);
            free((void *)(uintptr_t)source.data);
        }
        free(layer);
        free(head);
    }
}

enum {
    FOLDED_ROWS = 131,
    FOLDED_COLUMNS = 48
};

/* Between -1 and 1. */
static float noise_of(uint32_t row, uint32_t column)
{
    return (float)(value_of(3, row, column) * 2654435761u >> 8) * 0x1p-23f - 1.0f;
}

static void check_folded(bool transposed)
{
    static float matrix[FOLDED_ROWS * FOLDED_COLUMNS], folded[FOLDED_ROWS * FOLDED_COLUMNS];
    float scale[FOLDED_COLUMNS], shift[FOLDED_COLUMNS], biases[FOLDED_ROWS];
    double x[FOLDED_COLUMNS], mean = 0, squares = 0;
    for (uint32_t c = 0; c < FOLDED_COLUMNS; c++) {
        scale[c] = 1.5f + noise_of(1000, c);
        shift[c] = noise_of(1001, c);
        x[c] = 3.0 + (double)noise_of(1002, c);
        mean += x[c] / FOLDED_COLUMNS;
        for (uint32_t r = 0; r < FOLDED_ROWS; r++) {
            matrix[transposed ? c * FOLDED_ROWS + r : r * FOLDED_COLUMNS + c] = noise_of(r, c);
        }
    }
    for (uint32_t c = 0; c < FOLDED_COLUMNS; c++) {
        squares += (x[c] - mean) * (x[c] - mean) / FOLDED_COLUMNS;
    }
    for (uint32_t r = 0; r < FOLDED_ROWS; r++) {
        biases[r] = noise_of(r, 1003);
    }
    const aegis_decode_source source = {matrix, FOLDED_ROWS, transposed};
    aegis_decode_fold_scale(&source, FOLDED_COLUMNS, scale, folded);
    aegis_decode_fold_shift(&source, FOLDED_COLUMNS, shift, biases);
    for (uint32_t r = 0; r < FOLDED_ROWS; r++) {
        double wanted = (double)noise_of(r, 1003), got = 0;
        for (uint32_t c = 0; c < FOLDED_COLUMNS; c++) {
            const double normed = (x[c] - mean) / sqrt(squares) * (double)scale[c];
            wanted += (double)noise_of(r, c) * (normed + (double)shift[c]);
            got += (double)folded[r * FOLDED_COLUMNS + c] * x[c];
        }
        got = got / sqrt(squares) + (double)biases[r];
        assert_true(fabs(got - wanted) < 1e-5);
    }
}

static void a_matrix_takes_in_the_norm_before_it(void **state)
{
    (void)state;
    check_folded(false);
    check_folded(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters_have_every_weight_once),
        cmocka_unit_test(every_weight_is_where_its_warp_reads),
        cmocka_unit_test(blocks_have_about_equal_bytes),
        cmocka_unit_test(a_matrix_takes_in_the_norm_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices in bands: where each value goes, and products with the bits that COLUMNS have. */
#include "backend/transformer/engine/weights.h"
#include "backend/transformer/tensor/bands.h"
#include "backend/transformer/tensor/multiplier.h"
#include "backend/transformer/tensor/product.h"
#include "base/base.h"
#include "support/made_weights.h"
#include "support/test_allocator.h"

#include <aegisrt/transformer.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct shape {
    uint32_t inputs, outputs;
} shape;

/* One input, one band, fewer and more inputs than a block has, several blocks with a rest. */
static const shape shapes[] = {{1, 64}, {1, 192}, {3, 128}, {64, 64}, {100, 192}, {150, 320}};
static const aegis_dtype types[] = {AEGIS_DTYPE_F32, AEGIS_DTYPE_F16, AEGIS_DTYPE_BF16,
                                    AEGIS_DTYPE_I8};
enum {
    ROWS = 14
};

typedef struct bed {
    shape s;
    aegis_dtype type;
    uint8_t *stored, *banded; /* both at odd addresses from the second byte on */
    float *x, *scale, *expected, *found;
} bed;

static bed make_bed(shape s, aegis_dtype type)
{
    const size_t count = (size_t)s.inputs * s.outputs, bytes = count * aegis_dtype_bytes(type);
    float *values = malloc(count * sizeof *values);
    fill(values, count, 1 + s.inputs);
    bed all = {.s = s, .type = type, .banded = malloc(bytes + 1)};
    all.stored = make_weights(type, values, count);
    free(values);
    all.x = malloc((size_t)ROWS * s.inputs * sizeof *all.x);
    all.scale = malloc(s.outputs * sizeof *all.scale);
    all.expected = malloc((size_t)ROWS * s.outputs * sizeof *all.expected);
    all.found = malloc((size_t)ROWS * s.outputs * sizeof *all.found);
    fill(all.x, (size_t)ROWS * s.inputs, 2 + s.outputs);
    fill(all.scale, s.outputs, 3);
    memcpy(all.banded, all.stored, bytes + 1);
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error err = {0};
    assert_int_equal(
        aegis_bands_arrange(type, s.inputs, s.outputs, all.banded + 1, &allocator, &err), AEGIS_OK);
    return all;
}

static void free_bed(bed *all)
{
    free(all->found);
    free(all->expected);
    free(all->scale);
    free(all->x);
    free(all->banded);
    free(all->stored);
}

static aegis_weight_run run_of(const bed *all, aegis_matrix_layout layout)
{
    return (aegis_weight_run){.data =
                                  (layout == AEGIS_LAYOUT_BANDS ? all->banded : all->stored) + 1,
                              .scale = all->type == AEGIS_DTYPE_I8 ? all->scale : NULL,
                              .type = all->type,
                              .layout = layout,
                              .inputs = all->s.inputs,
                              .outputs = all->s.outputs,
                              .count = all->s.inputs};
}

static void expect_equal(const bed *all, uint32_t rows, const char *what)
{
    for (size_t i = 0; i < (size_t)rows * all->s.outputs; i++) {
        if (memcmp(&all->expected[i], &all->found[i], sizeof *all->found) != 0) {
            fail_msg("%s, %s, %u x %u, %u rows: value %zu is %.9g, in columns %.9g", what,
                     aegis_dtype_name(all->type), all->s.inputs, all->s.outputs, rows, i,
                     (double)all->found[i], (double)all->expected[i]);
        }
    }
}

static void for_all(void (*check)(bed *all))
{
    for (size_t t = 0; t < AEGIS_ARRAY_LENGTH(types); t++) {
        for (size_t s = 0; s < AEGIS_ARRAY_LENGTH(shapes); s++) {
            bed all = make_bed(shapes[s], types[t]);
            check(&all);
            free_bed(&all);
        }
    }
}

static void check_places(bed *all)
{
    const size_t piece = AEGIS_BAND_OUTPUTS * aegis_dtype_bytes(all->type);
    const uint32_t bands = all->s.outputs / AEGIS_BAND_OUTPUTS;
    for (uint32_t b = 0; b < bands; b++) {
        for (uint32_t i = 0; i < all->s.inputs; i++) {
            assert_memory_equal(all->banded + 1 + ((size_t)b * all->s.inputs + i) * piece,
                                all->stored + 1 + ((size_t)i * bands + b) * piece, piece);
        }
    }
}

static void every_value_goes_to_its_place(void **state)
{
    (void)state;
    assert_true(aegis_bands_fit(64));
    assert_true(aegis_bands_fit(768));
    assert_false(aegis_bands_fit(63));
    assert_false(aegis_bands_fit(100));
    for_all(check_places);
}

static void check_products(bed *all)
{
    const aegis_weight_run columns = run_of(all, AEGIS_LAYOUT_COLUMNS);
    const aegis_weight_run bands = run_of(all, AEGIS_LAYOUT_BANDS);
    const aegis_rows x = {all->x, all->s.inputs}, expected = {all->expected, all->s.outputs};
    const aegis_rows found = {all->found, all->s.outputs};
    const aegis_kernels *set;
    for (size_t k = 0; (set = aegis_kernels_at(k)) != NULL; k++) {
        for (uint32_t rows = 1; rows <= ROWS; rows++) {
            set->columns(&columns, 0, all->s.outputs, x, rows, expected);
            set->columns(&bands, 0, all->s.outputs, x, rows, found);
            expect_equal(all, rows, set->name);
        }
    }
}

static void products_have_the_bits_of_columns(void **state)
{
    (void)state;
    for_all(check_products);
}

/* Inputs in parts, as a partition may cut a pinned matrix. */
static void check_parts(bed *all)
{
    const aegis_kernels *set = aegis_kernels_choose();
    const aegis_weight_run columns = run_of(all, AEGIS_LAYOUT_COLUMNS);
    const aegis_rows x = {all->x, all->s.inputs}, expected = {all->expected, all->s.outputs};
    for (uint32_t rows = 1; rows <= 5; rows += 4) {
        aegis_weight_run run = run_of(all, AEGIS_LAYOUT_BANDS);
        set->columns(&columns, 0, all->s.outputs, x, rows, expected);
        for (uint32_t at = 0; at < all->s.inputs; at += run.count) {
            run.first = at;
            run.count = all->s.inputs - at < 33 ? all->s.inputs - at : 33;
            set->columns(&run, 0, all->s.outputs, x, rows,
                         (aegis_rows){all->found, all->s.outputs});
        }
        expect_equal(all, rows, "in parts");
    }
}

static void parts_of_the_inputs_join_to_the_whole(void **state)
{
    (void)state;
    for_all(check_parts);
}

/* Through the pool, beside one in columns, so that claims of both kinds meet. */
static void check_claims(bed *all)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_compute_pool *pool = NULL;
    assert_int_equal(aegis_compute_pool_create(3, &allocator, &pool, NULL), AEGIS_OK);
    const aegis_rows x = {all->x, all->s.inputs};
    const aegis_product products[] = {
        {run_of(all, AEGIS_LAYOUT_COLUMNS), x, {all->expected, all->s.outputs}},
        {run_of(all, AEGIS_LAYOUT_BANDS), x, {all->found, all->s.outputs}}};
    for (uint32_t rows = 1; rows <= ROWS; rows += ROWS - 1) {
        memset(all->found, 0, (size_t)ROWS * all->s.outputs * sizeof *all->found);
        aegis_products_run(aegis_kernels_choose(), pool, products, 2, rows);
        expect_equal(all, rows, "by the pool");
    }
    aegis_compute_pool_destroy(pool);
}

static void claims_are_whole_bands(void **state)
{
    (void)state;
    for_all(check_claims);
}

static void check_multiplier(bed *all)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_multiplier blas;
    if (aegis_multiplier_open("blas", &allocator, &blas, NULL) != AEGIS_OK) {
        skip();
    }
    float *scratch = malloc(blas.ops->scratch_bytes);
    const aegis_kernels *set = aegis_kernels_choose();
    const aegis_weight_run columns = run_of(all, AEGIS_LAYOUT_COLUMNS);
    const aegis_weight_run bands = run_of(all, AEGIS_LAYOUT_BANDS);
    const aegis_rows x = {all->x, all->s.inputs}, found = {all->found, all->s.outputs};
    set->columns(&columns, 0, all->s.outputs, x, ROWS, (aegis_rows){all->expected, all->s.outputs});
    for (uint32_t at = 0; blas.ops->takes(all->type) && at < all->s.outputs;
         at += blas.ops->outputs) {
        const uint32_t left = all->s.outputs - at;
        const uint32_t end = at + (left < blas.ops->outputs ? left : blas.ops->outputs);
        blas.ops->multiply(blas.self, set, &bands, at, end, x, ROWS, found, scratch);
    }
    for (size_t i = 0; blas.ops->takes(all->type) && i < (size_t)ROWS * all->s.outputs; i++) {
        assert_true(fabsf(all->found[i] - all->expected[i]) <= 1e-5f * (float)all->s.inputs);
    }
    free(scratch);
    aegis_multiplier_close(&blas);
}

static void a_blas_takes_bands_too(void **state)
{
    (void)state;
    for_all(check_multiplier);
}

static void without_memory_nothing_is_moved(void **state)
{
    (void)state;
    test_allocator memory = {.fail_at = 1};
    const aegis_allocator allocator = test_allocator_make(&memory);
    uint8_t data[2 * 128];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)i;
    }
    aegis_error err = {0};
    assert_int_equal(aegis_bands_arrange(AEGIS_DTYPE_I8, 2, 128, data, &allocator, &err),
                     AEGIS_ERROR_NO_MEMORY);
    assert_string_equal(err.component, "transformer.bands");
    for (size_t i = 0; i < sizeof data; i++) {
        assert_int_equal(data[i], (uint8_t)i);
    }
}

/* Of the matrices of a block in turn: the first is pinned, the second pinned in two pieces, the
 * third pinned in part, the fourth streamed; tables are pinned. */
static aegis_status plan_mixed(void *self,
                               const aegis_partition_request *request,
                               aegis_partition_builder *builder,
                               aegis_error *err)
{
    (void)self;
    aegis_status status = aegis_partition_set_buffers(builder, 2, err);
    for (uint32_t u = 0; status == AEGIS_OK && u < request->unit_count; u++) {
        const uint32_t rows = request->units[u].rows;
        const bool table = request->units[u].lookup;
        const uint32_t kept = table || u % 4 == 0 ? rows : u % 4 == 3 ? 0 : rows / 2;
        if (kept > 0) {
            status = aegis_partition_pin(builder, kept, err);
        }
        if (status == AEGIS_OK && kept < rows) {
            status = u % 4 == 1 ? aegis_partition_pin(builder, rows - kept, err)
                                : aegis_partition_stream(builder, rows - kept, err);
        }
    }
    return status;
}

static void matrices_pinned_whole_are_in_bands_once_loaded(void **state)
{
    (void)state;
    char folder[] = "/tmp/aegisrt-bands-XXXXXX", path[64];
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_graph_loaded *loaded = NULL;
    aegis_graph_validated *graph = NULL;
    aegis_weights weights = {0};
    assert_non_null(mkdtemp(folder));
    assert_int_equal(aegis_transformer_synthesize(folder, "gpt2-shallow", "i8", 1, NULL), AEGIS_OK);
    assert_int_equal(aegis_graph_load(folder, &allocator, &loaded, NULL), AEGIS_OK);
    assert_int_equal(aegis_graph_validate(&loaded, &graph, NULL), AEGIS_OK);
    assert_int_equal(aegis_weights_init(&weights, graph, &allocator, NULL), AEGIS_OK);
    const aegis_partition_strategy strategy = {AEGIS_PARTITION_STRATEGY_VERSION, "mixed",
                                               plan_mixed, NULL};
    const aegis_partition_request request = {.units = weights.units,
                                             .unit_count = weights.unit_count,
                                             .available_bytes = UINT64_C(1) << 30,
                                             .tile_bytes = UINT64_C(1) << 20};
    aegis_partition *partition = NULL;
    assert_int_equal(aegis_partition_plan(&strategy, &request, &allocator, &partition, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_weights_load(&weights, partition, 2, 1 << 20, NULL), AEGIS_OK);
    uint32_t seen = 0;
    for (uint32_t b = 0; b < weights.config->layers; b++) {
        const aegis_block_weights *block = &weights.blocks[b];
        const aegis_matrix *all[] = {&block->qkv[0], &block->output, &block->up[0], &block->down};
        for (size_t m = 0; m < AEGIS_ARRAY_LENGTH(all); m++) {
            const bool whole = all[m]->unit % 4 < 2;
            assert_int_equal(all[m]->layout, whole ? AEGIS_LAYOUT_BANDS : AEGIS_LAYOUT_COLUMNS);
            seen |= 1u << all[m]->unit % 4;
        }
    }
    assert_int_equal(seen, 15); /* each kind */
    assert_int_equal(weights.tokens.layout, AEGIS_LAYOUT_ROWS);
    aegis_weights_finish(&weights);
    aegis_partition_free(partition);
    aegis_graph_free(graph);
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_goes_to_its_place),
        cmocka_unit_test(products_have_the_bits_of_columns),
        cmocka_unit_test(parts_of_the_inputs_join_to_the_whole),
        cmocka_unit_test(claims_are_whole_bands),
        cmocka_unit_test(a_blas_takes_bands_too),
        cmocka_unit_test(without_memory_nothing_is_moved),
        cmocka_unit_test(matrices_pinned_whole_are_in_bands_once_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

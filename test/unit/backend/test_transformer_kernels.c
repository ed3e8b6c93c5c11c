/* SPDX-License-Identifier: Apache-2.0 */
/* Every instruction set against plain loops in double, and bit for bit against one another. */
#include "backend/transformer/tensor/pool.h"
#include "backend/transformer/tensor/product.h"
#include "base/base.h"
#include "support/made_weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_bits(const float *a, const float *b, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0) {
            fail_msg("%s: value %zu is %.9g, expected %.9g", what, i, (double)a[i], (double)b[i]);
        }
    }
}

typedef struct shape {
    uint32_t inputs, outputs;
} shape;

static const shape shapes[] = {{1, 1},   {5, 3},    {16, 4},   {17, 9},    {48, 70},
                               {64, 65}, {100, 31}, {576, 12}, {1536, 18}, {4300, 5}};
static const aegis_dtype types[] = {AEGIS_DTYPE_F32, AEGIS_DTYPE_F16, AEGIS_DTYPE_BF16,
                                    AEGIS_DTYPE_I8};

/* One product by one set. y has 37 rows of `outputs`. */
static void run_set(
    const aegis_kernels *set, const aegis_weight_run *run, const float *x, uint32_t rows, float *y)
{
    const aegis_rows in = {(float *)(uintptr_t)x, run->inputs}, out = {y, run->outputs};
    if (run->layout == AEGIS_LAYOUT_ROWS) {
        set->rows(run, run->first, run->first + run->count, in, rows, out);
    } else {
        set->columns(run, 0, run->outputs, in, rows, out);
    }
}

static void check_product(aegis_dtype type, aegis_matrix_layout layout, shape s, uint32_t rows)
{
    const size_t count = (size_t)s.inputs * s.outputs;
    float *values = malloc(count * sizeof *values), *x = malloc(rows * s.inputs * sizeof *x);
    float *scale = malloc(s.outputs * sizeof *scale), *wide = malloc(count * sizeof *wide);
    float *y = malloc(rows * s.outputs * sizeof *y), *one = malloc(rows * s.outputs * sizeof *one);
    float *first = malloc(rows * s.outputs * sizeof *first);
    fill(values, count, 1 + s.inputs);
    fill(x, (size_t)rows * s.inputs, 2 + s.outputs);
    fill(scale, s.outputs, 3);
    uint8_t *raw = make_weights(type, values, count);
    const bool by_rows = layout == AEGIS_LAYOUT_ROWS;
    const aegis_weight_run run = {.data = raw + 1,
                                  .scale = type == AEGIS_DTYPE_I8 ? scale : NULL,
                                  .type = type,
                                  .layout = layout,
                                  .inputs = s.inputs,
                                  .outputs = s.outputs,
                                  .count = by_rows ? s.outputs : s.inputs};
    const aegis_kernels *set;
    for (size_t k = 0; (set = aegis_kernels_at(k)) != NULL; k++) {
        set->widen(type, raw + 1, (uint32_t)count, wide);
        run_set(set, &run, x, rows, y);
        for (uint32_t r = 0; r < rows;
             r++) { /* a row alone has the bits that it has among others */
            run_set(set, &run, x + (size_t)r * s.inputs, 1, one + (size_t)r * s.outputs);
        }
        expect_bits(one, y, (size_t)rows * s.outputs, set->name);
        if (k == 0) {
            memcpy(first, y, rows * s.outputs * sizeof *y);
        }
        expect_bits(y, first, (size_t)rows * s.outputs, set->name); /* equal in every set */
    }
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t o = 0; o < s.outputs; o++) {
            double sum = 0, size = 0;
            for (uint32_t i = 0; i < s.inputs; i++) {
                const double w =
                    wide[by_rows ? (size_t)o * s.inputs + i : (size_t)i * s.outputs + o];
                sum += w * (double)x[(size_t)r * s.inputs + i];
                size += fabs(w * (double)x[(size_t)r * s.inputs + i]);
            }
            const double factor = type == AEGIS_DTYPE_I8 ? (double)scale[o] : 1.0;
            const double off = fabs((double)first[(size_t)r * s.outputs + o] - sum * factor);
            assert_true(off <= 1e-6 * (size * fabs(factor) + 1e-9));
        }
    }
    free(raw);
    free(first);
    free(one);
    free(y);
    free(wide);
    free(scale);
    free(x);
    free(values);
}

static void products_are_right_and_equal_in_every_set(void **state)
{
    (void)state;
    for (size_t t = 0; t < AEGIS_ARRAY_LENGTH(types); t++) {
        for (size_t s = 0; s < AEGIS_ARRAY_LENGTH(shapes); s++) {
            check_product(types[t], AEGIS_LAYOUT_ROWS, shapes[s], 37);
            check_product(types[t], AEGIS_LAYOUT_COLUMNS, shapes[s], 37);
        }
    }
}

/* Each number of rows is made up of other tiles; more inputs than a widened block has, and several
 * blocks of outputs with a rest. */
static void any_number_of_rows_gives_equal_bits(void **state)
{
    (void)state;
    const shape wide = {150, 213};
    for (uint32_t rows = 1; rows <= 14; rows++) {
        for (size_t t = 0; t < AEGIS_ARRAY_LENGTH(types); t++) {
            check_product(types[t], AEGIS_LAYOUT_ROWS, wide, rows);
            check_product(types[t], AEGIS_LAYOUT_COLUMNS, wide, rows);
        }
    }
}

/* A matrix cut into runs gives the bits of the whole one: rows anywhere, inputs of columns in
 * order. */
static void runs_join_to_the_whole(void **state)
{
    (void)state;
    enum {
        INPUTS = 100,
        OUTPUTS = 70
    };
    float values[INPUTS * OUTPUTS], x[3 * INPUTS], whole[3 * OUTPUTS], parts[3 * OUTPUTS],
        scale[OUTPUTS];
    fill(values, INPUTS * OUTPUTS, 5);
    fill(x, 3 * INPUTS, 6);
    fill(scale, OUTPUTS, 7);
    for (size_t t = 0; t < AEGIS_ARRAY_LENGTH(types); t++) {
        uint8_t *raw = make_weights(types[t], values, INPUTS * OUTPUTS);
        for (int layout = 0; layout < 2; layout++) {
            const uint32_t stored = layout == 0 ? OUTPUTS : INPUTS,
                           width = layout == 0 ? INPUTS : OUTPUTS;
            aegis_weight_run run = {.data = raw + 1,
                                    .scale = scale,
                                    .type = types[t],
                                    .layout = (aegis_matrix_layout)layout,
                                    .inputs = INPUTS,
                                    .outputs = OUTPUTS,
                                    .count = stored};
            run_set(aegis_kernels_choose(), &run, x, 3, whole);
            for (uint32_t at = 0; at < stored; at += run.count) {
                run.first = at;
                run.count = stored - at < 33 ? stored - at : 33;
                run.data = raw + 1 + (size_t)at * width * aegis_dtype_bytes(types[t]);
                run_set(aegis_kernels_choose(), &run, x, 3, parts);
            }
            expect_bits(parts, whole, 3 * OUTPUTS, aegis_dtype_name(types[t]));
        }
        free(raw);
    }
}

static void halves_round_as_the_hardware_does(void **state)
{
    (void)state;
    const aegis_kernels *set;
    for (size_t k = 0; (set = aegis_kernels_at(k)) != NULL; k++) {
        for (uint32_t bits = 0; bits < 0x10000; bits++) {
            const uint16_t half = (uint16_t)bits;
            float soft = aegis_half_to_float(half), wide;
            uint16_t back;
            set->widen(AEGIS_DTYPE_F16, &half, 1, &wide);
            if (isnan(soft)) {
                assert_true(isnan(wide));
                continue;
            }
            assert_memory_equal(&soft, &wide, sizeof soft);
            set->narrow(&wide, 1, &back);
            assert_int_equal(back, half);
        }
        uint64_t random = 9;
        for (int i = 0; i < 100000; i++) {
            const uint32_t bits = (uint32_t)aegis_random_next(&random);
            float value;
            uint16_t hard;
            memcpy(&value, &bits, sizeof value);
            set->narrow(&value, 1, &hard);
            if (!isnan(value)) {
                assert_int_equal(hard, aegis_float_to_half(value));
            }
        }
    }
}

static void vectors_agree(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 7, 16, 33, 576};
    float x[576], w[576], b[576], y[576], first[8][576];
    const aegis_kernels *set;
    for (size_t c = 0; c < AEGIS_ARRAY_LENGTH(counts); c++) {
        const uint32_t n = counts[c];
        fill(x, n, 11);
        fill(w, n, 12);
        fill(b, n, 13);
        for (size_t k = 0; (set = aegis_kernels_at(k)) != NULL; k++) {
            float results[8][576] = {{0}};
            uint16_t halves[576];
            set->rms_norm(x, w, 1e-5f, n, results[0]);
            set->layer_norm(x, w, b, 1e-5f, n, results[1]);
            memcpy(y, x, sizeof y);
            results[2][0] = set->exponentials(y, n);
            memcpy(results[3], y, n * sizeof *y);
            memcpy(results[4], x, n * sizeof *y);
            set->gelu(results[4], n);
            memcpy(results[5], x, n * sizeof *y);
            set->silu_gate(w, n, results[5]);
            memcpy(results[6], x, n * sizeof *y);
            set->rotate(w, b, n / 2, results[6]);
            set->add_scaled(0.7f, w, n, results[6]);
            set->narrow(w, n, halves);
            set->add_scaled_half(0.3f, halves, n, results[6]);
            results[7][0] = set->dot(x, w, n);
            results[7][n > 1 ? 1 : 0] += set->dot_half(x, halves, n);
            for (int i = 0; i < 8; i++) {
                if (k == 0) {
                    memcpy(first[i], results[i], sizeof first[i]);
                }
                expect_bits(results[i], first[i], n, set->name);
            }
        }
    }
}

static void functions_are_exact_enough(void **state)
{
    (void)state;
    const aegis_kernels *set = aegis_kernels_choose();
    for (double at = -80; at < 0.0; at += 0.0137) {
        float pair[2] = {0.0f, (float)at};
        set->exponentials(pair, 2);
        const double right = exp((double)(float)at);
        assert_true(fabs((double)pair[1] - right) <= 3e-7 * right);
    }
    for (double at = -12; at < 12; at += 0.0137) {
        float x = (float)at, gate = 1.0f, silu = (float)at;
        const double u = sqrt(2 / M_PI) * ((double)x + 0.044715 * pow((double)x, 3));
        set->gelu(&x, 1);
        set->silu_gate(&gate, 1, &silu);
        assert_true(fabs((double)x - 0.5 * (double)(float)at * (1 + tanh(u))) < 2e-6);
        assert_true(fabs((double)silu - (double)(float)at / (1 + exp(-at))) < 2e-6);
    }
    float erf_form = 1.25f;
    set->gelu_erf(&erf_form, 1);
    assert_true(fabs((double)erf_form - 0.5 * 1.25 * (1 + erf(1.25 / sqrt(2)))) < 1e-6);
}

/* y of a multiplier, in claims, the run cut in two as a partition may cut it. */
static void run_multiplier(const aegis_multiplier *multiplier,
                           const aegis_weight_run *whole,
                           const float *x,
                           uint32_t rows,
                           float *y)
{
    const aegis_kernels *set = aegis_kernels_choose();
    const aegis_rows in = {(float *)(uintptr_t)x, whole->inputs}, out = {y, whole->outputs};
    const bool by_rows = whole->layout == AEGIS_LAYOUT_ROWS;
    float *scratch = malloc(multiplier->ops->scratch_bytes);
    const uint32_t parts[3] = {0, whole->count / 3, whole->count};
    for (int p = 0; p < 2; p++) {
        aegis_weight_run run = *whole;
        const uint64_t row = (by_rows ? run.inputs : run.outputs) * aegis_dtype_bytes(run.type);
        run.first = parts[p];
        run.count = parts[p + 1] - parts[p];
        run.data = (const uint8_t *)whole->data + parts[p] * row;
        const uint32_t first = by_rows ? run.first : 0;
        const uint32_t last = by_rows ? run.first + run.count : run.outputs;
        for (uint32_t at = first; at < last && run.count > 0; at += multiplier->ops->outputs) {
            const uint32_t end =
                last - at < multiplier->ops->outputs ? last : at + multiplier->ops->outputs;
            multiplier->ops->multiply(multiplier->self, set, &run, at, end, in, rows, out, scratch);
        }
    }
    free(scratch);
}

static void check_multiplier(const aegis_multiplier *multiplier,
                             aegis_dtype type,
                             aegis_matrix_layout layout,
                             shape s,
                             uint32_t rows)
{
    const size_t count = (size_t)s.inputs * s.outputs, made = (size_t)rows * s.outputs;
    float *values = malloc(count * sizeof *values), *x = malloc(rows * s.inputs * sizeof *x);
    float *y = calloc(made, sizeof *y), *near = calloc(made, sizeof *near);
    fill(values, count, 1 + s.inputs);
    fill(x, (size_t)rows * s.inputs, 2 + s.outputs);
    uint8_t *raw = make_weights(type, values, count);
    const aegis_weight_run run = {.data = raw + 1,
                                  .type = type,
                                  .layout = layout,
                                  .inputs = s.inputs,
                                  .outputs = s.outputs,
                                  .count = layout == AEGIS_LAYOUT_ROWS ? s.outputs : s.inputs};
    run_set(aegis_kernels_choose(), &run, x, rows, y);
    run_multiplier(multiplier, &run, x, rows, near);
    for (size_t i = 0; i < made; i++) {
        if (!(fabsf(y[i] - near[i]) <= 1e-5f * (float)s.inputs)) {
            fail_msg("%s %u x %u, %u rows: value %zu is %.9g, own %.9g", aegis_dtype_name(type),
                     s.inputs, s.outputs, rows, i, (double)near[i], (double)y[i]);
        }
    }
    free(raw);
    free(near);
    free(y);
    free(x);
    free(values);
}

/* Whether a BLAS can be opened; where it cannot the reason names the cure. */
static bool open_blas(aegis_multiplier *ret_multiplier)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error err = {0};
    const aegis_status status = aegis_multiplier_open("blas", &allocator, ret_multiplier, &err);
    if (status != AEGIS_OK) {
        print_message("skipped: %s\n", err.message);
        assert_int_equal(status, AEGIS_ERROR_RUNTIME_NOT_AVAILABLE);
        assert_non_null(strstr(err.message, "write \"own\""));
    }
    return status == AEGIS_OK;
}

static void a_blas_is_near_the_kernels(void **state)
{
    (void)state;
    aegis_multiplier multiplier;
    if (!open_blas(&multiplier)) {
        skip();
    }
    assert_false(multiplier.ops->takes(AEGIS_DTYPE_I8));
    for (size_t t = 0; t < AEGIS_ARRAY_LENGTH(types); t++) {
        for (size_t s = 0; s < AEGIS_ARRAY_LENGTH(shapes) && multiplier.ops->takes(types[t]); s++) {
            for (uint32_t rows = multiplier.ops->least_rows; rows <= 37; rows += 29) {
                check_multiplier(&multiplier, types[t], AEGIS_LAYOUT_ROWS, shapes[s], rows);
                check_multiplier(&multiplier, types[t], AEGIS_LAYOUT_COLUMNS, shapes[s], rows);
            }
        }
    }
    aegis_multiplier_close(&multiplier);
    assert_null(multiplier.ops);
    aegis_multiplier_close(&multiplier);
}

static void multipliers_are_found_by_name(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_multiplier multiplier = {0};
    aegis_error err = {0};
    assert_int_equal(aegis_multiplier_open("mkl", &allocator, &multiplier, &err),
                     AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "\"own\" and \"blas\""));
    assert_int_equal(aegis_multiplier_open(NULL, &allocator, &multiplier, &err), AEGIS_OK);
    assert_int_equal(aegis_multiplier_open("own", &allocator, &multiplier, &err), AEGIS_OK);
    assert_string_equal(aegis_multiplier_name(&multiplier), "own");
}

static void sets_are_found_by_name(void **state)
{
    (void)state;
    assert_non_null(aegis_kernels_find("scalar"));
    assert_null(aegis_kernels_find("mmx"));
    assert_ptr_equal(aegis_kernels_choose(), aegis_kernels_at(0));
}

/* --- the pool ------------------------------------------------------------------------------------
 */

typedef struct count {
    _Atomic uint32_t calls[5000];
    _Atomic uint32_t foreign;
    uint32_t threads;
} count;

static void count_chunk(void *argument, uint32_t chunk, uint32_t thread)
{
    count *all = argument;
    atomic_fetch_add(&all->calls[chunk], 1);
    if (thread >= all->threads) {
        atomic_fetch_add(&all->foreign, 1);
    }
}

static void every_chunk_runs_once(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    static count all;
    for (uint32_t threads = 1; threads <= 5; threads++) {
        aegis_compute_pool *pool = NULL;
        all.threads = threads;
        assert_int_equal(aegis_compute_pool_create(threads, &allocator, &pool, NULL), AEGIS_OK);
        for (uint32_t work = 0; work < 2000; work++) {
            const uint32_t chunks = work * 7 % 40;
            memset((void *)all.calls, 0, sizeof all.calls);
            aegis_compute_pool_run(pool, chunks, count_chunk, &all);
            for (uint32_t c = 0; c < 50; c++) {
                assert_int_equal(all.calls[c], c < chunks ? 1 : 0);
            }
        }
        aegis_compute_pool_run(pool, 5000, count_chunk, &all);
        assert_int_equal(all.foreign, 0);
        aegis_compute_pool_destroy(pool);
    }
}

static void pools_without_threads_are_refused(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_compute_pool *pool = NULL;
    assert_int_equal(aegis_compute_pool_create(0, &allocator, &pool, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_compute_pool_create(65, &allocator, &pool, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(pool);
    aegis_compute_pool_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right_and_equal_in_every_set),
        cmocka_unit_test(any_number_of_rows_gives_equal_bits),
        cmocka_unit_test(runs_join_to_the_whole),
        cmocka_unit_test(halves_round_as_the_hardware_does),
        cmocka_unit_test(vectors_agree),
        cmocka_unit_test(functions_are_exact_enough),
        cmocka_unit_test(a_blas_is_near_the_kernels),
        cmocka_unit_test(multipliers_are_found_by_name),
        cmocka_unit_test(sets_are_found_by_name),
        cmocka_unit_test(every_chunk_runs_once),
        cmocka_unit_test(pools_without_threads_are_refused),
    };
    return cmocka_run_group_tests_name("transformer kernels", tests, NULL, NULL);
}

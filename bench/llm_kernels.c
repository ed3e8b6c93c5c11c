/* SPDX-License-Identifier: Apache-2.0 */
/* Products of the transformer runner, one thread: bytes of weights a second for one row, against a
 * plain read of the same memory beside it, and arithmetic a second for 32 and 256 rows, by the own
 * kernels and by a BLAS where there is one, in turns. Best of many.
 *
 *   bench_llm_kernels [INSTRUCTIONS]
 *
 * The instruction set is the best of this machine, or the one named (avx512, avx2, neon, scalar).
 */
#include "bench.h"

#include "backend/transformer/engine/reader.h"
#include "backend/transformer/tensor/multiplier.h"

#define MEMORY_BYTES ((size_t)192 << 20) /* more than caches hold */
#define CHUNK_BYTES ((size_t)16 << 20)
#define ROUNDS 6
#define MOST_VALUES ((size_t)1 << 20)

typedef struct product {
    const char *name;
    aegis_dtype type;
    aegis_matrix_layout layout;
    uint32_t inputs, outputs;
} product;

static const product products[] = {
    {"f32 rows 768", AEGIS_DTYPE_F32, AEGIS_LAYOUT_ROWS, 768, 2304},
    {"f16 rows 768", AEGIS_DTYPE_F16, AEGIS_LAYOUT_ROWS, 768, 2304},
    {"bf16 rows 576", AEGIS_DTYPE_BF16, AEGIS_LAYOUT_ROWS, 576, 1536},
    {"f32 columns 768", AEGIS_DTYPE_F32, AEGIS_LAYOUT_COLUMNS, 768, 2304},
    {"f16 columns 768", AEGIS_DTYPE_F16, AEGIS_LAYOUT_COLUMNS, 768, 2304},
    {"f16 columns 3072", AEGIS_DTYPE_F16, AEGIS_LAYOUT_COLUMNS, 3072, 768},
    {"f32 bands 768", AEGIS_DTYPE_F32, AEGIS_LAYOUT_BANDS, 768, 2304},
    {"f16 bands 768", AEGIS_DTYPE_F16, AEGIS_LAYOUT_BANDS, 768, 2304},
    {"f16 bands 3072", AEGIS_DTYPE_F16, AEGIS_LAYOUT_BANDS, 3072, 768},
};

typedef struct bed {
    const aegis_kernels *kernels;
    aegis_multiplier blas; /* zeroed: none here */
    uint8_t *memory;
    float *x, *y, *scratch;
} bed;

static void
multiply(const bed *all, bool blas, const product *one, const uint8_t *weights, uint32_t rows)
{
    const bool by_rows = one->layout == AEGIS_LAYOUT_ROWS;
    const aegis_weight_run run = {.data = weights,
                                  .type = one->type,
                                  .layout = one->layout,
                                  .inputs = one->inputs,
                                  .outputs = one->outputs,
                                  .count = by_rows ? one->outputs : one->inputs};
    const aegis_rows x = {all->x, one->inputs}, y = {all->y, one->outputs};
    const uint32_t claim =
        one->layout != AEGIS_LAYOUT_COLUMNS || rows > 1 ? 64 : 256; /* as in product.c */
    const uint32_t step = blas ? all->blas.ops->outputs : claim;
    for (uint32_t at = 0; at < one->outputs; at += step) {
        const uint32_t end = at + step < one->outputs ? at + step : one->outputs;
        if (blas) {
            all->blas.ops->multiply(all->blas.self, all->kernels, &run, at, end, x, rows, y,
                                    all->scratch);
        } else if (by_rows) {
            all->kernels->rows(&run, at, end, x, rows, y);
        } else {
            all->kernels->columns(&run, at, end, x, rows, y);
        }
    }
    bench_keep(all->y);
}

/* Sum of 64-bit words: what the memory gives to one thread. */
static double read_rate(const bed *all)
{
    double best = 0;
    for (size_t at = 0; at + CHUNK_BYTES <= MEMORY_BYTES; at += CHUNK_BYTES) {
        const uint64_t *words = (const uint64_t *)(const void *)(all->memory + at);
        const uint64_t begin = bench_now_ns();
        uint64_t sum[8] = {0};
        for (size_t i = 0; i < CHUNK_BYTES / 8; i += 8) {
            for (size_t k = 0; k < 8; k++) {
                sum[k] ^= words[i + k];
            }
        }
        bench_keep(sum);
        const double rate = (double)CHUNK_BYTES / (double)(bench_now_ns() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

static double weight_rate(const bed *all, const product *one)
{
    const size_t bytes = (size_t)one->inputs * one->outputs * aegis_dtype_bytes(one->type);
    double best = 0;
    for (size_t at = 0; at + CHUNK_BYTES <= MEMORY_BYTES; at += CHUNK_BYTES) {
        const size_t count = CHUNK_BYTES / bytes;
        const uint64_t begin = bench_now_ns();
        for (size_t i = 0; i < count; i++) {
            multiply(all, false, one, all->memory + at + i * bytes, 1);
        }
        const double rate = (double)(count * bytes) / (double)(bench_now_ns() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

static double arithmetic_rate(const bed *all, bool blas, const product *one, uint32_t rows)
{
    double best = 0;
    for (uint32_t i = 0; i < 640 / rows; i++) {
        const uint64_t begin = bench_now_ns();
        multiply(all, blas, one, all->memory, rows);
        const double operations = 2.0 * rows * one->inputs * one->outputs;
        const double rate = operations / (double)(bench_now_ns() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

enum {
    COUNT = sizeof products / sizeof products[0],
    MANY = 2
};
static const uint32_t many[MANY] = {32, 256};

typedef struct rates {
    double weights, own[MANY], blas[MANY];
} rates;

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* In turns: a busy moment meets all. */
static double measure(const bed *all, rates of[COUNT])
{
    double read = 0;
    for (int round = 0; round < ROUNDS; round++) {
        read = larger(read, read_rate(all));
        for (size_t i = 0; i < COUNT; i++) {
            of[i].weights = larger(of[i].weights, weight_rate(all, &products[i]));
            for (size_t m = 0; m < MANY; m++) {
                of[i].own[m] =
                    larger(of[i].own[m], arithmetic_rate(all, false, &products[i], many[m]));
                if (all->blas.ops != NULL) {
                    of[i].blas[m] =
                        larger(of[i].blas[m], arithmetic_rate(all, true, &products[i], many[m]));
                }
            }
        }
    }
    return read;
}

static void report_product(bench_report *report, const char *what, const rates *of)
{
    char name[80];
    snprintf(name, sizeof name, "%s, one row", what);
    bench_report_value(report, name, "GB/s", of->weights);
    for (size_t m = 0; m < MANY; m++) {
        snprintf(name, sizeof name, "%s, %u rows, own", what, many[m]);
        bench_report_value(report, name, "GFLOP/s", of->own[m]);
        if (of->blas[m] > 0) {
            snprintf(name, sizeof name, "%s, %u rows, blas", what, many[m]);
            bench_report_value(report, name, "GFLOP/s", of->blas[m]);
            snprintf(name, sizeof name, "%s, %u rows, own over blas", what, many[m]);
            bench_report_value(report, name, "", of->own[m] / of->blas[m]);
        }
    }
}

int main(int argc, char **argv)
{
    const aegis_allocator allocator = aegis_allocator_default();
    rates of[COUNT] = {0};
    aegis_error err;
    bed all = {.kernels = argc > 1 ? aegis_kernels_find(argv[1]) : aegis_kernels_choose(),
               .memory = aegis_pages_map(MEMORY_BYTES)};
    if (all.kernels == NULL) {
        fprintf(stderr, "this machine does not execute \"%s\"\n", argv[1]);
        return 2;
    }
    all.x = calloc(MOST_VALUES, sizeof *all.x);
    all.y = calloc(MOST_VALUES, sizeof *all.y);
    if (aegis_multiplier_open("blas", &allocator, &all.blas, &err) != AEGIS_OK) {
        fprintf(stderr, "without a BLAS: %s\n", err.message);
    }
    all.scratch = calloc(1, all.blas.ops != NULL ? all.blas.ops->scratch_bytes : 1);
    if (all.memory == NULL || all.x == NULL || all.y == NULL || all.scratch == NULL) {
        return 1;
    }
    memset(all.memory, 0, MEMORY_BYTES);
    const double read = measure(&all, of);
    bench_report report = bench_report_begin("llm_kernels");
    json_object_set_new(report.root, "instructions", json_string(all.kernels->name));
    bench_report_value(&report, "plain read", "GB/s", read);
    for (size_t i = 0; i < COUNT; i++) {
        report_product(&report, products[i].name, &of[i]);
    }
    bench_report_end(&report);
    aegis_multiplier_close(&all.blas);
    free(all.scratch);
    free(all.y);
    free(all.x);
    aegis_pages_unmap(all.memory, MEMORY_BYTES);
    return 0;
}

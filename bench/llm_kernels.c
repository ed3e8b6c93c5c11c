/* SPDX-License-Identifier: Apache-2.0 */
/* Products of the transformer runner, one thread: bytes of weights a second for one row, against a
 * plain read of the same memory beside it, and arithmetic a second for 32 rows. Best of many. */
#include "bench.h"

#include "backend/transformer/engine/reader.h"
#include "backend/transformer/tensor/tensor.h"

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
};

typedef struct bed {
    const aegis_kernels *kernels;
    uint8_t *memory;
    float *x, *y;
} bed;

static void multiply(const bed *all, const product *one, const uint8_t *weights, uint32_t rows)
{
    const bool by_rows = one->layout == AEGIS_LAYOUT_ROWS;
    const aegis_weight_run run = {.data = weights,
                                  .type = one->type,
                                  .layout = one->layout,
                                  .inputs = one->inputs,
                                  .outputs = one->outputs,
                                  .count = by_rows ? one->outputs : one->inputs};
    const aegis_rows x = {all->x, one->inputs}, y = {all->y, one->outputs};
    const uint32_t step = by_rows || rows > 1 ? 64 : 256; /* a claim, as in product.c */
    for (uint32_t at = 0; at < one->outputs; at += step) {
        const uint32_t end = at + step < one->outputs ? at + step : one->outputs;
        if (by_rows) {
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
            multiply(all, one, all->memory + at + i * bytes, 1);
        }
        const double rate = (double)(count * bytes) / (double)(bench_now_ns() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

static double arithmetic_rate(const bed *all, const product *one)
{
    double best = 0;
    for (int i = 0; i < 20; i++) {
        const uint64_t begin = bench_now_ns();
        multiply(all, one, all->memory, 32);
        const double operations = 2.0 * 32 * one->inputs * one->outputs;
        const double rate = operations / (double)(bench_now_ns() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

int main(void)
{
    enum {
        COUNT = sizeof products / sizeof products[0]
    };
    double read = 0, weights[COUNT] = {0}, arithmetic[COUNT] = {0};
    char name[64];
    bed all = {.kernels = aegis_kernels_choose(), .memory = aegis_pages_map(MEMORY_BYTES)};
    all.x = calloc(MOST_VALUES, sizeof *all.x);
    all.y = calloc(MOST_VALUES, sizeof *all.y);
    if (all.memory == NULL || all.x == NULL || all.y == NULL) {
        return 1;
    }
    memset(all.memory, 0, MEMORY_BYTES);
    for (int round = 0; round < ROUNDS; round++) { /* interleaved: a busy moment meets all */
        const double rate = read_rate(&all);
        read = rate > read ? rate : read;
        for (size_t i = 0; i < COUNT; i++) {
            const double one = weight_rate(&all, &products[i]);
            const double many = arithmetic_rate(&all, &products[i]);
            weights[i] = one > weights[i] ? one : weights[i];
            arithmetic[i] = many > arithmetic[i] ? many : arithmetic[i];
        }
    }
    bench_report report = bench_report_begin("llm_kernels");
    json_object_set_new(report.root, "instructions", json_string(all.kernels->name));
    bench_report_value(&report, "plain read", "GB/s", read);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "%s, one row", products[i].name);
        bench_report_value(&report, name, "GB/s", weights[i]);
        snprintf(name, sizeof name, "%s, 32 rows", products[i].name);
        bench_report_value(&report, name, "GFLOP/s", arithmetic[i]);
    }
    bench_report_end(&report);
    free(all.y);
    free(all.x);
    aegis_pages_unmap(all.memory, MEMORY_BYTES);
    return 0;
}

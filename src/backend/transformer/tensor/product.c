/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tensor/product.h"

#include "base/base.h"

#include <assert.h>

/* Weights of one claim: a few microseconds of memory traffic. */
#define CLAIM_BYTES ((uint64_t)64 << 10)
/* Outputs of one claim in the COLUMNS layout, in bytes of a stored row: whole cache lines, few
 * enough that small matrices still give every thread several claims. */
#define CLAIM_COLUMN_BYTES 256
/* With one row of x there is no more work than reading: longer pieces of stored rows, which the
 * processor fetches ahead of, but still a few claims for every thread. */
#define STREAM_COLUMN_BYTES 1024
#define STREAM_CLAIMS 2
#define CACHE_LINE 64
#define STEP_OUTPUTS 4 /* tiles stay whole */

typedef struct share {
    const aegis_kernels *kernels;
    const aegis_product *products;
    const aegis_multiplier *multiplier; /* NULL: the kernels */
    float *scratch;
    uint32_t count, rows;
    uint32_t step[AEGIS_PRODUCTS_MAX];      /* outputs of a claim */
    uint32_t begin[AEGIS_PRODUCTS_MAX + 1]; /* first chunk of each product */
} share;

static uint32_t first_output(const aegis_weight_run *run)
{
    return run->layout == AEGIS_LAYOUT_ROWS ? run->first : 0;
}

static uint32_t end_output(const aegis_weight_run *run)
{
    return run->layout == AEGIS_LAYOUT_ROWS ? run->first + run->count : run->outputs;
}

/* Outputs of a claim for one row of x in the COLUMNS layout: equal shares for the threads. */
static uint32_t stream_step(uint64_t row_bytes, uint64_t element, uint32_t threads)
{
    uint64_t claims = (row_bytes + STREAM_COLUMN_BYTES - 1) / STREAM_COLUMN_BYTES;
    claims = claims < STREAM_CLAIMS * threads ? STREAM_CLAIMS * threads : claims;
    claims = (claims + threads - 1) / threads * threads;
    const uint64_t bytes = aegis_align_up((row_bytes + claims - 1) / claims, CACHE_LINE);
    return (uint32_t)(bytes / element);
}

static uint32_t step_of(const aegis_weight_run *run, uint32_t rows, uint32_t threads)
{
    uint64_t element = aegis_dtype_bytes(run->type), step;
    assert(element > 0 && run->inputs > 0); /* a validated graph has nothing else */
    if (run->layout == AEGIS_LAYOUT_BANDS) {
        return AEGIS_BAND_OUTPUTS;
    }
    if (run->layout == AEGIS_LAYOUT_COLUMNS) {
        return rows == 1 ? stream_step(run->outputs * element, element, threads)
                         : (uint32_t)(CLAIM_COLUMN_BYTES / element);
    }
    step = CLAIM_BYTES / (run->inputs * element);
    step = step / STEP_OUTPUTS * STEP_OUTPUTS;
    step = step < STEP_OUTPUTS ? STEP_OUTPUTS : step;
    uint64_t least = (uint64_t)run->count * AEGIS_PRODUCTS_MAX / AEGIS_POOL_MAX_CHUNKS + 1;
    return (uint32_t)(step < least ? least : step);
}

static bool is_multipliers(const share *all, const aegis_weight_run *run)
{
    return all->multiplier != NULL && all->multiplier->ops != NULL &&
           all->rows >= all->multiplier->ops->least_rows && all->multiplier->ops->takes(run->type);
}

static void run_chunk(void *argument, uint32_t chunk, uint32_t thread)
{
    const share *all = argument;
    uint32_t p = 0;
    while (chunk >= all->begin[p + 1]) {
        p++;
    }
    const aegis_product *product = &all->products[p];
    const uint32_t begin = first_output(&product->run) + (chunk - all->begin[p]) * all->step[p];
    const uint32_t last = end_output(&product->run);
    const uint32_t end = last - begin < all->step[p] ? last : begin + all->step[p];
    if (is_multipliers(all, &product->run)) {
        const aegis_multiplier_ops *ops = all->multiplier->ops;
        ops->multiply(all->multiplier->self, all->kernels, &product->run, begin, end, product->x,
                      all->rows, product->y,
                      all->scratch + thread * (ops->scratch_bytes / sizeof *all->scratch));
    } else if (product->run.layout == AEGIS_LAYOUT_ROWS) {
        all->kernels->rows(&product->run, begin, end, product->x, all->rows, product->y);
    } else {
        all->kernels->columns(&product->run, begin, end, product->x, all->rows, product->y);
    }
}

void aegis_products_run(const aegis_kernels *kernels,
                        aegis_compute_pool *pool,
                        const aegis_product *products,
                        uint32_t count,
                        uint32_t rows)
{
    aegis_products_run_by(NULL, NULL, kernels, pool, products, count, rows);
}

void aegis_products_run_by(const aegis_multiplier *multiplier,
                           float *scratch,
                           const aegis_kernels *kernels,
                           aegis_compute_pool *pool,
                           const aegis_product *products,
                           uint32_t count,
                           uint32_t rows)
{
    const uint32_t threads = aegis_compute_pool_threads(pool);
    share all = {.kernels = kernels,
                 .products = products,
                 .multiplier = multiplier,
                 .scratch = scratch,
                 .count = count,
                 .rows = rows};
    for (uint32_t p = 0; p < count; p++) {
        uint32_t outputs = end_output(&products[p].run) - first_output(&products[p].run);
        all.step[p] = is_multipliers(&all, &products[p].run)
                          ? multiplier->ops->outputs
                          : step_of(&products[p].run, rows, threads);
        all.begin[p + 1] = all.begin[p] + (outputs + all.step[p] - 1) / all.step[p];
    }
    aegis_compute_pool_run(pool, all.begin[count], run_chunk, &all);
}

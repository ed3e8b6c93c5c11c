/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/driver/histogram.h"

#include <math.h>

#define STEPS (UINT64_C(1) << AEGIS_HISTOGRAM_STEP_BITS)

static size_t bin_of(uint64_t time_ns)
{
    if (time_ns < STEPS) {
        return (size_t)time_ns;
    }
    unsigned octave = 63u - (unsigned)__builtin_clzll(time_ns) - AEGIS_HISTOGRAM_STEP_BITS;
    size_t bin = ((size_t)(octave + 1) << AEGIS_HISTOGRAM_STEP_BITS) +
                 (size_t)((time_ns >> octave) & (STEPS - 1));
    return bin < AEGIS_HISTOGRAM_BINS ? bin : AEGIS_HISTOGRAM_BINS - 1;
}

/* Largest time that falls into the bin. */
static uint64_t top_of(size_t bin)
{
    if (bin < STEPS) {
        return bin;
    }
    unsigned octave = (unsigned)(bin >> AEGIS_HISTOGRAM_STEP_BITS) - 1;
    uint64_t base = STEPS + (bin & (STEPS - 1));
    return ((base + 1) << octave) - 1;
}

/* One writer: a load and a store are enough, and cheaper than an atomic addition. */
static void add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value,
                          memory_order_relaxed);
}

void aegis_histogram_add(aegis_histogram *histogram, uint64_t time_ns)
{
    _Atomic uint32_t *bin = &histogram->bins[bin_of(time_ns)];
    uint64_t us = time_ns / 1000;
    atomic_store_explicit(bin, atomic_load_explicit(bin, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    add(&histogram->count, 1);
    add(&histogram->sum, time_ns);
    add(&histogram->sum_us, us);
    add(&histogram->sum_of_squares_us2, us * us);
    if (time_ns > atomic_load_explicit(&histogram->max, memory_order_relaxed)) {
        atomic_store_explicit(&histogram->max, time_ns, memory_order_relaxed);
    }
}

static uint64_t rank(const aegis_histogram *histogram, uint64_t count, double share, uint64_t max)
{
    uint64_t wanted = (uint64_t)ceil((double)count * share), seen = 0;
    for (size_t bin = 0; bin < AEGIS_HISTOGRAM_BINS; bin++) {
        seen += atomic_load_explicit(&histogram->bins[bin], memory_order_relaxed);
        if (seen >= wanted) {
            return top_of(bin) < max ? top_of(bin) : max;
        }
    }
    return max;
}

void aegis_histogram_summarise(const aegis_histogram *histogram, aegis_distribution *ret_summary)
{
    aegis_distribution summary = {.count = atomic_load(&histogram->count),
                                  .max = atomic_load(&histogram->max)};
    if (summary.count > 0) {
        double n = (double)summary.count;
        summary.mean = (double)atomic_load(&histogram->sum) / n;
        /* Both sums of the same rounded values: else what rounding takes away from the squares is
         * more than the variance of a steady series. */
        double mean_us = (double)atomic_load(&histogram->sum_us) / n;
        double variance =
            (double)atomic_load(&histogram->sum_of_squares_us2) / n - mean_us * mean_us;
        summary.cv = variance > 0 && mean_us > 0 ? sqrt(variance) / mean_us : 0;
        summary.p50 = rank(histogram, summary.count, 0.5, summary.max);
        summary.p99 = rank(histogram, summary.count, 0.99, summary.max);
        summary.p999 = rank(histogram, summary.count, 0.999, summary.max);
    }
    *ret_summary = summary;
}

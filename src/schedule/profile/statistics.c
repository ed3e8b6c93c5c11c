/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distribution-free bounds. The number of samples below the quantile q is Binomial(n, q), whatever
 * the distribution of the samples (if they are independent), so the k-th smallest sample is at or
 * above the quantile with probability P(Binomial(n, q) < k) (David & Nagaraja, Order Statistics,
 * 3rd ed., section 7.1).
 */
#include <aegisrt/profile.h>

#include <math.h>
#include <stdlib.h>

uint32_t aegis_profile_samples_needed(double quantile, double assurance)
{
    double needed = ceil(log1p(-assurance) / log(quantile) - 1e-9);
    return needed < 1 ? 1 : needed > UINT32_MAX ? UINT32_MAX : (uint32_t)needed;
}

uint32_t aegis_profile_order_statistic(uint32_t n, double quantile, double assurance)
{
    double below = 0, log_choose = 0; /* log of n over i */
    double log_q = log(quantile), log_p = log1p(-quantile);
    for (uint32_t i = 0; i < n; i++) {
        below += exp(log_choose + i * log_q + (n - i) * log_p);
        if (below >= assurance) {
            return i + 1;
        }
        log_choose += log((double)(n - i)) - log((double)i + 1);
    }
    return 0;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t scale_up(uint64_t time_ns, double factor)
{
    return (uint64_t)ceil((double)time_ns * factor);
}

uint64_t aegis_profile_compute_wcet(uint64_t *samples,
                                    uint32_t count,
                                    double quantile,
                                    double assurance,
                                    double margin,
                                    aegis_bound_method *ret_method)
{
    if (count == 0) {
        *ret_method = AEGIS_BOUND_TOO_FEW_SAMPLES;
        return 0;
    }
    qsort(samples, count, sizeof *samples, compare_times);
    uint32_t k = aegis_profile_order_statistic(count, quantile, assurance);
    *ret_method = k == 0 ? AEGIS_BOUND_TOO_FEW_SAMPLES : AEGIS_BOUND_ORDER_STATISTIC;
    return scale_up(samples[k == 0 ? count - 1 : k - 1], margin);
}

void aegis_profile_summarise(uint64_t *samples,
                             uint32_t count,
                             double quantile,
                             double assurance,
                             aegis_profile_series *ret_series)
{
    aegis_profile_series series = {.samples = count};
    if (count > 0) {
        double sum = 0, squares = 0;
        qsort(samples, count, sizeof *samples, compare_times);
        for (uint32_t i = 0; i < count; i++) {
            sum += (double)samples[i];
        }
        double mean = sum / count;
        for (uint32_t i = 0; i < count; i++) {
            double off = (double)samples[i] - mean;
            squares += off * off;
        }
        uint32_t k = aegis_profile_order_statistic(count, quantile, assurance);
        series.best_ns = samples[0];
        series.median_ns = samples[count / 2];
        series.average_ns = (uint64_t)(mean + 0.5);
        series.quantile_ns = samples[k == 0 ? count - 1 : k - 1];
        series.worst_ns = samples[count - 1];
        series.cv = count > 1 && mean > 0 ? sqrt(squares / (count - 1)) / mean : 0;
    }
    *ret_series = series;
}

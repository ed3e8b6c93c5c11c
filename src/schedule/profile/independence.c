/* SPDX-License-Identifier: Apache-2.0 */
/* Are the runs independent and alike? Without that neither an order statistic nor a fitted tail has
 * the confidence it states. */
#include <aegisrt/profile.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LAGS 10 /* even: chi2 then has a closed form */
#define FEWEST 30
#define KPSS_CRITICAL 0.463    /* 5 %, Kwiatkowski, Phillips, Schmidt, Shin 1992, table 1 */
#define SMIRNOV_CRITICAL 1.358 /* 5 % */

static double mean_of(const uint64_t *samples, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (double)samples[i];
    }
    return sum / count;
}

/* Sum of the products of deviations `lag` apart. */
static double product_sum(const uint64_t *samples, uint32_t count, double mean, uint32_t lag)
{
    double sum = 0;
    for (uint32_t i = lag; i < count; i++) {
        sum += ((double)samples[i] - mean) * ((double)samples[i - lag] - mean);
    }
    return sum;
}

/* P(chi2_h > x) = exp(-x/2) sum_{k < h/2} (x/2)^k / k! for even h. */
static double chi_squared_tail(double x, uint32_t degrees)
{
    double term = exp(-x / 2), sum = 0;
    for (uint32_t k = 0; k < degrees / 2; k++) {
        sum += term;
        term *= x / 2 / (k + 1);
    }
    return sum < 1 ? sum : 1;
}

static double ljung_box(const uint64_t *samples, uint32_t count, double mean, double variance)
{
    double sum = 0;
    for (uint32_t k = 1; k <= LAGS; k++) {
        double r = product_sum(samples, count, mean, k) / variance;
        sum += r * r / (double)(count - k);
    }
    return (double)count * ((double)count + 2) * sum;
}

static double kpss(const uint64_t *samples, uint32_t count, double mean, double variance)
{
    double n = count, partial = 0, squares = 0, long_run = variance / n;
    uint32_t lags = (uint32_t)(4 * pow(n / 100, 0.25));
    for (uint32_t k = 1; k <= lags; k++) {
        double weight = 1 - (double)k / (lags + 1); /* Bartlett */
        long_run += 2 * weight * product_sum(samples, count, mean, k) / n;
    }
    for (uint32_t i = 0; i < count; i++) {
        partial += (double)samples[i] - mean;
        squares += partial * partial;
    }
    /* A series that swings from run to run can have no long-run variance: that is no trend. */
    return long_run > 0 ? squares / (n * n * long_run) : 0;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Largest distance of the distributions of the two halves. `scratch` holds the samples. */
static double smirnov(uint64_t *scratch, uint32_t first, uint32_t second)
{
    const uint64_t *a = scratch, *b = scratch + first;
    double largest = 0;
    uint32_t i = 0, j = 0;
    qsort(scratch, first, sizeof *scratch, compare_times);
    qsort(scratch + first, second, sizeof *scratch, compare_times);
    while (i < first && j < second) {
        uint64_t at = a[i] < b[j] ? a[i] : b[j];
        while (i < first && a[i] == at) {
            i++;
        }
        while (j < second && b[j] == at) {
            j++;
        }
        largest = fmax(largest, fabs((double)i / first - (double)j / second));
    }
    return largest;
}

bool aegis_independence_test(const uint64_t *samples,
                             uint32_t count,
                             uint64_t *scratch,
                             aegis_independence *ret_tests)
{
    if (count < FEWEST) {
        return false;
    }
    uint32_t first = count / 2, second = count - first;
    double mean = mean_of(samples, count), variance = product_sum(samples, count, mean, 0);
    aegis_independence tests = {.samples = count,
                                .lags = LAGS,
                                .ljung_box_p = 1,
                                .kpss_critical = KPSS_CRITICAL,
                                .smirnov_critical =
                                    SMIRNOV_CRITICAL *
                                    sqrt((double)count / ((double)first * (double)second))};
    if (variance > 0) {
        tests.ljung_box = ljung_box(samples, count, mean, variance);
        tests.ljung_box_p = chi_squared_tail(tests.ljung_box, LAGS);
        tests.kpss = kpss(samples, count, mean, variance);
    }
    memcpy(scratch, samples, count * sizeof *scratch);
    tests.smirnov = smirnov(scratch, first, second);
    *ret_tests = tests;
    return true;
}

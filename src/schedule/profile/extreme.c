/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peaks over threshold. Above a high threshold u the excesses of independent, identically
 * distributed times approach a generalised Pareto distribution (Pickands 1975; Balkema & de Haan
 * 1974),
 *   F(y) = 1 - (1 + xi y / sigma)^(-1/xi),   1 - exp(-y / sigma) at xi = 0,
 * fitted by probability-weighted moments (Hosking & Wallis, "Parameter and quantile estimation for
 * the generalized Pareto distribution", 1987): with a0 the mean and a1 the mean of y_(j)
 * (m-j)/(m-1) over the ascending y, xi = 2 - a0 / (a0 - 2 a1), sigma = 2 a0 a1 / (a0 - 2 a1). They
 * are consistent for xi < 1/2; heavier tails are refused anyway. A fit that would end before the
 * largest excess is made to end just behind it (Dupuis & Tsao, "A hybrid estimator for generalized
 * Pareto and extreme-value distributions", 1998). Goodness of fit: Anderson & Darling 1952, its
 * p-value by drawing from the fit and fitting again, as the table values do not hold for estimated
 * parameters. The same draws give the error of xi and the confidence limit of x_p.
 */
#include <aegisrt/profile.h>

#include "base/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "schedule.profile"
#define FEWEST_SAMPLES 500u
#define FEWEST_EXCESSES 30u
#define THRESHOLD 0.9
#define DRAWS 399u
#define SIGNIFICANCE 0.05
#define ONE_SIDED 1.645 /* 95 % quantile of the normal distribution */
#define DEFAULT_EXCEEDANCE 1e-4
#define NEARLY_ZERO 1e-9

typedef struct tail {
    double shape, scale;
} tail;

/* Memory of one fit. */
typedef struct bench {
    uint64_t *times;        /* samples */
    double *excesses, *own; /* of the samples; of one draw */
    double *limits;         /* x_p of each draw */
    uint32_t count, excess_count;
} bench;

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `y` ascending. */
static tail fit_tail(const double *y, uint32_t m)
{
    double a0 = 0, a1 = 0;
    for (uint32_t j = 0; j < m; j++) {
        a0 += y[j];
        a1 += y[j] * (double)(m - 1 - j) / (double)(m - 1);
    }
    a0 /= m;
    a1 /= m;
    double spread = a0 - 2 * a1; /* 0 only when all are equal */
    if (!(spread > 0)) {
        return (tail){.shape = 0, .scale = a0};
    }
    tail t = {.shape = 2 - a0 / spread, .scale = 2 * a0 * a1 / spread};
    if (1 + t.shape * y[m - 1] / t.scale <= 0) {
        t.shape = -t.scale / (y[m - 1] * (1 + 1.0 / m));
    }
    return t;
}

/* ln(1 - F(y)); below -700 beyond the end of a tail that has one. */
static double log_survival(tail t, double y)
{
    if (fabs(t.shape) < NEARLY_ZERO) {
        return -y / t.scale;
    }
    double inner = 1 + t.shape * y / t.scale;
    return inner <= 0 ? -700 : fmax(-700, -log(inner) / t.shape);
}

static double anderson_darling(tail t, const double *y, uint32_t m)
{
    double sum = 0;
    for (uint32_t i = 0; i < m; i++) {
        double below = -expm1(log_survival(t, y[i]));
        sum += (2.0 * i + 1) * (log(fmax(below, 1e-300)) + log_survival(t, y[m - 1 - i]));
    }
    return -(double)m - sum / m;
}

/* y with P(Y > y) = share. */
static double excess_at(tail t, double share)
{
    return fabs(t.shape) < NEARLY_ZERO ? -t.scale * log(share)
                                       : t.scale / t.shape * expm1(-t.shape * log(share));
}

static void draw(tail t, uint64_t *seed, double *y, uint32_t m)
{
    for (uint32_t i = 0; i < m; i++) {
        double uniform = ((double)(aegis_random_next(seed) >> 11) + 0.5) * 0x1p-53;
        y[i] = excess_at(t, uniform);
    }
    qsort(y, m, sizeof *y, compare_reals);
}

/* Threshold and ascending excesses; false when there are too few. */
static bool find_excesses(bench *b, aegis_extreme_fit *fit)
{
    qsort(b->times, b->count, sizeof *b->times, compare_times);
    uint64_t threshold = b->times[(uint32_t)ceil(THRESHOLD * b->count) - 1];
    b->excess_count = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->times[i] > threshold) {
            b->excesses[b->excess_count++] = (double)(b->times[i] - threshold);
        }
    }
    fit->threshold_ns = (double)threshold;
    fit->exceedances = b->excess_count;
    return b->excess_count >= FEWEST_EXCESSES;
}

/* Draws from the fit: p-value, error of xi, confidence limit of x_p. */
static void
bootstrap(bench *b, tail t, const aegis_profile_options *options, aegis_extreme_fit *fit)
{
    uint64_t seed = options->seed + 1;
    uint32_t worse = 0;
    double share = fit->exceedance * b->count / b->excess_count, sum = 0, squares = 0;
    for (uint32_t d = 0; d < DRAWS; d++) {
        draw(t, &seed, b->own, b->excess_count);
        tail again = fit_tail(b->own, b->excess_count);
        worse += anderson_darling(again, b->own, b->excess_count) >= fit->anderson_darling;
        sum += again.shape;
        squares += again.shape * again.shape;
        b->limits[d] = fit->threshold_ns + excess_at(again, share);
    }
    double mean = sum / DRAWS;
    qsort(b->limits, DRAWS, sizeof *b->limits, compare_reals);
    double assurance = options->assurance > 0 ? options->assurance : 0.95;
    uint32_t at = (uint32_t)ceil(assurance * (DRAWS + 1)) - 1;
    fit->shape_error = sqrt(fmax(0, squares / DRAWS - mean * mean));
    fit->anderson_darling_p = (worse + 1.0) / (DRAWS + 1.0);
    fit->upper_ns = fmax(fit->quantile_ns, b->limits[at < DRAWS ? at : DRAWS - 1]);
}

static aegis_extreme_outcome judge_tests(const aegis_independence *tests)
{
    return tests->ljung_box_p < SIGNIFICANCE          ? AEGIS_EXTREME_DEPENDENT
           : tests->kpss > tests->kpss_critical       ? AEGIS_EXTREME_NOT_STATIONARY
           : tests->smirnov > tests->smirnov_critical ? AEGIS_EXTREME_NOT_ALIKE
                                                      : AEGIS_EXTREME_ACCEPTED;
}

static aegis_extreme_outcome
fit_all(bench *b, const aegis_profile_options *options, aegis_extreme_fit *fit)
{
    if (!find_excesses(b, fit)) {
        return AEGIS_EXTREME_TOO_FEW;
    }
    double share = fit->exceedance * b->count / b->excess_count;
    if (share >= 1) {
        return AEGIS_EXTREME_INSIDE;
    }
    tail t = fit_tail(b->excesses, b->excess_count);
    fit->shape = t.shape;
    fit->scale_ns = t.scale;
    fit->anderson_darling = anderson_darling(t, b->excesses, b->excess_count);
    fit->quantile_ns = fit->threshold_ns + excess_at(t, share);
    bootstrap(b, t, options, fit);
    if (t.shape - ONE_SIDED * fit->shape_error > 0) {
        return AEGIS_EXTREME_HEAVY_TAIL;
    }
    return fit->anderson_darling_p < SIGNIFICANCE ? AEGIS_EXTREME_BAD_FIT : AEGIS_EXTREME_ACCEPTED;
}

aegis_status aegis_extreme_fit_samples(const uint64_t *samples,
                                       uint32_t count,
                                       const aegis_profile_options *options,
                                       const aegis_allocator *allocator,
                                       aegis_extreme_fit *ret_fit,
                                       aegis_error *err)
{
    aegis_extreme_fit fit = {.outcome = AEGIS_EXTREME_TOO_FEW};
    bench b = {.count = count};
    fit.exceedance = options->exceedance > 0 ? options->exceedance : DEFAULT_EXCEEDANCE;
    if (count < FEWEST_SAMPLES) {
        fit.tests.samples = count;
        *ret_fit = fit;
        return AEGIS_OK;
    }
    b.times = aegis_allocate_zeroed(allocator, count, sizeof *b.times);
    b.excesses = aegis_allocate_zeroed(allocator, count, sizeof *b.excesses);
    b.own = aegis_allocate_zeroed(allocator, count, sizeof *b.own);
    b.limits = aegis_allocate_zeroed(allocator, DRAWS, sizeof *b.limits);
    aegis_status status = AEGIS_OK;
    if (b.times == NULL || b.excesses == NULL || b.own == NULL || b.limits == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory to fit the tail of %u samples", count);
    } else {
        aegis_independence_test(samples, count, b.times, &fit.tests);
        fit.outcome = judge_tests(&fit.tests);
        if (fit.outcome == AEGIS_EXTREME_ACCEPTED) {
            memcpy(b.times, samples, count * sizeof *b.times);
            fit.outcome = fit_all(&b, options, &fit);
        }
        *ret_fit = fit;
    }
    aegis_deallocate(allocator, b.limits, DRAWS, sizeof *b.limits);
    aegis_deallocate(allocator, b.own, count, sizeof *b.own);
    aegis_deallocate(allocator, b.excesses, count, sizeof *b.excesses);
    aegis_deallocate(allocator, b.times, count, sizeof *b.times);
    return status;
}

void aegis_profile_apply_extreme(aegis_profile *profile)
{
    if (profile->extreme.outcome == AEGIS_EXTREME_ACCEPTED) {
        double bound = fmax(profile->extreme.upper_ns, (double)profile->loaded.worst_ns);
        profile->method = AEGIS_BOUND_EXTREME_VALUE;
        profile->bound_ns = (uint64_t)ceil(fmin(bound, 9e18));
    }
}

const char *aegis_bound_method_name(aegis_bound_method method)
{
    static const char *const names[] = {[AEGIS_BOUND_ORDER_STATISTIC] = "order-statistic",
                                        [AEGIS_BOUND_TOO_FEW_SAMPLES] = "maximum",
                                        [AEGIS_BOUND_EXTREME_VALUE] = "evt"};
    return (unsigned)method < AEGIS_ARRAY_LENGTH(names) ? names[method] : "unknown";
}

typedef struct words {
    const char *name, *text;
} words;

static const words outcomes[] = {
    [AEGIS_EXTREME_NOT_ASKED] = {"not-asked", "no extreme-value fit was asked for"},
    [AEGIS_EXTREME_ACCEPTED] = {"accepted", "the tail is fitted"},
    [AEGIS_EXTREME_TOO_FEW] = {"too-few", "fewer than 500 samples, or 30 above their 0.9 quantile"},
    [AEGIS_EXTREME_DEPENDENT] = {"dependent", "the runs depend on those before them (Ljung-Box)"},
    [AEGIS_EXTREME_NOT_STATIONARY] = {"not-stationary", "the level of the runs drifts (KPSS)"},
    [AEGIS_EXTREME_NOT_ALIKE] = {"not-alike", "the second half of the runs differs from the first "
                                              "(Kolmogorov-Smirnov)"},
    [AEGIS_EXTREME_HEAVY_TAIL] = {"heavy-tail",
                                  "the tail is heavy (xi above 0): nothing bounds it"},
    [AEGIS_EXTREME_BAD_FIT] = {"bad-fit", "the tail is no generalised Pareto one "
                                          "(Anderson-Darling)"},
    [AEGIS_EXTREME_INSIDE] = {"inside", "the exceedance asked for lies within the samples"},
};

const char *aegis_extreme_outcome_name(aegis_extreme_outcome outcome)
{
    return (unsigned)outcome < AEGIS_ARRAY_LENGTH(outcomes) ? outcomes[outcome].name : "unknown";
}

const char *aegis_extreme_outcome_text(aegis_extreme_outcome outcome)
{
    return (unsigned)outcome < AEGIS_ARRAY_LENGTH(outcomes) ? outcomes[outcome].text : "unknown";
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of independence, the extreme-value fit and drift, on samples of known distributions.
 *
 * With arguments "--numbers FILE" it prints what it finds for the samples in FILE, one a line:
 * test/python/check_profile_statistics.py compares that with its own arithmetic.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/profile.h>

#include "base/base.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 4000u
#define SCALE 100000.0

typedef double (*law)(uint64_t *seed, double parameter);

static double uniform(uint64_t *seed)
{
    return ((double)(aegis_random_next(seed) >> 11) + 0.5) * 0x1p-53;
}

static double exponential(uint64_t *seed, double parameter)
{
    (void)parameter;
    return -log(uniform(seed));
}

static double even(uint64_t *seed, double parameter)
{
    (void)parameter;
    return uniform(seed);
}

static double pareto(uint64_t *seed, double xi)
{
    return (pow(uniform(seed), -xi) - 1) / xi;
}

/* Two narrow modes beyond the threshold with nothing between them. */
static double two_modes(uint64_t *seed, double parameter)
{
    (void)parameter;
    double u = uniform(seed);
    return u < 0.9 ? uniform(seed) : (u < 0.95 ? 2.0 : 9.0) + 0.01 * uniform(seed);
}

static void fill(law of, double parameter, uint64_t seed, uint64_t *samples, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        samples[i] = 1000000 + (uint64_t)(SCALE * of(&seed, parameter));
    }
}

static aegis_extreme_fit fit(const uint64_t *samples, uint32_t count, double exceedance)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_profile_options options = {.exceedance = exceedance, .seed = 5};
    aegis_extreme_fit found;
    assert_int_equal(aegis_extreme_fit_samples(samples, count, &options, &allocator, &found, NULL),
                     AEGIS_OK);
    return found;
}

typedef struct tally {
    int outcomes[AEGIS_EXTREME_INSIDE + 1];
    int covered; /* of the accepted */
    double shape, error;
} tally;

/* `truth`: the 1e-4 quantile of the law, in units of SCALE. */
static tally try_law(law of, double parameter, double truth, int trials)
{
    tally sum = {0};
    static uint64_t samples[COUNT];
    for (int t = 0; t < trials; t++) {
        fill(of, parameter, 1000 + (uint64_t)t, samples, COUNT);
        aegis_extreme_fit found = fit(samples, COUNT, 1e-4);
        sum.outcomes[found.outcome]++;
        sum.shape += found.shape / trials;
        sum.error += found.shape_error / trials;
        if (found.outcome == AEGIS_EXTREME_ACCEPTED) {
            assert_true(found.upper_ns >= found.quantile_ns);
            assert_true(found.exceedances == COUNT / 10);
            sum.covered += found.upper_ns >= 1000000 + SCALE * truth;
        }
    }
    return sum;
}

/* Each of the five tests refuses a twentieth of what is right: a fifth or so in all. */
static void known_tails_are_found(void **state)
{
    (void)state;
    tally e = try_law(exponential, 0, -log(1e-4), 60);
    assert_in_range(e.outcomes[AEGIS_EXTREME_ACCEPTED], 36, 58);
    assert_true(e.covered >= e.outcomes[AEGIS_EXTREME_ACCEPTED] * 8 / 10);
    tally u = try_law(even, 0, 1 - 1e-4, 60);
    assert_in_range(u.outcomes[AEGIS_EXTREME_ACCEPTED], 38, 59);
    assert_true(u.covered >= u.outcomes[AEGIS_EXTREME_ACCEPTED] * 8 / 10);
    tally p = try_law(pareto, -0.2, (pow(1e-4, 0.2) - 1) / -0.2, 60);
    assert_in_range(p.outcomes[AEGIS_EXTREME_ACCEPTED], 36, 59);
    assert_true(p.covered >= p.outcomes[AEGIS_EXTREME_ACCEPTED] * 8 / 10);
    print_message("accepted %d %d %d, covered %d %d %d of 60\n", e.outcomes[AEGIS_EXTREME_ACCEPTED],
                  u.outcomes[AEGIS_EXTREME_ACCEPTED], p.outcomes[AEGIS_EXTREME_ACCEPTED], e.covered,
                  u.covered, p.covered);
}

static void shape_is_that_of_the_law(void **state)
{
    (void)state;
    static uint64_t samples[20000];
    const double shapes[] = {-0.4, -0.2, 0.1, 0.3};
    for (size_t i = 0; i < 4; i++) {
        aegis_extreme_fit found = {.scale_ns = 0};
        for (uint64_t seed = 31 + i; !(found.scale_ns > 0) && seed < 60; seed++) {
            fill(pareto, shapes[i], seed, samples, 20000);
            found = fit(samples, 20000, 1e-5); /* a sixth of the samples is refused before */
        }
        assert_true(found.shape_error > 0.005 && found.shape_error < 0.1);
        assert_true(fabs(found.shape - shapes[i]) < 3 * found.shape_error);
        /* u = (0.1^-xi - 1) / xi, and sigma grows by xi u. */
        double u = (pow(0.1, -shapes[i]) - 1) / shapes[i];
        assert_true(fabs(found.threshold_ns - 1000000 - SCALE * u) < 0.1 * SCALE);
        assert_true(fabs(found.scale_ns / (SCALE * (1 + shapes[i] * u)) - 1) < 0.1);
    }
}

static void heavy_tails_are_refused(void **state)
{
    (void)state;
    tally sum = try_law(pareto, 0.35, 0, 30);
    assert_in_range(sum.outcomes[AEGIS_EXTREME_HEAVY_TAIL], 20, 30);
    assert_true(sum.outcomes[AEGIS_EXTREME_ACCEPTED] <= 2);
}

static void modes_beyond_the_threshold_are_no_fit(void **state)
{
    (void)state;
    tally sum = try_law(two_modes, 0, 0, 20);
    assert_int_equal(sum.outcomes[AEGIS_EXTREME_ACCEPTED], 0);
    assert_true(sum.outcomes[AEGIS_EXTREME_BAD_FIT] >= 14);
}

static void dependent_runs_are_refused(void **state)
{
    (void)state;
    static uint64_t samples[COUNT];
    uint64_t seed = 3;
    double last = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        last = 0.5 * last + exponential(&seed, 0);
        samples[i] = 1000000 + (uint64_t)(SCALE * last);
    }
    aegis_extreme_fit found = fit(samples, COUNT, 1e-4);
    assert_int_equal(found.outcome, AEGIS_EXTREME_DEPENDENT);
    assert_true(found.tests.ljung_box_p < 1e-6);
    assert_true(found.upper_ns == 0);
}

static void a_trend_is_not_stationary(void **state)
{
    (void)state;
    static uint64_t samples[COUNT], scratch[COUNT];
    aegis_independence tests;
    fill(even, 0, 8, samples, COUNT);
    assert_true(aegis_independence_test(samples, COUNT, scratch, &tests));
    assert_true(tests.kpss < tests.kpss_critical && tests.smirnov < tests.smirnov_critical);
    for (uint32_t i = 0; i < COUNT; i++) {
        samples[i] += 5 * i;
    }
    assert_true(aegis_independence_test(samples, COUNT, scratch, &tests));
    assert_true(tests.kpss > tests.kpss_critical && tests.smirnov > tests.smirnov_critical);
}

/* The same mean and no order in time, but another spread. */
static void halves_that_differ_are_not_alike(void **state)
{
    (void)state;
    static uint64_t samples[COUNT];
    uint64_t seed = 12;
    for (uint32_t i = 0; i < COUNT; i++) {
        double spread = i < COUNT / 2 ? 0.3 : 1.0;
        samples[i] = 1000000 + (uint64_t)(SCALE * (1 + spread * (uniform(&seed) - 0.5)));
    }
    assert_int_equal(fit(samples, COUNT, 1e-4).outcome, AEGIS_EXTREME_NOT_ALIKE);
}

static void false_alarms_are_as_rare_as_stated(void **state)
{
    (void)state;
    static uint64_t samples[1000], scratch[1000];
    int dependent = 0, drifting = 0, different = 0;
    for (uint64_t t = 0; t < 1000; t++) {
        aegis_independence tests;
        fill(exponential, 0, 5000 + t, samples, 1000);
        assert_true(aegis_independence_test(samples, 1000, scratch, &tests));
        dependent += tests.ljung_box_p < 0.05;
        drifting += tests.kpss > tests.kpss_critical;
        different += tests.smirnov > tests.smirnov_critical;
    }
    print_message("of 1000: %d %d %d\n", dependent, drifting, different);
    assert_in_range(dependent, 20, 80);
    assert_in_range(drifting, 20, 80);
    assert_in_range(different, 20, 80);
}

static void edges(void **state)
{
    (void)state;
    static uint64_t samples[COUNT], scratch[COUNT];
    aegis_independence tests;
    for (uint32_t i = 0; i < COUNT; i++) {
        samples[i] = 7; /* a clock that does not move */
    }
    assert_false(aegis_independence_test(samples, 29, scratch, &tests));
    assert_true(aegis_independence_test(samples, COUNT, scratch, &tests));
    assert_true(tests.ljung_box_p == 1 && tests.kpss == 0 && tests.smirnov == 0);
    assert_int_equal(fit(samples, COUNT, 1e-4).outcome, AEGIS_EXTREME_TOO_FEW);
    assert_int_equal(fit(samples, 499, 1e-4).outcome, AEGIS_EXTREME_TOO_FEW);
    fill(even, 0, 8, samples, COUNT);
    assert_int_equal(fit(samples, COUNT, 0.2).outcome, AEGIS_EXTREME_INSIDE);
    aegis_extreme_fit a = fit(samples, COUNT, 1e-4), b = fit(samples, COUNT, 1e-4);
    assert_memory_equal(&a, &b, sizeof a); /* the same seed, the same fit */
    assert_true(fit(samples, COUNT, 0).exceedance == 1e-4);
}

static void a_refused_fit_leaves_the_order_statistic(void **state)
{
    (void)state;
    aegis_profile profile = {.method = AEGIS_BOUND_ORDER_STATISTIC,
                             .bound_ns = 1500,
                             .loaded = {.worst_ns = 1100},
                             .extreme = {.outcome = AEGIS_EXTREME_DEPENDENT, .upper_ns = 1200}};
    aegis_profile_apply_extreme(&profile);
    assert_int_equal(profile.method, AEGIS_BOUND_ORDER_STATISTIC);
    assert_int_equal(profile.bound_ns, 1500);
    profile.extreme.outcome = AEGIS_EXTREME_ACCEPTED;
    aegis_profile_apply_extreme(&profile);
    assert_int_equal(profile.method, AEGIS_BOUND_EXTREME_VALUE);
    assert_int_equal(profile.bound_ns, 1200);
    profile.extreme.upper_ns = 900; /* never below what has been seen */
    aegis_profile_apply_extreme(&profile);
    assert_int_equal(profile.bound_ns, 1100);
}

static void every_value_has_its_word(void **state)
{
    (void)state;
    for (int i = AEGIS_EXTREME_NOT_ASKED; i <= AEGIS_EXTREME_INSIDE; i++) {
        assert_string_not_equal(aegis_extreme_outcome_name((aegis_extreme_outcome)i), "unknown");
        assert_true(strlen(aegis_extreme_outcome_text((aegis_extreme_outcome)i)) > 10);
    }
    assert_string_equal(aegis_extreme_outcome_name((aegis_extreme_outcome)99), "unknown");
    assert_string_equal(aegis_extreme_outcome_text((aegis_extreme_outcome)99), "unknown");
    assert_string_equal(aegis_bound_method_name(AEGIS_BOUND_EXTREME_VALUE), "evt");
    assert_string_equal(aegis_bound_method_name((aegis_bound_method)99), "unknown");
}

/* ---- drift ---- */

static const aegis_profile claimed = {
    .method = AEGIS_BOUND_ORDER_STATISTIC, .quantile = 0.99, .loaded = {.quantile_ns = 1000}};

static void what_a_profile_claims(void **state)
{
    (void)state;
    uint64_t level = 0;
    double share = 0;
    assert_true(aegis_profile_claim(&claimed, &level, &share));
    assert_int_equal(level, 1000);
    assert_true(fabs(share - 0.01) < 1e-12);
    aegis_profile other = {
        .method = AEGIS_BOUND_EXTREME_VALUE, .bound_ns = 2000, .extreme = {.exceedance = 1e-4}};
    assert_true(aegis_profile_claim(&other, &level, &share));
    assert_int_equal(level, 2000);
    assert_true(share == 1e-4);
    other.method = AEGIS_BOUND_TOO_FEW_SAMPLES;
    assert_false(aegis_profile_claim(&other, &level, &share));
    aegis_drift none = aegis_profile_drift(&other, 100, 100);
    assert_int_equal(none.level_ns, 0);
    assert_false(none.stale);
}

/* Looked at after every run of 3,000: 1 % may pass. */
static bool ever_stale(uint64_t seed, double rate, uint64_t *ret_at)
{
    uint64_t past = 0;
    for (uint64_t n = 1; n <= 3000; n++) {
        past += uniform(&seed) < rate;
        if (aegis_profile_drift(&claimed, n, past).stale) {
            *ret_at = n;
            return true;
        }
    }
    return false;
}

static void a_valid_profile_is_hardly_ever_called_stale(void **state)
{
    (void)state;
    int alarms = 0;
    uint64_t at;
    for (uint64_t t = 0; t < 500; t++) {
        alarms += ever_stale(900 + t, 0.01, &at);
    }
    /* At most 1/1000 each: more than 5 of 500 has a chance below 2e-5. */
    print_message("%d of 500\n", alarms);
    assert_true(alarms <= 5);
}

static void drift_is_noticed_soon(void **state)
{
    (void)state;
    uint64_t at = 0, latest = 0;
    for (uint64_t t = 0; t < 200; t++) {
        assert_true(ever_stale(77 + t, 0.05, &at));
        latest = at > latest ? at : latest;
    }
    print_message("5 %% instead of 1 %%: after %" PRIu64 " runs at the latest\n", latest);
    assert_true(latest < 2000);
    assert_true(ever_stale(1, 1.0, &at));
    assert_true(at <= 3);
}

static void evidence_is_the_mean_likelihood_ratio(void **state)
{
    (void)state;
    double sum = 0;
    int rates = 0;
    double p = 0.015;
    while (p < 1) {
        sum += pow(p / 0.01, 4) * pow((1 - p) / 0.99, 46);
        rates++;
        p *= 1.5;
    }
    aegis_drift drift = aegis_profile_drift(&claimed, 50, 4);
    assert_true(fabs(drift.evidence / (sum / rates) - 1) < 1e-9);
    assert_int_equal(drift.executions, 50);
    assert_true(aegis_profile_drift(&claimed, 0, 0).evidence == 1);
    assert_true(aegis_profile_drift(&claimed, UINT64_MAX, UINT64_MAX).stale);
    assert_true(aegis_profile_drift(&claimed, 3, 5).evidence > 1); /* counts of two moments */
    aegis_profile half = claimed;
    half.quantile = 0.2;
    assert_true(aegis_profile_drift(&half, 1000, 1000).stale); /* no factor 1.5 below 1 */
    assert_false(aegis_profile_drift(&half, 1000, 800).stale);
}

/* ---- */

static int print_numbers(const char *path)
{
    static uint64_t samples[100000], scratch[100000];
    uint32_t count = 0;
    aegis_independence tests;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 1;
    }
    char line[64];
    while (count < 100000 && fgets(line, sizeof line, file) != NULL) {
        samples[count++] = strtoull(line, NULL, 10);
    }
    fclose(file);
    if (!aegis_independence_test(samples, count, scratch, &tests)) {
        return 1;
    }
    printf("ljung_box %.17g\nljung_box_p %.17g\nkpss %.17g\nsmirnov %.17g\n", tests.ljung_box,
           tests.ljung_box_p, tests.kpss, tests.smirnov);
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_profile_options options = {.exceedance = 1e-4};
    aegis_extreme_fit found;
    if (aegis_extreme_fit_samples(samples, count, &options, &allocator, &found, NULL) != AEGIS_OK) {
        return 1;
    }
    printf("outcome %d\nthreshold %.17g\nexceedances %u\nshape %.17g\nscale %.17g\n",
           (int)found.outcome, found.threshold_ns, found.exceedances, found.shape, found.scale_ns);
    printf("anderson_darling %.17g\nanderson_darling_p %.17g\nshape_error %.17g\nquantile %.17g\n",
           found.anderson_darling, found.anderson_darling_p, found.shape_error, found.quantile_ns);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_tails_are_found),
        cmocka_unit_test(shape_is_that_of_the_law),
        cmocka_unit_test(heavy_tails_are_refused),
        cmocka_unit_test(modes_beyond_the_threshold_are_no_fit),
        cmocka_unit_test(dependent_runs_are_refused),
        cmocka_unit_test(a_trend_is_not_stationary),
        cmocka_unit_test(halves_that_differ_are_not_alike),
        cmocka_unit_test(false_alarms_are_as_rare_as_stated),
        cmocka_unit_test(edges),
        cmocka_unit_test(a_refused_fit_leaves_the_order_statistic),
        cmocka_unit_test(every_value_has_its_word),
        cmocka_unit_test(what_a_profile_claims),
        cmocka_unit_test(a_valid_profile_is_hardly_ever_called_stale),
        cmocka_unit_test(drift_is_noticed_soon),
        cmocka_unit_test(evidence_is_the_mean_likelihood_ratio),
    };
    if (argc == 3 && strcmp(argv[1], "--numbers") == 0) {
        return print_numbers(argv[2]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

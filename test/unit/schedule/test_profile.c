/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of execution times against exact binomial sums, and profile files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/profile.h>

#include "base/base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void samples_needed_are_the_published_ones(void **state)
{
    (void)state;
    assert_int_equal(aegis_profile_samples_needed(0.99, 0.95), 299);
    assert_int_equal(aegis_profile_samples_needed(0.999, 0.95), 2995);
    assert_int_equal(aegis_profile_samples_needed(0.9999, 0.95), 29956);
    assert_int_equal(aegis_profile_samples_needed(0.5, 0.5), 1);
}

/* P(Binomial(n, q) < k), summed from exact binomial coefficients in long double. */
static double binomial_below(uint32_t n, double q, uint32_t k)
{
    long double sum = 0;
    for (uint32_t i = 0; i < k; i++) {
        long double term = 1;
        for (uint32_t j = 0; j < i; j++) {
            term *= (long double)(n - j) / (long double)(j + 1);
        }
        sum += term * powl((long double)q, i) * powl(1 - (long double)q, n - i);
    }
    return (double)sum;
}

static void order_statistic_is_the_smallest_that_covers(void **state)
{
    (void)state;
    const double quantiles[] = {0.5, 0.9, 0.97, 0.99}, assurances[] = {0.6, 0.95};
    for (size_t q = 0; q < 4; q++) {
        for (size_t a = 0; a < 2; a++) {
            for (uint32_t n = 1; n <= 120; n += 7) {
                uint32_t k = aegis_profile_order_statistic(n, quantiles[q], assurances[a]);
                if (k == 0) {
                    assert_true(binomial_below(n, quantiles[q], n) < assurances[a] + 1e-9);
                    continue;
                }
                assert_true(binomial_below(n, quantiles[q], k) >= assurances[a] - 1e-9);
                assert_true(k == 1 ||
                            binomial_below(n, quantiles[q], k - 1) < assurances[a] + 1e-9);
            }
        }
    }
    assert_int_equal(aegis_profile_order_statistic(299, 0.99, 0.95), 299);
    assert_int_equal(aegis_profile_order_statistic(298, 0.99, 0.95), 0);
    assert_int_equal(aegis_profile_order_statistic(0, 0.99, 0.95), 0);
}

static void bound_is_order_statistic_times_margin(void **state)
{
    (void)state;
    uint64_t samples[1000];
    aegis_bound_method method;
    for (uint64_t i = 0; i < 1000; i++) {
        samples[(i * 7) % 1000] = 1000 + i;
    }
    uint32_t k = aegis_profile_order_statistic(1000, 0.99, 0.95);
    uint64_t bound = aegis_profile_compute_wcet(samples, 1000, 0.99, 0.95, 1.5, &method);
    assert_int_equal(method, AEGIS_BOUND_ORDER_STATISTIC);
    assert_int_equal(bound, (uint64_t)ceil(1.5 * (double)(1000 + k - 1)));
    assert_true(k < 1000);
}

static void too_few_samples_are_said_to_be_too_few(void **state)
{
    (void)state;
    uint64_t samples[] = {5, 9, 7};
    aegis_bound_method method = AEGIS_BOUND_ORDER_STATISTIC;
    assert_int_equal(aegis_profile_compute_wcet(samples, 3, 0.99, 0.95, 2.0, &method), 18);
    assert_int_equal(method, AEGIS_BOUND_TOO_FEW_SAMPLES);
    assert_int_equal(aegis_profile_compute_wcet(samples, 0, 0.99, 0.95, 2.0, &method), 0);
}

static void bound_covers_the_quantile_as_often_as_promised(void **state)
{
    (void)state;
    uint64_t seed = 42, samples[299];
    int covered = 0;
    const int trials = 2000;
    for (int t = 0; t < trials; t++) {
        aegis_bound_method method;
        for (int i = 0; i < 299; i++) {
            samples[i] = aegis_random_next(&seed) % 1000000;
        }
        covered += aegis_profile_compute_wcet(samples, 299, 0.99, 0.95, 1.0, &method) >= 990000;
    }
    /* 95 % of 2000 is 1900; five standard deviations are 49. */
    assert_in_range(covered, 1851, 1949);
}

static void summary_of_a_series(void **state)
{
    (void)state;
    uint64_t samples[] = {40, 10, 30, 20};
    aegis_profile_series series;
    aegis_profile_summarise(samples, 4, 0.5, 0.5, &series);
    assert_int_equal(series.samples, 4);
    assert_int_equal(series.best_ns, 10);
    assert_int_equal(series.worst_ns, 40);
    assert_int_equal(series.average_ns, 25);
    assert_true(fabs(series.cv - sqrt(500.0 / 3) / 25) < 1e-12);
    aegis_profile_summarise(samples, 0, 0.5, 0.5, &series);
    assert_int_equal(series.samples, 0);
}

static aegis_profile example(void)
{
    aegis_profile profile = {.alone = {30, 1, 2, 3, 4, 5, 0.25},
                             .loaded = {100, 2, 3, 4, 5, 6, 0.5},
                             .cold_ns = 9,
                             .contention_factor = 1.5,
                             .quantile = 0.97,
                             .assurance = 0.95,
                             .margin = 1.5,
                             .bound_ns = 9,
                             .stretch_ns = 4};
    profile.method = AEGIS_BOUND_EXTREME_VALUE;
    profile.extreme = (aegis_extreme_fit){.outcome = AEGIS_EXTREME_ACCEPTED,
                                          .tests = {1000, 10, 9.5, 0.25, 0.125, 0.463, 0.0625, 0.5},
                                          .exceedance = 1e-4,
                                          .exceedances = 100,
                                          .threshold_ns = 5,
                                          .shape = -0.125,
                                          .shape_error = 0.1,
                                          .scale_ns = 2.5,
                                          .anderson_darling = 0.3,
                                          .anderson_darling_p = 0.7,
                                          .quantile_ns = 8.5,
                                          .upper_ns = 9};
    memset(profile.key, 'a', 64);
    return profile;
}

static void profile_file_round_trip(void **state)
{
    (void)state;
    char path[] = "/tmp/aegis-profile-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    aegis_profile written = example(), loaded;
    aegis_error err = {0};
    assert_int_equal(aegis_profile_save(path, &written, &err), AEGIS_OK);
    assert_int_equal(aegis_profile_load(path, written.key, &loaded, &err), AEGIS_OK);
    assert_memory_equal(&loaded, &written, sizeof loaded);

    char other[65];
    memset(other, 'b', 64);
    other[64] = '\0';
    assert_int_equal(aegis_profile_load(path, other, &loaded, &err), AEGIS_ERROR_STATE);
    assert_non_null(strstr(err.message, "aaaa"));
    assert_non_null(strstr(err.message, "bbbb"));

    FILE *file = fopen(path, "w");
    fputs("{\"schema_version\": 1, ", file);
    fclose(file);
    assert_int_equal(aegis_profile_load(path, other, &loaded, &err), AEGIS_ERROR_PARSE);
    file = fopen(path, "w");
    fputs("{\"schema_version\": 1}", file);
    fclose(file);
    assert_int_equal(aegis_profile_load(path, other, &loaded, &err), AEGIS_ERROR_PARSE);
    unlink(path);
    assert_int_equal(aegis_profile_load(path, other, &loaded, &err), AEGIS_ERROR_NOT_FOUND);
}

static void profile_of_a_cut_model_round_trip(void **state)
{
    (void)state;
    char path[] = "/tmp/aegis-profile-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    aegis_profile written = example(), loaded;
    aegis_error err = {0};
    assert_int_equal(aegis_profile_segments(&written), 1);
    assert_int_equal(aegis_profile_segment_at(&written, 0).bound_ns, 9);
    assert_int_equal(aegis_profile_segment_at(&written, 0).stretch_ns, 4);
    assert_int_equal(aegis_profile_longest_ns(&written), 9);
    written.segment_count = 2;
    written.segments[0] = (aegis_profile_segment){
        .series = {100, 1, 1, 2, 2, 2, 0.5}, .bound_ns = 3, .stretch_ns = 1};
    written.segments[1] = (aegis_profile_segment){
        .series = {100, 2, 3, 3, 4, 4, 0.5}, .bound_ns = 6, .stretch_ns = 4};
    assert_int_equal(aegis_profile_save(path, &written, &err), AEGIS_OK);
    assert_int_equal(aegis_profile_load(path, written.key, &loaded, &err), AEGIS_OK);
    assert_memory_equal(&loaded, &written, sizeof loaded);
    assert_int_equal(aegis_profile_segments(&loaded), 2);
    assert_int_equal(aegis_profile_longest_ns(&loaded), 6);
    written.segments[1].bound_ns = 7; /* no longer what the model's bound says */
    assert_int_equal(aegis_profile_save(path, &written, &err), AEGIS_OK);
    assert_int_equal(aegis_profile_load(path, written.key, &loaded, &err), AEGIS_ERROR_PARSE);
    unlink(path);
}

/* What was kept before segments were measured is not used. */
static void other_layouts_are_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/aegis-profile-XXXXXX", text[4096];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    aegis_profile written = example(), loaded;
    aegis_error err = {0};
    assert_int_equal(aegis_profile_save(path, &written, &err), AEGIS_OK);
    FILE *file = fopen(path, "r");
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    char *layout = strstr(text, "\"layout\": 5");
    assert_non_null(layout);
    layout[10] = '1';
    file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    assert_int_equal(aegis_profile_load(path, written.key, &loaded, &err), AEGIS_ERROR_PARSE);
    close(fd);
    unlink(path);
}

static void key_holds_the_cuts(void **state)
{
    (void)state;
    static const uint32_t two[] = {3, 7}, other[] = {3, 8}, joined[] = {37};
    uint32_t many[AEGIS_MAX_SEGMENTS] = {0};
    char whole[65], a[65], b[65], c[65], d[65];
    aegis_error err = {0};
    memset(whole, 'a', 64);
    whole[64] = '\0';
    assert_int_equal(aegis_profile_cut_key(whole, NULL, 0, a, &err), AEGIS_OK);
    assert_string_equal(a, whole);
    assert_int_equal(aegis_profile_cut_key(whole, two, 2, a, &err), AEGIS_OK);
    assert_int_equal(aegis_profile_cut_key(whole, other, 2, b, &err), AEGIS_OK);
    assert_int_equal(aegis_profile_cut_key(whole, joined, 1, c, &err), AEGIS_OK);
    assert_int_equal(aegis_profile_cut_key(whole, two, 2, d, &err), AEGIS_OK);
    assert_string_equal(a, d);
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
    assert_string_not_equal(a, whole);
    assert_int_equal(aegis_profile_cut_key(whole, many, AEGIS_MAX_SEGMENTS, d, &err),
                     AEGIS_ERROR_UNSUPPORTED);
}

static void key_holds_the_copies(void **state)
{
    (void)state;
    char whole[65], early[65], beside[65];
    memset(whole, 'a', 64);
    whole[64] = '\0';
    assert_int_equal(aegis_profile_copies_key(whole, true, early, NULL), AEGIS_OK);
    assert_int_equal(aegis_profile_copies_key(whole, false, beside, NULL), AEGIS_OK);
    assert_string_not_equal(early, whole);
    assert_string_not_equal(beside, whole);
    assert_string_not_equal(early, beside);
    assert_int_equal(aegis_profile_copies_key(whole, true, whole, NULL), AEGIS_OK);
    assert_string_equal(whole, early);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_needed_are_the_published_ones),
        cmocka_unit_test(order_statistic_is_the_smallest_that_covers),
        cmocka_unit_test(bound_is_order_statistic_times_margin),
        cmocka_unit_test(too_few_samples_are_said_to_be_too_few),
        cmocka_unit_test(bound_covers_the_quantile_as_often_as_promised),
        cmocka_unit_test(summary_of_a_series),
        cmocka_unit_test(profile_file_round_trip),
        cmocka_unit_test(profile_of_a_cut_model_round_trip),
        cmocka_unit_test(other_layouts_are_refused),
        cmocka_unit_test(key_holds_the_cuts),
        cmocka_unit_test(key_holds_the_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a profile says of a model of the null runtime. Figures are held against each other and
 * against what the model spins at least; no time is an upper bound here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/profile.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPIN_NS UINT64_C(20000)
#define SAMPLES 120

#define SEGMENT "[{\"alloc\": 64}, {\"spin\": \"20us\"}, {\"free\": 0}]"
#define MODEL(segments)                                                         \
    "{\"inputs\": [{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [1, 4]}],"  \
    " \"outputs\": [{\"name\": \"y\", \"dtype\": \"f32\", \"shape\": [1, 4]}]," \
    " \"weights_bytes\": 64, \"segments\": [" segments "]}"

static const char whole[] = MODEL(SEGMENT);
static const char cut[] = MODEL(SEGMENT "," SEGMENT);

static const aegis_profile_options options = {
    .min_samples = SAMPLES, .quantile = 0.9, .assurance = 0.9, .margin = 2.0};

typedef struct bench {
    aegis_allocator allocator;
    aegis_device *device;
    aegis_stream *lanes[2];
    aegis_backend *backend;
    aegis_model *model;
    aegis_profiler *profiler;
} bench;

static bool early; /* the models copy their inputs so */

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        print_error("%s\n", err->message);
    }
    assert_int_equal(status, AEGIS_OK);
}

static void set_up(bench *b, const char *text, size_t other_count)
{
    char path[] = "/tmp/aegisrt-profiler-XXXXXX";
    aegis_error err;
    *b = (bench){.allocator = aegis_allocator_default()};
    aegis_device_config device = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 1 << 20};
    must(aegis_device_create(&device, &b->allocator, &b->device, &err), &err);
    for (int i = 0; i < 2; i++) {
        aegis_stream_config lane = aegis_stream_config_default("lane");
        must(aegis_stream_create(b->device, &lane, &b->lanes[i], &err), &err);
    }
    aegis_backend_config null = {.runtime = "null", .cache_dir = "/tmp", .consumer = "test"};
    must(aegis_backend_create(&null, b->device, &b->allocator, &b->backend, &err), &err);
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    static const aegis_source random = {.kind = AEGIS_SOURCE_RANDOM};
    aegis_model_config model = {
        .name = "m", .path = path, .sources = &random, .source_count = 1, .seed = 1};
    model.early_copies = early;
    must(aegis_model_open(b->backend, &model, &b->model, &err), &err);
    unlink(path);
    must(aegis_model_record(b->model, NULL, &err), &err);
    aegis_profiler_config profiler = {
        .lanes = b->lanes, .lane_count = 1 + other_count, .clock = aegis_clock_monotonic()};
    must(aegis_profiler_create(&profiler, &b->allocator, &b->profiler, &err), &err);
}

static void tear_down(bench *b)
{
    aegis_profiler_destroy(b->profiler);
    aegis_model_close(b->model);
    aegis_backend_destroy(b->backend);
    aegis_stream_destroy(b->lanes[0]);
    aegis_stream_destroy(b->lanes[1]);
    aegis_device_destroy(b->device);
}

static void in_order(const aegis_profile_series *series, uint64_t least_ns)
{
    assert_true(series->best_ns >= least_ns);
    assert_true(series->best_ns <= series->median_ns);
    assert_true(series->median_ns <= series->quantile_ns);
    assert_true(series->quantile_ns <= series->worst_ns);
    assert_true(series->average_ns >= series->best_ns && series->average_ns <= series->worst_ns);
}

/* The margin is 2, so C is twice an order statistic at or above the quantile. */
static void segments_make_the_bound(const aegis_profile *profile, uint32_t count)
{
    uint64_t sum = 0;
    assert_int_equal(aegis_profile_segments(profile), count);
    for (uint32_t i = 0; i < count; i++) {
        aegis_profile_segment segment = aegis_profile_segment_at(profile, i);
        in_order(&segment.series, SPIN_NS);
        assert_true(segment.series.samples >= SAMPLES);
        assert_true(segment.bound_ns >= 2 * segment.series.quantile_ns);
        assert_true(segment.bound_ns <= 2 * segment.series.worst_ns);
        assert_true(segment.bound_ns <= aegis_profile_longest_ns(profile));
        sum += segment.bound_ns;
    }
    assert_int_equal(profile->bound_ns, sum);
}

static void contention_is_the_ratio_of_medians(const aegis_profile *profile)
{
    double ratio = (double)profile->loaded.median_ns / (double)profile->alone.median_ns;
    assert_true(profile->contention_factor > ratio * 0.999);
    assert_true(profile->contention_factor < ratio * 1.001);
}

static void a_whole_model_alone(void **state)
{
    (void)state;
    aegis_error err;
    aegis_profile profile;
    bench b;
    set_up(&b, whole, 0);
    must(aegis_profiler_profile(b.profiler, b.model, &options, &profile, &err), &err);
    in_order(&profile.alone, SPIN_NS);
    assert_memory_equal(&profile.loaded, &profile.alone, sizeof profile.alone);
    assert_true(profile.cold_ns >= SPIN_NS);
    contention_is_the_ratio_of_medians(&profile);
    segments_make_the_bound(&profile, 1);
    tear_down(&b);
}

static void a_cut_model_under_load(void **state)
{
    (void)state;
    aegis_error err;
    aegis_profile profile;
    bench b;
    set_up(&b, cut, 1);
    must(aegis_profiler_profile_under_load(b.profiler, b.model, &options, &profile, &err), &err);
    in_order(&profile.alone, 2 * SPIN_NS);
    in_order(&profile.loaded, 2 * SPIN_NS);
    contention_is_the_ratio_of_medians(&profile);
    segments_make_the_bound(&profile, 2);
    tear_down(&b);
}

static void a_copy_beside_loaded_lanes(void **state)
{
    (void)state;
    aegis_error err;
    aegis_profile profile = {.bound_ns = 5};
    aegis_profiler *profiler;
    bench b;
    early = true;
    set_up(&b, whole, 0);
    early = false;
    const aegis_profiler_config config = {.lanes = b.lanes,
                                          .lane_count = 1,
                                          .copy_stream = b.lanes[1],
                                          .clock = aegis_clock_monotonic()};
    must(aegis_profiler_create(&config, &b.allocator, &profiler, &err), &err);
    must(aegis_profiler_profile_copies(profiler, b.model, &options, &profile, &err), &err);
    in_order(&profile.copy, 1);
    assert_int_equal(profile.copy.samples, SAMPLES);
    assert_true(profile.copy_least_ns <= profile.copy.best_ns);
    assert_true(profile.copy_bound_ns >= 2 * profile.copy.quantile_ns);
    assert_true(profile.copy_bound_ns <= 2 * profile.copy.worst_ns);
    assert_int_equal(profile.bound_ns, 5);
    /* One lane alone is measured beside copies too. */
    must(aegis_profiler_profile_under_load(profiler, b.model, &options, &profile, &err), &err);
    in_order(&profile.alone, SPIN_NS);
    assert_true(memcmp(&profile.loaded, &profile.alone, sizeof profile.alone) != 0);
    segments_make_the_bound(&profile, 1);
    aegis_profiler_destroy(profiler);
    tear_down(&b);
}

static void nothing_to_run_on_is_refused(void **state)
{
    (void)state;
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_profiler *profiler = NULL;
    aegis_profiler_config config = {.clock = aegis_clock_monotonic()};
    assert_int_equal(aegis_profiler_create(&config, &allocator, &profiler, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(profiler);
    aegis_profiler_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_model_alone),
        cmocka_unit_test(a_cut_model_under_load),
        cmocka_unit_test(a_copy_beside_loaded_lanes),
        cmocka_unit_test(nothing_to_run_on_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

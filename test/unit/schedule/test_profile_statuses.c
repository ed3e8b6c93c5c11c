/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses that profile.h documents and that are not provoked on the way of other tests: files that
 * cannot be written or read, models that cannot be measured, memory that is not there. */
#include "support/bare_backend.h"
#include "support/expect.h"
#include "support/own_folder.h"
#include "support/scarce_json.h"
#include "support/test_allocator.h"

#include <aegisrt/profile.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SAMPLES 600u

static const char *file_in_folder(char path[300], const char *name)
{
    snprintf(path, 300, "%s/%s", own_folder, name);
    return path;
}

/* A model of two segments. */
static aegis_profile example(void)
{
    aegis_profile profile = {.contention_factor = 1,
                             .quantile = 0.99,
                             .assurance = 0.95,
                             .margin = 1.5,
                             .bound_ns = 5,
                             .copy = {.samples = 3, .best_ns = 1, .worst_ns = 4},
                             .copy_bound_ns = 6,
                             .copy_least_ns = 1,
                             .segment_count = 2};
    profile.segments[0] = (aegis_profile_segment){.bound_ns = 2, .stretch_ns = 1};
    profile.segments[1] = (aegis_profile_segment){.bound_ns = 3, .stretch_ns = 1};
    memset(profile.key, 'a', 64);
    return profile;
}

/* ---- files ---- */

static void files_that_cannot_be_written(void **state)
{
    (void)state;
    const aegis_profile profile = example();
    aegis_error err = {0};
    char path[300];
    expect(aegis_profile_save(file_in_folder(path, "none/p.json"), &profile, &err),
           AEGIS_ERROR_NOT_FOUND, &err, path);
    assert_int_equal(mkdir(file_in_folder(path, "taken"), 0755), 0);
    expect(aegis_profile_save(path, &profile, &err), AEGIS_ERROR_IO, &err, path);
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    aegis_profile profile = example();
    aegis_error err = {0};
    char path[300];
    assert_int_equal(mkdir(file_in_folder(path, "folder"), 0755), 0);
    expect(aegis_profile_load(path, profile.key, &profile, &err), AEGIS_ERROR_IO, &err, path);
}

/* As a user who may not read or write what belongs to root. */
static void files_without_rights_are_so_called(void **state)
{
    (void)state;
    aegis_profile profile = example();
    aegis_error write_err = {0}, read_err = {0};
    char path[300];
    assert_int_equal(aegis_profile_save(file_in_folder(path, "mine.json"), &profile, NULL),
                     AEGIS_OK);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(own_folder, 0555), 0);
    const bool other = become_nobody();
    const aegis_status written = aegis_profile_save(path, &profile, &write_err);
    const aegis_status read = aegis_profile_load(path, profile.key, &profile, &read_err);
    become_oneself();
    assert_int_equal(chmod(own_folder, 0755), 0);
    if (!other) {
        skip();
    }
    expect(written, AEGIS_ERROR_PERMISSION, &write_err, path);
    expect(read, AEGIS_ERROR_PERMISSION, &read_err, path);
}

static void a_profile_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    bool passed = false;
    char path[300];
    const aegis_profile profile = example();
    file_in_folder(path, "short.json");
    scarce_json_begin();
    for (size_t nth = 1; !passed && nth < 3000; nth++) {
        aegis_profile read;
        aegis_error err = {0};
        scarce_json_fail(nth);
        const aegis_status status = aegis_profile_save(path, &profile, &err);
        passed = !scarce_json_failed();
        scarce_json_fail(0);
        if (status == AEGIS_OK) {
            assert_int_equal(aegis_profile_load(path, profile.key, &read, NULL), AEGIS_OK);
            assert_memory_equal(&read, &profile, sizeof read);
            assert_int_equal(unlink(path), 0);
        } else {
            expect(status, AEGIS_ERROR_NO_MEMORY, &err, path);
            assert_int_not_equal(access(path, F_OK), 0);
        }
        assert_true(nth > 50 || status != AEGIS_OK);
    }
    scarce_json_end();
    assert_true(passed);
}

/* ---- fits ---- */

static void a_fit_needs_memory(void **state)
{
    (void)state;
    static uint64_t samples[SAMPLES];
    const aegis_profile_options options = {.exceedance = 1e-4};
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    for (uint64_t nth = 1; status != AEGIS_OK; nth++) {
        test_allocator counting = {.fail_at = nth};
        const aegis_allocator allocator = test_allocator_make(&counting);
        aegis_extreme_fit fit = {.exceedances = 77};
        aegis_error err = {0};
        status = aegis_extreme_fit_samples(samples, SAMPLES, &options, &allocator, &fit, &err);
        if (status != AEGIS_OK) {
            expect(status, AEGIS_ERROR_NO_MEMORY, &err, "600 samples");
            assert_int_equal(fit.exceedances, 77);
        }
        assert_true((status == AEGIS_OK) == (nth > 4));
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
}

/* ---- measuring ---- */

typedef struct bench {
    aegis_allocator allocator;
    test_allocator counting;
    aegis_device *device;
    aegis_stream *lanes[2], *copies; /* of the copies only where a test makes one */
    aegis_backend_ops ops;
    aegis_backend *backend;
    bare_model bare;
    aegis_model *model;
} bench;

static aegis_status
bare_open(void *self, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    (void)config;
    (void)err;
    *ret_model = self;
    return AEGIS_OK;
}

static aegis_status
bare_run(void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    (void)self;
    (void)segment;
    (void)slot;
    (void)stream;
    (void)err;
    return AEGIS_OK;
}

static void nothing(void *self)
{
    (void)self;
}

static void open_bench(bench *b, uint32_t segments)
{
    const aegis_allocator plain = aegis_allocator_default();
    const aegis_device_config host = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 65536};
    const aegis_model_config config = {.name = "m", .path = "-"};
    *b = (bench){.bare.segments = segments};
    b->allocator = test_allocator_make(&b->counting);
    bare_model_init(&b->bare);
    assert_int_equal(aegis_device_create(&host, &plain, &b->device, NULL), AEGIS_OK);
    for (int i = 0; i < 2; i++) {
        const aegis_stream_config lane = aegis_stream_config_default("lane");
        assert_int_equal(aegis_stream_create(b->device, &lane, &b->lanes[i], NULL), AEGIS_OK);
    }
    bare_backend_fill(&b->ops);
    b->ops.name = "bare";
    b->ops.destroy = b->ops.close = nothing;
    b->ops.open = bare_open;
    b->ops.execute = bare_run;
    assert_int_equal(aegis_backend_wrap(&b->ops, &b->bare, &plain, &b->backend, NULL), AEGIS_OK);
    assert_int_equal(aegis_model_open(b->backend, &config, &b->model, NULL), AEGIS_OK);
}

static aegis_status make_profiler(bench *b, aegis_profiler **ret_profiler, aegis_error *err)
{
    const aegis_profiler_config config = {.lanes = b->lanes,
                                          .lane_count = 2,
                                          .copy_stream = b->copies,
                                          .clock = aegis_clock_monotonic()};
    return aegis_profiler_create(&config, &b->allocator, ret_profiler, err);
}

static void close_bench(bench *b)
{
    aegis_model_close(b->model);
    aegis_backend_destroy(b->backend);
    aegis_stream_destroy(b->lanes[0]);
    aegis_stream_destroy(b->lanes[1]);
    aegis_stream_destroy(b->copies);
    aegis_device_destroy(b->device);
    assert_int_equal(b->counting.blocks, 0);
    assert_int_equal(b->counting.wrong_sizes, 0);
}
/* Of what it holds that can be changed here. */
static void a_key_tells_models_apart(void **state)
{
    (void)state;
    const aegis_profile_options options = {.quantile = 0.99}, other = {.quantile = 0.9};
    char a[65], b[65], c[65];
    bench bed;
    open_bench(&bed, 1);
    const aegis_device_capabilities *host = aegis_device_get_capabilities(bed.device);
    assert_int_equal(aegis_profile_make_key(bed.model, host, 1, 1, &options, a, NULL), AEGIS_OK);
    assert_int_equal(aegis_profile_make_key(bed.model, host, 1, 1, &options, b, NULL), AEGIS_OK);
    assert_int_equal(aegis_profile_make_key(bed.model, host, 1, 1, &other, c, NULL), AEGIS_OK);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_int_equal(aegis_profile_make_key(bed.model, host, 2, 1, &options, c, NULL), AEGIS_OK);
    assert_string_not_equal(a, c);
    close_bench(&bed);
}

static void a_profiler_needs_memory(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, 1);
    aegis_profiler *profiler = NULL;
    aegis_error err = {0};
    for (uint64_t nth = 1; profiler == NULL; nth++) {
        b.counting.calls = 0;
        b.counting.fail_at = nth;
        const aegis_status status = make_profiler(&b, &profiler, &err);
        if (status != AEGIS_OK) {
            expect(status, AEGIS_ERROR_NO_MEMORY, &err, "no host memory");
            assert_null(profiler);
            assert_int_equal(b.counting.blocks, 0);
        }
        assert_true((status == AEGIS_OK) == (nth > 5));
    }
    aegis_profiler_destroy(profiler);
    close_bench(&b);
}

static void what_cannot_be_measured(void **state)
{
    (void)state;
    const aegis_profile_options few = {.min_samples = 10}, wrong = {.quantile = 2};
    aegis_profiler *profiler = NULL;
    aegis_profile profile = {.bound_ns = 77};
    aegis_error err = {0};
    bench b;
    open_bench(&b, AEGIS_MAX_SEGMENTS + 1);
    assert_int_equal(make_profiler(&b, &profiler, &err), AEGIS_OK);
    expect(aegis_profiler_profile(profiler, b.model, &few, &profile, &err), AEGIS_ERROR_UNSUPPORTED,
           &err, "m has 65 segments");
    expect(aegis_profiler_profile_under_load(profiler, b.model, &few, &profile, &err),
           AEGIS_ERROR_UNSUPPORTED, &err, "m has 65 segments");
    expect(aegis_profiler_profile(profiler, b.model, &wrong, &profile, &err),
           AEGIS_ERROR_INVALID_ARGUMENT, &err, "confidence 2");
    expect(aegis_profiler_profile_under_load(profiler, b.model, &wrong, &profile, &err),
           AEGIS_ERROR_INVALID_ARGUMENT, &err, "confidence 2");
    b.bare.segments = 1;
    b.counting.fail_at = b.counting.calls + 1;
    expect(aegis_profiler_profile(profiler, b.model, &few, &profile, &err), AEGIS_ERROR_NO_MEMORY,
           &err, "samples");
    b.counting.fail_at = b.counting.calls + 1;
    expect(aegis_profiler_profile_under_load(profiler, b.model, &few, &profile, &err),
           AEGIS_ERROR_NO_MEMORY, &err, "samples");
    assert_int_equal(profile.bound_ns, 77);
    aegis_profiler_destroy(profiler);
    close_bench(&b);
}

static aegis_status
bare_inputs_fail(void *self, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    (void)self;
    (void)slot;
    (void)stream;
    return aegis_error_set(err, AEGIS_HERE("test"), AEGIS_ERROR_DEVICE, "the link is down");
}

static void copies_that_cannot_be_measured(void **state)
{
    (void)state;
    const aegis_profile_options few = {.min_samples = 10}, wrong = {.quantile = 2};
    const aegis_stream_config stream = aegis_stream_config_default("copies");
    const aegis_model_config early = {.name = "m", .path = "-", .early_copies = true};
    aegis_profiler *profiler = NULL;
    aegis_profile profile = {.copy_bound_ns = 77};
    aegis_error err = {0};
    bench b;
    open_bench(&b, 1);
    assert_int_equal(make_profiler(&b, &profiler, &err), AEGIS_OK);
    expect(aegis_profiler_profile_copies(profiler, b.model, &few, &profile, &err),
           AEGIS_ERROR_INVALID_ARGUMENT, &err, "copy_stream");
    aegis_profiler_destroy(profiler);
    assert_int_equal(aegis_stream_create(b.device, &stream, &b.copies, NULL), AEGIS_OK);
    assert_int_equal(make_profiler(&b, &profiler, &err), AEGIS_OK);
    expect(aegis_profiler_profile_copies(profiler, b.model, &few, &profile, &err),
           AEGIS_ERROR_UNSUPPORTED, &err, "open it with early_copies");
    aegis_model_close(b.model);
    b.model = NULL;
    expect(aegis_model_open(b.backend, &early, &b.model, &err), AEGIS_ERROR_UNSUPPORTED, &err,
           "leave its copies inline");
    b.ops.enqueue_inputs = bare_inputs_fail;
    assert_int_equal(aegis_model_open(b.backend, &early, &b.model, NULL), AEGIS_OK);
    expect(aegis_profiler_profile_copies(profiler, b.model, &wrong, &profile, &err),
           AEGIS_ERROR_INVALID_ARGUMENT, &err, "confidence 2");
    b.counting.fail_at = b.counting.calls + 1;
    expect(aegis_profiler_profile_copies(profiler, b.model, &few, &profile, &err),
           AEGIS_ERROR_NO_MEMORY, &err, "samples");
    expect(aegis_profiler_profile_copies(profiler, b.model, &few, &profile, &err),
           AEGIS_ERROR_DEVICE, &err, "the link is down");
    assert_int_equal(profile.copy_bound_ns, 77);
    aegis_profiler_destroy(profiler);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_cannot_be_written),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(files_without_rights_are_so_called),
        cmocka_unit_test(a_profile_is_written_whole_or_not_at_all),
        cmocka_unit_test(a_key_tells_models_apart),
        cmocka_unit_test(a_fit_needs_memory),
        cmocka_unit_test(a_profiler_needs_memory),
        cmocka_unit_test(what_cannot_be_measured),
        cmocka_unit_test(copies_that_cannot_be_measured),
    };
    return cmocka_run_group_tests(tests, make_own_folder, remove_own_folder);
}

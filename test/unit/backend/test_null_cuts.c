/* SPDX-License-Identifier: Apache-2.0 */
/* Null models of operators: cut anywhere, with the same outputs. */
#include "support/backend_conformance.h"
#include "support/test_allocator.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define SURFACE                                                        \
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[1,8]}]," \
    "\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1,4]}],"
/* Tensor 0 is read by 1, tensor 1 by 4, tensor 2 by 3, tensor 3 by 4; operator 4 leaves one of its
 * own, and operator 5 has none. */
#define OPERATORS                                                                    \
    "\"weights_bytes\":200,\"operators\":[{\"spin\":\"50us\",\"bytes\":1000},"       \
    "{\"spin\":\"50us\",\"bytes\":300,\"until\":4},{\"bytes\":500},{\"bytes\":700}," \
    "{\"spin\":\"200us\",\"bytes\":64},{\"spin\":\"10us\"}]"

static char path[] = "/tmp/aegisrt-null-cuts-XXXXXX";
static aegis_backend *backend;

static aegis_model_config config_of(const char *text, const uint32_t *cuts, size_t count)
{
    static const aegis_source random = {.kind = AEGIS_SOURCE_RANDOM};
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return (aegis_model_config){.name = "m",
                                .path = path,
                                .sources = &random,
                                .source_count = 1,
                                .seed = 3,
                                .cuts = cuts,
                                .cut_count = count};
}

static aegis_model *open_recorded(const char *text, const uint32_t *cuts, size_t count)
{
    aegis_error err;
    aegis_model *model = NULL;
    aegis_model_config config = config_of(text, cuts, count);
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    return model;
}

static void conforms_however_it_is_cut(void **state)
{
    (void)state;
    static const uint32_t every[] = {1, 2, 3, 4, 5}, some[] = {2, 4};
    aegis_model_config config = config_of("{" SURFACE OPERATORS "}", NULL, 0);
    conformance_check(backend, &config);
    config = config_of("{" SURFACE OPERATORS "}", some, 2);
    conformance_check(backend, &config);
    config = config_of("{" SURFACE OPERATORS "}", every, 5);
    conformance_check(backend, &config);
}

/* All sets of cuts, placed and run; the memory is checked for writes beside the tensors. */
static void outputs_are_those_of_the_whole_model(void **state)
{
    (void)state;
    aegis_model *whole = open_recorded("{" SURFACE OPERATORS "}", NULL, 0);
    conformance_run(whole, 0);
    conformance_outputs wanted = conformance_read(whole, 0);
    aegis_model_close(whole);
    for (unsigned set = 1; set < 32; set++) {
        uint32_t cuts[5];
        size_t count = 0;
        placed_memory memory;
        for (uint32_t i = 0; i < 5; i++) {
            if ((set >> i & 1) != 0) {
                cuts[count++] = i + 1;
            }
        }
        aegis_model *model = open_recorded("{" SURFACE OPERATORS "}", cuts, count);
        assert_int_equal(aegis_model_segment_count(model), count + 1);
        placed_make(model, 0, &memory);
        conformance_run(model, 0);
        assert_true(conformance_equal(model, 0, &wanted));
        conformance_run(model, 0);
        assert_true(conformance_equal(model, 0, &wanted));
        placed_check_red_zones(&memory);
        aegis_model_close(model);
        placed_free(&memory);
    }
    free(wanted.bytes);
}

static void tensors_that_cross_are_boundaries(void **state)
{
    (void)state;
    static const uint32_t cuts[] = {2, 4};
    aegis_error err;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0, seen = 0;
    aegis_model *model = open_recorded("{" SURFACE OPERATORS "}", cuts, 2);
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        if (lifetimes[i].memory_class == AEGIS_MEMORY_BOUNDARY) {
            bool first = lifetimes[i].size_bytes == 300; /* from segment 0 to the end */
            assert_int_equal(lifetimes[i].start, first ? 0 : 1);
            assert_int_equal(lifetimes[i].end, 3);
            assert_int_equal(lifetimes[i].segment, first ? 0 : 1);
            assert_int_equal(lifetimes[i].size_bytes, first ? 300 : 700);
            seen++;
        }
    }
    assert_int_equal(seen, 2);
    aegis_model_close(model);
}

static void candidates_tell_what_crosses(void **state)
{
    (void)state;
    static const uint64_t bytes[] = {1000, 300, 800, 1000, 64};
    static const uint32_t tensors[] = {1, 1, 2, 2, 1};
    static const uint32_t one_cut[] = {3};
    aegis_error err;
    aegis_model *model = NULL;
    placed_memory memory;
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    aegis_model_config config = config_of("{" SURFACE OPERATORS "}", NULL, 0);
    must(aegis_model_open(backend, &config, &model, &err), &err);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_STATE);
    must(aegis_model_record(model, NULL, &err), &err);
    for (int again = 0; again < 2; again++) {
        must(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err), &err);
        assert_int_equal(count, 5);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(candidates[i].position, i + 1);
            assert_int_equal(candidates[i].live_bytes, bytes[i]);
            assert_int_equal(candidates[i].live_tensors, tensors[i]);
        }
        assert_true(candidates[0].elapsed_ns >= 50000);
        assert_true(candidates[4].elapsed_ns >= 300000);
    }
    placed_make(model, 0, &memory);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_STATE);
    aegis_model_close(model);
    placed_free(&memory);
    model = open_recorded("{" SURFACE OPERATORS "}", one_cut, 1);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_STATE);
    aegis_model_close(model);
    model = open_recorded("{" SURFACE "\"segments\":[[{\"spin\":\"1us\"}]]}", NULL, 0);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_UNSUPPORTED);
    aegis_model_close(model);
}

static void candidates_of_a_model_that_fails(void **state)
{
    (void)state;
    aegis_error err = {0};
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 77;
    aegis_model *model =
        open_recorded("{" SURFACE OPERATORS
                      ",\"faults\":[{\"run\":5,\"operator\":1,\"kind\":\"fail\",\"trial\":true}]}",
                      NULL, 0);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_INFERENCE);
    assert_int_equal(err.status, AEGIS_ERROR_INFERENCE);
    assert_true(candidates == NULL && count == 77);
    must(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err), &err);
    assert_int_equal(count, 5);
    aegis_model_close(model);
}

static void candidates_need_memory(void **state)
{
    (void)state;
    aegis_error err = {0};
    test_allocator counting = {0};
    const aegis_allocator allocator = test_allocator_make(&counting);
    const aegis_backend_config null = {.runtime = "null", .cache_dir = "/tmp", .consumer = "test"};
    const aegis_model_config config = config_of("{" SURFACE OPERATORS "}", NULL, 0);
    aegis_backend *own = NULL;
    aegis_model *model = NULL;
    must(aegis_backend_create(&null, NULL, &allocator, &own, &err), &err);
    must(aegis_model_open(own, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    for (uint64_t nth = 1; status != AEGIS_OK; nth++) {
        const aegis_cut_candidate *candidates = NULL;
        size_t count = 0;
        counting.calls = 0;
        counting.fail_at = nth;
        status = aegis_model_cut_candidates(model, NULL, &candidates, &count, &err);
        assert_int_equal(status, counting.calls < nth ? AEGIS_OK : AEGIS_ERROR_NO_MEMORY);
        assert_true(nth > 2 || status != AEGIS_OK);
    }
    aegis_model_close(model);
    aegis_backend_destroy(own);
    assert_int_equal(counting.blocks, 0);
    assert_int_equal(counting.wrong_sizes, 0);
}

static void expect_open(
    const char *text, const uint32_t *cuts, size_t count, aegis_status wanted, const char *part)
{
    aegis_error err;
    aegis_model *model = NULL;
    aegis_model_config config = config_of(text, cuts, count);
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), wanted);
    if (strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, part);
    }
}

static void wrong_cuts_and_operators_are_refused(void **state)
{
    (void)state;
    static const uint32_t none[] = {0}, end[] = {6}, twice[] = {2, 2}, back[] = {3, 1},
                          good[] = {1};
    const char *text = "{" SURFACE OPERATORS "}";
    expect_open(text, none, 1, AEGIS_ERROR_CONFIG, "cut 0 is at position 0");
    expect_open(text, end, 1, AEGIS_ERROR_CONFIG, "from 1 to 5");
    expect_open(text, twice, 2, AEGIS_ERROR_CONFIG, "cut 1 is at position 2");
    expect_open(text, back, 2, AEGIS_ERROR_CONFIG, "cut 1 is at position 1");
    expect_open("{" SURFACE "\"segments\":[[]]}", good, 1, AEGIS_ERROR_CONFIG, "list of segments");
    expect_open("{" SURFACE "\"segments\":[[]],\"operators\":[{}]}", NULL, 0, AEGIS_ERROR_PARSE,
                "two ways");
    expect_open("{" SURFACE "\"operators\":[]}", NULL, 0, AEGIS_ERROR_PARSE, "operators");
    expect_open("{" SURFACE "\"operators\":[{\"until\":0},{}]}", NULL, 0, AEGIS_ERROR_PARSE,
                "later operator");
    expect_open("{" SURFACE "\"operators\":[{\"until\":2},{}]}", NULL, 0, AEGIS_ERROR_PARSE,
                "later operator");
    expect_open("{" SURFACE "\"operators\":[{\"spin\":3},{}]}", NULL, 0, AEGIS_ERROR_PARSE,
                "operator is");
}

static void *terminate_until_told(void *argument)
{
    aegis_model *model = ((void **)argument)[0];
    atomic_bool *done = ((void **)argument)[1];
    while (!atomic_load(done)) {
        aegis_model_terminate(model);
    }
    return NULL;
}

/* A job that ends between its segments leaves nothing behind for the next. */
static void fault_in_the_middle_of_a_cut_job(void **state)
{
    (void)state;
    static const uint32_t cuts[] = {2, 4};
    aegis_error err;
    placed_memory memory;
    pthread_t thread;
    atomic_bool done = false;
    const char *faults =
        "{" SURFACE OPERATORS ",\"faults\":[{\"run\":2,\"operator\":3,\"kind\":\"hang\"},"
        "{\"run\":3,\"operator\":2,\"kind\":\"grow\",\"bytes\":900},"
        "{\"run\":4,\"operator\":5,\"kind\":\"fail\"}]}";
    aegis_model *model = open_recorded(faults, cuts, 2);
    placed_make(model, 4096, &memory);
    conformance_run(model, 0);
    aegis_model_commit(model);
    conformance_outputs wanted = conformance_read(model, 0);
    must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
    void *argument[2] = {model, &done};
    assert_int_equal(pthread_create(&thread, NULL, terminate_until_told, argument), 0);
    assert_int_equal(aegis_model_execute(model, 1, 0, NULL, &err), AEGIS_ERROR_TERMINATED);
    atomic_store(&done, true);
    pthread_join(thread, NULL);
    must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
    assert_int_equal(aegis_model_execute(model, 1, 0, NULL, &err), AEGIS_ERROR_DEPARTURE);
    must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
    must(aegis_model_execute(model, 1, 0, NULL, &err), &err);
    assert_int_equal(aegis_model_execute(model, 2, 0, NULL, &err), AEGIS_ERROR_INFERENCE);
    conformance_run(model, 0);
    assert_true(conformance_equal(model, 0, &wanted));
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
    free(wanted.bytes);
}

static int set_up(void **state)
{
    (void)state;
    aegis_error err;
    aegis_device *device = NULL;
    aegis_allocator allocator = aegis_allocator_default();
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    aegis_device_config host = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 1 << 20};
    must(aegis_device_create(&host, &allocator, &device, &err), &err);
    aegis_backend_config config = {.runtime = "null", .cache_dir = "/tmp", .consumer = "test"};
    must(aegis_backend_create(&config, device, &allocator, &backend, &err), &err);
    *state = device;
    return 0;
}

static int tear_down(void **state)
{
    aegis_backend_destroy(backend);
    aegis_device_destroy(*state);
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conforms_however_it_is_cut),
        cmocka_unit_test(outputs_are_those_of_the_whole_model),
        cmocka_unit_test(tensors_that_cross_are_boundaries),
        cmocka_unit_test(candidates_tell_what_crosses),
        cmocka_unit_test(candidates_of_a_model_that_fails),
        cmocka_unit_test(candidates_need_memory),
        cmocka_unit_test(wrong_cuts_and_operators_are_refused),
        cmocka_unit_test(fault_in_the_middle_of_a_cut_job),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

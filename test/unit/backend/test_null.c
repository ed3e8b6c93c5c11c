/* SPDX-License-Identifier: Apache-2.0 */
#include "support/backend_conformance.h"
#include "support/test_allocator.h"

#include <pthread.h>
#include <unistd.h>

#define PLAIN                                                          \
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[1,8]}]," \
    "\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1,4]}],"
#define SCRIPT                                                                                   \
    "\"weights_bytes\":200,\"prepacked_bytes\":100,\"segments\":["                               \
    "[{\"alloc\":1000},{\"alloc\":500},{\"free\":0},{\"alloc\":700},{\"free\":1},{\"free\":2}]," \
    "[{\"alloc\":64},{\"spin\":\"10us\"},{\"free\":0}]]"

static char path[] = "/tmp/aegisrt-null-XXXXXX";
static aegis_backend *backend;

static void write_model(const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static aegis_model_config config_of(const char *text)
{
    static const aegis_source random = {.kind = AEGIS_SOURCE_RANDOM};
    write_model(text);
    return (aegis_model_config){
        .name = "m", .path = path, .sources = &random, .source_count = 1, .seed = 3};
}

static aegis_model *open_placed(const char *text, uint64_t spill, placed_memory *memory)
{
    aegis_error err;
    aegis_model *model = NULL;
    aegis_model_config config = config_of(text);
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    placed_make(model, spill, memory);
    return model;
}

static void conforms(void **state)
{
    (void)state;
    aegis_model_config config = config_of("{" PLAIN SCRIPT "}");
    conformance_check(backend, &config);
}

static void conforms_with_state(void **state)
{
    (void)state;
    static const aegis_state_pair pair = {"s", "t"};
    aegis_model_config config =
        config_of("{\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[1,8]},"
                  "{\"name\":\"s\",\"dtype\":\"f16\",\"shape\":[2,3]}],"
                  "\"outputs\":[{\"name\":\"y\",\"dtype\":\"i64\",\"shape\":[4]},"
                  "{\"name\":\"t\",\"dtype\":\"f16\",\"shape\":[2,3]}]," SCRIPT "}");
    config.state = &pair;
    config.state_count = 1;
    conformance_check(backend, &config);
}

static void growing_request_departs_and_next_run_is_good(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model_spill spill;
    placed_memory memory;
    aegis_model *model = open_placed("{" PLAIN SCRIPT ",\"faults\":[{\"run\":2,\"kind\":\"grow\","
                                     "\"allocation\":1,\"bytes\":100}]}",
                                     4096, &memory);
    conformance_run(model, 0);
    conformance_outputs first = conformance_read(model, 0);
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_DEPARTURE);
    assert_non_null(strstr(err.message, "allocation 1 asked for 600 bytes where 500"));
    aegis_model_last_spill(model, &spill);
    assert_int_equal(spill.first_index, 1);
    assert_int_equal(spill.expected_bytes, 500);
    assert_int_equal(spill.asked_bytes, 600);
    assert_int_equal(spill.bytes, 640);
    assert_true(aegis_model_is_valid(model));
    conformance_run(model, 0);
    assert_true(conformance_equal(model, 0, &first));
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
    free(first.bytes);
}

static void request_past_the_spill_exceeds_the_budget(void **state)
{
    (void)state;
    aegis_error err;
    placed_memory memory;
    /* Past the spill, and past the reserve of 4 MiB as well. */
    aegis_model *model =
        open_placed("{" PLAIN SCRIPT ",\"faults\":[{\"run\":1,\"kind\":\"grow\",\"bytes\":100000},"
                    "{\"run\":2,\"kind\":\"grow\",\"bytes\":8000000}]}",
                    256, &memory);
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(strstr(err.message, "reserve"));
    conformance_run(model, 0);
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
}

static void failing_and_lost_models(void **state)
{
    (void)state;
    aegis_error err;
    placed_memory memory;
    aegis_model *model =
        open_placed("{" PLAIN SCRIPT
                    ",\"faults\":[{\"run\":1,\"kind\":\"fail\"},{\"run\":3,\"kind\":\"lose\"}]}",
                    0, &memory);
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_INFERENCE);
    assert_true(aegis_model_is_valid(model));
    conformance_run(model, 0);
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_INFERENCE);
    assert_false(aegis_model_is_valid(model));
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_STATE);
    aegis_model_close(model);
    placed_free(&memory);
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

static void hanging_run_is_terminated(void **state)
{
    (void)state;
    aegis_error err;
    placed_memory memory;
    pthread_t thread;
    atomic_bool done = false;
    aegis_model *model =
        open_placed("{" PLAIN SCRIPT ",\"faults\":[{\"run\":1,\"kind\":\"hang\"}]}", 0, &memory);
    void *argument[2] = {model, &done};
    assert_true(aegis_model_can_terminate(model));
    assert_int_equal(pthread_create(&thread, NULL, terminate_until_told, argument), 0);
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_TERMINATED);
    atomic_store(&done, true);
    pthread_join(thread, NULL);
    conformance_run(model, 0);
    aegis_model_close(model);
    placed_free(&memory);
}

static void varying_model_is_not_recorded(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model *model = NULL;
    aegis_model_config config =
        config_of("{" PLAIN SCRIPT ",\"faults\":[{\"run\":2,\"kind\":\"grow\",\"trial\":true}]}");
    must(aegis_model_open(backend, &config, &model, &err), &err);
    assert_int_equal(aegis_model_record(model, NULL, &err), AEGIS_ERROR_DEPARTURE);
    assert_non_null(strstr(err.message, "1000 bytes, then request of 1064"));
    aegis_model_close(model);
}

static void expect_open(const char *text, aegis_status wanted, const char *part)
{
    aegis_error err;
    aegis_model *model = NULL;
    aegis_model_config config = config_of(text);
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), wanted);
    if (strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, part);
    }
    assert_null(model);
}

static void malformed_files_are_refused(void **state)
{
    (void)state;
    expect_open("", AEGIS_ERROR_PARSE, ":1:0:");
    expect_open("{", AEGIS_ERROR_PARSE, "expected");
    expect_open("{}", AEGIS_ERROR_PARSE, "inputs");
    expect_open("{" PLAIN "\"segments\":[]}", AEGIS_ERROR_PARSE, "segment");
    expect_open("{" PLAIN "\"segments\":[[{\"free\":0}]]}", AEGIS_ERROR_PARSE, "not allocated");
    expect_open("{" PLAIN "\"segments\":[[{\"alloc\":8},{\"free\":0},{\"free\":0}]]}",
                AEGIS_ERROR_PARSE, "second");
    expect_open("{" PLAIN "\"segments\":[[{\"alloc\":-8}]]}", AEGIS_ERROR_PARSE, "step");
    expect_open("{" PLAIN "\"weights_bytes\":\"1\",\"segments\":[[]]}", AEGIS_ERROR_PARSE,
                "weights_bytes");
    expect_open("{" PLAIN "\"segments\":[[]],\"faults\":[{\"kind\":\"explode\"}]}",
                AEGIS_ERROR_PARSE, "kind");
    expect_open("{\"inputs\":[{\"name\":\"x\",\"dtype\":\"f33\",\"shape\":[1]}]}",
                AEGIS_ERROR_PARSE, "dtype");
}

static void shapes_are_checked(void **state)
{
    (void)state;
    const char *text =
        "{\"inputs\":[{\"name\":\"image\",\"dtype\":\"f32\",\"shape\":[1,null]}],"
        "\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1]}],\"segments\":[[]]}";
    const struct {
        aegis_input_shape given;
        const char *part;
    } cases[] = {
        {{"imgae", 2, {1, 4}}, "did you mean 'image'"},
        {{"image", 3, {1, 4, 4}}, "3 dimensions, the model declares 2"},
        {{"image", 2, {2, 4}}, "fixes it to 1"},
        {{"image", 2, {1, 0}}, "must be positive"},
    };
    aegis_error err;
    aegis_model *model = NULL;
    expect_open(text, AEGIS_ERROR_CONFIG, "dimension 1 is free");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        aegis_model_config config = config_of(text);
        config.inputs = &cases[i].given;
        config.input_count = 1;
        assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_CONFIG);
        if (strstr(err.message, cases[i].part) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", err.message, cases[i].part);
        }
    }
    const aegis_input_shape good = {"image", 2, {1, 6}};
    aegis_model_config config = config_of(text);
    config.inputs = &good;
    config.input_count = 1;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    size_t count = 0;
    assert_int_equal(aegis_model_inputs(model, &count)[0].size_bytes, 24);
    aegis_model_close(model);
}

static void memory_limit_ends_the_load_or_the_recording(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model *model = NULL;
    aegis_model_config config = config_of("{" PLAIN SCRIPT "}");
    config.memory_limit_bytes = 300; /* weights 200, prepacked 100, input 32, output 16 */
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    config.memory_limit_bytes = 1000;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    assert_int_equal(aegis_model_record(model, NULL, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    aegis_model_close(model);
}

static void unknown_runtimes_are_refused_with_the_cure(void **state)
{
    (void)state;
    aegis_error err;
    aegis_backend *none = NULL;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_backend_config config = {.runtime = "onxruntime", .consumer = "model 'door'"};
    assert_int_equal(aegis_backend_create(&config, NULL, &allocator, &none, &err),
                     AEGIS_ERROR_RUNTIME_NOT_AVAILABLE);
    assert_non_null(strstr(err.message, "model 'door'"));
    assert_non_null(strstr(err.message, "did you mean \"onnxruntime\""));
    assert_null(strstr(err.message, "null"));
    assert_null(none);
}

static int set_up(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_backend_config config = {.runtime = "null"};
    int fd = mkstemp(path);
    return fd < 0 || close(fd) != 0 ||
                   aegis_backend_create(&config, NULL, &allocator, &backend, NULL) != AEGIS_OK
               ? -1
               : 0;
}

static int tear_down(void **state)
{
    (void)state;
    aegis_backend_destroy(backend);
    return unlink(path);
}

/* ---- inputs that are copied apart ---- */

typedef struct copying {
    aegis_model *model;
    aegis_stream *stream;
    uint32_t slot;
    aegis_status status;
    aegis_error error;
} copying;

static void enqueue_inputs(void *argument)
{
    copying *self = argument;
    self->status = aegis_model_enqueue_inputs(self->model, self->slot, self->stream, &self->error);
}

static aegis_status copy_inputs(aegis_stream *stream, aegis_model *model, uint32_t slot)
{
    aegis_error err;
    copying self = {.model = model, .stream = stream, .slot = slot};
    must(aegis_stream_call(stream, enqueue_inputs, &self, &err), &err);
    must(aegis_stream_synchronize(stream, &err), &err);
    return self.status;
}

static void inputs_come_when_they_are_copied(void **state)
{
    (void)state;
    static const aegis_state_pair pair = {"s", "t"};
    const aegis_device_config host = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 65536};
    const aegis_stream_config plain = aegis_stream_config_default("copies");
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_device *device;
    aegis_stream *stream;
    aegis_error err;
    aegis_model *model = NULL, *other = NULL;
    placed_memory memory, other_memory;
    must(aegis_device_create(&host, &allocator, &device, &err), &err);
    must(aegis_stream_create(device, &plain, &stream, &err), &err);
    aegis_model_config config =
        config_of("{\"inputs\":[{\"name\":\"s\",\"dtype\":\"f16\",\"shape\":[2,3]},"
                  "{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[1,8]}],"
                  "\"outputs\":[{\"name\":\"y\",\"dtype\":\"i64\",\"shape\":[4]},"
                  "{\"name\":\"t\",\"dtype\":\"f16\",\"shape\":[2,3]}]," SCRIPT "}");
    config.slots = 2;
    config.state = &pair;
    config.state_count = 1;
    must(aegis_model_open(backend, &config, &other, &err), &err);
    config.early_copies = true;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    assert_true(aegis_model_copies_early(model) && !aegis_model_copies_early(other));
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_record(other, NULL, &err), &err);
    placed_make(model, 4096, &memory);
    placed_make(other, 4096, &other_memory);
    for (uint32_t slot = 0; slot < 2; slot++) {
        conformance_run(other, slot);
        conformance_outputs wanted = conformance_read(other, slot);
        conformance_run(model, slot);
        assert_false(conformance_equal(model, slot, &wanted));
        assert_int_equal(copy_inputs(stream, model, slot), AEGIS_OK);
        conformance_run(model, slot);
        assert_true(conformance_equal(model, slot, &wanted));
        free(wanted.bytes);
    }
    assert_int_equal(copy_inputs(stream, model, 2), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(copy_inputs(stream, other, 0), AEGIS_ERROR_UNSUPPORTED);
    aegis_model_close(model);
    aegis_model_close(other);
    placed_free(&memory);
    placed_free(&other_memory);
    aegis_stream_destroy(stream);
    aegis_device_destroy(device);
}

/* Fails the n-th request for host memory, for each n, until opening and placing pass. */
static void memory_shortage_leaks_nothing(void **state)
{
    (void)state;
    aegis_model_config config = config_of("{" PLAIN SCRIPT "}");
    config.early_copies = true;
    bool passed = false;
    for (uint64_t n = 1; n < 500 && !passed; n++) {
        test_allocator counting = {.fail_at = n};
        aegis_allocator allocator = test_allocator_make(&counting);
        aegis_backend *other = NULL;
        aegis_model *model = NULL;
        aegis_backend_config runtime = {.runtime = "null"};
        aegis_status status = aegis_backend_create(&runtime, NULL, &allocator, &other, NULL);
        if (status == AEGIS_OK) {
            status = aegis_model_open(other, &config, &model, NULL);
        }
        if (status == AEGIS_OK) {
            status = aegis_model_record(model, NULL, NULL);
        }
        passed = status == AEGIS_OK;
        assert_true(passed || status == AEGIS_ERROR_NO_MEMORY);
        aegis_model_close(model);
        aegis_backend_destroy(other);
        assert_int_equal(atomic_load(&counting.blocks), 0);
        assert_int_equal(atomic_load(&counting.wrong_sizes), 0);
    }
    assert_true(passed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conforms),
        cmocka_unit_test(conforms_with_state),
        cmocka_unit_test(growing_request_departs_and_next_run_is_good),
        cmocka_unit_test(request_past_the_spill_exceeds_the_budget),
        cmocka_unit_test(failing_and_lost_models),
        cmocka_unit_test(hanging_run_is_terminated),
        cmocka_unit_test(varying_model_is_not_recorded),
        cmocka_unit_test(malformed_files_are_refused),
        cmocka_unit_test(shapes_are_checked),
        cmocka_unit_test(memory_limit_ends_the_load_or_the_recording),
        cmocka_unit_test(unknown_runtimes_are_refused_with_the_cure),
        cmocka_unit_test(inputs_come_when_they_are_copied),
        cmocka_unit_test(memory_shortage_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

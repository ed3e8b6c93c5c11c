/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX Runtime on a CUDA device: the suite that every backend passes, outputs against the CPU,
 * captured and not, and that nothing is taken once a model is placed. */
#include "integration/onnx_models.h"
#include "support/backend_conformance.h"

#include <aegisrt/ext/cuda_graph.h>

#include <stdio.h>
#include <stdlib.h>

#define ARENA_BYTES (UINT64_C(1) << 30)
#define PINNED_BYTES (UINT64_C(64) << 20)
#define RUNS 200
/* Against the CPU, whose products are in single precision and here in TF32: of the norm of an
 * output, or, where an output is next to nothing (a text detector on noise), of each value. */
#define TOLERANCE 1e-2
#define SMALL 1e-3

static aegis_device *device;
static aegis_backend *backend, *cpu;

/* ---- the conformance suite ---- */

static void need(const char *stem)
{
    if (!onnx_there(stem)) {
        print_message("skipped: no models/%s.onnx; 'make models' fetches it\n", stem);
        skip();
    }
}

static void check(const char *stem, bool eager)
{
    aegis_source sources[4];
    char path[1024];
    need(stem);
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    config.eager = eager;
    conformance_check(backend, &config);
}

static void conforms(void **state)
{
    check(*state, false);
}

static void conforms_without_a_graph(void **state)
{
    check(*state, true);
}

/* ---- outputs against the CPU ---- */

typedef struct distance {
    double relative; /* of the norm */
    double rms;
} distance;

static bool is_near(distance worst)
{
    return worst.relative <= TOLERANCE || worst.rms <= SMALL;
}

static aegis_model *open_on(aegis_backend *where, const char *stem, bool eager)
{
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    aegis_model *model = NULL;
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    config.stream = where == backend ? conformance_stream : NULL;
    config.eager = eager;
    must(aegis_model_open(where, &config, &model, &err), &err);
    return model;
}

/* Of the output that is farthest off, as parts of the norm. */
static distance worst_difference(aegis_model *model, aegis_model *reference)
{
    aegis_error err;
    size_t count = 0;
    distance worst = {0};
    const aegis_tensor_info *outputs = aegis_model_outputs(model, &count);
    for (size_t i = 0; i < count; i++) {
        void *found = NULL, *wanted = NULL;
        uint64_t size = 0, size2 = 0;
        double difference = 0, norm = 0;
        must(aegis_model_output(model, 0, outputs[i].name, &found, &size, &err), &err);
        must(aegis_model_output(reference, 0, outputs[i].name, &wanted, &size2, &err), &err);
        assert_int_equal(size, size2);
        assert_int_equal(outputs[i].element, AEGIS_ELEMENT_F32);
        for (uint64_t k = 0; k < size / sizeof(float); k++) {
            double a = ((const float *)found)[k], b = ((const float *)wanted)[k];
            difference += (a - b) * (a - b);
            norm += b * b;
        }
        double relative = sqrt(difference) / sqrt(norm + 1e-30);
        if (relative > worst.relative || isnan(relative)) {
            worst = (distance){relative, sqrt(difference / (double)(size / sizeof(float)))};
        }
    }
    return worst;
}

static void outputs_are_those_of_the_cpu(void **state)
{
    const char *stem = *state;
    aegis_error err;
    placed_memory memory;
    need(stem);
    aegis_model *reference = open_on(cpu, stem, false);
    must(aegis_model_execute(reference, 0, 0, NULL, &err), &err);
    aegis_model *model = open_on(backend, stem, false);
    conformance_run(model, 0);
    distance trial = worst_difference(model, reference);
    must(aegis_model_record(model, conformance_stream, &err), &err);
    placed_make_on(model, 4096, device, &memory);
    conformance_run(model, 0);
    distance placed = worst_difference(model, reference);
    print_message("%-32s against the CPU: %.1e (rms %.1e), placed %.1e (rms %.1e) %s\n", stem,
                  trial.relative, trial.rms, placed.relative, placed.rms, aegis_model_note(model));
    assert_true(is_near(trial));
    assert_true(is_near(placed));
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    aegis_model_close(reference);
    placed_free(&memory);
}

/* ---- what has no kernel on the device ---- */

/* Relu, Det, Neg: the provider has no determinant. */
static aegis_status open_determinant(aegis_backend *where, bool allow, aegis_model **ret_model)
{
    aegis_error err;
    char path[1024];
    aegis_source sources = {.kind = AEGIS_SOURCE_RANDOM};
    snprintf(path, sizeof path, "%s/test/integration/data/determinant.onnx", onnx_source_dir());
    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    aegis_model_config config = {.name = "determinant",
                                 .path = path,
                                 .sources = &sources,
                                 .source_count = 1,
                                 .seed = 7,
                                 .stream = where == backend ? conformance_stream : NULL,
                                 .allow_cpu_nodes = allow};
    aegis_status status = aegis_model_open(where, &config, ret_model, &err);
    if (status != AEGIS_OK) {
        print_message("%s\n", err.message);
        assert_non_null(strstr(err.message, "Det (on_the_cpu)"));
        assert_non_null(strstr(err.message, "cpu_nodes"));
        assert_null(strstr(err.message, "rectify"));
    }
    return status;
}

static void nodes_on_the_cpu_are_refused_or_told(void **state)
{
    (void)state;
    aegis_error err;
    placed_memory memory;
    aegis_model *model = NULL, *reference = NULL;
    assert_int_equal(open_determinant(backend, false, &model), AEGIS_ERROR_UNSUPPORTED);
    assert_null(model);
    assert_int_equal(open_determinant(backend, true, &model), AEGIS_OK);
    assert_int_equal(open_determinant(cpu, false, &reference), AEGIS_OK);
    must(aegis_model_execute(reference, 0, 0, NULL, &err), &err);
    must(aegis_model_record(model, conformance_stream, &err), &err);
    print_message("%s\n", aegis_model_note(model));
    assert_non_null(strstr(aegis_model_note(model), "Det (on_the_cpu)"));
    assert_non_null(strstr(aegis_model_note(model), "not captured")); /* the CPU waits in between */
    placed_make_on(model, 4096, device, &memory);
    const int jobs = (int)repeats(20, 3);
    for (int i = 0; i < jobs; i++) {
        conformance_run(model, 0);
        assert_true(is_near(worst_difference(model, reference)));
    }
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    aegis_model_close(reference);
    placed_free(&memory);
}

/* ---- cuts ---- */

#define CUTS 3u

static aegis_model *open_cut(const char *stem)
{
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    uint32_t cuts[CUTS];
    aegis_model *whole = open_on(backend, stem, false), *model = NULL;
    must(aegis_model_record(whole, conformance_stream, &err), &err);
    must(aegis_model_cut_candidates(whole, conformance_stream, &candidates, &count, &err), &err);
    assert_true(count > CUTS);
    for (uint32_t i = 0; i < CUTS; i++) {
        cuts[i] = candidates[(i + 1) * count / (CUTS + 1)].position;
    }
    aegis_model_close(whole);
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    config.stream = conformance_stream;
    config.cuts = cuts;
    config.cut_count = CUTS;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    assert_int_equal(aegis_model_segment_count(model), CUTS + 1);
    return model;
}

static void a_cut_model_gives_the_same(void **state)
{
    const char *stem = *state;
    aegis_error err;
    placed_memory memory;
    need(stem);
    aegis_model *reference = open_on(cpu, stem, false), *model = open_cut(stem);
    must(aegis_model_execute(reference, 0, 0, NULL, &err), &err);
    must(aegis_model_record(model, conformance_stream, &err), &err);
    placed_make_on(model, 4096, device, &memory);
    assert_string_equal(aegis_model_note(model), "");
    conformance_run(model, 0);
    distance difference = worst_difference(model, reference);
    print_message("%-32s in %u segments against the CPU: %.1e\n", stem, CUTS + 1,
                  difference.relative);
    assert_true(is_near(difference));
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    aegis_model_close(reference);
    placed_free(&memory);
}

/* ---- nothing is taken once a model is placed ---- */

static void placed_models_take_nothing(void **state)
{
    (void)state;
    aegis_error err;
    placed_memory memory;
    uint64_t before = 0, after = 0, pinned_before = 0, pinned_after = 0, peak;
    aegis_model *model = open_on(backend, "light_squeezenet", false);
    must(aegis_model_record(model, conformance_stream, &err), &err);
    placed_make_on(model, 4096, device, &memory);
    assert_string_equal(aegis_model_note(model), "");
    conformance_run(model, 0);
    must(aegis_cuda_memory_in_use(device, &before, &err), &err);
    aegis_device_pinned_usage(device, &pinned_before, &peak);
    const int runs = (int)repeats(RUNS, 5);
    for (int i = 0; i < runs; i++) {
        conformance_run(model, 0);
    }
    must(aegis_cuda_memory_in_use(device, &after, &err), &err);
    aegis_device_pinned_usage(device, &pinned_after, &peak);
    if (!under_sanitizer()) { /* there other cases use the device at the same time */
        assert_int_equal(before, after);
    }
    assert_int_equal(pinned_before, pinned_after);
    aegis_model_close(model);
    placed_free(&memory);
}

static void runs_cannot_be_ended(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model *model = open_on(backend, "light_squeezenet", true);
    assert_false(aegis_model_can_terminate(model));
    must(aegis_model_record(model, conformance_stream, &err), &err);
    assert_non_null(strstr(aegis_model_note(model), "switched off"));
    aegis_model_terminate(model);
    conformance_run(model, 0);
    aegis_model_close(model);
}

static void a_model_without_a_stream_is_refused(void **state)
{
    (void)state;
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    aegis_model *model = NULL;
    aegis_model_config config =
        onnx_config(onnx_find("light_squeezenet"), sources, path, sizeof path);
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_CONFIG);
    assert_null(model);
}

/* ---- set-up ---- */

static bool make_device(void)
{
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device_config config = {
        .kind = AEGIS_DEVICE_CUDA, .arena_bytes = ARENA_BYTES, .pinned_bytes = PINNED_BYTES};
    aegis_status status = aegis_device_create(&config, &allocator, &device, &err);
    if (status == AEGIS_ERROR_DEVICE_NOT_AVAILABLE) {
        printf("skipped: %s\n", err.message);
        return false;
    }
    must(status, &err);
    aegis_stream_config stream = aegis_stream_config_default("aegis-test");
    must(aegis_stream_create(device, &stream, &conformance_stream, &err), &err);
    return true;
}

static bool make_backend(void)
{
    aegis_error err;
    char cache[1024];
    aegis_allocator allocator = aegis_allocator_default();
    onnx_cache_dir(cache, sizeof cache);
    aegis_backend_config config = {
        .runtime = "onnxruntime", .cache_dir = cache, .consumer = "a test"};
    aegis_status status = aegis_backend_create(&config, device, &allocator, &backend, &err);
    if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        printf("skipped: %s\n", err.message);
        return false;
    }
    must(status, &err);
    cpu = onnx_backend(NULL);
    return cpu != NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_OF(conforms, "light_squeezenet"),
        CASE_OF(conforms, "ch_ppocr_mobile_v2.0_cls_infer"),
        CASE_OF(conforms, "silero_vad_16k_op15"),
        CASE_OF(conforms, "magika"),
        CASE_OF(conforms_without_a_graph, "light_squeezenet"),
        CASE_OF(conforms_without_a_graph, "silero_vad_16k_op15"),
        CASE_OF(outputs_are_those_of_the_cpu, "silero_vad_16k_op15"),
        CASE_OF(outputs_are_those_of_the_cpu, "silero_vad_openvino_16k"),
        CASE_OF(outputs_are_those_of_the_cpu, "magika"),
        CASE_OF(outputs_are_those_of_the_cpu, "light_squeezenet"),
        CASE_OF(outputs_are_those_of_the_cpu, "ch_ppocr_mobile_v2.0_cls_infer"),
        CASE_OF(outputs_are_those_of_the_cpu, "ch_PP-OCRv4_rec_infer"),
        CASE_OF(outputs_are_those_of_the_cpu, "ch_PP-OCRv4_det_infer"),
        CASE_OF(outputs_are_those_of_the_cpu, "PP-OCRv6_rec_small"),
        CASE_OF(outputs_are_those_of_the_cpu, "light_resnet50"),
        CASE_OF(outputs_are_those_of_the_cpu, "light_densenet121"),
        CASE_OF(outputs_are_those_of_the_cpu, "light_shufflenet"),
        CASE_OF(outputs_are_those_of_the_cpu, "all-minilm-l6-v2"),
        cmocka_unit_test(nodes_on_the_cpu_are_refused_or_told),
        CASE_OF(a_cut_model_gives_the_same, "ch_PP-OCRv4_rec_infer"),
        CASE_OF(a_cut_model_gives_the_same, "light_resnet50"),
        cmocka_unit_test(placed_models_take_nothing),
        cmocka_unit_test(runs_cannot_be_ended),
        cmocka_unit_test(a_model_without_a_stream_is_refused),
    };
    int failures = 77;
    if (cases_listed(tests, sizeof tests / sizeof tests[0])) {
        return 0;
    }
    if (make_device() && make_backend()) {
        failures = cmocka_run_group_tests(tests, NULL, NULL);
    }
    aegis_backend_destroy(cpu);
    aegis_backend_destroy(backend);
    aegis_stream_destroy(conformance_stream);
    aegis_device_destroy(device);
    return failures;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Every model that is there, from its file to planned addresses. What it computes is written to
 * files and compared bit for bit with a plain session by test/python/check_onnx_outputs.py, and
 * with the reference outputs that come with some models. */
#include "backend/onnxruntime/inject.h"

#include "integration/onnx_models.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define RUNS 50
#define STATE_JOBS 10

static char dump_dir[1024];
static aegis_backend *backend;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static void write_bytes(
    const char *stem, const char *kind, const char *name, int job, const void *data, uint64_t size)
{
    char path[2048], safe[256];
    snprintf(safe, sizeof safe, "%s", name);
    for (char *at = safe; *at != '\0'; at++) {
        *at = *at == '/' ? '|' : *at;
    }
    snprintf(path, sizeof path, "%s/%s", dump_dir, stem);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/%s.%d.%s", dump_dir, stem, kind, job, safe);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Inputs before the run, outputs after it; the names of the two calls differ only here. */
static void dump(aegis_model *model, const char *stem, bool inputs, int job)
{
    aegis_error err;
    size_t count = 0;
    const aegis_tensor_info *tensors =
        inputs ? aegis_model_inputs(model, &count) : aegis_model_outputs(model, &count);
    for (size_t i = 0; i < count; i++) {
        void *data = NULL;
        uint64_t size = 0;
        must(inputs ? aegis_model_input(model, 0, tensors[i].name, &data, &size, &err)
                    : aegis_model_output(model, 0, tensors[i].name, &data, &size, &err),
             &err);
        assert_int_equal(size, tensors[i].size_bytes);
        write_bytes(stem, inputs ? "in" : "out", tensors[i].name, job, data, size);
    }
}

/* The input that the package's reference output belongs to: element i of n is i / n. */
static void run_reference(aegis_model *model, const char *stem)
{
    aegis_error err;
    char path[2048];
    size_t count = 0;
    void *data = NULL;
    uint64_t size = 0;
    snprintf(path, sizeof path, "%s/models/reference/%s/output_0.pb", onnx_source_dir(), stem);
    if (access(path, R_OK) != 0) {
        return;
    }
    const aegis_tensor_info *inputs = aegis_model_inputs(model, &count);
    assert_int_equal(count, 1);
    must(aegis_model_input(model, 0, inputs[0].name, &data, &size, &err), &err);
    float *values = data;
    for (uint64_t i = 0; i < size / sizeof(float); i++) {
        values[i] = (float)((double)i / (double)(size / sizeof(float)));
    }
    must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
    const aegis_tensor_info *outputs = aegis_model_outputs(model, &count);
    must(aegis_model_output(model, 0, outputs[0].name, &data, &size, &err), &err);
    write_bytes(stem, "ref", "output_0", 0, data, size);
}

/* Jobs whose inputs and outputs are kept, then at most RUNS that must follow the recording. */
static double run_placed(aegis_model *model, const onnx_recipe *recipe, const placed_memory *memory)
{
    aegis_error err;
    aegis_model_spill spill;
    int jobs = recipe->state_count > 0 ? STATE_JOBS : 1;
    for (int job = 0; job < jobs; job++) {
        dump(model, recipe->stem, true, job);
        must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
        aegis_model_commit(model);
        dump(model, recipe->stem, false, job);
    }
    double start = now_ms(), best = 1e9;
    for (int run = 0; run < RUNS && (run < 3 || now_ms() - start < 1500); run++) {
        double before = now_ms();
        must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
        double took = now_ms() - before;
        best = took < best ? took : best;
        aegis_model_last_spill(model, &spill);
        assert_int_equal(spill.bytes, 0);
        assert_int_equal(spill.first_index, -1);
    }
    run_reference(model, recipe->stem);
    placed_check_red_zones(memory);
    return best;
}

static void run_model(const onnx_recipe *recipe)
{
    aegis_error err;
    placed_memory memory;
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT], requests, events, kept;
    uint64_t strays = aegis_onnxruntime_strays();
    double start = now_ms();
    aegis_model *model = onnx_open(backend, recipe->stem);
    double opened = now_ms() - start;
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_estimate_memory(model, by_class, &err), &err);
    aegis_onnxruntime_counts(model, &requests, &events, &kept);
    assert_int_equal(events, 2 * requests);
    placed_make(model, 4096, &memory);
    double best = run_placed(model, recipe, &memory);
    assert_int_equal(aegis_onnxruntime_strays(), strays);
    assert_true(aegis_model_is_valid(model));
    print_message("%-32s %8.2f ms  open %6.0f ms  weights %10" PRIu64 "  prepacked %10" PRIu64
                  " (%" PRIu64 ")  activations %9" PRIu64 " planned %9" PRIu64
                  "%s  requests %4" PRIu64 "  overhead %9" PRIu64 "  loading %10" PRIu64 "%s\n",
                  recipe->stem, best, opened, by_class[AEGIS_MEMORY_WEIGHTS],
                  by_class[AEGIS_MEMORY_PREPACKED], kept, by_class[AEGIS_MEMORY_ACTIVATION],
                  memory.activation_height, memory.activation_optimal ? " opt" : "", requests,
                  aegis_model_overhead_bytes(model), aegis_model_loading_peak_bytes(model),
                  aegis_onnxruntime_optimises_at_load(model) ? "  (at load)" : "");
    aegis_model_close(model);
    placed_free(&memory);
}

static void every_model_runs_at_planned_addresses(void **state)
{
    (void)state;
    RUNTIME_OR_SKIP(backend);
    size_t found = 0;
    const char *only = getenv("AEGISRT_TEST_MODEL");
    for (size_t i = 0; i < ONNX_RECIPE_COUNT; i++) {
        if (onnx_there(ONNX_RECIPES[i].stem) &&
            (only == NULL || strcmp(only, ONNX_RECIPES[i].stem) == 0)) {
            run_model(&ONNX_RECIPES[i]);
            found++;
        }
    }
    if (found == 0) {
        print_message("skipped: no models; 'make models' fetches them\n");
        skip();
    }
}

static void outputs_equal_a_plain_session(void **state)
{
    (void)state;
    RUNTIME_OR_SKIP(backend);
    char command[4096];
    snprintf(command, sizeof command, "%s/.deps/venv/bin/python", onnx_source_dir());
    if (access(command, X_OK) != 0) {
        print_message("skipped: no %s; 'make setup' makes it\n", command);
        skip();
    }
    snprintf(command, sizeof command,
             "'%s/.deps/venv/bin/python' '%s/test/python/check_onnx_outputs.py' '%s/models' '%s'",
             onnx_source_dir(), onnx_source_dir(), onnx_source_dir(), dump_dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_runs_at_planned_addresses),
        cmocka_unit_test(outputs_equal_a_plain_session),
    };
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    snprintf(dump_dir, sizeof dump_dir, "%s/onnx-outputs-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(dump_dir) == NULL) {
        perror(dump_dir);
        return 1;
    }
    backend = onnx_backend(NULL);
    int failures = backend == NULL ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
    aegis_backend_destroy(backend);
    char command[1200];
    snprintf(command, sizeof command, "rm -r '%s'", dump_dir);
    return system(command) != 0 && failures == 0 ? 1 : failures;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run needs beside its weights: AegisRT's plan against ONNX Runtime's own memory pattern.
 *
 *     bench_activations [WORKLOAD]
 *
 * The peer runs each model of the workload on a plain session with its default settings, patterns
 * on, whose tensors come from an allocator that counts: what lives at most during a run, once the
 * pattern is known, beyond what lived before it. That is the pattern's block and the outputs. The
 * same for AegisRT: the planned height of one region for the model's activations and its outputs,
 * each as long as it lives: an output from the event on from which it is written to the end. Such a
 * region is the model's own (test_onnx_outputs runs models in it); on a lane that models share,
 * outputs outlive the job and have bytes of their own: `apart` counts them so. Then all models on
 * one lane: the region that they share, against the largest bound among them, which no plan can
 * undercut. Models that the workload expects to be refused are left out.
 *
 * The peer runs in a process of its own, because ONNX Runtime has one environment a process.
 */
#include "bench.h"
#include "ort.h"

#include "base/base.h"

#include <aegisrt/backend.h>
#include <aegisrt/doctor.h>

#include <sys/wait.h>

#define DEFAULT_WORKLOAD "examples/kiosk.toml"
#define RUNS 4 /* the first finds the pattern out */
#define MOST_MODELS 1024

/* ---- the peer ---- */

typedef struct counting {
    OrtAllocator base;
    const OrtMemoryInfo *info;
    uint64_t live, peak; /* one thread runs */
} counting;

#define HEADER_BYTES 64u

static void *count_alloc(OrtAllocator *self, size_t size)
{
    counting *c = (counting *)(void *)self;
    unsigned char *block = aligned_alloc(HEADER_BYTES, aegis_align_up(size, 64) + HEADER_BYTES);
    ort_require(block != NULL, "no memory", "peer");
    memcpy(block, &size, sizeof size);
    c->live += size;
    c->peak = c->live > c->peak ? c->live : c->peak;
    return block + HEADER_BYTES;
}

static void count_free(OrtAllocator *self, void *pointer)
{
    counting *c = (counting *)(void *)self;
    size_t size;
    if (pointer != NULL) {
        unsigned char *block = (unsigned char *)pointer - HEADER_BYTES;
        memcpy(&size, block, sizeof size);
        c->live -= size;
        free(block);
    }
}

static const OrtMemoryInfo *count_info(const OrtAllocator *self)
{
    return ((const counting *)(const void *)self)->info;
}

static bool is_measured(const aegis_workload_model *model)
{
    return !model->expect_refuse && strcmp(model->backend, "onnxruntime") == 0;
}

/* Writes one number a model to `out`. */
static void run_peer(const aegis_workload *workload, int out)
{
    ort_runtime ort;
    counting c = {.base = {.version = ORT_API_VERSION,
                           .Alloc = count_alloc,
                           .Free = count_free,
                           .Info = count_info,
                           .Reserve = count_alloc}};
    OrtMemoryInfo *info = NULL;
    ort_open(&ort, NULL);
    ort_check(&ort,
              ort.api->CreateMemoryInfo("Cpu", OrtDeviceAllocator, 0, OrtMemTypeDefault, &info),
              "peer");
    c.info = info;
    ort_check(&ort, ort.api->RegisterAllocator(ort.env, &c.base), "peer");
    for (size_t i = 0; i < workload->model_count; i++) {
        uint64_t peak = 0;
        if (is_measured(&workload->models[i])) {
            ort_session session;
            ort_load_with(&ort, &workload->models[i].config, true, &session);
            for (int run = 0; run < RUNS; run++) {
                uint64_t before = c.peak = c.live;
                ort_run(&ort, &session);
                peak = c.peak - before;
            }
            ort_unload(&ort, &session);
        }
        ort_require(write(out, &peak, sizeof peak) == (ssize_t)sizeof peak, "cannot write", "peer");
    }
}

static void measure_peer(const aegis_workload *workload, uint64_t *ret_peaks)
{
    int ends[2], status = 0;
    ort_require(pipe(ends) == 0, "cannot make", "a pipe");
    pid_t child = fork();
    ort_require(child >= 0, "cannot make", "a process");
    if (child == 0) {
        close(ends[0]);
        run_peer(workload, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    for (size_t i = 0; i < workload->model_count; i++) {
        ort_require(read(ends[0], &ret_peaks[i], sizeof ret_peaks[i]) ==
                        (ssize_t)sizeof ret_peaks[i],
                    "the peer ended early at", workload->models[i].name);
    }
    close(ends[0]);
    ort_require(waitpid(child, &status, 0) == child && status == 0, "the peer failed", "");
}

/* ---- AegisRT ---- */

static void must(aegis_status status, const aegis_error *error)
{
    ort_require(status == AEGIS_OK, error->component, error->message);
}

typedef struct planned {
    uint64_t height, bound, outputs, together, together_bound, pattern;
} planned;

/* Activations and outputs of the first slot in one region. */
static void plan_together(const aegis_tensor_lifetime *lifetimes, size_t count, planned *ret)
{
    aegis_error error;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planner = aegis_planner_default();
    const aegis_plan_limits limits = {.capacity_bytes = UINT64_MAX};
    aegis_plan_buffer *buffers = calloc(count + 1, sizeof *buffers);
    uint64_t *offsets = calloc(count + 1, sizeof *offsets);
    aegis_plan_result result;
    size_t used = 0;
    ort_require(buffers != NULL && offsets != NULL, "no memory", "plan");
    for (size_t i = 0; i < count; i++) {
        const aegis_tensor_lifetime *l = &lifetimes[i];
        if ((l->memory_class == AEGIS_MEMORY_ACTIVATION ||
             l->memory_class == AEGIS_MEMORY_OUTPUT) &&
            l->size_bytes > 0) {
            buffers[used] = (aegis_plan_buffer){.id = (uint32_t)used,
                                                .lower = l->start,
                                                .upper = l->end,
                                                .size_bytes = aegis_align_up(l->size_bytes, 64),
                                                .alignment = 64};
            used++;
        }
    }
    must(
        aegis_planner_solve(&planner, buffers, used, &limits, &allocator, offsets, &result, &error),
        &error);
    ret->together = result.height_bytes;
    ret->together_bound = result.lower_bound_bytes;
    free(buffers);
    free(offsets);
}

static void plan_model(aegis_backend *backend,
                       aegis_memory_orchestrator *memory,
                       const aegis_workload_model *wanted,
                       uint32_t index,
                       planned *ret)
{
    aegis_error error;
    aegis_model *model = NULL;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    aegis_model_config config = wanted->config;
    config.residency = AEGIS_RESIDENT; /* weights are no matter here */
    config.slots = 1;
    must(aegis_model_open(backend, &config, &model, &error), &error);
    must(aegis_model_record(model, NULL, &error), &error);
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &error), &error);
    const aegis_memory_demand demand = {
        .model = index, .name = wanted->name, .lifetimes = lifetimes, .lifetime_count = count};
    must(aegis_memory_orchestrator_plan(memory, &demand, &error), &error);
    plan_together(lifetimes, count, ret);
    const aegis_tensor_info *outputs = aegis_model_outputs(model, &count);
    for (size_t i = 0; i < count; i++) {
        ret->outputs += outputs[i].size_bytes;
    }
    aegis_model_close(model);
}

static aegis_memory_totals
plan_all(const aegis_workload *workload, planned *ret_models, uint64_t *ret_largest_bound)
{
    aegis_error error;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planner = aegis_planner_default();
    aegis_device *device = NULL;
    aegis_backend *backend = NULL;
    aegis_memory_orchestrator *memory = NULL;
    aegis_memory_totals totals;
    const aegis_device_config device_config = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 1 << 20};
    const aegis_backend_config config = {
        .runtime = "onnxruntime", .cache_dir = workload->cache_dir, .consumer = "bench"};
    const aegis_memory_config memory_config = {.capacity_bytes = UINT64_C(1) << 40, .lanes = 1};
    must(aegis_device_create(&device_config, &allocator, &device, &error), &error);
    must(aegis_backend_create(&config, device, &allocator, &backend, &error), &error);
    must(aegis_memory_orchestrator_create(&memory_config, &planner, &allocator, &memory, &error),
         &error);
    for (size_t i = 0; i < workload->model_count; i++) {
        if (is_measured(&workload->models[i])) {
            plan_model(backend, memory, &workload->models[i], (uint32_t)i, &ret_models[i]);
        }
    }
    must(aegis_memory_orchestrator_seal(memory, &error), &error);
    *ret_largest_bound = 0;
    for (size_t i = 0; i < workload->model_count; i++) {
        const aegis_memory_binding *binding;
        if (is_measured(&workload->models[i])) {
            must(aegis_memory_orchestrator_bind(memory, (uint32_t)i, &binding, &error), &error);
            ret_models[i].height = binding->activation_height;
            ret_models[i].bound = binding->activation_lower_bound;
            *ret_largest_bound = binding->activation_lower_bound > *ret_largest_bound
                                     ? binding->activation_lower_bound
                                     : *ret_largest_bound;
        }
    }
    aegis_memory_orchestrator_totals(memory, &totals);
    aegis_memory_orchestrator_destroy(memory);
    aegis_backend_destroy(backend);
    aegis_device_destroy(device);
    return totals;
}

/* ---- both ---- */

static void report_model(bench_report *report, const char *name, const planned *model)
{
    uint64_t ours = model->together;
    json_t *result = bench_result(report, name, "bytes");
    json_object_set_new(result, "planned", json_integer((json_int_t)model->height));
    json_object_set_new(result, "lower_bound", json_integer((json_int_t)model->bound));
    json_object_set_new(result, "outputs", json_integer((json_int_t)model->outputs));
    json_object_set_new(result, "apart",
                        json_integer((json_int_t)(model->height + model->outputs)));
    json_object_set_new(result, "together_bound", json_integer((json_int_t)model->together_bound));
    json_object_set_new(result, "aegisrt", json_integer((json_int_t)ours));
    json_object_set_new(result, "onnxruntime", json_integer((json_int_t)model->pattern));
    json_object_set_new(result, "lower_by", json_real(1 - (double)ours / (double)model->pattern));
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : DEFAULT_WORKLOAD;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_error error;
    uint64_t bound = 0, pattern_sum = 0;
    must(aegis_workload_load(path, &allocator, &workload, &error), &error);
    ort_require(workload->model_count <= MOST_MODELS, "too many models in", path);
    planned *models = calloc(workload->model_count, sizeof *models);
    uint64_t *peaks = calloc(workload->model_count, sizeof *peaks);
    ort_require(models != NULL && peaks != NULL, "no memory", path);
    measure_peer(workload, peaks);
    aegis_memory_totals totals = plan_all(workload, models, &bound);

    bench_report report = bench_report_begin("activations");
    json_object_set_new(report.root, "workload", json_string(path));
    for (size_t i = 0; i < workload->model_count; i++) {
        if (is_measured(&workload->models[i])) {
            models[i].pattern = peaks[i];
            pattern_sum += peaks[i];
            report_model(&report, workload->models[i].name, &models[i]);
        }
    }
    bench_report_value(&report, "onnxruntime_sum", "bytes", (double)pattern_sum);
    bench_report_value(&report, "one_lane_region", "bytes", (double)totals.activations_planned);
    bench_report_value(&report, "largest_lower_bound", "bytes", (double)bound);
    bench_report_value(&report, "region_over_bound", "ratio",
                       (double)totals.activations_planned / (double)bound);
    bench_report_end(&report);
    free(models);
    free(peaks);
    aegis_workload_free(workload);
    return 0;
}

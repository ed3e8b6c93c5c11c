/* SPDX-License-Identifier: Apache-2.0 */
/* Real models cut into segments: what they compute is what the whole model computes, bit for bit,
 * in trial mode and at planned addresses; and what goes wrong in one segment. */
#include "backend/onnxruntime/inject.h"

#include "integration/onnx_models.h"
#include "support/backend_conformance.h"
#include "support/test_allocator.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define MOST_SEGMENTS 8
#define STATE_JOBS 5
#define HEAVY_BYTES (UINT64_C(100) << 20) /* of weights: such a model is cut only once */

static aegis_backend *backend;
static char dump_dir[1024];
static size_t models_cut;

static void need(const char *stem)
{
    if (!onnx_there(stem)) {
        print_message("skipped: no models/%s.onnx; 'make models' fetches it\n", stem);
        skip();
    }
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* ---- cuts ---- */

typedef struct cutting {
    uint32_t positions[MOST_SEGMENTS];
    size_t count;
    uint64_t live_bytes;
} cutting;

/* The candidates nearest to equal elapsed times. */
static cutting cut_evenly(const aegis_cut_candidate *candidates,
                          size_t count,
                          uint32_t segments,
                          uint64_t whole_ns)
{
    cutting cuts = {.count = 0};
    segments = count + 1 < segments ? (uint32_t)count + 1 : segments;
    for (uint32_t s = 1; s < segments; s++) {
        uint64_t wanted = whole_ns * s / segments, best = UINT64_MAX;
        size_t nearest = count;
        size_t left = segments - 1 - s; /* cuts that come behind this one */
        for (size_t i = 0; i + left < count; i++) {
            uint64_t at = candidates[i].elapsed_ns;
            uint64_t gap = at > wanted ? at - wanted : wanted - at;
            bool after = cuts.count == 0 || candidates[i].position > cuts.positions[cuts.count - 1];
            if (after && gap < best) {
                best = gap;
                nearest = i;
            }
        }
        if (nearest < count) {
            cuts.positions[cuts.count++] = candidates[nearest].position;
            cuts.live_bytes += candidates[nearest].live_bytes;
        }
    }
    return cuts;
}

static aegis_model *open_cut(const char *stem, const cutting *cuts)
{
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    aegis_model *model = NULL;
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    config.cuts = cuts->count > 0 ? cuts->positions : NULL;
    config.cut_count = cuts->count;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    assert_int_equal(aegis_model_segment_count(model), cuts->count + 1);
    return model;
}

/* Cuts at even times; false when the model has too few places or cannot be cut. */
static bool find_cuts(const char *stem, uint32_t segments, cutting *ret_cuts)
{
    aegis_error err;
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    aegis_model *model = onnx_open(backend, stem);
    must(aegis_model_record(model, NULL, &err), &err);
    aegis_status status = aegis_model_cut_candidates(model, NULL, &candidates, &count, &err);
    if (status == AEGIS_OK && count > 0) {
        *ret_cuts = cut_evenly(candidates, count, segments, candidates[count - 1].elapsed_ns);
    }
    aegis_model_close(model);
    return status == AEGIS_OK && count > 0 && ret_cuts->count + 1 == segments;
}

/* ---- outputs ---- */

/* For the comparison with a plain session. */
static void dump(aegis_model *model, const char *stem, bool inputs, int job)
{
    aegis_error err;
    char path[2048], safe[256];
    size_t count = 0;
    const aegis_tensor_info *tensors =
        inputs ? aegis_model_inputs(model, &count) : aegis_model_outputs(model, &count);
    snprintf(path, sizeof path, "%s/%s", dump_dir, stem);
    mkdir(path, 0755);
    for (size_t i = 0; i < count; i++) {
        void *data = NULL;
        uint64_t size = 0;
        must(inputs ? aegis_model_input(model, 0, tensors[i].name, &data, &size, &err)
                    : aegis_model_output(model, 0, tensors[i].name, &data, &size, &err),
             &err);
        snprintf(safe, sizeof safe, "%s", tensors[i].name);
        for (char *at = safe; *at != '\0'; at++) {
            if (*at == '/') {
                *at = '|';
            }
        }
        snprintf(path, sizeof path, "%s/%s/%s.%d.%s", dump_dir, stem, inputs ? "in" : "out", job,
                 safe);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(data, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
    }
}

/* Jobs in sequence, each committed: outputs of all of them. With `stem` they are kept in files. */
static conformance_outputs run_jobs_of(aegis_model *model, int jobs, const char *stem)
{
    aegis_error err;
    conformance_outputs all = {NULL, 0};
    must(aegis_model_reset(model, &err), &err);
    for (int job = 0; job < jobs; job++) {
        if (stem != NULL) {
            dump(model, stem, true, job);
        }
        conformance_run(model, 0);
        aegis_model_commit(model);
        if (stem != NULL) {
            dump(model, stem, false, job);
        }
        conformance_outputs one = conformance_read(model, 0);
        all.bytes = realloc(all.bytes, all.size + one.size);
        assert_non_null(all.bytes);
        memcpy(all.bytes + all.size, one.bytes, one.size);
        all.size += one.size;
        free(one.bytes);
    }
    must(aegis_model_reset(model, &err), &err);
    return all;
}

static conformance_outputs run_jobs(aegis_model *model, int jobs)
{
    return run_jobs_of(model, jobs, NULL);
}

static void expect_jobs(aegis_model *model, int jobs, const conformance_outputs *wanted)
{
    conformance_outputs got = run_jobs(model, jobs);
    assert_int_equal(got.size, wanted->size);
    assert_memory_equal(got.bytes, wanted->bytes, got.size);
    free(got.bytes);
}

/* ---- every model ---- */

typedef struct figures {
    double sum_ms, longest_ms;
} figures;

/* The best of some runs of each segment; every run must follow its recording. */
static figures time_segments(aegis_model *model, double budget_ms)
{
    aegis_error err;
    aegis_model_spill spill;
    figures f = {0, 0};
    double best[MOST_SEGMENTS] = {0}, start = now_ms();
    for (int run = 0; run < 10 && (run == 0 || now_ms() - start < budget_ms); run++) {
        for (uint32_t s = 0; s < aegis_model_segment_count(model); s++) {
            double before = now_ms();
            must(aegis_model_execute(model, s, 0, NULL, &err), &err);
            double took = now_ms() - before;
            best[s] = run == 0 || took < best[s] ? took : best[s];
            aegis_model_last_spill(model, &spill);
            assert_int_equal(spill.bytes, 0);
            assert_int_equal(spill.first_index, -1);
        }
    }
    for (uint32_t s = 0; s < aegis_model_segment_count(model); s++) {
        f.sum_ms += best[s];
        f.longest_ms = best[s] > f.longest_ms ? best[s] : f.longest_ms;
    }
    return f;
}

/* Weights are stored once, whatever the cuts, and the surface is the same. */
static void compare_classes(const uint64_t *whole, const uint64_t *cut)
{
    assert_int_equal(cut[AEGIS_MEMORY_WEIGHTS], whole[AEGIS_MEMORY_WEIGHTS]);
    assert_int_equal(cut[AEGIS_MEMORY_STATE], whole[AEGIS_MEMORY_STATE]);
    assert_int_equal(cut[AEGIS_MEMORY_INPUT], whole[AEGIS_MEMORY_INPUT]);
    assert_int_equal(cut[AEGIS_MEMORY_OUTPUT], whole[AEGIS_MEMORY_OUTPUT]);
    assert_int_equal(whole[AEGIS_MEMORY_BOUNDARY], 0);
    assert_true(cut[AEGIS_MEMORY_BOUNDARY] > 0);
}

static void run_cut(const onnx_recipe *recipe,
                    const cutting *cuts,
                    int jobs,
                    const conformance_outputs *wanted,
                    const uint64_t *whole_classes)
{
    aegis_error err;
    placed_memory memory;
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT];
    aegis_model *model = open_cut(recipe->stem, cuts);
    expect_jobs(model, jobs, wanted);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_estimate_memory(model, by_class, &err), &err);
    compare_classes(whole_classes, by_class);
    placed_make(model, 4096, &memory);
    expect_jobs(model, jobs, wanted);
    figures f = time_segments(model, 60);
    conformance_outputs kept = run_jobs_of(model, jobs, recipe->stem);
    assert_int_equal(kept.size, wanted->size);
    assert_memory_equal(kept.bytes, wanted->bytes, kept.size);
    free(kept.bytes);
    placed_check_red_zones(&memory);
    print_message("  %zu segments: sum %8.2f ms, longest %8.2f ms  activations %9" PRIu64
                  " boundary %8" PRIu64 " planned %8" PRIu64 " prepacked %10" PRIu64
                  " overhead %8" PRIu64 " loading %9" PRIu64 "\n",
                  cuts->count + 1, f.sum_ms, f.longest_ms, memory.activation_height,
                  by_class[AEGIS_MEMORY_BOUNDARY], memory.boundary_height,
                  by_class[AEGIS_MEMORY_PREPACKED], aegis_model_overhead_bytes(model),
                  aegis_model_loading_peak_bytes(model));
    aegis_model_close(model);
    placed_free(&memory);
}

static bool check_model(const onnx_recipe *recipe)
{
    aegis_error err;
    placed_memory memory;
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT];
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    cutting cuts[3] = {{.count = 0}};
    int jobs = recipe->state_count > 0 ? STATE_JOBS : 1;
    aegis_model *model = onnx_open(backend, recipe->stem);
    conformance_outputs wanted = run_jobs(model, jobs);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_STATE);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_estimate_memory(model, by_class, &err), &err);
    aegis_status status = aegis_model_cut_candidates(model, NULL, &candidates, &count, &err);
    if (status != AEGIS_OK) {
        assert_int_equal(status, AEGIS_ERROR_UNSUPPORTED);
        print_message("%-32s %s\n", recipe->stem, err.message);
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(candidates[i].live_tensors >= 1 && candidates[i].live_tensors <= 8);
        assert_true(candidates[i].live_bytes > 0);
        assert_true(i == 0 || candidates[i].position > candidates[i - 1].position);
        assert_true(i == 0 || candidates[i].elapsed_ns >= candidates[i - 1].elapsed_ns);
    }
    uint64_t end = count > 0 ? candidates[count - 1].elapsed_ns : 0;
    for (uint32_t i = 0; i < 3 && count > 0; i++) {
        cuts[i] = cut_evenly(candidates, count, 2u << i, end);
    }
    placed_make(model, 4096, &memory);
    expect_jobs(model, jobs, &wanted);
    figures whole = time_segments(model, 60);
    if (count > 0) {
        print_message("%-32s %8.2f ms, %zu candidates up to %.2f ms  activations %9" PRIu64 "\n",
                      recipe->stem, whole.sum_ms, count, (double)end / 1e6,
                      memory.activation_height);
    }
    aegis_model_close(model);
    placed_free(&memory);
    for (uint32_t i = 0; i < 3; i++) {
        bool heavy = by_class[AEGIS_MEMORY_WEIGHTS] > HEAVY_BYTES;
        bool more = cuts[i].count > 0 && (i == 0 || cuts[i].count > cuts[i - 1].count);
        more = more && (!heavy || i == 2);
        if (more) {
            run_cut(recipe, &cuts[i], jobs, &wanted, by_class);
        }
    }
    free(wanted.bytes);
    return count > 0;
}

static void every_model_computes_the_same_when_cut(void **state)
{
    (void)state;
    size_t found = 0, cut = 0;
    RUNTIME_OR_SKIP(backend);
    const char *only = getenv("AEGISRT_TEST_MODEL");
    for (size_t i = 0; i < ONNX_RECIPE_COUNT; i++) {
        if (onnx_there(ONNX_RECIPES[i].stem) &&
            (only == NULL || strcmp(only, ONNX_RECIPES[i].stem) == 0)) {
            cut += check_model(&ONNX_RECIPES[i]);
            found++;
        }
    }
    if (found == 0) {
        print_message("skipped: no models; 'make models' fetches them\n");
        skip();
    }
    assert_true(cut > 0 || only != NULL);
    models_cut = cut;
}

static void cut_outputs_equal_a_plain_session(void **state)
{
    (void)state;
    char command[4096];
    RUNTIME_OR_SKIP(backend);
    if (models_cut == 0) {
        print_message("skipped: no model was cut\n");
        skip();
    }
    snprintf(command, sizeof command, "%s/.deps/venv/bin/python", onnx_source_dir());
    if (access(command, X_OK) != 0) {
        print_message("skipped: no %s; 'make setup' makes it\n", command);
        skip();
    }
    snprintf(command, sizeof command,
             "'%s/.deps/venv/bin/python' '%s/test/python/check_onnx_outputs.py' '%s/models' '%s' "
             "--no-reference",
             onnx_source_dir(), onnx_source_dir(), onnx_source_dir(), dump_dir);
    assert_int_equal(system(command), 0);
}

/* ---- conformance ---- */

static void check_conformance(const char *stem, uint32_t segments, unsigned threads)
{
    aegis_source sources[4];
    char path[1024];
    cutting cuts = {.count = 0};
    RUNTIME_OR_SKIP(backend);
    need(stem);
    assert_true(find_cuts(stem, segments, &cuts));
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    config.cuts = cuts.positions;
    config.cut_count = cuts.count;
    config.threads = threads;
    conformance_check(backend, &config);
}

static void cut_models_conform(void **state)
{
    (void)state;
    check_conformance("silero_vad_16k_op15", 3, 1);
    check_conformance("light_squeezenet", 5, 1);
    check_conformance("light_shufflenet", 4, 2);
}

/* ---- order of segments ---- */

static void segments_of_a_job_run_in_order(void **state)
{
    (void)state;
    aegis_error err;
    cutting cuts = {.count = 0};
    RUNTIME_OR_SKIP(backend);
    need("light_squeezenet");
    assert_true(find_cuts("light_squeezenet", 4, &cuts));
    aegis_source sources[4];
    char path[1024];
    aegis_model *model = NULL;
    aegis_model_config config =
        onnx_config(onnx_find("light_squeezenet"), sources, path, sizeof path);
    config.slots = 2;
    config.cuts = cuts.positions;
    config.cut_count = cuts.count;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    assert_int_equal(aegis_model_execute(model, 1, 0, NULL, &err), AEGIS_ERROR_STATE);
    assert_non_null(strstr(err.message, "in order"));
    must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
    assert_int_equal(aegis_model_execute(model, 2, 0, NULL, &err), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_model_execute(model, 1, 1, NULL, &err), AEGIS_ERROR_STATE);
    must(aegis_model_execute(model, 0, 0, NULL, &err), &err); /* again: reads what it read */
    must(aegis_model_execute(model, 1, 0, NULL, &err), &err);
    must(aegis_model_execute(model, 1, 0, NULL, &err), &err);
    must(aegis_model_execute(model, 2, 0, NULL, &err), &err);
    assert_int_equal(aegis_model_execute(model, 1, 0, NULL, &err), AEGIS_ERROR_STATE);
    must(aegis_model_execute(model, 3, 0, NULL, &err), &err);
    conformance_outputs first = conformance_read(model, 0);
    conformance_run(model, 1);
    assert_true(conformance_equal(model, 1, &first));
    free(first.bytes);
    aegis_model_close(model);
}

/* ---- what goes wrong in one segment ---- */

typedef struct killer {
    aegis_model *model;
    _Atomic bool done;
} killer;

static void *kill_until_done(void *argument)
{
    killer *self = argument;
    while (!atomic_load(&self->done)) {
        aegis_model_terminate(self->model);
    }
    return NULL;
}

/* Ends segment `which` while it runs: the job is gone, and the next one is whole. */
static void end_in_segment(aegis_model *model, uint32_t which)
{
    aegis_error err;
    pthread_t thread;
    killer assassin = {.model = model};
    aegis_status status = AEGIS_OK;
    for (uint32_t s = 0; s < which; s++) {
        must(aegis_model_execute(model, s, 0, NULL, &err), &err);
    }
    assert_int_equal(pthread_create(&thread, NULL, kill_until_done, &assassin), 0);
    for (int run = 0; run < 2000 && status == AEGIS_OK; run++) {
        status = aegis_model_execute(model, which, 0, NULL, &err);
    }
    atomic_store(&assassin.done, true);
    pthread_join(thread, NULL);
    assert_int_equal(status, AEGIS_ERROR_TERMINATED);
}

static void job_ended_in_the_middle_leaves_the_next_one_whole(void **state)
{
    (void)state;
    static const char *const stems[] = {"light_densenet121", "silero_vad_16k_op15"};
    RUNTIME_OR_SKIP(backend);
    for (size_t i = 0; i < 2; i++) {
        aegis_error err;
        placed_memory memory;
        cutting cuts = {.count = 0};
        need(stems[i]);
        assert_true(find_cuts(stems[i], 4, &cuts));
        aegis_model *model = open_cut(stems[i], &cuts);
        must(aegis_model_record(model, NULL, &err), &err);
        placed_make(model, 4096, &memory);
        conformance_outputs wanted = run_jobs(model, 3);
        must(aegis_model_reset(model, &err), &err);
        for (uint32_t s = 0; s < 4; s++) {
            end_in_segment(model, s);
            aegis_model_commit(model); /* nothing was completed */
            expect_jobs(model, 3, &wanted);
        }
        placed_check_red_zones(&memory);
        aegis_model_close(model);
        placed_free(&memory);
        free(wanted.bytes);
    }
}

/* The job stops where the departure was; the state does not move. */
static void every_allocation_of_every_segment_may_ask_for_more(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model_spill spill;
    placed_memory memory;
    cutting cuts = {.count = 0};
    RUNTIME_OR_SKIP(backend);
    need("silero_vad_16k_op15");
    assert_true(find_cuts("silero_vad_16k_op15", 4, &cuts));
    aegis_model *model = open_cut("silero_vad_16k_op15", &cuts);
    must(aegis_model_record(model, NULL, &err), &err);
    placed_make(model, 1 << 20, &memory);
    conformance_outputs wanted = run_jobs(model, 2);
    for (uint32_t s = 0; s < 4; s++) {
        uint64_t requests, events, kept;
        aegis_onnxruntime_counts_segment(model, s, &requests, &events, &kept);
        for (uint64_t index = 0; index < requests; index++) {
            for (uint32_t before = 0; before < s; before++) {
                must(aegis_model_execute(model, before, 0, NULL, &err), &err);
            }
            bool beyond = index % 2 == 1; /* of the spill */
            aegis_onnxruntime_inject_segment(model, s, (int64_t)index, beyond ? 2 << 20 : 64);
            assert_int_equal(aegis_model_execute(model, s, 0, NULL, &err),
                             beyond ? AEGIS_ERROR_BUDGET_EXCEEDED : AEGIS_ERROR_DEPARTURE);
            aegis_model_last_spill(model, &spill);
            assert_int_equal(spill.first_index, index);
            assert_true(spill.bytes > 0);
            aegis_onnxruntime_inject_segment(model, s, -1, 0);
            if (s + 1 < 4) {
                assert_int_equal(aegis_model_execute(model, s + 1, 0, NULL, &err),
                                 AEGIS_ERROR_STATE);
            }
            aegis_model_commit(model);
            expect_jobs(model, 2, &wanted);
        }
    }
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
    free(wanted.bytes);
}

/* ---- opening ---- */

static void expect_refused(
    const char *stem, const uint32_t *cuts, size_t count, aegis_status wanted, const char *part)
{
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    aegis_model *model = NULL;
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    config.cuts = cuts;
    config.cut_count = count;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), wanted);
    assert_null(model);
    if (strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, part);
    }
}

static void positions_outside_of_the_graph_are_refused(void **state)
{
    (void)state;
    static const uint32_t zero[] = {0}, twice[] = {3, 3}, falling[] = {4, 2}, beyond[] = {100000};
    uint32_t many[300];
    RUNTIME_OR_SKIP(backend);
    need("silero_vad_openvino_16k");
    const char *stem = "silero_vad_openvino_16k";
    for (uint32_t i = 0; i < 300; i++) {
        many[i] = i + 1;
    }
    expect_refused(stem, zero, 1, AEGIS_ERROR_CONFIG, "begin at 1");
    expect_refused(stem, twice, 2, AEGIS_ERROR_CONFIG, "must ascend");
    expect_refused(stem, falling, 2, AEGIS_ERROR_CONFIG, "must ascend");
    expect_refused(stem, beyond, 1, AEGIS_ERROR_CONFIG, "between 1 and");
    expect_refused(stem, many, 300, AEGIS_ERROR_CONFIG, "at most 255");
}

static void control_flow_that_has_no_positions_stays_whole(void **state)
{
    (void)state;
    static const uint32_t cuts[] = {1};
    aegis_error err;
    char path[1200];
    aegis_model *model = NULL;
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    aegis_source random = {.kind = AEGIS_SOURCE_RANDOM};
    RUNTIME_OR_SKIP(backend);
    snprintf(path, sizeof path, "%s/test/integration/data/if_same_names.onnx", onnx_source_dir());
    aegis_model_config config = {.name = "if", .path = path, .sources = &random, .source_count = 1};
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    aegis_status status = aegis_model_cut_candidates(model, NULL, &candidates, &count, &err);
    bool at_load = aegis_onnxruntime_optimises_at_load(model);
    aegis_model_close(model);
    assert_int_equal(status, at_load ? AEGIS_ERROR_UNSUPPORTED : AEGIS_OK);
    if (at_load) {
        assert_non_null(strstr(err.message, "cannot be cut"));
        config.cuts = cuts;
        config.cut_count = 1;
        model = NULL;
        assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_UNSUPPORTED);
        assert_null(model);
    }
}

/* The one entry of `folder` whose name begins so; all others must be known. */
static void find_entry(const char *folder, const char *prefix, char *path, size_t size)
{
    DIR *listing = opendir(folder);
    size_t found = 0;
    assert_non_null(listing);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        assert_null(strstr(entry->d_name, "ing-")); /* .making-, .cutting- */
        assert_null(strstr(entry->d_name, ".profile-"));
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            snprintf(path, size, "%s/%s", folder, entry->d_name);
            found++;
        }
    }
    closedir(listing);
    assert_int_equal(found, 1);
}

static void flip_byte(const char *path)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long middle = ftell(file) / 2;
    fseek(file, middle, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, middle, SEEK_SET);
    fputc(byte ^ 0x20, file);
    assert_int_equal(fclose(file), 0);
}

static void damaged_segments_are_refused_and_made_anew(void **state)
{
    (void)state;
    static const char *const files[] = {"segment-000.onnx", "segment-002.onnx", "segments.json"};
    static const uint32_t cuts[] = {3, 9};
    aegis_error err;
    char cache[1200], compiled[1600], cut[2000], path[2200], command[2200];
    aegis_source sources[4];
    char source[1024];
    RUNTIME_OR_SKIP(backend);
    need("silero_vad_openvino_16k");
    snprintf(cache, sizeof cache, "%s/cache", dump_dir);
    aegis_backend *own = onnx_backend(cache);
    aegis_model_config config =
        onnx_config(onnx_find("silero_vad_openvino_16k"), sources, source, sizeof source);
    config.cuts = cuts;
    config.cut_count = 2;
    for (int i = 0; i < 4; i++) {
        aegis_model *model = NULL;
        must(aegis_model_open(own, &config, &model, &err), &err); /* makes them */
        aegis_model_close(model);
        model = NULL;
        must(aegis_model_open(own, &config, &model, &err), &err); /* finds them */
        aegis_model_close(model);
        model = NULL;
        find_entry(cache, "silero", compiled, sizeof compiled);
        find_entry(compiled, "cut-", cut, sizeof cut);
        if (i < 3) {
            snprintf(path, sizeof path, "%s/%s", cut, files[i]);
            flip_byte(path);
        } else {
            snprintf(path, sizeof path, "%s/segment-001.onnx", cut);
            assert_int_equal(unlink(path), 0);
        }
        assert_int_equal(aegis_model_open(own, &config, &model, &err),
                         AEGIS_ERROR_ENGINE_DESERIALIZE);
        assert_non_null(strstr(err.message, "remove the folder"));
        assert_null(model);
        snprintf(command, sizeof command, "rm -r '%s'", cut);
        assert_int_equal(system(command), 0);
    }
    aegis_backend_destroy(own);
    snprintf(command, sizeof command, "rm -r '%s'", cache);
    assert_int_equal(system(command), 0);
}

static aegis_status use_once(const aegis_allocator *allocator)
{
    static const uint32_t cuts[] = {3, 9};
    aegis_error err;
    char cache[1024], source[1024];
    aegis_source sources[4];
    aegis_backend *own = NULL;
    aegis_model *model = NULL;
    onnx_cache_dir(cache, sizeof cache);
    aegis_backend_config backend_config = {
        .runtime = "onnxruntime", .cache_dir = cache, .consumer = "a test"};
    aegis_status status = aegis_backend_create(&backend_config, NULL, allocator, &own, &err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_model_config config =
        onnx_config(onnx_find("silero_vad_openvino_16k"), sources, source, sizeof source);
    config.cuts = cuts;
    config.cut_count = 2;
    status = aegis_model_open(own, &config, &model, &err);
    if (status == AEGIS_OK) {
        status = aegis_model_record(model, NULL, &err);
    }
    aegis_model_close(model);
    aegis_backend_destroy(own);
    return status;
}

static void every_failed_allocation_of_opening_is_given_back(void **state)
{
    (void)state;
    RUNTIME_OR_SKIP(backend);
    need("silero_vad_openvino_16k");
    test_allocator counter = {.calls = 0};
    aegis_allocator allocator = test_allocator_make(&counter);
    assert_int_equal(use_once(&allocator), AEGIS_OK); /* makes the segments */
    counter.calls = 0;
    assert_int_equal(use_once(&allocator), AEGIS_OK);
    uint64_t calls = counter.calls;
    print_message("%" PRIu64 " allocations\n", calls);
    for (uint64_t at = 1; at <= calls; at++) {
        counter.calls = 0;
        counter.fail_at = at;
        aegis_status status = use_once(&allocator);
        if (status != AEGIS_ERROR_NO_MEMORY) {
            fail_msg("allocation %" PRIu64 " failed, and the answer was %s", at,
                     aegis_status_name(status));
        }
        assert_int_equal(counter.blocks, 0);
        assert_int_equal(counter.wrong_sizes, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_computes_the_same_when_cut),
        cmocka_unit_test(cut_outputs_equal_a_plain_session),
        cmocka_unit_test(cut_models_conform),
        cmocka_unit_test(segments_of_a_job_run_in_order),
        cmocka_unit_test(job_ended_in_the_middle_leaves_the_next_one_whole),
        cmocka_unit_test(every_allocation_of_every_segment_may_ask_for_more),
        cmocka_unit_test(positions_outside_of_the_graph_are_refused),
        cmocka_unit_test(control_flow_that_has_no_positions_stays_whole),
        cmocka_unit_test(damaged_segments_are_refused_and_made_anew),
        cmocka_unit_test(every_failed_allocation_of_opening_is_given_back),
    };
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    char command[2400], cache[1024];
    snprintf(dump_dir, sizeof dump_dir, "%s/onnx-cuts-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(dump_dir) == NULL) {
        perror(dump_dir);
        return 1;
    }
    backend = onnx_backend(NULL);
    int failures = backend == NULL ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
    aegis_backend_destroy(backend);
    /* Cuts follow measured times, so that each run of this test makes others. */
    onnx_cache_dir(cache, sizeof cache);
    snprintf(command, sizeof command, "rm -rf '%s' '%s'/*/cut-*", dump_dir, cache);
    return system(command) != 0 && failures == 0 ? 1 : failures;
}

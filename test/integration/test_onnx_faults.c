/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong with models, files and budgets, and that it stays with the model that did it. */
#include "backend/onnxruntime/inject.h"

#include "integration/onnx_models.h"
#include "support/backend_conformance.h"

#include <dirent.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static aegis_backend *backend;
static char folder[1024];
static size_t threads_at_start;

static void need(const char *stem)
{
    if (!onnx_there(stem)) {
        print_message("skipped: no models/%s.onnx; 'make models' fetches it\n", stem);
        skip();
    }
}

static aegis_model *open_placed(const char *stem, uint64_t spill, placed_memory *memory)
{
    aegis_error err;
    aegis_model *model = onnx_open(backend, stem);
    must(aegis_model_record(model, NULL, &err), &err);
    placed_make(model, spill, memory);
    return model;
}

static void data_path(const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/test/integration/data/%s", onnx_source_dir(), name);
}

/* ---- departures ---- */

static void another_sample_rate_departs_and_the_next_run_is_good(void **state)
{
    (void)state;
    static const char *const stems[] = {"silero_vad", "silero_vad_op18_ifless"};
    for (size_t i = 0; i < 2; i++) {
        aegis_error err;
        aegis_model_spill spill;
        placed_memory memory;
        void *rate = NULL;
        uint64_t size = 0;
        need(stems[i]);
        aegis_model *model = open_placed(stems[i], 1 << 20, &memory);
        conformance_run(model, 0);
        conformance_outputs good = conformance_read(model, 0);
        must(aegis_model_input(model, 0, "sr", &rate, &size, &err), &err);
        *(int64_t *)rate = 8000;
        assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_DEPARTURE);
        assert_int_equal(err.category, AEGIS_CATEGORY_PERMANENT);
        aegis_model_last_spill(model, &spill);
        assert_true(spill.first_index >= 0 && spill.bytes > 0);
        print_message("%s: %s\n", stems[i], err.message);
        assert_true(aegis_model_is_valid(model));
        *(int64_t *)rate = 16000;
        conformance_run(model, 0);
        assert_true(conformance_equal(model, 0, &good));
        placed_check_red_zones(&memory);
        aegis_model_close(model);
        placed_free(&memory);
        free(good.bytes);
    }
}

/* Each allocation in turn asks for more; `more` decides whether the spill suffices. */
static void
inject_everywhere(const char *stem, uint64_t more, uint64_t spill_bytes, aegis_status wanted)
{
    aegis_error err;
    aegis_model_spill spill;
    placed_memory memory;
    uint64_t requests, events, kept;
    need(stem);
    aegis_model *model = open_placed(stem, spill_bytes, &memory);
    aegis_onnxruntime_counts(model, &requests, &events, &kept);
    conformance_run(model, 0);
    conformance_outputs good = conformance_read(model, 0);
    for (uint64_t index = 0; index < requests; index++) {
        aegis_onnxruntime_inject(model, (int64_t)index, more);
        assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), wanted);
        aegis_model_last_spill(model, &spill);
        assert_int_equal(spill.first_index, index);
        assert_int_equal(spill.asked_bytes, spill.expected_bytes + more);
        aegis_onnxruntime_inject(model, -1, 0);
        conformance_run(model, 0);
        assert_true(conformance_equal(model, 0, &good));
    }
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
    free(good.bytes);
}

static void every_allocation_may_ask_for_more(void **state)
{
    (void)state;
    inject_everywhere("silero_vad_16k_op15", 64, 1 << 20, AEGIS_ERROR_DEPARTURE);
    inject_everywhere("silero_vad", 64, 1 << 20, AEGIS_ERROR_DEPARTURE);
    inject_everywhere("light_squeezenet", 4096, 8 << 20, AEGIS_ERROR_DEPARTURE);
    inject_everywhere("magika", 1, 8 << 20, AEGIS_ERROR_DEPARTURE);
}

static void past_the_spill_the_process_survives(void **state)
{
    (void)state;
    inject_everywhere("silero_vad_16k_op15", 8192, 4096, AEGIS_ERROR_BUDGET_EXCEEDED);
    /* Past the emergency reserve as well. */
    inject_everywhere("silero_vad_16k_sequence", UINT64_C(100) << 20, 4096,
                      AEGIS_ERROR_BUDGET_EXCEEDED);
}

static void sizes_by_value_depart_and_other_models_do_not_notice(void **state)
{
    (void)state;
    aegis_error err;
    char path[1200];
    void *data = NULL;
    uint64_t size = 0;
    placed_memory memory, other_memory;
    aegis_model *model = NULL;
    aegis_source ones = {.kind = AEGIS_SOURCE_CONSTANT, .constant = 1};
    need("silero_vad_16k_op15");
    aegis_model *other = open_placed("silero_vad_16k_op15", 4096, &other_memory);
    conformance_run(other, 0);
    conformance_outputs good = conformance_read(other, 0);
    data_path("size_by_value.onnx", path, sizeof path);
    aegis_model_config config = {.name = "v", .path = path, .sources = &ones, .source_count = 1};
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    placed_make(model, 1 << 16, &memory);
    conformance_run(model, 0);
    must(aegis_model_input(model, 0, "x", &data, &size, &err), &err);
    memset(data, 0, size / 2);
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_DEPARTURE);
    conformance_run(other, 0);
    assert_true(conformance_equal(other, 0, &good));
    aegis_model_close(model);
    aegis_model_close(other);
    placed_free(&memory);
    placed_free(&other_memory);
    free(good.bytes);
}

/* ---- termination ---- */

typedef struct killer {
    aegis_model *model;
    atomic_bool done;
} killer;

static void *kill_until_done(void *argument)
{
    killer *self = argument;
    while (!atomic_load(&self->done)) {
        aegis_model_terminate(self->model);
    }
    return NULL;
}

static void terminated_run_is_a_prefix_and_the_next_run_is_good(void **state)
{
    (void)state;
    aegis_error err;
    placed_memory memory;
    need("light_densenet121");
    aegis_model *model = open_placed("light_densenet121", 4096, &memory);
    assert_true(aegis_model_can_terminate(model));
    conformance_run(model, 0);
    conformance_outputs good = conformance_read(model, 0);
    for (int round = 0; round < 5; round++) {
        pthread_t thread;
        killer assassin = {.model = model};
        assert_int_equal(pthread_create(&thread, NULL, kill_until_done, &assassin), 0);
        /* The killer never stops while a run is on, so that one of these meets it. */
        aegis_status status = AEGIS_OK;
        for (int run = 0; run < 50 && status == AEGIS_OK; run++) {
            status = aegis_model_execute(model, 0, 0, NULL, &err);
        }
        assert_int_equal(status, AEGIS_ERROR_TERMINATED);
        atomic_store(&assassin.done, true);
        pthread_join(thread, NULL);
        conformance_run(model, 0);
        assert_true(conformance_equal(model, 0, &good));
    }
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
    free(good.bytes);
}

/* Short runs against a thread that terminates all the time: each run either ends or is whole. */
static void termination_races_leave_whole_results(void **state)
{
    (void)state;
    aegis_error err;
    placed_memory memory;
    pthread_t thread;
    int whole = 0, ended = 0;
    need("silero_vad_16k_op15");
    aegis_model *model = open_placed("silero_vad_16k_op15", 4096, &memory);
    conformance_run(model, 0);
    conformance_outputs good = conformance_read(model, 0);
    killer assassin = {.model = model};
    assert_int_equal(pthread_create(&thread, NULL, kill_until_done, &assassin), 0);
    for (int run = 0; run < 400; run++) {
        aegis_status status = aegis_model_execute(model, 0, 0, NULL, &err);
        if (status == AEGIS_OK) {
            assert_true(conformance_equal(model, 0, &good));
            whole++;
        } else {
            assert_int_equal(status, AEGIS_ERROR_TERMINATED);
            ended++;
        }
    }
    atomic_store(&assassin.done, true);
    pthread_join(thread, NULL);
    print_message("%d runs whole, %d ended\n", whole, ended);
    for (int run = 0; run < 20; run++) {
        conformance_run(model, 0);
        assert_true(conformance_equal(model, 0, &good));
    }
    aegis_model_close(model);
    placed_free(&memory);
    free(good.bytes);
}

/* ---- files ---- */

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static char *read_file(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *ret_size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*ret_size + 1);
    assert_int_equal(fread(bytes, 1, *ret_size, file), *ret_size);
    fclose(file);
    return bytes;
}

static void expect_open(const char *path, aegis_status wanted, const char *part)
{
    aegis_error err;
    aegis_model *model = NULL;
    aegis_model_config config = {.name = "m", .path = path};
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), wanted);
    if (part != NULL && strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, part);
    }
    assert_null(model);
}

static void broken_files_are_refused(void **state)
{
    (void)state;
    aegis_error err;
    char path[1200], source[1200];
    size_t size = 0;
    need("silero_vad_openvino_16k");
    snprintf(path, sizeof path, "%s/broken.onnx", folder);
    expect_open("/nonexistent/m.onnx", AEGIS_ERROR_NOT_FOUND, "/nonexistent/m.onnx");
    write_file(path, "", 0);
    expect_open(path, AEGIS_ERROR_PARSE, "empty");
    write_file(path, "This is text, no model.\n", 24);
    expect_open(path, AEGIS_ERROR_PARSE, "no ONNX model");
    onnx_path("silero_vad_openvino_16k", source, sizeof source);
    char *bytes = read_file(source, &size);
    for (size_t length = 1; length < size; length += size / 40) {
        aegis_model *model = NULL;
        aegis_model_config config = {.name = "cut", .path = path};
        write_file(path, bytes, length);
        aegis_status status = aegis_model_open(backend, &config, &model, &err);
        assert_true(status == AEGIS_ERROR_PARSE || status == AEGIS_ERROR_ENGINE_BUILD);
        assert_null(model);
    }
    free(bytes);
    data_path("unknown_operator.onnx", source, sizeof source);
    expect_open(source, AEGIS_ERROR_UNSUPPORTED, "Frobnicate");
}

static void wrong_shapes_name_input_and_declaration(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model *model = NULL;
    char path[1200];
    static const struct {
        aegis_input_shape given;
        const char *part;
    } cases[] = {
        {{"y", 4, {1, 3, 48, 320}}, "unknown input 'y'"},
        {{"x", 3, {3, 48, 320}}, "3 dimensions, the model declares 4"},
        {{"x", 4, {1, 4, 48, 320}}, "the model fixes it to 3"},
        {{"x", 4, {1, 3, -1, 320}}, "must be positive"},
    };
    need("ch_PP-OCRv4_rec_infer");
    onnx_path("ch_PP-OCRv4_rec_infer", path, sizeof path);
    aegis_model_config config = {.name = "rec", .path = path};
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "is free"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        config.inputs = &cases[i].given;
        config.input_count = 1;
        assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_CONFIG);
        if (strstr(err.message, cases[i].part) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", err.message, cases[i].part);
        }
    }
    /* A shape that the declaration allows and the operators do not. */
    need("silero_vad_16k_op15");
    const aegis_input_shape odd = {"input", 2, {1, 7}};
    onnx_path("silero_vad_16k_op15", path, sizeof path);
    config = (aegis_model_config){.name = "vad", .path = path, .inputs = &odd, .input_count = 1};
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_INFERENCE);
    assert_non_null(strstr(err.message, "ONNX Runtime says"));
    assert_null(model);
}

static void wrong_state_pairs_are_refused(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model *model = NULL;
    aegis_source sources[4];
    char path[1200];
    static const aegis_state_pair unknown = {"state", "stateM"}, unequal = {"input", "stateN"};
    need("silero_vad_half");
    aegis_model_config config =
        onnx_config(onnx_find("silero_vad_half"), sources, path, sizeof path);
    config.state = &unknown;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "did you mean 'stateN'"));
    config.state = &unequal;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "cannot feed"));
}

/* ---- budgets ---- */

static void memory_limits_refuse_at_each_stage(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model *model = NULL;
    aegis_source sources[4];
    char path[1200];
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT], permanent = 0;
    need("light_squeezenet");
    aegis_model_config config =
        onnx_config(onnx_find("light_squeezenet"), sources, path, sizeof path);
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_estimate_memory(model, by_class, &err), &err);
    aegis_model_close(model);
    model = NULL;
    for (int c = 0; c < AEGIS_MEMORY_ACTIVATION; c++) {
        permanent += by_class[c];
    }
    config.memory_limit_bytes = by_class[AEGIS_MEMORY_WEIGHTS] - 1;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    config.memory_limit_bytes = by_class[AEGIS_MEMORY_WEIGHTS] + 1;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_null(model);
    /* Enough to load, not to run: the recording ends part-way, or says so at its end. */
    for (int part = 1; part <= 3; part++) {
        config.memory_limit_bytes =
            permanent + 1024 + by_class[AEGIS_MEMORY_ACTIVATION] * (uint64_t)part / 4;
        must(aegis_model_open(backend, &config, &model, &err), &err);
        assert_int_equal(aegis_model_record(model, NULL, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
        assert_non_null(strstr(err.message, "memory limit"));
        aegis_model_close(model);
        model = NULL;
    }
    config.memory_limit_bytes = permanent + 1024 + by_class[AEGIS_MEMORY_ACTIVATION];
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    aegis_model_close(model);
}

/* Opens and records under a limit; the model comes back only when it keeps within. */
static aegis_status record_within(const aegis_model_config *like,
                                  uint64_t limit,
                                  aegis_model **ret_model,
                                  aegis_error *err)
{
    aegis_model_config config = *like;
    aegis_model *model = NULL;
    config.memory_limit_bytes = limit;
    aegis_status status = aegis_model_open(backend, &config, &model, err);
    if (status == AEGIS_OK) {
        status = aegis_model_record(model, NULL, err);
    }
    if (status != AEGIS_OK) {
        aegis_model_close(model);
        model = NULL;
    }
    *ret_model = model;
    return status;
}

/* The limits at which the n-th allocation of a run is the first one too many, for all n for which
 * there is one: ascending. Returns how many. */
static size_t limits_by_allocation(aegis_model *model, uint64_t *ret_limits, size_t room)
{
    aegis_error err;
    const aegis_tensor_lifetime *l = NULL;
    uint64_t permanent = 0, most = 0;
    size_t count = 0, limits = 0;
    must(aegis_model_estimate_lifetimes(model, &l, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        permanent += placed_is_alone(l[i].memory_class) ? placed_round(l[i].size_bytes) : 0;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t live = 0;
        for (size_t k = 0; k < count && l[i].memory_class == AEGIS_MEMORY_ACTIVATION; k++) {
            live += l[k].memory_class == AEGIS_MEMORY_ACTIVATION && l[k].start <= l[i].start &&
                            l[k].end > l[i].start
                        ? l[k].size_bytes
                        : 0;
        }
        if (live > most && limits < room) {
            most = live;
            ret_limits[limits++] = permanent + live - 1;
        }
    }
    return limits;
}

/* At every allocation that can be the one that passes the budget: the recording ends there, with
 * the reason; one byte more, the next one does; at the peak it runs, and gives what it always gave.
 * Neither memory nor threads stay behind. */
static void a_raised_budget_lets_it_run_again(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model *model = NULL;
    aegis_source sources[4];
    char path[1200];
    uint64_t limits[64], peak = 0;
    need("silero_vad_16k_sequence");
    need("silero_vad_16k_op15");
    placed_memory neighbour_memory, memory;
    aegis_model *neighbour = open_placed("silero_vad_16k_op15", 4096, &neighbour_memory);
    conformance_run(neighbour, 0);
    conformance_outputs undisturbed = conformance_read(neighbour, 0);
    aegis_model_config config =
        onnx_config(onnx_find("silero_vad_16k_sequence"), sources, path, sizeof path);
    must(record_within(&config, 0, &model, &err), &err);
    placed_make(model, 4096, &memory);
    conformance_run(model, 0);
    conformance_outputs good = conformance_read(model, 0);
    aegis_model_close(model);
    placed_free(&memory);
    must(record_within(&config, 0, &model, &err), &err);
    size_t count = limits_by_allocation(model, limits, 64);
    aegis_model_close(model);
    assert_true(count >= 3);
    struct mallinfo2 before = {0}, after;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(record_within(&config, limits[i], &model, &err),
                         AEGIS_ERROR_BUDGET_EXCEEDED);
        assert_null(model);
        assert_non_null(strstr(err.message, "memory limit"));
        assert_int_equal(aegis_model_execute(neighbour, 0, 0, NULL, &err), AEGIS_OK);
        before = i == 0 ? mallinfo2() : before;
        peak = limits[i] + 1;
    }
    after = mallinfo2();
    assert_true(after.uordblks < before.uordblks + 65536); /* a trial holds a megabyte */
    must(record_within(&config, peak, &model, &err), &err);
    placed_make(model, 4096, &memory);
    conformance_run(model, 0);
    assert_true(conformance_equal(model, 0, &good));
    aegis_model_close(model);
    placed_free(&memory);
    must(aegis_model_reset(neighbour, &err), &err);
    conformance_run(neighbour, 0);
    assert_true(conformance_equal(neighbour, 0, &undisturbed));
    aegis_model_close(neighbour);
    placed_free(&neighbour_memory);
    free(good.bytes);
    free(undisturbed.bytes);
}

static void prepacking_changes_bytes_and_hardly_results(void **state)
{
    (void)state;
    aegis_error err;
    uint64_t kept[2][AEGIS_MEMORY_CLASS_COUNT];
    conformance_outputs outputs[2];
    need("ch_PP-OCRv4_rec_infer");
    for (int packed = 0; packed < 2; packed++) {
        aegis_source sources[4];
        char path[1200];
        aegis_model *model = NULL;
        aegis_model_config config =
            onnx_config(onnx_find("ch_PP-OCRv4_rec_infer"), sources, path, sizeof path);
        config.prepack = packed != 0;
        must(aegis_model_open(backend, &config, &model, &err), &err);
        must(aegis_model_record(model, NULL, &err), &err);
        must(aegis_model_estimate_memory(model, kept[packed], &err), &err);
        conformance_run(model, 0);
        outputs[packed] = conformance_read(model, 0);
        aegis_model_close(model);
    }
    assert_true(kept[0][AEGIS_MEMORY_PREPACKED] < kept[1][AEGIS_MEMORY_PREPACKED] / 10);
    assert_int_equal(outputs[0].size, outputs[1].size);
    /* Packed weights go through another kernel: equal but for the last bits. */
    for (size_t i = 0; i < outputs[0].size / sizeof(float); i++) {
        float a = ((float *)(void *)outputs[0].bytes)[i],
              b = ((float *)(void *)outputs[1].bytes)[i];
        assert_true(a - b < 1e-5f && b - a < 1e-5f);
    }
    free(outputs[0].bytes);
    free(outputs[1].bytes);
}

/* ---- the cache ---- */

static void find_compiled(const char *cache, char *path, size_t size)
{
    DIR *listing = opendir(cache);
    size_t found = 0;
    assert_non_null(listing);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        assert_null(strstr(entry->d_name, ".making"));
        if (entry->d_name[0] != '.') {
            snprintf(path, size, "%s/%s", cache, entry->d_name);
            found++;
        }
    }
    closedir(listing);
    assert_int_equal(found, 1);
}

static void damaged_cache_is_refused_and_made_anew(void **state)
{
    (void)state;
    static const char *const files[] = {"graph.onnx", "weights.bin", "compiled.json"};
    aegis_error err;
    char cache[1200], compiled[1600], path[2000], command[2200];
    need("silero_vad_openvino_16k");
    snprintf(cache, sizeof cache, "%s/cache", folder);
    aegis_backend *own = onnx_backend(cache);
    aegis_model *model = onnx_open(own, "silero_vad_openvino_16k");
    aegis_model_close(model);
    for (size_t i = 0; i < 3; i++) {
        size_t size = 0;
        model = onnx_open(own, "silero_vad_openvino_16k"); /* found in the cache, or made */
        aegis_model_close(model);
        find_compiled(cache, compiled, sizeof compiled);
        snprintf(path, sizeof path, "%s/%s", compiled, files[i]);
        char *bytes = read_file(path, &size);
        bytes[size / 2] ^= 0x20;
        write_file(path, bytes, size);
        free(bytes);
        aegis_source sources[4];
        char source[1200];
        aegis_model *refused = NULL;
        aegis_model_config config =
            onnx_config(onnx_find("silero_vad_openvino_16k"), sources, source, sizeof source);
        assert_int_equal(aegis_model_open(own, &config, &refused, &err),
                         AEGIS_ERROR_ENGINE_DESERIALIZE);
        snprintf(command, sizeof command, "rm -r '%s'", compiled);
        assert_int_equal(system(command), 0);
    }
    aegis_backend_destroy(own);
}

static void names_that_repeat_are_optimised_at_load(void **state)
{
    (void)state;
    char path[1200];
    aegis_error err;
    aegis_model *model = NULL;
    aegis_source random = {.kind = AEGIS_SOURCE_RANDOM};
    data_path("if_same_names.onnx", path, sizeof path);
    aegis_model_config config = {.name = "if", .path = path, .sources = &random, .source_count = 1};
    conformance_check(backend, &config);
    must(aegis_model_open(backend, &config, &model, &err), &err);
    if (aegis_onnxruntime_optimises_at_load(model)) {
        assert_non_null(strstr(aegis_model_label(model), "optimised at load"));
    }
    print_message("if_same_names: %s\n", aegis_model_label(model));
    aegis_model_close(model);
}

static size_t count_threads(void)
{
    size_t count = 0;
    DIR *listing = opendir("/proc/self/task");
    assert_non_null(listing);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        count += entry->d_name[0] != '.';
    }
    closedir(listing);
    return count;
}

/* Of the library's own accord: no thread that sends telemetry, none that would take a core.
 * Sanitizers may have threads of their own, which are there before. */
static void runtime_starts_no_thread_of_its_own(void **state)
{
    (void)state;
    need("light_squeezenet");
    assert_int_equal(count_threads(), threads_at_start);
    aegis_model *model = onnx_open(backend, "light_squeezenet");
    conformance_run(model, 0);
    assert_int_equal(count_threads(), threads_at_start);
    aegis_model_close(model);
}

static void backend_comes_and_goes(void **state)
{
    (void)state;
    aegis_error err;
    aegis_backend *none = NULL;
    aegis_allocator allocator = aegis_allocator_default();
    for (int i = 0; i < 3; i++) {
        aegis_backend *again = onnx_backend(NULL);
        assert_non_null(strchr(aegis_backend_version(again), '.'));
        aegis_backend_destroy(again);
    }
    aegis_backend_config config = {
        .runtime = "onnxruntime", .library = "/nonexistent.so", .cache_dir = folder};
    assert_int_equal(aegis_backend_create(&config, NULL, &allocator, &none, &err),
                     AEGIS_ERROR_RUNTIME_NOT_AVAILABLE);
    assert_non_null(strstr(err.message, "/nonexistent.so"));
    assert_null(none);
}

static void *do_nothing(void *argument)
{
    return argument;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_sample_rate_departs_and_the_next_run_is_good),
        cmocka_unit_test(every_allocation_may_ask_for_more),
        cmocka_unit_test(past_the_spill_the_process_survives),
        cmocka_unit_test(sizes_by_value_depart_and_other_models_do_not_notice),
        cmocka_unit_test(terminated_run_is_a_prefix_and_the_next_run_is_good),
        cmocka_unit_test(termination_races_leave_whole_results),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(wrong_shapes_name_input_and_declaration),
        cmocka_unit_test(wrong_state_pairs_are_refused),
        cmocka_unit_test(memory_limits_refuse_at_each_stage),
        cmocka_unit_test(a_raised_budget_lets_it_run_again),
        cmocka_unit_test(prepacking_changes_bytes_and_hardly_results),
        cmocka_unit_test(damaged_cache_is_refused_and_made_anew),
        cmocka_unit_test(names_that_repeat_are_optimised_at_load),
        cmocka_unit_test(runtime_starts_no_thread_of_its_own),
        cmocka_unit_test(backend_comes_and_goes),
    };
    const char *binary = getenv("AEGISRT_BINARY_DIR");
    snprintf(folder, sizeof folder, "%s/onnx-faults-XXXXXX", binary != NULL ? binary : "/tmp");
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        return 1;
    }
    pthread_t first; /* a sanitizer starts its own thread with the first of the program */
    if (pthread_create(&first, NULL, do_nothing, NULL) != 0 || pthread_join(first, NULL) != 0) {
        return 1;
    }
    threads_at_start = count_threads();
    backend = onnx_backend(NULL);
    int failures = backend == NULL ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
    aegis_backend_destroy(backend);
    char command[1200];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command) != 0 && failures == 0 ? 1 : failures;
}

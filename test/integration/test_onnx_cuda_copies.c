/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX models on a CUDA device whose inputs come early: outputs are those of inline copies, the
 * captured graphs copy no inputs, and inputs of one model come while another computes, alone and in
 * a whole system. */
#include "integration/onnx_models.h"
#include "support/backend_conformance.h"
#include "support/gpu_cases.h"
#include "system_test.h"

#include <math.h>
#include <semaphore.h>
#include <stdio.h>

#define ARENA_BYTES (UINT64_C(1) << 30)
#define PINNED_BYTES (UINT64_C(256) << 20)
#define LARGE "ch_PP-OCRv4_det_infer"
#define LONG "light_resnet50"
#define STATEFUL "silero_vad_16k_op15"
#define READER "ch_PP-OCRv4_rec_infer"
#define READER_BATCH 16 /* its input is larger than a piece */
/* Of the norm of the outputs: runs of one session, of two (whose convolutions may be computed in
 * other ways), and of other inputs, which on the CPU move them by 0.6 of it and more. */
#define SAME 1e-3
#define NEAR 3e-2
#define APART 1e-1
#define LONG_RUNS 100

static aegis_device *device;
static aegis_backend *backend;
static aegis_stream *copies;

static void need(const char *stem)
{
    if (!onnx_there(stem)) {
        print_message("skipped: no models/%s.onnx; 'make models' fetches it\n", stem);
        skip();
    }
}

typedef struct kind_of_run {
    bool early, eager;
} kind_of_run;

/* Behind `before` in the arena, if that is not NULL. */
static aegis_model *
open_placed(const char *stem, kind_of_run kind, const placed_memory *before, placed_memory *memory)
{
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    aegis_model *model = NULL;
    onnx_recipe recipe = *onnx_find(stem);
    if (strcmp(stem, READER) == 0) {
        recipe.inputs[0].shape[0] = READER_BATCH;
    }
    aegis_model_config config = onnx_config(&recipe, sources, path, sizeof path);
    config.stream = conformance_stream;
    config.slots = 2;
    config.early_copies = kind.early;
    config.eager = kind.eager;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, conformance_stream, &err), &err);
    placed_make_behind(model, 4096, device, before, memory);
    return model;
}

/* ---- on the copy stream ---- */

typedef struct copying {
    aegis_model *model;
    uint32_t slot;
    aegis_status status;
    aegis_error error;
} copying;

static void enqueue_inputs(void *argument)
{
    copying *self = argument;
    self->status = aegis_model_enqueue_inputs(self->model, self->slot, copies, &self->error);
}

static aegis_status copy_inputs(aegis_model *model, uint32_t slot)
{
    aegis_error err;
    copying self = {.model = model, .slot = slot};
    must(aegis_stream_call(copies, enqueue_inputs, &self, &err), &err);
    must(aegis_stream_synchronize(copies, &err), &err);
    return self.status;
}

/* ---- one model ---- */

/* Other values than the model was opened with, the same for each model of a kind. */
static void change_inputs(aegis_model *model, uint32_t slot)
{
    aegis_error err;
    size_t count = 0;
    const aegis_tensor_info *inputs = aegis_model_inputs(model, &count);
    for (size_t i = 0; i < count; i++) {
        void *data = NULL;
        uint64_t size = 0;
        must(aegis_model_input(model, slot, inputs[i].name, &data, &size, &err), &err);
        const bool floats = inputs[i].element == AEGIS_ELEMENT_F32;
        for (uint64_t k = 0; floats && k < size / sizeof(float); k++) {
            ((float *)data)[k] = (float)((k * 7 + slot * 3 + 1) % 251) / 251.0F;
        }
    }
}

/* All outputs are of floats. */
static double difference_from(aegis_model *model, uint32_t slot, const conformance_outputs *wanted)
{
    const conformance_outputs now = conformance_read(model, slot);
    double difference = 0, norm = 0;
    float a, b;
    assert_int_equal(now.size, wanted->size);
    for (uint64_t at = 0; at < now.size; at += sizeof a) {
        memcpy(&a, now.bytes + at, sizeof a);
        memcpy(&b, wanted->bytes + at, sizeof b);
        difference += ((double)a - b) * ((double)a - b);
        norm += (double)b * b;
    }
    free(now.bytes);
    return sqrt(difference / norm);
}

/* The inputs that both have now: an early job without their copy sees those before. */
static void check_slot(aegis_model *early, aegis_model *inlined, uint32_t slot)
{
    conformance_run(inlined, slot);
    const conformance_outputs first = conformance_read(inlined, slot);
    assert_int_equal(copy_inputs(early, slot), AEGIS_OK);
    conformance_run(early, slot);
    const conformance_outputs before = conformance_read(early, slot);
    const double near_first = difference_from(early, slot, &first);
    change_inputs(inlined, slot);
    change_inputs(early, slot);
    conformance_run(inlined, slot);
    const conformance_outputs second = conformance_read(inlined, slot);
    conformance_run(early, slot);
    const double not_copied = difference_from(early, slot, &before);
    assert_int_equal(copy_inputs(early, slot), AEGIS_OK);
    conformance_run(early, slot);
    const double copied = difference_from(early, slot, &before);
    const double near_second = difference_from(early, slot, &second);
    print_message(
        "slot %u: from inline %.1e and %.1e; other inputs: not copied %.1e, copied %.1e\n", slot,
        near_first, near_second, not_copied, copied);
    assert_true(near_first <= NEAR && near_second <= NEAR);
    assert_true(not_copied <= SAME && copied >= APART);
    free(first.bytes);
    free(second.bytes);
    free(before.bytes);
}

static void outputs_are_those_of_inline_copies(const char *stem, bool eager)
{
    need(stem);
    placed_memory memory, other_memory;
    aegis_model *inlined = open_placed(stem, (kind_of_run){.eager = eager}, NULL, &other_memory);
    aegis_model *early =
        open_placed(stem, (kind_of_run){.early = true, .eager = eager}, &other_memory, &memory);
    if (!eager) {
        assert_string_equal(aegis_model_note(early), "");
    }
    check_slot(early, inlined, 0);
    check_slot(early, inlined, 1);
    assert_int_equal(copy_inputs(early, 2), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(copy_inputs(inlined, 0), AEGIS_ERROR_UNSUPPORTED);
    placed_check_red_zones(&memory);
    placed_check_red_zones(&other_memory);
    aegis_model_close(inlined);
    aegis_model_close(early);
    placed_free(&memory);
    placed_free(&other_memory);
}

static void as_graphs(void **state)
{
    outputs_are_those_of_inline_copies(*state, false);
}

static void operator_by_operator(void **state)
{
    outputs_are_those_of_inline_copies(*state, true);
}

/* ---- beside another model ---- */

typedef struct many {
    aegis_model *model;
    aegis_event *over;
    sem_t begun; /* one of them has been launched */
    aegis_status status;
    aegis_error error;
} many;

static void enqueue_many(void *argument)
{
    many *self = argument;
    const uint32_t jobs = repeats(LONG_RUNS, 20);
    self->status = AEGIS_OK;
    for (uint32_t i = 0; i < jobs && self->status == AEGIS_OK; i++) {
        self->status = aegis_model_execute(self->model, 0, 0, conformance_stream, &self->error);
        if (i == 0) {
            sem_post(&self->begun);
        }
    }
    if (self->status == AEGIS_OK) {
        self->status = aegis_stream_enqueue_record(conformance_stream, self->over, &self->error);
    }
}

static void nothing(void *argument)
{
    (void)argument;
}

static void inputs_come_while_another_computes(void **state)
{
    (void)state;
    aegis_error err;
    need(LARGE);
    need(LONG);
    placed_memory memory, long_memory;
    aegis_model *large = open_placed(LARGE, (kind_of_run){.early = true}, NULL, &memory);
    many runs = {.model = open_placed(LONG, (kind_of_run){0}, &memory, &long_memory)};
    sem_init(&runs.begun, 0, 0);
    must(aegis_event_create(device, &runs.over, &err), &err);
    must(aegis_stream_call(conformance_stream, enqueue_many, &runs, &err), &err);
    must(aegis_stream_notify(conformance_stream, nothing, NULL, &err), &err);
    while (sem_wait(&runs.begun) != 0) {
        /* interrupted by a signal */
    }
    assert_int_equal(copy_inputs(large, 0), AEGIS_OK);
    aegis_status still = aegis_stream_query(conformance_stream, &err);
    must(aegis_stream_synchronize(conformance_stream, &err), &err);
    must(runs.status, &runs.error);
    assert_int_equal(still, AEGIS_ERROR_BUSY);
    aegis_event_destroy(runs.over);
    sem_destroy(&runs.begun);
    aegis_model_close(large);
    aegis_model_close(runs.model);
    placed_free(&memory);
    placed_free(&long_memory);
}

/* ---- a whole system ---- */

static bool
overlaps(const aegis_trace_record *copy, const aegis_trace_record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (records[i].kind == AEGIS_TRACE_EXECUTE && records[i].model != copy->model &&
            records[i].b < copy->b && copy->a < records[i].c) {
            return true;
        }
    }
    return false;
}

static void copies_beside_execution(const running *r)
{
    aegis_trace_file *file;
    aegis_error err = {0};
    size_t count = 0, arrived = 0, beside = 0;
    check(aegis_trace_file_open(r->trace, &r->allocator, &file, &err), &err);
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    for (size_t i = 0; i < count; i++) {
        const bool came = records[i].kind == AEGIS_TRACE_EVENT_INPUTS_READY;
        arrived += came;
        beside += came && overlaps(&records[i], records, count);
    }
    aegis_trace_file_close(file);
    print_message("%zu inputs came, %zu of them while another model ran\n", arrived, beside);
    assert_true(arrived >= 20 && beside > 0);
}

/* The second model is released while the first one runs; its segments stand behind a gate. */
static void a_system_copies_beside_execution(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    need(LARGE);
    need(LONG);
    if (under_sanitizer()) {
        skip(); /* bounds that are measured there hold for nothing */
    }
    assert_int_equal(chdir(onnx_source_dir()), 0);
    prepare(&r,
            "[device]\nkind = \"cuda\"\nmemory = \"1GiB\"\n"
            "[schedule]\nqueue_depth = 4\n"
            "[[model]]\nname = \"large\"\npath = \"models/" LARGE ".onnx\"\n"
            "inputs = { x = [1, 3, 640, 640] }\nperiod = \"200ms\"\noverrun = \"report\"\n"
            "confidence = 0.9\nsamples = 100\ncopies = \"early\"\n"
            "[[model]]\nname = \"long\"\npath = \"models/" LONG ".onnx\"\n"
            "inputs = { \"gpu_0/data_0\" = [1, 3, 224, 224] }\nperiod = \"200ms\"\n"
            "cuts = 3\noffset = \"1ms\"\noverrun = \"report\"\nconfidence = 0.9\nsamples = 100\n"
            "copies = \"early\"\n",
            (aegis_system_options){0});
    all_are_admitted(&r);
    check(aegis_system_start(r.system, &err), &err);
    run_until_completed(&r, 0, 15);
    run_until_completed(&r, 1, 15);
    for (uint32_t i = 0; i < 2; i++) {
        const aegis_model_metrics metrics = metrics_of(&r, i);
        assert_int_equal(metrics.past_proof.unexplained, 0);
        assert_int_equal(metrics.counters.unexcused, 0);
        numbers_add_up(&metrics.counters);
    }
    check(aegis_system_stop(r.system, &err), &err);
    const aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    copies_beside_execution(&r);
    tear_down(&r);
}

/* ---- set-up ---- */

static bool make_device(void)
{
    aegis_error err;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_device_config config = {
        .kind = AEGIS_DEVICE_CUDA, .arena_bytes = ARENA_BYTES, .pinned_bytes = PINNED_BYTES};
    const aegis_status status = aegis_device_create(&config, &allocator, &device, &err);
    if (status == AEGIS_ERROR_DEVICE_NOT_AVAILABLE) {
        printf("skipped: %s\n", err.message);
        return false;
    }
    must(status, &err);
    const aegis_stream_config stream = aegis_stream_config_default("aegis-test");
    must(aegis_stream_create(device, &stream, &conformance_stream, &err), &err);
    must(aegis_stream_create(device, &stream, &copies, &err), &err);
    return true;
}

static bool make_backend(void)
{
    aegis_error err;
    char cache[1024];
    const aegis_allocator allocator = aegis_allocator_default();
    onnx_cache_dir(cache, sizeof cache);
    const aegis_backend_config config = {
        .runtime = "onnxruntime", .cache_dir = cache, .consumer = "a test"};
    const aegis_status status = aegis_backend_create(&config, device, &allocator, &backend, &err);
    if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        printf("skipped: %s\n", err.message);
        return false;
    }
    must(status, &err);
    return true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_OF(as_graphs, STATEFUL),
        CASE_OF(as_graphs, READER),
        CASE_OF(operator_by_operator, READER),
        cmocka_unit_test(inputs_come_while_another_computes),
        cmocka_unit_test(a_system_copies_beside_execution),
    };
    int failures = 77;
    if (cases_listed(tests, sizeof tests / sizeof tests[0])) {
        return 0;
    }
    if (make_device() && make_backend()) {
        failures = cmocka_run_group_tests(tests, NULL, NULL);
    }
    aegis_backend_destroy(backend);
    aegis_stream_destroy(copies);
    aegis_stream_destroy(conformance_stream);
    aegis_device_destroy(device);
    return failures;
}

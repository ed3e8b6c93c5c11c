/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real model twice in one system, whole and cut, given the same inputs while a third model runs
 * between the segments on the same lane, in bytes that all of them share: the outputs are equal bit
 * for bit. Then the cut one is given a bound that its second segment cannot keep.
 */
#include "planted.h"

#define ROUNDS 4
#define MOST_ROUNDS 40 /* until a run was ended in time */
#define PIXELS (3 * 48 * 160)
#define MOST_VALUES (1 << 18) /* of the output */
#define MOST_WAITS 3000       /* of 10 ms */

enum {
    BETWEEN,
    WHOLE,
    CUT,
    MODELS
};

/* Planted, so that a busy machine does not keep it from being admitted. The other two are measured:
 * by the whole one's profile the cuts are chosen. */
#define BETWEEN_NS UINT64_C(8000000)

static float pixels[PIXELS];

static const char *workload_text(const char *overrun, const char *cuts)
{
    static char text[2048];
    const char *one = "path = \"models/ch_PP-OCRv4_rec_infer.onnx\"\n"
                      "inputs = { x = [1, 3, 48, 160] }\nperiod = \"1500ms\"\n"
                      "deadline = \"20s\"\nconfidence = 0.9\nsamples = 100\nmargin = 1.0\n"
                      "source = \"external\"\nslots = 2\nearly = \"delay\"\n";
    snprintf(text, sizeof text,
             "[device]\nkind = \"host\"\nmemory = \"64MiB\"\n"
             "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 8\n"
             "[[model]]\nname = \"between\"\n"
             "path = \"models/ch_ppocr_mobile_v2.0_cls_infer.onnx\"\n"
             "inputs = { x = [1, 3, 48, 96] }\nperiod = \"40ms\"\ndeadline = \"15s\"\n"
             "confidence = 0.9\nsamples = 100\noverrun = \"report\"\n"
             "[[model]]\nname = \"whole\"\noverrun = \"report\"\n%s"
             "[[model]]\nname = \"cut\"\noverrun = \"%s\"\ncuts = %s\n%s",
             one, overrun, cuts, one);
    return text;
}

typedef struct answer {
    running *r;
    aegis_job_result result;
    float *values; /* MOST_VALUES of them */
    uint64_t size_bytes;
    _Atomic bool done;
} answer;

static void on_job(void *self, const aegis_job_result *result)
{
    answer *a = self;
    aegis_error err = {0};
    aegis_model *model = aegis_system_backend_model(a->r->system, result->model);
    size_t count = 0;
    const aegis_tensor_info *outputs = aegis_model_outputs(model, &count);
    void *data = NULL;
    uint64_t size = 0;
    if (count == 1 &&
        aegis_model_output(model, result->slot, outputs[0].name, &data, &size, &err) == AEGIS_OK &&
        size <= MOST_VALUES * sizeof *a->values) {
        memcpy(a->values, data, size);
        a->size_bytes = size;
    }
    a->result = *result;
    atomic_store(&a->done, true);
}

static answer ask(running *r)
{
    answer a = {.r = r, .values = calloc(MOST_VALUES, sizeof(float))};
    assert_non_null(a.values);
    return a;
}

static void submit(answer *a, uint32_t model)
{
    aegis_error err = {0};
    const aegis_job_input input = {"x", pixels, sizeof pixels};
    const aegis_submission submission = {
        .inputs = &input, .input_count = 1, .callback = on_job, .callback_self = a};
    check(aegis_scheduler_submit(aegis_system_scheduler(a->r->system), model, &submission, NULL,
                                 &err),
          &err);
}

static void await(const answer *a)
{
    for (int i = 0; i < MOST_WAITS && !atomic_load(&a->done); i++) {
        let_run(0.01);
    }
    assert_true(atomic_load(&a->done));
}

static void draw_pixels(uint32_t seed)
{
    for (size_t i = 0; i < PIXELS; i++) {
        seed = seed * 1664525u + 1013904223u;
        pixels[i] = (float)(seed >> 8) / (float)(1 << 24) - 0.5f;
    }
}

/* Of probabilities, each with another weight. */
static float sum_of(const answer *a)
{
    float sum = 0;
    for (size_t i = 0; i < a->size_bytes / sizeof *a->values; i++) {
        sum += a->values[i] * (float)(i % 97 + 1);
    }
    return sum;
}

static void prepare_all(running *r, const char *overrun, const char *cuts)
{
    size_t count;
    planter p;
    planter_init(&p, workload_text(overrun, cuts));
    plant_whole(&p, BETWEEN, BETWEEN_NS);
    planter_finish(&p);
    prepare(r, workload_text(overrun, cuts), (aegis_system_options){0});
    const aegis_system_model *models = aegis_system_models(r->system, &count);
    assert_int_equal(count, MODELS);
    for (size_t i = 0; i < count; i++) {
        if (!models[i].admitted) {
            fail_msg("%s refused: %s", models[i].name, models[i].reason);
        }
    }
    assert_int_equal(models[WHOLE].segments, 1);
    assert_true(models[CUT].segments >= 2);
}

static void stop_and_replay(running *r)
{
    aegis_error err = {0};
    check(aegis_system_stop(r->system, &err), &err);
    for (uint32_t i = 0; i < MODELS; i++) {
        aegis_model_metrics m = metrics_of(r, i);
        numbers_add_up(&m.counters);
        assert_int_equal(m.counters.unexcused, 0);
    }
    aegis_replay_result result = replay(r);
    assert_true(result.decisions > 2 * ROUNDS);
    assert_int_equal(result.identical, result.decisions);
    assert_false(result.first_difference.found);
}

/* Dispatches of another model between two segments of one job of the cut one. */
static size_t interruptions(const running *r)
{
    aegis_trace_file *file;
    aegis_error err = {0};
    size_t ring = 0, count = 0, between = 0;
    uint64_t job = 0;
    bool other = false;
    check(aegis_trace_file_open(r->trace, &r->allocator, &file, &err), &err);
    assert_true(aegis_trace_file_ring_find(file, "orchestrator", &ring));
    const aegis_trace_record *records = aegis_trace_file_ring_records(file, ring, &count);
    for (size_t i = 0; i < count; i++) {
        if (records[i].kind != AEGIS_TRACE_DISPATCH) {
            continue;
        }
        if (records[i].model == CUT) {
            between += records[i].a > 0 && other && records[i].job == job;
            job = records[i].job;
        }
        other = records[i].model != CUT;
    }
    aegis_trace_file_close(file);
    return between;
}

static void cut_and_whole_answer_alike(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    float before = 0;
    prepare_all(&r, "report", "4");
    check(aegis_system_start(r.system, &err), &err);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        answer whole = ask(&r), cut = ask(&r);
        draw_pixels(round + 1);
        submit(&whole, WHOLE);
        submit(&cut, CUT);
        await(&whole);
        await(&cut);
        assert_int_equal(whole.result.status, AEGIS_OK);
        assert_int_equal(cut.result.status, AEGIS_OK);
        assert_true(whole.size_bytes > 1000);
        assert_int_equal(whole.size_bytes, cut.size_bytes);
        assert_memory_equal(whole.values, cut.values, whole.size_bytes);
        float sum = sum_of(&whole);
        assert_true(sum != before); /* it depends on what was given */
        before = sum;
        free(whole.values);
        free(cut.values);
    }
    stop_and_replay(&r);
    if (interruptions(&r) == 0) {
        print_message("nothing ran between two segments this time\n");
    }
    tear_down(&r);
}

static void list_cuts(const running *r, char *text, size_t size)
{
    size_t count;
    const aegis_system_cuts *cuts = &aegis_system_models(r->system, &count)[CUT].cuts;
    size_t at = (size_t)snprintf(text, size, "[");
    for (uint32_t i = 0; i < cuts->count; i++) {
        at += (size_t)snprintf(text + at, size - at, "%s%u", i == 0 ? "" : ", ",
                               cuts->at[i].position);
    }
    snprintf(text + at, size - at, "]");
}

/* As if the second segment had been measured far too short. */
static void shrink_second_segment(const running *r)
{
    char path[512];
    size_t count;
    aegis_error err = {0};
    aegis_profile profile = aegis_system_models(r->system, &count)[CUT].profile;
    profile.bound_ns -= profile.segments[1].bound_ns - 50000;
    profile.segments[1].bound_ns = 50000;
    profile.segments[1].stretch_ns = 50000;
    snprintf(path, sizeof path, "%s/profile-%.32s.json", planted_cache, profile.key);
    check(aegis_profile_save(path, &profile, &err), &err);
}

static void jobs_that_pass_a_segment_bound_are_ended(void **state)
{
    (void)state;
    running r;
    char cuts[128];
    aegis_error err = {0};
    prepare_all(&r, "report", "4");
    list_cuts(&r, cuts, sizeof cuts);
    tear_down(&r);
    prepare_all(&r, "report", cuts); /* where they are told, so that the key stays the same */
    shrink_second_segment(&r);
    tear_down(&r);
    prepare_all(&r, "abort", cuts);
    check(aegis_system_start(r.system, &err), &err);
    uint64_t ended = 0;
    for (uint32_t round = 0; round < ROUNDS || (ended == 0 && round < MOST_ROUNDS); round++) {
        answer whole = ask(&r), cut = ask(&r);
        draw_pixels(round + 1);
        submit(&whole, WHOLE);
        submit(&cut, CUT);
        await(&whole);
        await(&cut);
        assert_int_equal(whole.result.status, AEGIS_OK);
        ended += cut.result.end == AEGIS_JOB_ABORTED;
        assert_true(whole.size_bytes > 1000);
        free(whole.values);
        free(cut.values);
    }
    stop_and_replay(&r);
    aegis_model_metrics m = metrics_of(&r, CUT);
    /* A thread that wakes when the segment has ended by itself, some milliseconds later, finds
     * nothing to end; that it passed its bound is counted even so. */
    assert_true(ended > 0);
    assert_int_equal(m.counters.aborted, ended);
    assert_true(m.counters.overruns >= ROUNDS);
    assert_int_equal(metrics_of(&r, WHOLE).counters.aborted, 0);
    tear_down(&r);
}

int main(void)
{
    skip_without_models();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_and_whole_answer_alike),
        cmocka_unit_test(jobs_that_pass_a_segment_bound_are_ended),
    };
    return cmocka_run_group_tests(tests, make_planted_cache, remove_planted_cache);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A made-up transformer that generates in the background beside a model with a deadline, admitted
 * and run; and SmolLM2, when it is there, against the tokens of the reference. */
#include "planted.h"

#include <aegisrt/transformer.h>

#include <inttypes.h>

static char folder[] = "/tmp/aegisrt-language-run-XXXXXX";
static char spinner[64], made[64];

static const char spinner_text[] =
    "{\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[4]}],"
    "\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[4]}],"
    "\"segments\":[[{\"alloc\":1024},{\"spin\":\"2ms\"},{\"free\":0}]]}";

static void workload_text(char *text, size_t size, const char *cuts, const char *more)
{
    snprintf(text, size,
             "[device]\nkind = \"host\"\nmemory = \"64MiB\"\nlanes = 1\n"
             "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 4\n"
             "[[model]]\nname = \"detector\"\npath = \"%s\"\nbackend = \"null\"\n"
             "period = \"200ms\"\nmargin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n"
             "[[model]]\nname = \"writer\"\npath = \"%s\"\nbackend = \"transformer\"\n"
             "inputs = { tokens = [5] }\nsource = \"random(0, 300)\"\ncontext = 64\n"
             "class = \"background\"\nmargin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n"
             "%s%s%s%s",
             spinner, made, cuts != NULL ? "cuts = " : "", cuts != NULL ? cuts : "",
             cuts != NULL ? "\n" : "", more);
}

/* Bounds, planted: of the detector, and of a piece of the writer's step, which has fewer of them.
 * Far above what they take, and a step far below the detector's period. */
#define DETECTOR_NS (20 * UINT64_C(1000000))
#define PIECE_NS (UINT64_C(500000))
#define PIECES 80
#define JOBS 100         /* past the end of the context, which has 64 */
#define STREAMED_JOBS 30 /* each waits for the disk several times */

static void prepare_writer(running *r, const char *text)
{
    planter p;
    planter_init(&p, text);
    plant_whole(&p, 0, DETECTOR_NS);
    plant_every_cut(&p, 1, PIECES, PIECE_NS, 3);
    planter_finish(&p);
    prepare_unmeasured(r, text, (aegis_system_options){0});
    all_are_admitted(r);
}

static void a_writer_uses_the_slack(void **state)
{
    (void)state;
    static const char *const cuts[] = {"\"none\"", "4"};
    for (size_t c = 0; c < 2; c++) {
        char text[2048];
        running r;
        aegis_error err = {0};
        size_t count;
        workload_text(text, sizeof text, cuts[c], "at_end = \"restart\"\n");
        prepare_writer(&r, text);
        const aegis_system_model *models = aegis_system_models(r.system, &count);
        assert_int_equal(count, 2);
        assert_true(c == 0 ? models[1].segments == 1 : models[1].segments > 1);
        check(aegis_system_start(r.system, &err), &err);
        run_until_completed(&r, 1, JOBS);
        check(aegis_system_stop(r.system, &err), &err);
        const aegis_model_metrics detector = metrics_of(&r, 0), writer = metrics_of(&r, 1);
        numbers_add_up(&detector.counters);
        numbers_add_up(&writer.counters);
        assert_int_equal(detector.counters.unexcused, 0);
        assert_true(writer.counters.completed >= JOBS);
        const aegis_replay_result result = replay(&r);
        assert_int_equal(result.identical, result.decisions);
        tear_down(&r);
    }
}

/* Weights from the disk: a segment without its bytes is not given to the lane. */
static void a_streamed_writer_uses_the_slack(void **state)
{
    (void)state;
    char text[2048];
    running r;
    aegis_error err = {0};
    size_t count;
    workload_text(text, sizeof text, NULL,
                  "at_end = \"restart\"\nresidency = \"streamed\"\nmemory = \"640KiB\"\n");
    prepare_planted(&r, text, (aegis_system_options){0}, PIECES * PIECE_NS);
    all_are_admitted(&r);
    const aegis_system_model *models = aegis_system_models(r.system, &count);
    assert_int_equal(count, 2);
    assert_true(models[1].segments > 2); /* of its own making */
    check(aegis_system_start(r.system, &err), &err);
    run_until_completed(&r, 1, STREAMED_JOBS);
    check(aegis_system_stop(r.system, &err), &err);
    const aegis_model_metrics detector = metrics_of(&r, 0), writer = metrics_of(&r, 1);
    numbers_add_up(&detector.counters);
    numbers_add_up(&writer.counters);
    assert_int_equal(detector.counters.unexcused, 0);
    assert_true(detector.counters.completed + detector.counters.missed > 0);
    assert_true(writer.counters.completed >= STREAMED_JOBS);
    assert_int_equal(writer.counters.aborted, 0);
    assert_true(records_of(&r, AEGIS_TRACE_EVENT_SEGMENT_READY) >=
                writer.counters.completed * 3); /* blocks */
    const aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    tear_down(&r);
}

static void keys_of_language_models_are_theirs(void **state)
{
    (void)state;
    static const struct {
        const char *more, *words;
        const char *cuts;
    } cases[] = {
        {"at_end = \"stop\"\nseed = 1\n[[model]]\nname = \"b\"\npath = \"/\"\nbackend = \"null\"\n"
         "period = \"1s\"\ncontext = 8\n",
         "is for language models", NULL},
        {"at_end = \"never\"\n", "at_end", "2"},
        {"residency = \"somewhere\"\n", "residency", "2"},
        {"prompt = 5\n", "prompt", "2"},
        {"prompt_block = 0\n", "prompt_block", "2"},
        {"prompt_block = 4\n[[model]]\nname = \"b\"\npath = \"/\"\nbackend = \"null\"\n"
         "period = \"1s\"\nprompt_block = 4\n",
         "is for language models", NULL},
        {"prompt = \"x\"\n", "remove one of them", "2"},
        {"residency = \"streamed\"\n", "add memory", NULL},
        {"residency = \"streamed\"\nmemory = \"1MiB\"\n", "remove cuts", "4"},
        {"residency = \"streamed\"\nmemory = \"1MiB\"\n[[model]]\nname = \"b\"\npath = \"/\"\n"
         "backend = \"null\"\nperiod = \"1s\"\nprompt = \"x\"\n",
         "is for language models", NULL},
        {"[[model]]\nname = \"b\"\npath = \"/\"\nbackend = \"transformer\"\nperiod = \"1s\"\n"
         "residency = \"streamed\"\nmemory = \"1MiB\"\n",
         "nothing bounds the wait for a disk", NULL},
    };
    const aegis_allocator allocator = aegis_allocator_default();
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        char text[2048];
        aegis_error err = {0};
        aegis_workload *workload = NULL;
        workload_text(text, sizeof text, cases[c].cuts, cases[c].more);
        assert_int_equal(
            aegis_workload_parse(text, strlen(text), "test.toml", &allocator, &workload, &err),
            AEGIS_ERROR_CONFIG);
        assert_non_null(strstr(err.message, cases[c].words));
    }
}

/* Copies from pinned memory are bounded: there it may have a deadline. */
static void on_a_gpu_a_streamed_model_may_have_a_deadline(void **state)
{
    (void)state;
    static const char text[] =
        "[device]\nkind = \"cuda\"\nmemory = \"64MiB\"\n[[model]]\nname = \"b\"\npath = \"/\"\n"
        "backend = \"transformer\"\nperiod = \"1s\"\nresidency = \"streamed\"\nmemory = "
        "\"1MiB\"\n";
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error err = {0};
    aegis_workload *workload = NULL;
    check(aegis_workload_parse(text, strlen(text), "test.toml", &allocator, &workload, &err), &err);
    assert_int_equal(workload->models[0].config.residency, AEGIS_STREAMED);
    assert_false(workload->models[0].background);
    aegis_workload_free(workload);
}

static void the_examples_say_what_they_mean(void **state)
{
    (void)state;
    static const char *const names[] = {"llm", "assistant"};
    const aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(chdir(source_dir()), 0); /* their paths begin there */
    if (access("models/ch_PP-OCRv4_det_infer.onnx", R_OK) != 0) {
        printf("skipped: the examples' models are not there; run make models\n");
        skip();
    }
    for (int i = 0; i < 2; i++) {
        char path[512];
        aegis_error err = {0};
        aegis_workload *workload = NULL;
        snprintf(path, sizeof path, "%s/examples/%s.toml", source_dir(), names[i]);
        check(aegis_workload_load(path, &allocator, &workload, &err), &err);
        assert_int_equal(workload->model_count, 2);
        const aegis_workload_model *writer = &workload->models[1];
        assert_string_equal(writer->config.prompt, "The ship entered the port of");
        assert_true(writer->background);
        assert_true((writer->config.residency == AEGIS_STREAMED) == (i == 1));
        assert_true(i == 0 || writer->memory_bytes == UINT64_C(160) << 20);
        assert_int_equal(workload->models[0].period_ns, 200000000); /* 5 Hz */
        aegis_workload_free(workload);
    }
}

static void expect_reference(uint64_t memory_limit, const char *text)
{
    static const int64_t prompt[] = {504, 5575, 7999, 260, 2399, 282};
    /* test/fixtures/smollm2_greedy.json */
    static const int64_t wanted[] = {260, 2240, 282, 1315, 17236, 28,    837, 357,
                                     436, 1137, 288, 325,  253,   10364, 282, 1109};
    char path[512];
    snprintf(path, sizeof path, "%s/models/smollm2-135m", source_dir());
    if (access(path, R_OK) != 0) {
        printf("skipped: %s is not there; run make models\n", path);
        skip();
    }
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_backend_config runtime = {.runtime = "transformer", .consumer = "test"};
    const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {6}};
    const aegis_model_config config = {.name = "writer",
                                       .path = path,
                                       .inputs = text == NULL ? &shape : NULL,
                                       .input_count = text == NULL ? 1 : 0,
                                       .prompt = text,
                                       .context_tokens = 64,
                                       .memory_limit_bytes = memory_limit,
                                       .residency =
                                           memory_limit > 0 ? AEGIS_STREAMED : AEGIS_RESIDENT};
    aegis_backend *backend = NULL;
    aegis_model *model = NULL;
    aegis_error err = {0};
    void *data = NULL;
    uint64_t size;
    check(aegis_backend_create(&runtime, NULL, &allocator, &backend, &err), &err);
    check(aegis_model_open(backend, &config, &model, &err), &err);
    check(aegis_model_input(model, 0, "tokens", &data, &size, &err), &err);
    assert_int_equal(size, sizeof prompt);
    if (text != NULL) {
        assert_memory_equal(data, prompt, sizeof prompt);
        check(aegis_model_reset(model, &err), &err);
        assert_memory_equal(data, prompt, sizeof prompt); /* again after its source */
    }
    memcpy(data, prompt, sizeof prompt);
    assert_true((aegis_model_awaited_segments(model) != 0) == (memory_limit > 0));
    /* Streamed, a token takes as long as the disk needs for most of the weights. */
    const int more = memory_limit > 0 ? 5 : 15;
    for (int i = 0; i < 6 + more; i++) {
        for (uint32_t s = 0; s < aegis_model_segment_count(model); s++) {
            check(aegis_model_execute(model, s, 0, NULL, &err), &err);
        }
        aegis_model_commit(model);
        check(aegis_model_output(model, 0, "token", &data, &size, &err), &err);
        assert_int_equal(*(int64_t *)data, i < 5 ? prompt[i + 1] : wanted[i - 5]);
    }
    aegis_model_close(model);
    aegis_backend_destroy(backend);
}

static void smollm2_makes_the_tokens_of_the_reference(void **state)
{
    (void)state;
    expect_reference(0, NULL);
}

static void a_text_is_a_prompt(void **state)
{
    (void)state;
    expect_reference(0, "The ship entered the port of");
    char path[512];
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_backend_config runtime = {.runtime = "transformer", .consumer = "test"};
    const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {5}};
    aegis_model_config config = {.name = "writer",
                                 .path = path,
                                 .inputs = &shape,
                                 .input_count = 1,
                                 .prompt = "The ship entered the port of"};
    aegis_backend *backend = NULL;
    aegis_model *model = NULL;
    aegis_error err = {0};
    snprintf(path, sizeof path, "%s/models/smollm2-135m", source_dir());
    check(aegis_backend_create(&runtime, NULL, &allocator, &backend, &err), &err);
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "[6]"));
    config.prompt = "";
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "write a text"));
    aegis_backend_destroy(backend);
}

/* 269 MB of weights, most of them from the disk for every token. */
static void streamed_smollm2_makes_the_same_tokens(void **state)
{
    (void)state;
    expect_reference(UINT64_C(96) << 20, NULL);
    expect_reference(UINT64_C(200) << 20, NULL);
}

/* 129 MiB of weights: refused before they are there, admitted with as much as was said; what lies
 * in the arena and in the trial at once counts. */
static void the_process_has_a_budget(void **state)
{
    (void)state;
    char text[2048], path[128];
    const aegis_allocator allocator = aegis_allocator_default();
    const uint64_t mib = UINT64_C(1) << 20;
    uint64_t held, before, peak;
    aegis_error err = {0};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they hold far more than the program asks for */
#endif
    snprintf(path, sizeof path, "%s/heavy", folder);
    check(aegis_transformer_synthesize(path, "llama-135m", "i8", 5, &err), &err);
    check(aegis_process_memory(NULL, &held, &before, NULL), NULL);
    const struct {
        uint64_t budget;
        bool first, second;
    } cases[] = {
        {held + 240 * mib, true, false}, {held + 480 * mib, true, true}, {mib, false, false}};
    for (size_t c = 0; c < 3; c++) {
        aegis_workload *workload = NULL;
        aegis_system *system = NULL;
        size_t count;
        snprintf(text, sizeof text,
                 "[device]\nkind = \"host\"\nmemory = \"160MiB\"\nprocess_memory = %" PRIu64
                 "\n[[model]]\nname = \"detector\"\npath = \"%s\"\nbackend = \"null\"\n"
                 "period = \"60s\"\nmargin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n"
                 "[[model]]\nname = \"heavy\"\npath = \"%s\"\nbackend = \"transformer\"\n"
                 "inputs = { tokens = [5] }\nsource = \"random(0, 300)\"\ncontext = 64\n"
                 "class = \"background\"\nmargin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n",
                 cases[c].budget, spinner, path);
        check(aegis_workload_parse(text, strlen(text), "test.toml", &allocator, &workload, &err),
              &err);
        const aegis_status status = aegis_system_create(workload, NULL, &allocator, &system, &err);
        if (!cases[c].first) {
            assert_int_equal(status, AEGIS_ERROR_BUDGET_EXCEEDED);
            assert_non_null(strstr(err.message, "process_memory"));
            aegis_workload_free(workload);
            continue;
        }
        check(status, &err);
        const aegis_system_model *models = aegis_system_models(system, &count);
        assert_true(models[0].admitted);
        assert_true(models[1].admitted == cases[c].second);
        check(aegis_process_memory(NULL, &held, &peak, NULL), NULL);
        assert_true(peak <= cases[c].budget || peak == before);
        if (!cases[c].second) {
            assert_int_equal(models[1].rationale, AEGIS_WHY_MEMORY);
            assert_in_range(models[1].memory_refusal.missing_bytes, 1, 129 * mib);
            assert_non_null(strstr(models[1].reason, "process_memory leaves"));
        }
        aegis_system_destroy(system);
        aegis_workload_free(workload);
    }
}

static int make_models(void **state)
{
    aegis_error err = {0};
    if (mkdtemp(folder) == NULL || make_planted_cache(state) != 0) {
        return -1;
    }
    snprintf(spinner, sizeof spinner, "%s/spinner.null", folder);
    snprintf(made, sizeof made, "%s/made", folder);
    FILE *file = fopen(spinner, "w");
    if (file == NULL || fputs(spinner_text, file) < 0 || fclose(file) != 0) {
        return -1;
    }
    return aegis_transformer_synthesize(made, "llama-tiny", "f32", 5, &err) == AEGIS_OK ? 0 : -1;
}

static int remove_models(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0 ? -1 : remove_planted_cache(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_uses_the_slack),
        cmocka_unit_test(the_process_has_a_budget),
        cmocka_unit_test(keys_of_language_models_are_theirs),
        cmocka_unit_test(on_a_gpu_a_streamed_model_may_have_a_deadline),
        cmocka_unit_test(a_streamed_writer_uses_the_slack),
        cmocka_unit_test(the_examples_say_what_they_mean),
        cmocka_unit_test(smollm2_makes_the_tokens_of_the_reference),
        cmocka_unit_test(a_text_is_a_prompt),
        cmocka_unit_test(streamed_smollm2_makes_the_same_tokens),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}

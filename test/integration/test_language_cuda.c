/* SPDX-License-Identifier: Apache-2.0 */
/* A language model whose layers come from pinned memory, one that takes its prompt in blocks, and
 * one that does both, with a deadline, beside a resident one: admitted with proofs and run on a
 * GPU. Skipped where there is no CUDA device, blocks also without cuBLAS. */
#include "system_test.h"

#include "support/gpu_cases.h"

#include <aegisrt/transformer.h>

#include <dlfcn.h>

static void skip_without_a_device(void)
{
    aegis_device_capabilities is;
    aegis_error err = {0};
    if (aegis_device_query(AEGIS_DEVICE_CUDA, 0, false, &is, &err) != AEGIS_OK) {
        printf("skipped: %s\n", err.message);
        exit(EXIT_SKIPPED);
    }
}

/* Made-up models in a folder of their own. */
typedef struct fixture {
    char folder[64], large[128], tiny[128], text[2048];
} fixture;

static void make_models(fixture *f, const char *shape)
{
    aegis_error err = {0};
    snprintf(f->folder, sizeof f->folder, "/tmp/aegisrt-language-gpu-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->large, sizeof f->large, "%s/large", f->folder);
    snprintf(f->tiny, sizeof f->tiny, "%s/tiny", f->folder);
    check(aegis_transformer_synthesize(f->large, shape, "f16", 5, &err), &err);
    check(aegis_transformer_synthesize(f->tiny, "gpt2-tiny", "f32", 5, &err), &err);
}

/* A small resident model beside a large one, whose own keys are given. */
static void write_workload(fixture *f, const char *keys)
{
    const unsigned slower = under_sanitizer() ? 50 : 1;
    snprintf(f->text, sizeof f->text,
             "[device]\nkind = \"cuda\"\nmemory = \"512MiB\"\npinned = \"320MiB\"\n"
             "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 4\n"
             "[[model]]\nname = \"answer\"\npath = \"%s\"\nbackend = \"transformer\"\n"
             "inputs = { tokens = [5] }\nsource = \"random(0, 300)\"\ncontext = 64\n"
             "period = \"%ums\"\nmargin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n"
             "[[model]]\nname = \"writer\"\npath = \"%s\"\nbackend = \"transformer\"\n"
             "source = \"random(0, 300)\"\n%s"
             "period = \"%ums\"\nmargin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n",
             f->tiny, 20 * slower, f->large, keys, 100 * slower);
}

/* Both are admitted and keep their deadlines, and every decision is derived again. */
static void run_and_finish(fixture *f, uint32_t least_segments)
{
    const uint32_t jobs = repeats(25, 2);
    char command[160];
    running r;
    aegis_error err = {0};
    size_t count;
    prepare(&r, f->text, (aegis_system_options){0});
    const aegis_system_model *models = aegis_system_models(r.system, &count);
    assert_int_equal(count, 2);
    all_are_admitted(&r);
    assert_true(models[1].segments >= least_segments);
    check(aegis_system_start(r.system, &err), &err);
    for (int turn = 0; turn < 80 && metrics_of(&r, 1).counters.completed < jobs + 5; turn++) {
        let_run(0.25);
    }
    check(aegis_system_stop(r.system, &err), &err);
    for (uint32_t m = 0; m < 2; m++) {
        const aegis_model_metrics metrics = metrics_of(&r, m);
        numbers_add_up(&metrics.counters);
        assert_int_equal(metrics.counters.unexcused, 0);
        assert_int_equal(metrics.counters.aborted, 0);
        assert_true(metrics.counters.completed >= jobs);
    }
    assert_int_equal(records_of(&r, AEGIS_TRACE_EVENT_SEGMENT_READY), 0); /* nothing waits */
    const aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    tear_down(&r);
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    assert_int_equal(system(command), 0);
}

static void a_streamed_model_meets_its_deadlines(void **state)
{
    (void)state;
    fixture f;
    make_models(&f, "llama-135m");
    write_workload(&f, "inputs = { tokens = [5] }\ncontext = 64\n"
                       "residency = \"streamed\"\nmemory = \"128MiB\"\n");
    run_and_finish(&f, 3);
}

static void skip_without_cublas(void)
{
    void *library = dlopen("libcublas.so.13", RTLD_NOW | RTLD_LOCAL);
    library = library != NULL ? library : dlopen("libcublas.so.12", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        print_message("skipped: no cuBLAS\n");
        skip();
    }
    (void)dlclose(library);
}

/* A prompt of 300 tokens in jobs of up to 64, then a token a job, to the end of the context. */
static void a_prompt_in_blocks_meets_its_deadlines(void **state)
{
    (void)state;
    fixture f;
    skip_without_cublas();
    make_models(&f, "gpt2-shallow");
    write_workload(&f, "inputs = { tokens = [300] }\ncontext = 320\nat_end = \"restart\"\n"
                       "prompt_block = 64\n");
    run_and_finish(&f, 1);
}

/* Both: a third of its layers stay beside what blocks take; each job copies the others. */
static void a_streamed_prompt_in_blocks_meets_its_deadlines(void **state)
{
    (void)state;
    fixture f;
    skip_without_cublas();
    make_models(&f, "llama-135m");
    write_workload(&f, "inputs = { tokens = [300] }\ncontext = 320\nat_end = \"restart\"\n"
                       "prompt_block = 64\nresidency = \"streamed\"\nmemory = \"200MiB\"\n");
    run_and_finish(&f, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_streamed_model_meets_its_deadlines),
        cmocka_unit_test(a_prompt_in_blocks_meets_its_deadlines),
        cmocka_unit_test(a_streamed_prompt_in_blocks_meets_its_deadlines),
    };
    if (cases_listed(tests, sizeof tests / sizeof tests[0])) {
        return 0;
    }
    skip_without_a_device();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

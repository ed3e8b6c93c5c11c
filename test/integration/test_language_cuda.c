/* SPDX-License-Identifier: Apache-2.0 */
/* A language model whose layers come from pinned memory, with a deadline, beside a resident one:
 * admitted with proofs and run on a GPU. Skipped where there is no CUDA device. */
#include "system_test.h"

#include <aegisrt/transformer.h>

static void skip_without_a_device(void)
{
    aegis_device_capabilities is;
    aegis_error err = {0};
    if (aegis_device_query(AEGIS_DEVICE_CUDA, 0, false, &is, &err) != AEGIS_OK) {
        printf("skipped: %s\n", err.message);
        exit(EXIT_SKIPPED);
    }
}

static void a_streamed_model_meets_its_deadlines(void **state)
{
    (void)state;
    char folder[] = "/tmp/aegisrt-language-gpu-XXXXXX", large[128], tiny[128], text[2048];
    char command[160];
    running r;
    aegis_error err = {0};
    size_t count;
    assert_non_null(mkdtemp(folder));
    snprintf(large, sizeof large, "%s/large", folder);
    snprintf(tiny, sizeof tiny, "%s/tiny", folder);
    check(aegis_transformer_synthesize(large, "llama-135m", "f16", 5, &err), &err);
    check(aegis_transformer_synthesize(tiny, "gpt2-tiny", "f32", 5, &err), &err);
    snprintf(text, sizeof text,
             "[device]\nkind = \"cuda\"\nmemory = \"512MiB\"\npinned = \"320MiB\"\n"
             "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 4\n"
             "[[model]]\nname = \"answer\"\npath = \"%s\"\nbackend = \"transformer\"\n"
             "inputs = { tokens = [5] }\nsource = \"random(0, 300)\"\ncontext = 64\n"
             "period = \"20ms\"\nmargin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n"
             "[[model]]\nname = \"writer\"\npath = \"%s\"\nbackend = \"transformer\"\n"
             "inputs = { tokens = [5] }\nsource = \"random(0, 300)\"\ncontext = 64\n"
             "residency = \"streamed\"\nmemory = \"128MiB\"\n"
             "period = \"100ms\"\nmargin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n",
             tiny, large);
    prepare(&r, text, (aegis_system_options){0});
    const aegis_system_model *models = aegis_system_models(r.system, &count);
    assert_int_equal(count, 2);
    assert_true(models[0].admitted && models[1].admitted);
    assert_true(models[1].segments > 2);
    check(aegis_system_start(r.system, &err), &err);
    for (int turn = 0; turn < 40 && metrics_of(&r, 1).counters.completed < 30; turn++) {
        let_run(0.25);
    }
    check(aegis_system_stop(r.system, &err), &err);
    for (uint32_t m = 0; m < 2; m++) {
        const aegis_model_metrics metrics = metrics_of(&r, m);
        numbers_add_up(&metrics.counters);
        assert_int_equal(metrics.counters.unexcused, 0);
        assert_int_equal(metrics.counters.aborted, 0);
        assert_true(metrics.counters.completed >= 25);
    }
    assert_int_equal(records_of(&r, AEGIS_TRACE_EVENT_SEGMENT_READY), 0); /* nothing waits */
    const aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    tear_down(&r);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_streamed_model_meets_its_deadlines)};
    skip_without_a_device();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

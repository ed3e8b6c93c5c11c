/* SPDX-License-Identifier: Apache-2.0 */
/* A model that fails does so alone; the dispatch path allocates nothing. */
#include "planted.h"

#include "support/thread_allocations.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include "support/thread_allocations.inc"
#define COUNTS_ALLOCATIONS 1
#endif

/* Of every model, planted: far above what they take, and far below their periods. */
#define BOUND_NS (10 * UINT64_C(1000000))

static const char workload[] =
    "[device]\nkind = \"host\"\nmemory = \"96MiB\"\nlanes = 2\n"
    "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 8\n"
    "[[model]]\nname = \"speech\"\npath = \"models/silero_vad_op18_ifless.onnx\"\n"
    "inputs = { input = [1, 576], state = [2, 1, 128], sr = [] }\nstate = { state = \"stateN\" }\n"
    "source = { input = \"random\", sr = 16000 }\nperiod = \"250ms\"\nmargin = 2.0\n"
    "overrun = \"report\"\nconfidence = 0.9\nlane = 0\n"
    "[[model]]\nname = \"neighbour\"\npath = \"models/ch_ppocr_mobile_v2.0_cls_infer.onnx\"\n"
    "inputs = { x = [1, 3, 48, 192] }\nperiod = \"250ms\"\nmargin = 2.0\nconfidence = 0.9\n"
    "overrun = \"report\"\nlane = 0\n"
    "[[model]]\nname = \"other-lane\"\npath = \"models/light_squeezenet.onnx\"\n"
    "inputs = { data_0 = [1, 3, 224, 224] }\nperiod = \"500ms\"\nmargin = 2.0\n"
    "confidence = 0.9\noverrun = \"report\"\nlane = 1\n";

enum {
    SPEECH,
    NEIGHBOUR,
    OTHER_LANE
};

/* Where the sample rate stands; to be asked for before jobs run. */
static int64_t *sample_rate(const running *r)
{
    void *data;
    uint64_t size;
    aegis_error err = {0};
    check(aegis_model_input(aegis_system_backend_model(r->system, SPEECH), 0, "sr", &data, &size,
                            &err),
          &err);
    assert_int_equal(size, sizeof(int64_t));
    return data;
}

/* While the model is out, as its runs read the rate. */
static void change_sample_rate(running *r, int64_t *at, int64_t rate)
{
    size_t count;
    aegis_error err = {0};
    aegis_scheduler *scheduler = aegis_system_scheduler(r->system);
    const aegis_admission_request request = {
        .profile = &aegis_system_models(r->system, &count)[SPEECH].profile,
        .period_ns = 250000000,
        .lane = 0,
        .periodic = true,
        .queue_depth = 8,
        .overrun = AEGIS_OVERRUN_REPORT};
    aegis_admission_answer answer;
    check(aegis_scheduler_evict(scheduler, SPEECH, &err), &err);
    *at = rate;
    check(aegis_scheduler_admit(scheduler, aegis_system_context(r->system, SPEECH), &request,
                                &answer, &err),
          &err);
}

/* At another sample rate the speech model takes another path and asks for other bytes. */
static void departure_fails_alone_and_can_be_cleared(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0}, fault = {0};
    prepare_planted(&r, workload, (aegis_system_options){0}, BOUND_NS);
    all_are_admitted(&r);
    aegis_context *context = aegis_system_context(r.system, SPEECH);
    int64_t *rate = sample_rate(&r);
    check(aegis_system_start(r.system, &err), &err);
    run_jobs(&r, SPEECH, 3);
    assert_false(aegis_context_has_error(context));

    change_sample_rate(&r, rate, 8000);
    for (int i = 0; i < 6000 && !aegis_context_has_error(context); i++) {
        let_run(0.01);
    }
    assert_true(aegis_context_last_error(context, &fault));
    print_message("the fault: %s\n", fault.message);
    assert_int_equal(fault.status, AEGIS_ERROR_DEPARTURE);
    assert_int_equal(fault.category, AEGIS_CATEGORY_PERMANENT);
    for (int i = 0; i < 6000 && metrics_of(&r, SPEECH).counters.refused == 0; i++) {
        let_run(0.01);
    }
    assert_true(metrics_of(&r, SPEECH).counters.refused > 0);
    assert_int_equal(metrics_of(&r, SPEECH).counters.aborted, 1);

    *rate = 16000; /* nothing runs it since the fault */
    check(aegis_scheduler_clear_fault(aegis_system_scheduler(r.system), SPEECH, &err), &err);
    for (uint32_t i = SPEECH; i <= OTHER_LANE; i++) {
        run_jobs(&r, i, 3);
    }
    check(aegis_system_stop(r.system, &err), &err);
    assert_int_equal(metrics_of(&r, SPEECH).counters.aborted, 1);

    for (uint32_t i = NEIGHBOUR; i <= OTHER_LANE; i++) {
        aegis_model_metrics m = metrics_of(&r, i);
        numbers_add_up(&m.counters);
        assert_int_equal(m.counters.unexcused, 0);
        assert_int_equal(m.counters.aborted, 0);
    }
    aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    tear_down(&r);
}

static void dispatch_path_allocates_nothing(void **state)
{
    (void)state;
#ifdef COUNTS_ALLOCATIONS
    running r;
    aegis_error err = {0};
    uint64_t before = 0, after = 0, lanes_before = 0, lanes_after = 0;
    prepare_planted(&r, workload, (aegis_system_options){0}, BOUND_NS);
    all_are_admitted(&r);
    check(aegis_system_start(r.system, &err), &err);
    run_jobs(&r, SPEECH, 2);
    assert_true(test_thread_allocations("aegis-sched", &before));
    assert_true(test_thread_allocations("aegis-lane-0", &lanes_before));
    uint64_t jobs = completed(&r, SPEECH);
    run_jobs(&r, SPEECH, 20);
    assert_true(test_thread_allocations("aegis-sched", &after));
    assert_true(test_thread_allocations("aegis-lane-0", &lanes_after));
    jobs = completed(&r, SPEECH) - jobs;
    assert_int_equal(after - before, 0);
    print_message("orchestration thread: 0 allocations in %llu jobs; lane 0, inside the runtime: "
                  "%llu calls of malloc, none of them a tensor\n",
                  (unsigned long long)jobs, (unsigned long long)(lanes_after - lanes_before));
    check(aegis_system_stop(r.system, &err), &err);
    tear_down(&r);
#else
    print_message("sanitizers bring their own allocator: nothing to count here\n");
    skip();
#endif
}

int main(void)
{
    skip_without_models();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(departure_fails_alone_and_can_be_cleared),
        cmocka_unit_test(dispatch_path_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, make_planted_cache, remove_planted_cache);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Real models through admission, plan, schedule, trace and replay. */
#include "planted.h"

/* Of every model, planted: what is tested here is the machinery, not the machine. Far above what
 * they take, and far below their periods. */
#define BOUND_NS (5 * UINT64_C(1000000))

static const char workload[] =
    "[device]\nkind = \"host\"\nmemory = \"128MiB\"\nlanes = 2\n"
    "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 8\n"
    "[[model]]\nname = \"speech\"\npath = \"models/silero_vad_16k_op15.onnx\"\n"
    "inputs = { input = [1, 576], state = [2, 1, 128], sr = [] }\nstate = { state = \"stateN\" }\n"
    "source = { input = \"random\", sr = 16000 }\nperiod = \"100ms\"\nmargin = 2.0\n"
    "overrun = \"report\"\nconfidence = 0.9\n"
    "[[model]]\nname = \"orientation\"\npath = \"models/ch_ppocr_mobile_v2.0_cls_infer.onnx\"\n"
    "inputs = { x = [1, 3, 48, 192] }\nperiod = \"200ms\"\nmargin = 2.0\nconfidence = 0.9\n"
    "overrun = \"report\"\n"
    "[[model]]\nname = \"objects\"\npath = \"models/light_squeezenet.onnx\"\n"
    "inputs = { data_0 = [1, 3, 224, 224] }\nperiod = \"500ms\"\nmargin = 2.0\n"
    "confidence = 0.9\noverrun = \"report\"\n"
    "[[model]]\nname = \"asked\"\npath = \"models/ch_ppocr_mobile_v2.0_cls_infer.onnx\"\n"
    "inputs = { x = [1, 3, 48, 96] }\nperiod = \"60ms\"\ndeadline = \"500ms\"\nmargin = 2.0\n"
    "confidence = 0.9\noverrun = \"report\"\nsource = \"external\"\nslots = 4\nearly = \"delay\"\n";

enum {
    SPEECH,
    ORIENTATION,
    OBJECTS,
    ASKED,
    MODELS
};

static void all_add_up_and_replay(running *r)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(r->system, &count);
    aegis_memory_totals totals;
    uint64_t peak;
    assert_int_equal(count, MODELS);
    aegis_system_memory(r->system, &totals, &peak);
    assert_true(peak <= r->workload->memory_bytes);
    assert_true(totals.planned_bytes <= r->workload->memory_bytes);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(models[i].admitted);
        aegis_model_metrics m = metrics_of(r, i);
        numbers_add_up(&m.counters);
        assert_int_equal(m.counters.unexcused, 0);
        assert_int_equal(m.counters.dropped, 0);
    }
    /* Segments ended while the orchestration thread slept: then the lane goes on by itself. */
    aegis_scheduler_metrics metrics;
    aegis_scheduler_get_metrics(aegis_system_scheduler(r->system), &metrics, NULL);
    assert_true(metrics.lane_turns > 0 && metrics.lane_turns < metrics.decisions);
    aegis_replay_result result = replay(r);
    assert_true(result.decisions > 20);
    assert_int_equal(result.identical, result.decisions);
    assert_false(result.first_difference.found);
}

static void periodic_jobs_run_and_replay(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    prepare_planted(&r, workload, (aegis_system_options){0}, BOUND_NS);
    check(aegis_system_start(r.system, &err), &err);
    run_until_completed(&r, SPEECH, 15);
    run_until_completed(&r, ORIENTATION, 8);
    run_until_completed(&r, OBJECTS, 2);
    check(aegis_system_stop(r.system, &err), &err);
    all_add_up_and_replay(&r);
    tear_down(&r);
}

typedef struct job_answer {
    running *r;
    aegis_job_result result;
    float output[2];
    _Atomic bool done;
} job_answer;

static void on_job(void *self, const aegis_job_result *result)
{
    job_answer *a = self;
    size_t count;
    aegis_model *model = aegis_system_backend_model(a->r->system, ASKED);
    const aegis_tensor_info *outputs = aegis_model_outputs(model, &count);
    void *data;
    uint64_t size;
    if (aegis_model_output(model, result->slot, outputs[0].name, &data, &size, NULL) == AEGIS_OK &&
        size == sizeof a->output) {
        memcpy(a->output, data, size);
    }
    a->result = *result;
    atomic_store(&a->done, true);
}

static void wait_for(const job_answer *a)
{
    for (int i = 0; i < 2000 && !atomic_load(&a->done); i++) {
        let_run(0.005);
    }
    assert_true(atomic_load(&a->done));
}

static void submitted_jobs_see_their_own_inputs(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    job_answer answers[3] = {0};
    static float pictures[3][3 * 48 * 96];
    prepare_planted(&r, workload, (aegis_system_options){0}, BOUND_NS);
    aegis_scheduler *scheduler = aegis_system_scheduler(r.system);
    aegis_job_input early = {"x", pictures[0], sizeof pictures[0]};
    aegis_submission submission = {.inputs = &early, .input_count = 1, .callback = on_job};
    assert_int_equal(aegis_scheduler_submit(scheduler, ASKED, &submission, NULL, &err),
                     AEGIS_ERROR_STATE);
    check(aegis_system_start(r.system, &err), &err);
    let_run(0.1);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof pictures[i] / sizeof pictures[i][0]; k++) {
            pictures[i][k] = i == 2 ? pictures[0][k] : (float)((k * (i + 3)) % 97) / 97.0F;
        }
        answers[i].r = &r;
        aegis_job_input input = {"x", pictures[i], sizeof pictures[i]};
        submission.inputs = &input;
        submission.callback_self = &answers[i];
        uint64_t job = 0;
        check(aegis_scheduler_submit(scheduler, ASKED, &submission, &job, &err), &err);
        assert_true(job > 0);
    }
    for (size_t i = 0; i < 3; i++) {
        wait_for(&answers[i]);
        assert_true(answers[i].result.end == AEGIS_JOB_COMPLETED ||
                    answers[i].result.end == AEGIS_JOB_MISSED);
    }
    assert_memory_equal(answers[0].output, answers[2].output, sizeof answers[0].output);
    assert_memory_not_equal(answers[0].output, answers[1].output, sizeof answers[0].output);

    aegis_job_input wrong = {"x", pictures[0], 12};
    submission.inputs = &wrong;
    assert_int_equal(aegis_scheduler_submit(scheduler, ASKED, &submission, NULL, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    wrong.name = "nothing";
    assert_int_equal(aegis_scheduler_submit(scheduler, ASKED, &submission, NULL, &err),
                     AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_scheduler_submit(scheduler, 99, &submission, NULL, &err),
                     AEGIS_ERROR_NOT_ADMITTED);
    check(aegis_system_stop(r.system, &err), &err);
    all_add_up_and_replay(&r);
    tear_down(&r);
}

static void queue_of_submissions_is_bounded(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    prepare_planted(&r, workload, (aegis_system_options){0}, BOUND_NS);
    check(aegis_system_start(r.system, &err), &err);
    int accepted = 0, refused = 0;
    for (int i = 0; i < 64; i++) {
        aegis_status status =
            aegis_scheduler_submit(aegis_system_scheduler(r.system), ASKED, NULL, NULL, &err);
        accepted += status == AEGIS_OK;
        refused += status == AEGIS_ERROR_QUEUE_FULL;
    }
    assert_int_equal(accepted + refused, 64);
    assert_true(accepted >= 4 && refused > 0);
    assert_int_equal(err.category, AEGIS_CATEGORY_TRANSIENT);
    let_run(0.3);
    check(aegis_system_stop(r.system, &err), &err);
    all_add_up_and_replay(&r);
    tear_down(&r);
}

/* The planner is swapped without touching the scheduler, the policy without touching execution. */
static void planner_and_policy_are_swappable(void **state)
{
    (void)state;
    uint64_t planned[2] = {0};
    const char *policies[] = {"np-rm", "fifo"};
    const aegis_planner planners[] = {aegis_planner_default(), aegis_planner_stacked()};
    for (size_t i = 0; i < 2; i++) {
        running r;
        aegis_error err = {0};
        aegis_policy policy;
        aegis_memory_totals totals;
        uint64_t peak;
        check(aegis_policy_find(policies[i], &policy, &err), &err);
        prepare_planted(&r, workload,
                        (aegis_system_options){.planner = &planners[i], .policy = &policy},
                        BOUND_NS);
        check(aegis_system_start(r.system, &err), &err);
        run_until_completed(&r, SPEECH, 4);
        run_until_completed(&r, ORIENTATION, 2);
        check(aegis_system_stop(r.system, &err), &err);
        aegis_system_memory(r.system, &totals, &peak);
        planned[i] = totals.activations_planned;
        all_add_up_and_replay(&r);
        tear_down(&r);
    }
    assert_true(planned[0] < planned[1]);
}

static void models_leave_and_come_back_to_a_running_system(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    size_t count;
    prepare_planted(&r, workload, (aegis_system_options){0}, BOUND_NS);
    aegis_scheduler *scheduler = aegis_system_scheduler(r.system);
    const aegis_system_model *models = aegis_system_models(r.system, &count);
    check(aegis_system_start(r.system, &err), &err);
    run_until_completed(&r, ORIENTATION, 1);
    check(aegis_scheduler_evict(scheduler, ORIENTATION, &err), &err);
    assert_int_equal(aegis_scheduler_evict(scheduler, ORIENTATION, &err), AEGIS_ERROR_NOT_FOUND);
    let_run(0.2);
    aegis_admission_request request = {.profile = &models[ORIENTATION].profile,
                                       .period_ns = 200000000,
                                       .lane = -1,
                                       .periodic = true,
                                       .queue_depth = 8,
                                       .overrun = AEGIS_OVERRUN_REPORT};
    aegis_admission_answer answer;
    check(aegis_scheduler_admit(scheduler, aegis_system_context(r.system, ORIENTATION), &request,
                                &answer, &err),
          &err);
    assert_true(answer.admitted);
    run_jobs(&r, ORIENTATION, 2);
    check(aegis_system_stop(r.system, &err), &err);
    all_add_up_and_replay(&r);
    tear_down(&r);
}

/* What the trace says of the one that is past its own limit before all that it takes is known. */
static void budget_refusal_is_recorded(running *r, uint32_t model)
{
    aegis_trace_record found[4];
    const aegis_trace_query wanted = {.kind = AEGIS_TRACE_REFUSED};
    aegis_error err;
    size_t count = 0, records = 0;
    check(aegis_trace_collector_query(aegis_system_collector(r->system), &wanted, found, 4, &count,
                                      &err),
          &err);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        if (found[i].model == model) {
            assert_int_equal(found[i].rationale, AEGIS_WHY_MODEL_BUDGET);
            assert_int_equal(found[i].a, (2 << 20) + 1);
            assert_int_equal(found[i].b, 2 << 20);
            records++;
        }
    }
    assert_int_equal(records, 1);
}

/* Of too-big every weight is a learnt one: nothing of it is there already. */
static const char *const hopeless =
    "[[model]]\nname = \"hopeless\"\npath = \"models/light_squeezenet.onnx\"\n"
    "inputs = { data_0 = [1, 3, 224, 224] }\nperiod = \"500ms\"\ndeadline = \"100us\"\n"
    "confidence = 0.9\nexpect = \"refuse\"\n"
    "[[model]]\nname = \"too-big\"\npath = \"models/all-minilm-l6-v2.onnx\"\n"
    "inputs = { input_ids = [1, 16], attention_mask = [1, 16], token_type_ids = [1, 16] }\n"
    "source = { input_ids = \"random(0, 30521)\", attention_mask = 1, token_type_ids = 0 }\n"
    "period = \"60s\"\n"
    "confidence = 0.9\nexpect = \"refuse\"\n"
    "[[model]]\nname = \"over-budget\"\npath = \"models/light_squeezenet.onnx\"\n"
    "inputs = { data_0 = [1, 3, 224, 224] }\nperiod = \"60s\"\nmemory = \"2MiB\"\n"
    "confidence = 0.9\nexpect = \"refuse\"\n";

static void refusals_name_their_reason(void **state)
{
    (void)state;
    running r;
    char text[4096];
    size_t count;
    snprintf(text, sizeof text, "%s%s", workload, hopeless);
    char *memory = strstr(text, "128MiB");
    memcpy(memory, "64 MiB", 6);
    prepare_planted(&r, text, (aegis_system_options){0}, BOUND_NS);
    const aegis_system_model *models = aegis_system_models(r.system, &count);
    assert_int_equal(count, MODELS + 3);
    for (size_t i = 0; i < MODELS; i++) {
        assert_true(models[i].admitted);
    }
    assert_false(models[MODELS].admitted);
    assert_true(models[MODELS].rationale == AEGIS_WHY_DEMAND ||
                models[MODELS].rationale == AEGIS_WHY_RESPONSE);
    assert_true(models[MODELS].answer.fit.smallest_deadline > 100000);
    assert_false(models[MODELS + 1].admitted);
    assert_int_equal(models[MODELS + 1].rationale, AEGIS_WHY_MEMORY);
    assert_true(models[MODELS + 1].memory_refusal.missing_bytes > 0);
    assert_false(models[MODELS + 2].admitted);
    assert_int_equal(models[MODELS + 2].rationale, AEGIS_WHY_MODEL_BUDGET);
    assert_non_null(strstr(models[MODELS + 2].reason, ".toml:"));
    assert_non_null(strstr(models[MODELS + 2].reason, "[[model]] \"over-budget\": memory: "));
    assert_non_null(strstr(models[MODELS + 2].reason, "its memory limit is 2097152"));
    assert_non_null(strstr(models[MODELS + 2].reason, "raise this limit"));
    budget_refusal_is_recorded(&r, MODELS + 2);
    for (size_t i = MODELS; i < count; i++) {
        print_message("%s: %s\n", models[i].name, models[i].reason);
        assert_true(strlen(models[i].reason) > 20);
    }
    assert_int_equal(aegis_system_surprises(r.system), 0);
    tear_down(&r);
}

/* The first is alone on lane 0 until the second comes, which bears no blocking by it. */
static const char moving[] =
    "[device]\nkind = \"host\"\nmemory = \"32MiB\"\nlanes = 2\n[schedule]\npolicy = \"np-edf\"\n"
    "[[model]]\nname = \"patient\"\npath = \"models/ch_ppocr_mobile_v2.0_cls_infer.onnx\"\n"
    "inputs = { x = [1, 3, 48, 96] }\nperiod = \"1s\"\noverrun = \"report\"\n"
    "compute = \"900ms\"\n"
    "[[model]]\nname = \"urgent\"\npath = \"models/ch_ppocr_mobile_v2.0_cls_infer.onnx\"\n"
    "inputs = { x = [1, 3, 48, 192] }\nperiod = \"20ms\"\ndeadline = \"11ms\"\n"
    "overrun = \"report\"\n";

/* What the last run took is missing in the compute budget of the period in which it ended. */
static void execution_is_charged_to_the_budget(running *r)
{
    aegis_trace_record found[512];
    const aegis_trace_query wanted = {.kind = AEGIS_TRACE_EXECUTE};
    const aegis_trace_record *last = NULL;
    const aegis_context *context = aegis_system_context(r->system, 0);
    size_t count;
    check(aegis_trace_collector_query(aegis_system_collector(r->system), &wanted, found, 512,
                                      &count, NULL),
          NULL);
    for (size_t i = 0; i < count && i < 512; i++) {
        last = found[i].model == 0 ? &found[i] : last;
    }
    assert_non_null(last);
    uint64_t budget_ns = aegis_context_budget(context)->compute_budget_ns;
    uint64_t took_ns = (uint64_t)(last->c - last->b);
    assert_int_equal(budget_ns, 900000000);
    assert_true(took_ns > 0);
    assert_true(aegis_context_compute_left_ns(context, (uint64_t)last->c) <= budget_ns - took_ns);
    assert_int_equal(aegis_context_compute_left_ns(context, (uint64_t)last->c + 1000000000),
                     budget_ns); /* the next period is whole */
}

static void who_is_moved_to_another_lane_is_recorded_again(void **state)
{
    (void)state;
    running r;
    aegis_trace_record found[8];
    aegis_trace_query wanted = {.kind = AEGIS_TRACE_ADMITTED};
    size_t count, models;
    prepare_planted(&r, moving, (aegis_system_options){0}, BOUND_NS);
    const aegis_system_model *rows = aegis_system_models(r.system, &models);
    assert_true(models == 2 && rows[0].admitted && rows[1].admitted);
    check(aegis_trace_collector_query(aegis_system_collector(r.system), &wanted, found, 8, &count,
                                      NULL),
          NULL);
    assert_int_equal(count, 3);
    uint16_t last[2] = {AEGIS_TRACE_NONE, AEGIS_TRACE_NONE};
    for (size_t i = 0; i < count; i++) {
        last[found[i].model] = found[i].lane;
    }
    assert_int_equal(found[0].lane, 0);
    assert_int_equal(last[0], 1);
    assert_int_equal(last[0], rows[0].answer.lane);
    assert_int_equal(last[1], rows[1].answer.lane);
    tear_down(&r);
}

static void execution_counts_against_the_compute_budget(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    prepare_planted(&r, moving, (aegis_system_options){0}, BOUND_NS);
    check(aegis_system_start(r.system, &err), &err);
    run_until_completed(&r, 0, 1);
    check(aegis_system_stop(r.system, &err), &err);
    execution_is_charged_to_the_budget(&r);
    tear_down(&r);
}

int main(void)
{
    skip_without_models();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(periodic_jobs_run_and_replay),
        cmocka_unit_test(submitted_jobs_see_their_own_inputs),
        cmocka_unit_test(queue_of_submissions_is_bounded),
        cmocka_unit_test(planner_and_policy_are_swappable),
        cmocka_unit_test(models_leave_and_come_back_to_a_running_system),
        cmocka_unit_test(refusals_name_their_reason),
        cmocka_unit_test(who_is_moved_to_another_lane_is_recorded_again),
        cmocka_unit_test(execution_counts_against_the_compute_budget),
    };
    return cmocka_run_group_tests(tests, make_planted_cache, remove_planted_cache);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Whole systems of null models with early copies: what is measured, admitted, run, recorded and
 * replayed, and models that come and go. */
#include "planted.h"

#include <aegisrt/replay.h>

#define MS UINT64_C(1000000)
#define K_NS (PLANTED_COPY_NS + PLANTED_DRIVER_NS) /* the latter is the overhead too */

static const char model[] =
    "{\"inputs\": [{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [1, 1024]}],"
    " \"outputs\": [{\"name\": \"y\", \"dtype\": \"f32\", \"shape\": [1, 4]}],"
    " \"weights_bytes\": 256, \"segments\": [[{\"alloc\": 1024}, {\"spin\": \"50us\"}, {\"free\": "
    "0}], [{\"spin\": \"20us\"}]]}";

static char path[160];

static int make_model(void **state)
{
    if (make_planted_cache(state) != 0) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/model.null", planted_cache);
    FILE *file = fopen(path, "w");
    return file == NULL || fputs(model, file) < 0 ? -1 : fclose(file);
}

/* Two early models and an inline one on two lanes; `more` goes to the last, whose profile is
 * another one than theirs. */
static const char *workload(const char *more)
{
    static char toml[2048];
    const char *const copies[] = {"copies = \"early\"\nlane = 0\n",
                                  "copies = \"early\"\nlane = 1\n", "lane = 0\n"};
    size_t used = (size_t)snprintf(
        toml, sizeof toml,
        "[device]\nkind = \"host\"\nmemory = \"8MiB\"\nlanes = 2\nspill = \"64KiB\"\n"
        "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 4\n");
    for (int i = 0; i < 3; i++) {
        used += (size_t)snprintf(toml + used, sizeof toml - used,
                                 "[[model]]\nname = \"%c\"\npath = \"%s\"\nbackend = \"null\"\n"
                                 "period = \"50ms\"\nconfidence = 0.%d\noverrun = \"report\"\n%s%s",
                                 'a' + i, path, i == 2 ? 8 : 9, copies[i], i == 2 ? more : "");
    }
    return toml;
}

static size_t early_records(const running *r, uint32_t which, aegis_trace_kind kind)
{
    aegis_trace_file *file;
    aegis_error err = {0};
    size_t count = 0, found = 0;
    check(aegis_trace_file_open(r->trace, &r->allocator, &file, &err), &err);
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    for (size_t i = 0; i < count; i++) {
        found += records[i].kind == kind && records[i].model == which;
    }
    aegis_trace_file_close(file);
    return found;
}

/* In the trace a job is submitted, copied, there, and dispatched, in this order. */
static void jobs_came_in_order(const running *r, uint32_t which)
{
    aegis_trace_file *file;
    aegis_error err = {0};
    size_t count = 0, jobs = 0;
    uint64_t job = 0;
    int stage = 0;
    check(aegis_trace_file_open(r->trace, &r->allocator, &file, &err), &err);
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    for (size_t i = 0; i < count; i++) {
        const aegis_trace_record *record = &records[i];
        if (record->model != which) {
            continue;
        }
        if (record->kind == AEGIS_TRACE_COPY_IN) {
            assert_int_equal(stage, 0);
            job = record->job;
            stage = 1;
        } else if (record->kind == AEGIS_TRACE_EVENT_INPUTS_READY) {
            assert_true(stage == 1 && record->job == job && record->c == AEGIS_OK);
            assert_true(record->a <= record->b && record->b <= (int64_t)record->time_ns);
            stage = 2;
        } else if (record->kind == AEGIS_TRACE_DISPATCH && record->a == 0) {
            assert_true(stage == 2 && record->job == job);
            stage = 0;
            jobs++;
        }
    }
    aegis_trace_file_close(file);
    assert_true(jobs >= 10);
}

static void what_if_knows_when_inputs_came(const running *r)
{
    aegis_trace_file *file;
    aegis_error err = {0};
    aegis_policy fifo;
    aegis_replay_model *models;
    size_t count;
    check(aegis_trace_file_open(r->trace, &r->allocator, &file, &err), &err);
    check(aegis_policy_find("fifo", &fifo, &err), &err);
    check(aegis_replay_what_if(file, &fifo, &r->allocator, &models, &count, &err), &err);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(models[i].simulated.jobs, models[i].recorded.jobs);
        assert_true(models[i].simulated.completed + models[i].simulated.missed >= 10);
    }
    aegis_replay_models_free(models, count, &r->allocator);
    aegis_trace_file_close(file);
}

static void early_jobs_run_and_replay(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    prepare_planted(&r, workload(""), (aegis_system_options){0}, 5 * MS);
    all_are_admitted(&r);
    aegis_admission_answer answer;
    const aegis_scheduler *scheduler = aegis_system_scheduler(r.system);
    for (uint32_t i = 0; i < 2; i++) {
        check(aegis_scheduler_answer(scheduler, i, &answer, &err), &err);
        assert_int_equal(answer.copy_bound_ns, K_NS);
        assert_int_equal(answer.copy_response_ns, 2 * K_NS + PLANTED_DRIVER_NS);
        assert_int_equal(answer.jitter_ns, answer.copy_response_ns + PLANTED_DRIVER_NS);
    }
    check(aegis_scheduler_answer(scheduler, 2, &answer, &err), &err);
    assert_int_equal(answer.copy_response_ns, 0);
    check(aegis_system_start(r.system, &err), &err);
    for (uint32_t i = 0; i < 3; i++) {
        run_until_completed(&r, i, 12);
    }
    aegis_model_metrics metrics = metrics_of(&r, 0);
    assert_true(metrics.arrival_ns.count >= 12);
    check(aegis_system_stop(r.system, &err), &err);
    aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    jobs_came_in_order(&r, 0);
    jobs_came_in_order(&r, 1);
    assert_int_equal(early_records(&r, 2, AEGIS_TRACE_COPY_IN), 0);
    what_if_knows_when_inputs_came(&r);
    tear_down(&r);
}

static void early_models_come_and_go(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    prepare_planted(&r, workload("copies = \"early\"\n"), (aegis_system_options){0}, 5 * MS);
    all_are_admitted(&r);
    check(aegis_system_start(r.system, &err), &err);
    run_until_completed(&r, 1, 3);
    check(aegis_system_remove(r.system, 1, &err), &err);
    run_jobs(&r, 0, 3);
    check(aegis_system_add(r.system, 1, &err), &err);
    run_jobs(&r, 1, 3);
    check(aegis_system_compact(r.system, AEGIS_SYSTEM_NOBODY, &err), &err);
    for (uint32_t i = 0; i < 3; i++) {
        run_jobs(&r, i, 3);
    }
    aegis_admission_answer answer;
    check(aegis_scheduler_answer(aegis_system_scheduler(r.system), 0, &answer, &err), &err);
    assert_int_equal(answer.copy_response_ns, 3 * K_NS + PLANTED_DRIVER_NS);
    check(aegis_system_stop(r.system, &err), &err);
    assert_true(early_records(&r, 0, AEGIS_TRACE_EVENT_MODEL_JITTER) >= 1); /* back one by one */
    aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    tear_down(&r);
}

/* ---- "auto" ---- */

static void plant(const char *copies, uint64_t bound_ns)
{
    planter p;
    planter_init(&p, workload(copies));
    for (size_t i = 0; i < 3; i++) {
        plant_whole(&p, i, i == 2 ? bound_ns : 5 * MS);
    }
    planter_finish(&p);
}

/* The last model, with these bounds inline and early. */
static void prepare_choice(running *r, uint64_t inline_ns, uint64_t early_ns)
{
    plant("copies = \"inline\"\n", inline_ns);
    plant("copies = \"early\"\n", early_ns);
    prepare_unmeasured(r, workload("copies = \"auto\"\n"), (aegis_system_options){0});
}

static void expect_choice(uint64_t inline_ns, uint64_t early_ns, bool early, const char *reason)
{
    running r;
    size_t count;
    prepare_choice(&r, inline_ns, early_ns);
    const aegis_system_model *row = &aegis_system_models(r.system, &count)[2];
    assert_true(row->admitted);
    assert_int_equal(row->early_copies, early);
    assert_int_equal(row->answer.bound_ns, early ? early_ns : inline_ns);
    assert_int_equal(row->answer.copy_bound_ns, early ? K_NS : 0);
    if (strstr(row->copies_reason, reason) != row->copies_reason) {
        fail_msg("\"%s\" is not \"%s\"", row->copies_reason, reason);
    }
    tear_down(&r);
}

static void it_is_early_where_that_pays(void **state)
{
    (void)state;
    expect_choice(6 * MS, 4 * MS, true, "early: lane 0 is used to 26.00 % by the bounds with its");
    expect_choice(4 * MS, 6 * MS, false, "inline: lane 0 is used to 30.00 % by the bounds with");
    expect_choice(45 * MS, 20 * MS, true, "early: inline it would be refused");
    expect_choice(20 * MS, 45 * MS, false, "inline: early it would be refused");
}

static void what_was_chosen_runs(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    prepare_choice(&r, 6 * MS, 4 * MS);
    check(aegis_system_start(r.system, &err), &err);
    run_until_completed(&r, 2, 10);
    check(aegis_system_stop(r.system, &err), &err);
    jobs_came_in_order(&r, 2);
    tear_down(&r);
}

/* Not planted: the whole way, with a cache that is read the second time. */
static void copies_are_measured_and_kept(void **state)
{
    (void)state;
    size_t count;
    char toml[1024];
    snprintf(toml, sizeof toml,
             "[device]\nkind = \"host\"\nmemory = \"8MiB\"\nspill = \"64KiB\"\n"
             "[[model]]\nname = \"a\"\npath = \"%s\"\nbackend = \"null\"\nperiod = \"10s\"\n"
             "confidence = 0.5\nmargin = 2\ncopies = \"early\"\n",
             path);
    for (int round = 0; round < 2; round++) {
        running r;
        prepare(&r, toml, (aegis_system_options){0});
        all_are_admitted(&r);
        const aegis_system_model *models = aegis_system_models(r.system, &count);
        assert_int_equal(models[0].profile_from_cache, round == 1);
        assert_true(models[0].profile.copy.samples > 0);
        assert_true(models[0].answer.copy_bound_ns >= models[0].profile.copy.best_ns);
        assert_int_equal(models[0].answer.copy_bound_ns,
                         models[0].profile.copy_bound_ns +
                             aegis_scheduler_overhead_bound_ns(aegis_system_scheduler(r.system)));
        tear_down(&r);
    }
}

static void a_runtime_that_cannot_is_refused(void **state)
{
    (void)state;
    char toml[1024];
    aegis_error err = {0};
    aegis_workload *parsed;
    aegis_system *system = NULL;
    const aegis_allocator allocator = aegis_allocator_default();
    snprintf(toml, sizeof toml,
             "[device]\nkind = \"host\"\nmemory = \"8MiB\"\n"
             "[[model]]\nname = \"a\"\npath = \"%s\"\nbackend = \"onnxruntime\"\nperiod = \"10s\"\n"
             "copies = \"early\"\n",
             path);
    check(aegis_workload_parse(toml, strlen(toml), "test.toml", &allocator, &parsed, &err), &err);
    const aegis_status status = aegis_system_create(parsed, NULL, &allocator, &system, &err);
    aegis_workload_free(parsed);
    if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        skip();
    }
    assert_int_equal(status, AEGIS_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "test.toml:9:10: [[model]] \"a\": copies: "));
    assert_non_null(strstr(err.message, "leave its copies inline"));
}

/* Where it may choose, that is no reason to refuse: it says so. */
static void a_runtime_that_cannot_is_left_inline(void **state)
{
    (void)state;
    char onnx[512], toml[1024];
    size_t count;
    running r;
    snprintf(onnx, sizeof onnx, "%s/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", source_dir());
#ifndef AEGISRT_HAVE_ONNXRUNTIME
    skip();
#endif
    if (access(onnx, R_OK) != 0) {
        skip();
    }
    snprintf(toml, sizeof toml,
             "[device]\nkind = \"host\"\nmemory = \"256MiB\"\n"
             "[[model]]\nname = \"a\"\npath = \"%s\"\nperiod = \"30s\"\nconfidence = 0.5\n"
             "inputs = { x = [1, 3, 48, 192] }\nmargin = 2\ncopies = \"auto\"\n",
             onnx);
    prepare(&r, toml, (aegis_system_options){0});
    all_are_admitted(&r);
    const aegis_system_model *models = aegis_system_models(r.system, &count);
    assert_false(models[0].early_copies);
    assert_non_null(strstr(models[0].copies_reason, "inline: its runtime does not copy inputs"));
    assert_int_equal(models[0].answer.copy_bound_ns, 0);
    tear_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(early_jobs_run_and_replay),
        cmocka_unit_test(early_models_come_and_go),
        cmocka_unit_test(it_is_early_where_that_pays),
        cmocka_unit_test(what_was_chosen_runs),
        cmocka_unit_test(copies_are_measured_and_kept),
        cmocka_unit_test(a_runtime_that_cannot_is_refused),
        cmocka_unit_test(a_runtime_that_cannot_is_left_inline),
    };
    return cmocka_run_group_tests(tests, make_model, remove_planted_cache);
}

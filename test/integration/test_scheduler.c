/* SPDX-License-Identifier: Apache-2.0 */
/* The real driver over the null runtime: enforcement, faults and callbacks, in builds without any
 * other runtime too. */
#include "planted.h"

#include <pthread.h>

static const char healthy[] =
    "{\"inputs\": [{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [1, 16]}],"
    " \"outputs\": [{\"name\": \"y\", \"dtype\": \"f32\", \"shape\": [1, 4]}],"
    " \"weights_bytes\": 256, \"segments\": [[{\"alloc\": 1024}, {\"spin\": \"50us\"}, {\"free\": "
    "0}]]%s}";

typedef struct folder {
    char path[64];
} folder;

static void write_model(const folder *f, const char *name, const char *faults)
{
    char path[128], text[1024];
    snprintf(path, sizeof path, "%s/%s.null", f->path, name);
    snprintf(text, sizeof text, healthy, faults);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Two models on one lane and one on the other; the first has the faults. Periods are long and
 * overruns only reported where they do not matter, so that a busy machine changes nothing. */
static void prepare_faulty(running *r, folder *f, const char *faults, const char *overrun)
{
    char toml[2048];
    snprintf(f->path, sizeof f->path, "/tmp/aegis-null-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    write_model(f, "faulty", faults);
    write_model(f, "sound", "");
    setenv("AEGISRT_CACHE_DIR", f->path, 1);
    snprintf(toml, sizeof toml,
             "[device]\nkind = \"host\"\nmemory = \"8MiB\"\nlanes = 2\nspill = \"64KiB\"\n"
             "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 4\n"
             "[[model]]\nname = \"faulty\"\npath = \"%s/faulty.null\"\nbackend = \"null\"\n"
             "period = \"200ms\"\nlane = 0\nconfidence = 0.9\noverrun = \"%s\"\n"
             "[[model]]\nname = \"beside\"\npath = \"%s/sound.null\"\nbackend = \"null\"\n"
             "period = \"200ms\"\nlane = 0\nconfidence = 0.9\noverrun = \"report\"\n"
             "[[model]]\nname = \"apart\"\npath = \"%s/sound.null\"\nbackend = \"null\"\n"
             "period = \"200ms\"\nlane = 1\nconfidence = 0.9\noverrun = \"report\"\n",
             f->path, overrun, f->path, f->path);
    prepare_planted(r, toml, (aegis_system_options){0}, 5 * UINT64_C(1000000));
    all_are_admitted(r);
}

static void finish(running *r, const folder *f)
{
    char command[128];
    tear_down(r);
    snprintf(command, sizeof command, "rm -rf %s", f->path);
    assert_int_equal(system(command), 0);
}

/* The jobs of each of the others after which a test has seen enough of them. */
#define JOBS_OF_OTHERS 8

static void others_are_untouched(const running *r)
{
    for (uint32_t i = 1; i <= 2; i++) {
        aegis_model_metrics m = metrics_of(r, i);
        numbers_add_up(&m.counters);
        assert_int_equal(m.counters.unexcused, 0);
        assert_int_equal(m.counters.aborted, 0);
        assert_true(m.counters.completed + m.counters.missed >= JOBS_OF_OTHERS);
    }
    aegis_replay_result result = replay(r);
    assert_int_equal(result.identical, result.decisions);
}

static bool others_have_run(const running *r)
{
    bool enough = true;
    for (uint32_t i = 1; i <= 2; i++) {
        aegis_core_counters c = metrics_of(r, i).counters;
        enough = enough && c.completed + c.missed >= JOBS_OF_OTHERS;
    }
    return enough;
}

/* Until it has happened, however long a busy machine takes; what never comes fails the assertions
 * after a minute. */
static void run_until(running *r, bool (*happened)(const running *r))
{
    aegis_error err = {0};
    check(aegis_system_start(r->system, &err), &err);
    for (int i = 0; i < 6000 && !(happened(r) && others_have_run(r)); i++) {
        let_run(0.01);
    }
    check(aegis_system_stop(r->system, &err), &err);
}

static bool ended_and_went_on(const running *r)
{
    aegis_core_counters c = metrics_of(r, 0).counters;
    return c.aborted >= 1 && c.completed >= 6;
}

static bool was_stopped(const running *r)
{
    return metrics_of(r, 0).counters.refused >= 5;
}

static bool has_failed(const running *r)
{
    return aegis_context_has_error(aegis_system_context(r->system, 0));
}

/* Time on lanes belongs to some model, that of a run which was ended too. */
static void lanes_were_busy_for_models(const running *r)
{
    aegis_error err;
    aegis_scheduler_metrics all;
    size_t count;
    uint64_t lanes = 0, models = 0;
    aegis_system_models(r->system, &count);
    check(aegis_scheduler_get_metrics(aegis_system_scheduler(r->system), &all, &err), &err);
    for (uint16_t i = 0; i < all.lane_count; i++) {
        lanes += all.lane_busy_ns[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        models += metrics_of(r, i).busy_ns;
    }
    assert_int_equal(models, lanes);
}

static void hanging_run_is_ended_and_the_next_one_runs(void **state)
{
    (void)state;
    running r;
    folder f;
    prepare_faulty(&r, &f, ", \"faults\": [{\"run\": 3, \"segment\": 0, \"kind\": \"hang\"}]",
                   "abort");
    run_until(&r, ended_and_went_on);
    aegis_model_metrics m = metrics_of(&r, 0);
    numbers_add_up(&m.counters);
    assert_true(m.counters.overruns >= 1);
    assert_true(m.counters.aborted >= 1);
    assert_true(m.counters.completed >= 6);
    lanes_were_busy_for_models(&r);
    assert_false(aegis_context_has_error(aegis_system_context(r.system, 0)));
    others_are_untouched(&r);
    finish(&r, &f);
}

static void failing_run_stops_its_model_alone(void **state)
{
    (void)state;
    running r;
    folder f;
    aegis_error fault = {0};
    prepare_faulty(&r, &f, ", \"faults\": [{\"run\": 3, \"segment\": 0, \"kind\": \"fail\"}]",
                   "report");
    run_until(&r, was_stopped);
    aegis_model_metrics m = metrics_of(&r, 0);
    numbers_add_up(&m.counters);
    assert_int_equal(m.counters.aborted, 1);
    assert_int_equal(m.counters.completed + m.counters.missed, 2);
    assert_true(m.counters.refused >= 5);
    assert_true(aegis_context_last_error(aegis_system_context(r.system, 0), &fault));
    assert_int_equal(fault.status, AEGIS_ERROR_INFERENCE);
    others_are_untouched(&r);
    finish(&r, &f);
}

static void growing_run_departs_alone(void **state)
{
    (void)state;
    running r;
    folder f;
    aegis_error fault = {0};
    prepare_faulty(&r, &f,
                   ", \"faults\": [{\"run\": 3, \"segment\": 0, \"kind\": \"grow\", "
                   "\"allocation\": 0, \"bytes\": 64}]",
                   "report");
    run_until(&r, has_failed);
    assert_true(aegis_context_last_error(aegis_system_context(r.system, 0), &fault));
    assert_int_equal(fault.status, AEGIS_ERROR_DEPARTURE);
    assert_int_equal(metrics_of(&r, 0).counters.aborted, 1);
    others_are_untouched(&r);
    finish(&r, &f);
}

static void growth_past_the_spill_breaks_the_budget_alone(void **state)
{
    (void)state;
    running r;
    folder f;
    aegis_error fault = {0};
    prepare_faulty(&r, &f,
                   ", \"faults\": [{\"run\": 2, \"segment\": 0, \"kind\": \"grow\", "
                   "\"allocation\": 0, \"bytes\": 1048576}]",
                   "report");
    run_until(&r, has_failed);
    assert_true(aegis_context_last_error(aegis_system_context(r.system, 0), &fault));
    assert_int_equal(fault.status, AEGIS_ERROR_BUDGET_EXCEEDED);
    others_are_untouched(&r);
    finish(&r, &f);
}

static _Atomic int heard;

static void count_answers(void *self, const aegis_job_result *result)
{
    (void)self;
    (void)result;
    atomic_fetch_add(&heard, 1);
}

static void every_submitter_hears_of_its_job(void **state)
{
    (void)state;
    running r;
    folder f;
    aegis_error err = {0};
    int accepted = 0;
    prepare_faulty(&r, &f, "", "report");
    atomic_store(&heard, 0);
    check(aegis_system_start(r.system, &err), &err);
    aegis_submission submission = {.callback = count_answers};
    for (int i = 0; i < 200; i++) {
        accepted += aegis_scheduler_submit(aegis_system_scheduler(r.system), (uint32_t)(i % 3),
                                           &submission, NULL, &err) == AEGIS_OK;
        let_run(0.001);
    }
    check(aegis_system_stop(r.system, &err), &err);
    assert_true(accepted > 0);
    assert_int_equal(atomic_load(&heard), accepted);
    aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    finish(&r, &f);
}

typedef struct submitter {
    pthread_t thread;
    aegis_scheduler *scheduler;
    int accepted, refused;
} submitter;

static _Atomic bool submitting;

/* Goes on without a pause: most of its calls meet a full queue or a model that is out. */
static void *submit_without_pause(void *argument)
{
    submitter *self = argument;
    aegis_submission submission = {.callback = count_answers};
    while (atomic_load(&submitting)) {
        aegis_status status = aegis_scheduler_submit(self->scheduler, 1, &submission, NULL, NULL);
        self->accepted += status == AEGIS_OK;
        self->refused += status == AEGIS_ERROR_NOT_ADMITTED;
    }
    return NULL;
}

static void submitters_may_go_on_while_their_model_comes_and_goes(void **state)
{
    (void)state;
    running r;
    folder f;
    submitter submitters[2];
    aegis_error err = {0};
    int accepted = 0, refused = 0;
    prepare_faulty(&r, &f, "", "report");
    atomic_store(&heard, 0);
    atomic_store(&submitting, true);
    check(aegis_system_start(r.system, &err), &err);
    for (int i = 0; i < 2; i++) {
        submitters[i] = (submitter){.scheduler = aegis_system_scheduler(r.system)};
        assert_int_equal(
            pthread_create(&submitters[i].thread, NULL, submit_without_pause, &submitters[i]), 0);
    }
    for (int i = 0; i < 100; i++) {
        check(aegis_system_remove(r.system, 1, &err), &err);
        check(aegis_system_add(r.system, 1, &err), &err);
    }
    /* They still submit when it stops. */
    check(aegis_system_stop(r.system, &err), &err);
    atomic_store(&submitting, false);
    for (int i = 0; i < 2; i++) {
        pthread_join(submitters[i].thread, NULL);
        accepted += submitters[i].accepted;
        refused += submitters[i].refused;
    }
    assert_true(accepted > 0);
    assert_true(refused > 0);
    assert_int_equal(atomic_load(&heard), accepted);
    aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    finish(&r, &f);
}

static void analysing_changes_nothing(void **state)
{
    (void)state;
    running r;
    folder f;
    size_t count;
    aegis_error err = {0};
    aegis_admission_answer before, answer;
    prepare_faulty(&r, &f, "", "report");
    aegis_scheduler *scheduler = aegis_system_scheduler(r.system);
    aegis_profile profile = aegis_system_models(r.system, &count)[1].profile;
    aegis_admission_request request = {
        .profile = &profile, .period_ns = 200000000, .lane = 1, .overrun = AEGIS_OVERRUN_REPORT};
    check(aegis_scheduler_answer(scheduler, 2, &before, &err), &err);
    check(aegis_scheduler_analyse(scheduler, "third", &request, &answer, &err), &err);
    assert_true(answer.admitted);
    assert_int_equal(answer.lane, 1);
    profile.bound_ns = 150000000; /* longer than its deadline */
    request.deadline_ns = 100000000;
    check(aegis_scheduler_analyse(scheduler, "third", &request, &answer, &err), &err);
    assert_false(answer.admitted);
    assert_string_not_equal(answer.reason, "");
    request.lane = 2;
    assert_int_equal(aegis_scheduler_analyse(scheduler, "third", &request, &answer, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    check(aegis_scheduler_answer(scheduler, 2, &answer, &err), &err);
    assert_memory_equal(&answer, &before, sizeof answer);
    assert_int_equal(aegis_scheduler_answer(scheduler, 3, &answer, &err), AEGIS_ERROR_NOT_FOUND);
    finish(&r, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hanging_run_is_ended_and_the_next_one_runs),
        cmocka_unit_test(failing_run_stops_its_model_alone),
        cmocka_unit_test(growing_run_departs_alone),
        cmocka_unit_test(growth_past_the_spill_breaks_the_budget_alone),
        cmocka_unit_test(every_submitter_hears_of_its_job),
        cmocka_unit_test(analysing_changes_nothing),
        cmocka_unit_test(submitters_may_go_on_while_their_model_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole systems of null models that are refused whole and admitted cut. Their bounds are planted,
 * far above what the models take.
 */
#include "planted.h"

#define OPERATORS 8
#define LONG_OPERATOR "2ms"
/* Bounds: of one operator of the long model, and of the urgent one. */
#define OPERATOR_NS (20 * UINT64_C(1000000))
#define URGENT_NS (5 * UINT64_C(1000000))

static const char *const folder = planted_cache;

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* `faults`: a list of them, or NULL. */
static void write_long_model(const char *faults)
{
    char text[4096];
    size_t at = (size_t)snprintf(
        text, sizeof text,
        "{\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[1,4]}],"
        "\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1,4]}],\"operators\":[");
    for (int i = 0; i < OPERATORS; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "%s{\"spin\":\"" LONG_OPERATOR "\",\"bytes\":%d}", i == 0 ? "" : ",",
                               i % 3 == 2 ? 512 : 8192);
    }
    snprintf(text + at, sizeof text - at, "]%s%s}",
             faults == NULL ? "" : ",\"faults\":", faults == NULL ? "" : faults);
    write_file("long.null", text);
}

static void write_urgent_model(void)
{
    write_file("urgent.null", "{\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[1,4]}],"
                              "\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1,4]}],"
                              "\"operators\":[{\"spin\":\"300us\",\"bytes\":256}]}");
}

/* ---- workloads ---- */

static const char *
workload_text(const char *policy, const char *schedule, const char *model, const char *overrun)
{
    static char text[2048];
    snprintf(
        text, sizeof text,
        "[device]\nkind = \"host\"\nmemory = \"16MiB\"\n"
        "[schedule]\npolicy = \"%s\"\nqueue_depth = 8\n%s"
        "[[model]]\nname = \"urgent\"\npath = \"%s/urgent.null\"\nbackend = \"null\"\n"
        "period = \"200ms\"\ndeadline = \"110ms\"\npriority = 1\nconfidence = 0.9\n"
        "samples = 100\noverrun = \"report\"\n"
        "[[model]]\nname = \"long\"\npath = \"%s/long.null\"\nbackend = \"null\"\n"
        "period = \"600ms\"\noffset = \"199ms\"\npriority = 2\nconfidence = 0.9\nsamples = 100\n"
        "overrun = \"%s\"\n%s",
        policy, schedule, folder, folder, overrun, model);
    return text;
}

enum {
    URGENT,
    LONG
};

/* Faults do not change what a model takes, but they change its file, and with it every key. */
static void use_long_model(const char *faults)
{
    planter p;
    write_long_model(faults);
    planter_init(&p, workload_text("np-edf", "", "", "report"));
    plant_whole(&p, URGENT, URGENT_NS);
    plant_every_cut(&p, LONG, OPERATORS, OPERATOR_NS, OPERATORS - 1);
    planter_finish(&p);
}

static const aegis_system_model *models_of(const running *r)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(r->system, &count);
    assert_int_equal(count, 2);
    return models;
}

static void whole_models_are_refused(void **state)
{
    (void)state;
    const char *const policies[] = {"np-edf", "np-fp"};
    use_long_model(NULL);
    for (size_t i = 0; i < 2; i++) {
        running r;
        prepare_unmeasured(&r, workload_text(policies[i], "", "", "report"),
                           (aegis_system_options){0});
        const aegis_system_model *models = models_of(&r);
        assert_true(models[URGENT].admitted);
        assert_false(models[LONG].admitted);
        assert_int_equal(models[LONG].segments, 1);
        assert_int_equal(models[LONG].cuts.count, 0);
        assert_int_equal(models[LONG].answer.blocker, LONG);
        assert_non_null(strstr(models[LONG].reason, "long"));
        tear_down(&r);
    }
}

typedef struct seen {
    size_t between, long_starts;
} seen;

/* Counts dispatches of the urgent model between two segments of one job of the long one. */
static seen look_at_trace(const running *r)
{
    seen s = {0};
    aegis_trace_file *file;
    aegis_error err = {0};
    uint64_t last_job = 0; /* of the long model */
    bool urgent_since = false;
    size_t ring = 0, count = 0;
    check(aegis_trace_file_open(r->trace, &r->allocator, &file, &err), &err);
    assert_non_null(strstr(aegis_trace_file_header(file), "\"cuts\":[{\"position\":"));
    assert_true(aegis_trace_file_ring_find(file, "orchestrator", &ring));
    const aegis_trace_record *records = aegis_trace_file_ring_records(file, ring, &count);
    for (size_t i = 0; i < count; i++) {
        if (records[i].kind != AEGIS_TRACE_DISPATCH) {
            continue;
        }
        if (records[i].model == LONG) {
            s.between += records[i].a > 0 && urgent_since && records[i].job == last_job;
            s.long_starts += records[i].a == 0;
            last_job = records[i].job;
        }
        urgent_since = records[i].model == URGENT;
    }
    aegis_trace_file_close(file);
    return s;
}

static void check_run(const running *r)
{
    for (uint32_t i = 0; i < 2; i++) {
        aegis_model_metrics m = metrics_of(r, i);
        numbers_add_up(&m.counters);
        assert_int_equal(m.counters.unexcused, 0);
        assert_int_equal(m.counters.aborted, 0);
        assert_true(m.counters.completed + m.counters.excused > 0);
    }
    aegis_replay_result result = replay(r);
    assert_true(result.decisions > 40);
    assert_int_equal(result.identical, result.decisions);
    assert_false(result.first_difference.found);
}

static void prepare_admitted(running *r, const char *toml)
{
    prepare_unmeasured(r, toml, (aegis_system_options){0});
    all_are_admitted(r);
}

static void cuts_admit_and_decisions_come_at_segment_ends(void **state)
{
    (void)state;
    const char *const policies[] = {"np-edf", "np-fp"};
    use_long_model(NULL);
    for (size_t i = 0; i < 2; i++) {
        running r;
        aegis_error err = {0};
        prepare_admitted(&r, workload_text(policies[i], "cuts = \"auto\"\n", "", "report"));
        const aegis_system_model *models = models_of(&r);
        const aegis_system_cuts *cuts = &models[LONG].cuts;
        assert_int_equal(models[LONG].segments, cuts->count + 1);
        assert_true(cuts->count >= 1 && cuts->tries >= 1);
        assert_int_equal(cuts->limited_by, URGENT);
        assert_true(cuts->longest_before_ns > cuts->tolerance_ns);
        assert_true(cuts->longest_after_ns < cuts->longest_before_ns);
        assert_int_equal(cuts->overhead_ns,
                         (int64_t)models[LONG].profile.bound_ns - (int64_t)cuts->whole_bound_ns);
        assert_int_equal(models[URGENT].cuts.count, 0);
        check(aegis_system_start(r.system, &err), &err);
        let_run(4);
        check(aegis_system_stop(r.system, &err), &err);
        check_run(&r);
        seen s = look_at_trace(&r);
        assert_true(s.long_starts >= 3);
        assert_true(s.between >= 1);
        tear_down(&r);
    }
}

/* The long model without a deadline. */
static const char *background_text(const char *policy, const char *cuts)
{
    static char text[2048];
    snprintf(text, sizeof text,
             "[device]\nkind = \"host\"\nmemory = \"16MiB\"\n"
             "[schedule]\npolicy = \"%s\"\nqueue_depth = 8\ncuts = \"%s\"\n"
             "[[model]]\nname = \"urgent\"\npath = \"%s/urgent.null\"\nbackend = \"null\"\n"
             "period = \"200ms\"\ndeadline = \"110ms\"\npriority = 1\nconfidence = 0.9\n"
             "samples = 100\noverrun = \"report\"\n"
             "[[model]]\nname = \"long\"\npath = \"%s/long.null\"\nbackend = \"null\"\n"
             "class = \"background\"\nweight = 1\nconfidence = 0.9\nsamples = 100\n"
             "overrun = \"report\"\n",
             policy, cuts, folder, folder);
    return text;
}

/* A background model blocks with its longest segment: it is cut when that is what refuses it. */
static void background_models_are_cut_too(void **state)
{
    (void)state;
    const char *const policies[] = {"np-edf", "np-fp"};
    use_long_model(NULL);
    for (size_t i = 0; i < 2; i++) {
        running r;
        aegis_error err = {0};
        prepare_unmeasured(&r, background_text(policies[i], "none"), (aegis_system_options){0});
        assert_true(models_of(&r)[URGENT].admitted);
        assert_false(models_of(&r)[LONG].admitted);
        assert_non_null(strstr(models_of(&r)[LONG].reason, "it would block for"));
        tear_down(&r);
        prepare_admitted(&r, background_text(policies[i], "auto"));
        const aegis_system_cuts *cuts = &models_of(&r)[LONG].cuts;
        assert_true(cuts->count >= 1);
        assert_int_equal(cuts->limited_by, URGENT);
        assert_true(cuts->longest_after_ns <= cuts->tolerance_ns);
        check(aegis_system_start(r.system, &err), &err);
        let_run(2);
        check(aegis_system_stop(r.system, &err), &err);
        aegis_model_metrics m = metrics_of(&r, URGENT);
        assert_int_equal(m.counters.unexcused, 0);
        assert_true(metrics_of(&r, LONG).counters.completed > 0);
        seen s = look_at_trace(&r);
        assert_true(s.between >= 1);
        aegis_replay_result result = replay(&r);
        assert_int_equal(result.identical, result.decisions);
        tear_down(&r);
    }
}

/* Overwrites every file that remembers cuts. */
static void damage_memory(const char *text)
{
    char command[512];
    snprintf(command, sizeof command, "for f in %s/cuts-*.json; do printf '%%s' '%s' > $f; done",
             folder, text);
    assert_int_equal(system(command), 0);
}

static aegis_system_cuts find_cuts(void)
{
    running r;
    prepare_admitted(&r, workload_text("np-edf", "cuts = \"auto\"\n", "", "report"));
    aegis_system_cuts cuts = models_of(&r)[LONG].cuts;
    tear_down(&r);
    return cuts;
}

/* What was found last time is tried first; a file that says nothing sensible is as good as none. */
static void cuts_are_remembered(void **state)
{
    (void)state;
    use_long_model(NULL);
    aegis_system_cuts found = find_cuts();
    assert_true(found.count >= 1);
    char command[640];
    snprintf(command, sizeof command, "ls %s/cuts-*.json > /dev/null", folder);
    assert_int_equal(system(command), 0);
    aegis_system_cuts again = find_cuts();
    assert_int_equal(again.count, found.count);
    assert_int_equal(again.tries, 1);
    for (uint32_t i = 0; i < found.count; i++) {
        assert_int_equal(again.at[i].position, found.at[i].position);
    }
    /* All seven places, which are more than needed, show that the file is what was followed. */
    snprintf(command, sizeof command,
             "sed -i 's/\"cuts\":\\[[0-9,]*\\]/\"cuts\":[1,2,3,4,5,6,7]/' %s/cuts-*.json", folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(find_cuts().count, OPERATORS - 1);
    const char *const bad[] = {"", "{", "[]", "{\"schema_version\":1,\"key\":\"x\",\"cuts\":[1]}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        damage_memory(bad[i]);
        assert_true(find_cuts().count < OPERATORS - 1);
    }
}

static void positions_as_told(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    use_long_model(NULL);
    prepare_unmeasured(&r, workload_text("np-edf", "", "cuts = [3, 6]\n", "report"),
                       (aegis_system_options){0});
    const aegis_system_cuts *cuts = &models_of(&r)[LONG].cuts;
    assert_int_equal(cuts->mode, AEGIS_CUTS_AT);
    assert_int_equal(cuts->count, 2);
    assert_int_equal(cuts->at[1].position, 6);
    assert_int_equal(cuts->at[0].live_bytes, 512); /* tensor 2 crosses position 3 */
    assert_int_equal(cuts->at[1].live_tensors, 1);
    tear_down(&r);
    /* A position that is none is said to be wrong where it stands. */
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_system *system = NULL;
    const char *text = workload_text("np-edf", "", "cuts = [40]\n", "report");
    check(aegis_workload_parse(text, strlen(text), "test.toml", &allocator, &workload, &err), &err);
    assert_int_equal(aegis_system_create(workload, NULL, &allocator, &system, &err),
                     AEGIS_ERROR_CONFIG);
    if (strstr(err.message, "test.toml:27:8: [[model]] \"long\": cuts") == NULL ||
        strstr(err.message, "from 1 to 7") == NULL) {
        fail_msg("%s", err.message);
    }
    aegis_workload_free(workload);
}

static void even_cuts_and_options_that_override(void **state)
{
    (void)state;
    running r;
    const aegis_workload_cuts three = {.mode = AEGIS_CUTS_EVEN, .segments = 3};
    use_long_model(NULL);
    prepare_unmeasured(&r, workload_text("fifo", "cuts = \"none\"\n", "", "report"),
                       (aegis_system_options){.cuts = &three});
    const aegis_system_model *models = models_of(&r);
    assert_int_equal(models[LONG].cuts.mode, AEGIS_CUTS_EVEN);
    assert_true(models[LONG].segments >= 2 && models[LONG].segments <= 3);
    assert_int_equal(models[URGENT].segments, 1); /* one operator: nowhere to cut */
    tear_down(&r);
}

/* The second job hangs in its middle, is ended, and the jobs after it run as ever. */
static void job_ended_between_its_segments(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    use_long_model("[{\"run\":2,\"operator\":5,\"kind\":\"hang\"}]");
    prepare_admitted(&r, workload_text("np-edf", "", "cuts = [2, 4, 6]\n", "abort"));
    check(aegis_system_start(r.system, &err), &err);
    run_until_completed(&r, LONG, 2); /* the first, and one behind that which hangs */
    check(aegis_system_stop(r.system, &err), &err);
    aegis_model_metrics m = metrics_of(&r, LONG);
    numbers_add_up(&m.counters);
    assert_true(m.counters.aborted >= 1);
    aegis_replay_result result = replay(&r);
    assert_int_equal(result.identical, result.decisions);
    tear_down(&r);
}

static int set_up(void **state)
{
    if (make_planted_cache(state) != 0) {
        return -1;
    }
    write_urgent_model();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_models_are_refused),
        cmocka_unit_test(cuts_admit_and_decisions_come_at_segment_ends),
        cmocka_unit_test(background_models_are_cut_too),
        cmocka_unit_test(cuts_are_remembered),
        cmocka_unit_test(positions_as_told),
        cmocka_unit_test(even_cuts_and_options_that_override),
        cmocka_unit_test(job_ended_between_its_segments),
    };
    return cmocka_run_group_tests(tests, set_up, remove_planted_cache);
}

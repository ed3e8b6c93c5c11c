/* SPDX-License-Identifier: Apache-2.0 */
/* The statuses that system.h documents, each provoked, and what they leave behind. Models are null
 * ones whose profiles are planted; nothing is measured. */
#include "integration/planted.h"
#include "support/child_process.h"
#include "support/expect.h"
#include "support/test_allocator.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define BOUND_NS (10 * UINT64_C(1000000))
#define NO_MODEL 9
#define EVERYTHING (UINT64_C(1) << 40)

enum {
    FIRST,
    SECOND,
    LARGE,
    BROKEN,
    MODELS
};

#define HEAD                                                                      \
    "[device]\nkind = \"host\"\nmemory = \"4MiB\"\nspill = \"4KiB\"\nlanes = 1\n" \
    "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 4\nhang = \"20ms\"\n"
#define MODEL(name, file, rest)                                                           \
    "[[model]]\nname = \"" name "\"\npath = \"%1$s/" file ".null\"\nbackend = \"null\"\n" \
    "period = \"200ms\"\nconfidence = 0.9\noverrun = \"report\"\n" rest
#define WORKLOAD                                                                              \
    HEAD MODEL("first", "small", "") MODEL("second", "small", "") MODEL("large", "large", "") \
        MODEL("broken", "small", "memory = \"64KiB\"\n")

typedef struct bed {
    test_allocator counting;
    running r;
    aegis_system *system;
} bed;

static void write_model(const char *name, uint64_t weights, const char *faults)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s.null", planted_cache, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "{\"inputs\": [{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [1, 16]}],"
            " \"outputs\": [{\"name\": \"y\", \"dtype\": \"f32\", \"shape\": [1, 4]}],"
            " \"weights_bytes\": %llu, \"segments\": [[{\"alloc\": 1024}, {\"spin\": \"50us\"},"
            " {\"free\": 0}]]%s}",
            (unsigned long long)weights, faults);
    assert_int_equal(fclose(file), 0);
}

static const char *workload_text(char text[2048], const char *format)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, 2048, format, planted_cache);
#pragma GCC diagnostic pop
    return text;
}

static aegis_status create(bed *b, const char *trace, aegis_system **ret_system, aegis_error *err)
{
    const aegis_system_options options = {.trace_path = trace,
                                          .wake_bound_ns = PLANTED_DRIVER_NS,
                                          .overhead_bound_ns = PLANTED_DRIVER_NS};
    return aegis_system_create(b->r.workload, &options, &b->r.allocator, ret_system, err);
}

static void open_bed(bed *b, const char *format)
{
    char text[2048];
    aegis_error err = {0};
    planter p;
    memset(b, 0, sizeof *b);
    workload_text(text, format);
    planter_init(&p, text);
    for (size_t i = 0; i < p.workload->model_count; i++) {
        plant_whole(&p, i, BOUND_NS);
    }
    planter_finish(&p);
    b->r.allocator = test_allocator_make(&b->counting);
    check(aegis_workload_parse(text, strlen(text), "test.toml", &b->r.allocator, &b->r.workload,
                               &err),
          &err);
}

static void open_system(bed *b, const char *trace)
{
    aegis_error err = {0};
    open_bed(b, WORKLOAD);
    check(create(b, trace, &b->r.system, &err), &err);
    b->system = b->r.system;
    nothing_was_measured(&b->r);
}

static void close_bed(bed *b)
{
    aegis_system_destroy(b->r.system);
    aegis_workload_free(b->r.workload);
    assert_int_equal(b->counting.blocks, 0);
    assert_int_equal(b->counting.wrong_sizes, 0);
}

static void expect_admitted(const bed *b, bool first, bool second)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(b->system, &count);
    assert_int_equal(count, MODELS);
    assert_int_equal(models[FIRST].admitted, first);
    assert_int_equal(models[SECOND].admitted, second);
    assert_false(models[LARGE].admitted || models[BROKEN].admitted);
}

/* ---- making one ---- */

static void refuse_workload(const char *format, aegis_status wanted, const char *part)
{
    bed b;
    char text[2048];
    aegis_error err = {0};
    memset(&b, 0, sizeof b);
    b.r.allocator = test_allocator_make(&b.counting);
    workload_text(text, format);
    check(
        aegis_workload_parse(text, strlen(text), "test.toml", &b.r.allocator, &b.r.workload, &err),
        &err);
    expect(create(&b, NULL, &b.system, &err), wanted, &err, part);
    assert_null(b.system);
    close_bed(&b);
}

static void workloads_that_cannot_be(void **state)
{
    (void)state;
    bed b;
    aegis_error err = {0};
    memset(&b, 0, sizeof b);
    b.r.allocator = test_allocator_make(&b.counting);
    expect(create(&b, NULL, &b.system, &err), AEGIS_ERROR_INVALID_ARGUMENT, &err, "a workload");
    refuse_workload(HEAD MODEL("m", "none", ""), AEGIS_ERROR_NOT_FOUND, "test.toml:");
    write_model("wrong", 64, ",");
    refuse_workload(HEAD MODEL("m", "wrong", ""), AEGIS_ERROR_PARSE, "test.toml:");
    refuse_workload(HEAD MODEL("m", "small", "inputs = { z = [1, 16] }\n"), AEGIS_ERROR_CONFIG,
                    "inputs");
    refuse_workload("[device]\nkind = \"host\"\nmemory = \"200000GiB\"\n" MODEL("m", "small", ""),
                    AEGIS_ERROR_NO_MEMORY, "memory");
}

static void a_trace_that_cannot_be_made(void **state)
{
    (void)state;
    bed b;
    aegis_error err = {0};
    open_bed(&b, WORKLOAD);
    expect(create(&b, "/nonexistent/trace", &b.system, &err), AEGIS_ERROR_IO, &err,
           "/nonexistent/trace");
    close_bed(&b);
}

/* Some requests for memory of many; each is refused for want of it, or the model that wanted it. */
static void a_system_needs_memory(void **state)
{
    (void)state;
    bed b;
    open_bed(&b, WORKLOAD);
    const int64_t before = b.counting.blocks;
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    bool failed = true;
    for (uint64_t nth = 1; failed; nth += 1 + nth / 16) {
        aegis_error err = {0};
        aegis_system *system = NULL;
        b.counting.calls = 0;
        b.counting.fail_at = nth;
        status = create(&b, NULL, &system, &err);
        failed = b.counting.calls >= nth;
        b.counting.fail_at = 0;
        if (status != AEGIS_OK) {
            expect(status, AEGIS_ERROR_NO_MEMORY, &err, "memory");
            assert_null(system);
        }
        aegis_system_destroy(system);
        assert_int_equal(b.counting.blocks, before);
    }
    assert_int_equal(status, AEGIS_OK);
    close_bed(&b);
}

/* ---- models that come and go ---- */

static aegis_status apply(bed *b, aegis_workload_change change, uint32_t model, aegis_error *err)
{
    const aegis_workload_event event = {.change = change, .model = model};
    return aegis_system_apply(b->system, &event, err);
}

/* As the call of its own and as an event. */
static void refuse_add(bed *b, uint32_t model, aegis_status wanted, const char *part)
{
    aegis_error err = {0};
    expect(aegis_system_add(b->system, model, &err), wanted, &err, part);
    expect(apply(b, AEGIS_CHANGE_ADD, model, &err), wanted, &err, part);
    expect(aegis_system_compact(b->system, model, &err), wanted, &err, part);
    expect(apply(b, AEGIS_CHANGE_COMPACT, model, &err), wanted, &err, part);
    expect_admitted(b, true, true);
}

static void models_that_cannot_come_in(void **state)
{
    (void)state;
    bed b;
    open_system(&b, NULL);
    expect_admitted(&b, true, true);
    refuse_add(&b, FIRST, AEGIS_ERROR_EXISTS, "in already");
    refuse_add(&b, NO_MODEL, AEGIS_ERROR_NOT_FOUND, "not in the workload");
    refuse_add(&b, BROKEN, AEGIS_ERROR_STATE, "never measured");
    refuse_add(&b, LARGE, AEGIS_ERROR_NOT_ADMITTED, "large");
    close_bed(&b);
}

static void models_that_are_not_there(void **state)
{
    (void)state;
    bed b;
    aegis_error err = {0};
    const aegis_memory_binding *binding = NULL;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 77;
    open_system(&b, NULL);
    expect(aegis_system_remove(b.system, LARGE, &err), AEGIS_ERROR_NOT_FOUND, &err, "not in");
    expect(apply(&b, AEGIS_CHANGE_REMOVE, NO_MODEL, &err), AEGIS_ERROR_NOT_FOUND, &err,
           "not in the workload");
    expect(aegis_system_binding(b.system, LARGE, &binding, &lifetimes, &count, &err),
           AEGIS_ERROR_NOT_FOUND, &err, "no place");
    expect(aegis_system_binding(b.system, NO_MODEL, &binding, &lifetimes, &count, &err),
           AEGIS_ERROR_NOT_FOUND, &err, "no place");
    assert_true(binding == NULL && lifetimes == NULL && count == 77);
    check(aegis_system_binding(b.system, FIRST, &binding, &lifetimes, &count, &err), &err);
    assert_int_equal(binding->placement_count, count);
    expect(apply(&b, (aegis_workload_change)77, FIRST, &err), AEGIS_ERROR_INVALID_ARGUMENT, &err,
           "77 is no change");
    expect_admitted(&b, true, true);
    close_bed(&b);
}

static void more_than_there_is_cannot_be_freed(void **state)
{
    (void)state;
    bed b;
    aegis_error err = {0};
    uint64_t freed = 77;
    const aegis_workload_event event = {.change = AEGIS_CHANGE_PRESSURE,
                                        .policy = AEGIS_PRESSURE_LARGEST,
                                        .needed_bytes = EVERYTHING};
    open_system(&b, NULL);
    expect(aegis_system_handle_pressure(b.system, AEGIS_PRESSURE_SMALLEST_ENOUGH, EVERYTHING,
                                        &freed, &err),
           AEGIS_ERROR_NO_MEMORY, &err, "no model alone");
    assert_int_equal(freed, 0);
    expect(aegis_system_apply(b.system, &event, &err), AEGIS_ERROR_NO_MEMORY, &err,
           "nobody was removed");
    expect_admitted(&b, true, true);
    check(aegis_system_handle_pressure(b.system, AEGIS_PRESSURE_LARGEST, 1, &freed, &err), &err);
    assert_true(freed > 0);
    close_bed(&b);
}

/* Who could not be loaded again is out, says so and comes back when there is memory. One that was
 * not taken in is still what it was. */
static void bring_back(bed *b, const char *reason)
{
    aegis_error err = {0};
    size_t count;
    const aegis_system_model *models = aegis_system_models(b->system, &count);
    for (uint32_t i = FIRST; i <= SECOND; i++) {
        if (!models[i].admitted) {
            if (strstr(models[i].reason, reason) == NULL) {
                fail_msg("%s is out: \"%s\"", models[i].name, models[i].reason);
            }
            check(aegis_system_add(b->system, i, &err), &err);
        }
    }
    expect_admitted(b, true, true);
}

static aegis_status change(bed *b, bool compacts, aegis_error *err)
{
    if (compacts) {
        return aegis_system_compact(b->system, AEGIS_SYSTEM_NOBODY, err);
    }
    check(aegis_system_remove(b->system, SECOND, NULL), NULL);
    b->counting.calls = 0;
    return aegis_system_add(b->system, SECOND, err);
}

static void changes_need_memory(void **state)
{
    (void)state;
    bed b;
    open_system(&b, NULL);
    for (int compacts = 0; compacts < 2; compacts++) {
        aegis_status status = AEGIS_ERROR_NO_MEMORY;
        for (uint64_t nth = 1; status != AEGIS_OK; nth++) {
            aegis_error err = {0};
            b.counting.calls = 0;
            b.counting.fail_at = nth;
            status = change(&b, compacts, &err);
            b.counting.fail_at = 0;
            if (status != AEGIS_OK) {
                expect(status, AEGIS_ERROR_NO_MEMORY, &err, "memory");
            }
            assert_true(nth > 5 || status != AEGIS_OK);
            bring_back(&b, compacts ? "memory" : "removed");
        }
    }
    close_bed(&b);
}

/* ---- profiles ---- */

static void profiles_that_cannot_be_put_aside(void **state)
{
    (void)state;
    bed b;
    char moved[64];
    aegis_error err = {0};
    open_system(&b, NULL);
    expect(aegis_system_forget_profile(b.system, NO_MODEL, &err), AEGIS_ERROR_NOT_FOUND, &err,
           "no model 9");
    snprintf(moved, sizeof moved, "%s.moved", planted_cache);
    assert_int_equal(rename(planted_cache, moved), 0);
    FILE *file = fopen(planted_cache, "w"); /* in the place of the folder */
    assert_non_null(file);
    fclose(file);
    const aegis_status status = aegis_system_forget_profile(b.system, FIRST, &err);
    unlink(planted_cache);
    assert_int_equal(rename(moved, planted_cache), 0);
    expect(status, AEGIS_ERROR_IO, &err, "cannot put");
    check(aegis_system_forget_profile(b.system, FIRST, &err), &err);
    close_bed(&b);
}

/* ---- start and stop ---- */

static void once_only(void **state)
{
    (void)state;
    bed b;
    aegis_error err = {0};
    open_system(&b, NULL);
    expect(aegis_system_stop(b.system, &err), AEGIS_ERROR_STATE, &err, "not running");
    b.counting.fail_at = b.counting.calls + 1;
    expect(aegis_system_start(b.system, &err), AEGIS_ERROR_NO_MEMORY, &err, "memory");
    check(aegis_system_start(b.system, &err), &err);
    expect(aegis_system_start(b.system, &err), AEGIS_ERROR_STATE, &err, "started already");
    check(aegis_system_stop(b.system, &err), &err);
    expect(aegis_system_stop(b.system, &err), AEGIS_ERROR_STATE, &err, "not running");
    expect(aegis_system_start(b.system, &err), AEGIS_ERROR_STATE, &err, "started already");
    close_bed(&b);
}

/* Its trace may not grow from before the start, or from after it. */
static void trace_that_does_not_grow(bool starts)
{
    bed b;
    char path[128];
    aegis_error err = {0};
    struct rlimit before, small;
    snprintf(path, sizeof path, "%s/trace", planted_cache);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 64;
    open_system(&b, path);
    if (starts) {
        check(aegis_system_start(b.system, &err), &err);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const aegis_status status =
        starts ? aegis_system_stop(b.system, &err) : aegis_system_start(b.system, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    expect(status, AEGIS_ERROR_IO, &err, "trace file");
    close_bed(&b);
}

static void a_trace_that_cannot_be_written(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    trace_that_does_not_grow(false);
    trace_that_does_not_grow(true);
}

/* In a process of its own: the lane never ends, and what it may touch stays. */
static int hang(void)
{
    static bed b;
    const aegis_workload_event remove = {.change = AEGIS_CHANGE_REMOVE, .model = FIRST};
    aegis_error err = {0};
    open_bed(&b, HEAD MODEL("first", "hanging", ""));
    check(create(&b, NULL, &b.r.system, &err), &err);
    check(aegis_system_start(b.r.system, &err), &err);
    while (!aegis_scheduler_hangs(aegis_system_scheduler(b.r.system))) {
        let_run(0.01);
    }
    const aegis_status all[] = {
        aegis_system_remove(b.r.system, FIRST, &err),
        aegis_system_compact(b.r.system, AEGIS_SYSTEM_NOBODY, &err),
        aegis_system_handle_pressure(b.r.system, AEGIS_PRESSURE_LARGEST, 1, NULL, &err),
        aegis_system_apply(b.r.system, &remove, &err),
        aegis_system_stop(b.r.system, &err),
    };
    int other = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        other += all[i] != AEGIS_ERROR_DEVICE_LOST;
    }
    aegis_system_destroy(b.r.system); /* frees nothing */
    return other;
}

static void a_lane_that_hangs_lets_nobody_go(void **state)
{
    (void)state;
    write_model("hanging", 64, ", \"faults\": [{\"run\": 1, \"segment\": 0, \"kind\": \"hang\"}]");
    assert_int_equal(in_child(hang), 0);
}

static int set_up(void **state)
{
    if (make_planted_cache(state) != 0) {
        return -1;
    }
    write_model("small", 1 << 18, "");
    write_model("large", 1 << 23, "");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lane_that_hangs_lets_nobody_go),
        cmocka_unit_test(workloads_that_cannot_be),
        cmocka_unit_test(a_trace_that_cannot_be_made),
        cmocka_unit_test(a_system_needs_memory),
        cmocka_unit_test(models_that_cannot_come_in),
        cmocka_unit_test(models_that_are_not_there),
        cmocka_unit_test(more_than_there_is_cannot_be_freed),
        cmocka_unit_test(changes_need_memory),
        cmocka_unit_test(profiles_that_cannot_be_put_aside),
        cmocka_unit_test(once_only),
        cmocka_unit_test(a_trace_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, set_up, remove_planted_cache);
}

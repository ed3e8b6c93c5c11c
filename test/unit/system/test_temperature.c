/* SPDX-License-Identifier: Apache-2.0 */
/* The temperature counter of a system's trace: what is recorded was read. */
#include <aegisrt/system.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_BYTES 512

static const char workload_text[] =
    "[device]\nkind = \"host\"\nmemory = \"4MiB\"\n[[model]]\nname = \"a\"\npath = \"%s\"\n"
    "backend = \"null\"\nperiod = \"20s\"\noverrun = \"report\"\nsamples = 100\nconfidence = 0.9\n";

static const char model_text[] = "{\"inputs\": [{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": "
                                 "[4]}], \"outputs\": [{\"name\": "
                                 "\"y\", \"dtype\": \"f32\", \"shape\": [4]}], \"segments\": [[]]}";

typedef struct bed {
    char path[PATH_BYTES];
    aegis_workload *workload;
    aegis_system *system;
} bed;

/* A system that was not started: its model costs nothing, its driver is told what it takes. */
static int make_system(void **state)
{
    static bed made;
    char text[2 * PATH_BYTES];
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_system_options options = {
        .fresh_profiles = true, .wake_bound_ns = 1000000, .overhead_bound_ns = 1000000};
    snprintf(made.path, sizeof made.path, "%s/temperature_%ld.null",
             folder == NULL ? "/tmp" : folder, (long)getpid());
    FILE *file = fopen(made.path, "we");
    assert_non_null(file);
    assert_true(fputs(model_text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    snprintf(text, sizeof text, workload_text, made.path);
    assert_int_equal(
        aegis_workload_parse(text, strlen(text), "w.toml", &allocator, &made.workload, NULL),
        AEGIS_OK);
    assert_int_equal(aegis_system_create(made.workload, &options, &allocator, &made.system, NULL),
                     AEGIS_OK);
    *state = &made;
    return 0;
}

static int free_system(void **state)
{
    bed *made = *state;
    aegis_system_destroy(made->system);
    aegis_workload_free(made->workload);
    return unlink(made->path);
}

static size_t count_temperatures(const bed *made, int64_t millidegrees)
{
    aegis_trace_record found[16];
    const aegis_trace_query wanted = {.kind = AEGIS_TRACE_COUNTER};
    size_t count, same = 0;
    assert_int_equal(aegis_trace_collector_query(aegis_system_collector(made->system), &wanted,
                                                 found, 16, &count, NULL),
                     AEGIS_OK);
    assert_true(count <= 16);
    for (size_t i = 0; i < count; i++) {
        if (found[i].a == AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES) {
            assert_int_equal(found[i].b, millidegrees);
            same++;
        }
    }
    return same;
}

static void the_hottest_zone_is_recorded(void **state)
{
    const bed *made = *state;
    const char *source = getenv("AEGISRT_SOURCE_DIR");
    char root[PATH_BYTES];
    if (source == NULL) {
        print_message("skipped: AEGISRT_SOURCE_DIR is not set\n");
        skip();
    }
    snprintf(root, sizeof root, "%s/test/fixtures/x86", source);
    assert_int_equal(aegis_system_record_temperature(made->system, root, NULL), AEGIS_OK);
    assert_int_equal(count_temperatures(made, 61000), 1);
}

static void without_a_sensor_nothing_is(void **state)
{
    const bed *made = *state;
    aegis_error error = {0};
    size_t before = count_temperatures(made, 61000);
    assert_int_equal(aegis_system_record_temperature(made->system, "/nowhere", &error),
                     AEGIS_ERROR_TELEMETRY_UNAVAILABLE);
    assert_non_null(strstr(error.message, "no thermal zone can be read below /nowhere"));
    assert_int_equal(count_temperatures(made, 61000), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hottest_zone_is_recorded),
        cmocka_unit_test(without_a_sensor_nothing_is),
    };
    return cmocka_run_group_tests(tests, make_system, free_system);
}

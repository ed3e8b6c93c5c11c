/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences of a trace say words that enumerations of a layer above stand for: the same ones. */
#include <aegisrt/memory_plan.h>
#include <aegisrt/trace.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static aegis_trace_collector *collector;
static aegis_trace_file *file;

static int make_file(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_clock clock = aegis_clock_monotonic();
    aegis_trace_config config = {.memory_records = 16};
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_trace_collector_snapshot(collector, &file, NULL), AEGIS_OK);
    return 0;
}

static int free_file(void **state)
{
    (void)state;
    aegis_trace_file_close(file);
    aegis_trace_collector_destroy(collector);
    return 0;
}

static void assert_says(const aegis_trace_record *record, const char *words)
{
    char text[AEGIS_TRACE_SENTENCE_BYTES];
    aegis_trace_file_describe(file, record, text, sizeof text);
    if (strstr(text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", text, words);
    }
}

static void bindings_name_their_class(void **state)
{
    (void)state;
    aegis_trace_record record = {.kind = AEGIS_TRACE_BIND, .a = 64, .b = 2048};
    char words[64];
    for (int c = 0; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        record.c = c;
        snprintf(words, sizeof words, " of %s at offset 64",
                 aegis_memory_class_name((aegis_memory_class)c));
        assert_says(&record, words);
    }
    record.c = AEGIS_MEMORY_CLASS_COUNT;
    assert_says(&record, " of 9 at offset");
    record.c = -1;
    assert_says(&record, " of -1 at offset");
}

static void pressure_names_its_policy(void **state)
{
    (void)state;
    aegis_trace_record record = {
        .kind = AEGIS_TRACE_PRESSURE, .b = 3 << 20, .c = 5 << 20, .a = AEGIS_PRESSURE_REPORT};
    assert_says(&record, "5.00 MiB were wanted and 3.00 MiB could be freed, by policy report");
    record.a = AEGIS_PRESSURE_NEWEST;
    assert_says(&record, "by policy newest");
    record.a = AEGIS_PRESSURE_LARGEST;
    assert_says(&record, "by policy largest");
    record.a = AEGIS_PRESSURE_SMALLEST_ENOUGH;
    assert_says(&record, "by policy smallest-enough");
    record.a = 4;
    assert_says(&record, "by policy 4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bindings_name_their_class),
        cmocka_unit_test(pressure_names_its_policy),
    };
    return cmocka_run_group_tests(tests, make_file, free_file);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/admission.h>

#include "base/base.h"
#include "schedule/admission/position.h"
#include "support/scarce_json.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char complete[] =
    "{ \"policy\" : \"np-edf\",\n"
    "  \"tasks\": [ {\"name\": \"camera\", \"C\": 4, \"T\": 15, \"D\": 12, \"J\": 1,\n"
    "     \"segments\": [ 2, 2 ]},\n"
    "    {\"T\":20,\"C\":5}\n"
    "  ]}\n";

static aegis_status parse(const char *text, aegis_taskset **ret_set, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    return aegis_taskset_parse(text, strlen(text), "set.json", &allocator, ret_set, err);
}

static void reads_everything_with_defaults(void **unused)
{
    (void)unused;
    aegis_taskset *set = NULL;
    aegis_error err = {0};
    size_t count;
    assert_int_equal(parse(complete, &set, &err), AEGIS_OK);
    assert_int_equal(err.status, AEGIS_OK);
    assert_int_equal(aegis_taskset_policy(set), AEGIS_ANALYSIS_NP_EDF);
    const aegis_task *tasks = aegis_taskset_tasks(set, &count);
    assert_int_equal(count, 2);
    assert_string_equal(tasks[0].name, "camera");
    assert_true(tasks[0].execution == 4 && tasks[0].period == 15 && tasks[0].deadline == 12 &&
                tasks[0].jitter == 1);
    assert_int_equal(tasks[0].segment_count, 2);
    assert_int_equal(tasks[0].segments[1], 2);
    assert_string_equal(tasks[1].name, "task-1");
    assert_true(tasks[1].deadline == 20 && tasks[1].jitter == 0 && tasks[1].segments == NULL);
    aegis_taskset_destroy(set);
    aegis_taskset_destroy(NULL);
}

#define TASKS(text) "{\"policy\": \"fp\",\n \"tasks\": [{\"C\": 1, \"T\": 2}, " text "]}"

static void refusals_name_place_key_and_cure(void **unused)
{
    (void)unused;
    static const struct {
        const char *text, *place, *words;
        aegis_status status;
    } cases[] = {
        {"", "set.json:1:", "not JSON", AEGIS_ERROR_PARSE},
        {"{\"policy\": \"fp\",\n \"tasks\": [}", "set.json:2:12", "not JSON", AEGIS_ERROR_PARSE},
        {TASKS("{\"C\": 1, \"C\": 2}"), "set.json:2:", "duplicate", AEGIS_ERROR_PARSE},
        {TASKS("{\"C\": 99999999999999999999}"), "set.json:2:", "too big", AEGIS_ERROR_PARSE},
        {"\n 4", "set.json:2:2:", "must be an object", AEGIS_ERROR_CONFIG},
        {"{\"tasks\": []}", "set.json:1:1:", "\"policy\" must be one of", AEGIS_ERROR_CONFIG},
        {"{\"policy\": 7}", "set.json:1:12:", "\"policy\" must be one of", AEGIS_ERROR_CONFIG},
        {"{\"tasks\": [1], \"policy\": \"np-fq\"}", "set.json:1:26:", "did you mean \"np-fp\"?",
         AEGIS_ERROR_CONFIG},
        {"{\"policy\": \"fp\"}", "set.json:1:1:", "\"tasks\" must be an array", AEGIS_ERROR_CONFIG},
        {"{\"policy\": \"fp\", \"tasks\": {}}", "set.json:1:27:", "\"tasks\" must be an array",
         AEGIS_ERROR_CONFIG},
        {"{\"policy\": \"fp\", \"task\": []}", "set.json:1:18:", "did you mean \"tasks\"?",
         AEGIS_ERROR_CONFIG},
        {"{\"policy\": \"fp\", \"something\": [1, {\"a\": \"]\"}]}",
         "set.json:1:18:", "unknown key \"something\": remove it", AEGIS_ERROR_CONFIG},
        {TASKS("7"), "set.json:2:30:", "a task must be an object", AEGIS_ERROR_CONFIG},
        {TASKS("{\"T\": 2}"), "set.json:2:30:", "key \"C\" is missing", AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 2}"), "set.json:2:30:", "key \"T\" is missing", AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1.5, \"T\": 2}"), "set.json:2:36:", "\"C\" must be an integer",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": \"2\"}"), "set.json:2:44:", "\"T\" must be an integer",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": 2, \"D\":0}"), "set.json:2:51:", "at least 1",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": 2, \"J\": -1}"), "set.json:2:52:", "at least 0",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": 2, \"period\": 1}"), "set.json:2:47:", "unknown key \"period\"",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": 2, \"segment\": [1]}"),
         "set.json:2:47:", "did you mean \"segments\"?", AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": 2, \"name\": \"\"}"), "set.json:2:55:", "not empty",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": 2, \"name\": 5}"), "set.json:2:55:", "must be a text",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": 2, \"name\": \"task-0\"}"), "set.json:2:55:", "is taken",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 1, \"T\": 2, \"segments\": 1}"), "set.json:2:59:", "must be an array",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 3, \"T\": 5, \"segments\": [1, \"a,]\", 1]}"),
         "set.json:2:63:", "segment 1 must be an integer", AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 3, \"T\": 5, \"segments\": [1, 0, 1]}"),
         "set.json:2:63:", "segment 1 must be an integer", AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 3, \"T\": 5, \"segments\": [1, 1, 9]}"), "set.json:2:66:", "sum to more",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 3, \"T\": 5, \"segments\": [1, 1]}"),
         "set.json:2:59:", "sum to 2, but C is 3", AEGIS_ERROR_CONFIG},
        /* A key written with an escape is found by nobody: the object's own place is named. */
        {TASKS("{\"C\": 3, \"T\": 5, \"\\u0064\": 1}"), "set.json:2:30:", "unknown key \"d\"",
         AEGIS_ERROR_CONFIG},
        {TASKS("{\"C\": 3, \"T\": 5, \"a\\\"b\": 1, \"J\": -7}"), "set.json:2:", "unknown key",
         AEGIS_ERROR_CONFIG},
    };
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(cases); k++) {
        aegis_taskset *set = NULL;
        aegis_error err = {0};
        aegis_status status = parse(cases[k].text, &set, &err);
        if (status != cases[k].status || strstr(err.message, cases[k].place) != err.message ||
            strstr(err.message, cases[k].words) == NULL) {
            fail_msg("case %zu: %s -> \"%s\", not \"%s ... %s\"", k, cases[k].text, err.message,
                     cases[k].place, cases[k].words);
        }
        assert_null(set);
    }
}

static void loads_a_file(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    char path[] = "/tmp/aegisrt-taskset-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, complete, strlen(complete)), strlen(complete));
    aegis_taskset *set = NULL;
    aegis_error err = {0};
    assert_int_equal(aegis_taskset_load(path, &allocator, &set, &err), AEGIS_OK);
    aegis_taskset_destroy(set);
    set = NULL;
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(aegis_taskset_load(path, &allocator, &set, &err), AEGIS_ERROR_PARSE);
    assert_non_null(strstr(err.message, path));
    close(fd);
    unlink(path);
    assert_int_not_equal(aegis_taskset_load(path, &allocator, &set, &err), AEGIS_OK);
    assert_null(set);
}

static void memory_may_run_out_anywhere(void **unused)
{
    (void)unused;
    bool passed = false;
    for (uint64_t at = 1; !passed && at < 100; at++) {
        test_allocator memory = {.fail_at = at};
        aegis_allocator allocator = test_allocator_make(&memory);
        aegis_taskset *set = NULL;
        aegis_status status =
            aegis_taskset_parse(complete, strlen(complete), "set.json", &allocator, &set, NULL);
        passed = status == AEGIS_OK;
        assert_true(passed || (status == AEGIS_ERROR_NO_MEMORY && set == NULL));
        aegis_taskset_destroy(set);
        assert_int_equal(memory.blocks, 0);
        assert_int_equal(memory.wrong_sizes, 0);
    }
    assert_true(passed);
}

static void jansson_may_run_out_of_memory_anywhere(void **unused)
{
    (void)unused;
    bool passed = false;
    scarce_json_begin();
    for (size_t at = 1; !passed && at < 2000; at++) {
        aegis_taskset *set = NULL;
        aegis_error err;
        scarce_json_fail(at);
        aegis_status status = parse(complete, &set, &err);
        passed = status == AEGIS_OK && !scarce_json_failed();
        /* A text that the parser had no memory for is not told from one that it does not take. */
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_NO_MEMORY ||
                    status == AEGIS_ERROR_PARSE);
        assert_int_equal(set != NULL, status == AEGIS_OK);
        aegis_taskset_destroy(set);
    }
    scarce_json_end();
    assert_true(passed);
}

static void no_text_is_refused(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_taskset *set = NULL;
    aegis_error err;
    assert_int_equal(aegis_taskset_parse(NULL, 0, "set.json", &allocator, &set, &err),
                     AEGIS_ERROR_PARSE);
    assert_non_null(strstr(err.message, "set.json:1:1:"));
}

/* Places are looked for in texts that parsed, but a text cut anywhere leads no further than its
 * end and the tokens looked for there: nothing is read behind it (the sanitizers watch). */
static void places_stay_within_the_text(void **unused)
{
    (void)unused;
    static const char text[] =
        " {\"a\": [1, {\"b\\\"c\": \"]\"}], \"tasks\" : [ [], {} ,4], \"z\":{}}";
    for (size_t size = 0; size <= strlen(text); size++) {
        char *cut = malloc(size == 0 ? 1 : size); /* its own, for sanitizers to watch */
        assert_non_null(cut);
        memcpy(cut, text, size);
        const aegis_json_text json = {cut, size};
        size_t root = aegis_json_root(json), line, column;
        assert_true(root <= size);
        assert_true(aegis_json_key(json, root, "z") <= size);
        size_t tasks = aegis_json_member(json, root, "tasks");
        assert_true(tasks <= size + 3);
        assert_true(aegis_json_element(json, tasks, 4) <= size + 16);
        aegis_json_line_column(json, size + 9, &line, &column);
        assert_true(line == 1 && column == size + 10);
        free(cut);
    }
    const aegis_json_text whole = {text, strlen(text)};
    size_t tasks = aegis_json_member(whole, 1, "tasks");
    assert_int_equal(text[tasks], '[');
    assert_memory_equal(text + aegis_json_element(whole, tasks, 1), "{}", 2);
    assert_int_equal(text[aegis_json_element(whole, tasks, 2)], '4');
    assert_int_equal(aegis_json_member(whole, 1, "missing"), 1);
    assert_int_equal(aegis_json_key((aegis_json_text){"{}", 2}, 0, "a"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_everything_with_defaults),
        cmocka_unit_test(refusals_name_place_key_and_cure),
        cmocka_unit_test(loads_a_file),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(jansson_may_run_out_of_memory_anywhere),
        cmocka_unit_test(no_text_is_refused),
        cmocka_unit_test(places_stay_within_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

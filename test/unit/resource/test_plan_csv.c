/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/memory_plan.h>

#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static aegis_status
parse(const char *text, aegis_plan_buffer **ret_buffers, size_t *ret_count, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    return aegis_plan_csv_parse(text, strlen(text), "t.csv", &allocator, ret_buffers, ret_count,
                                err);
}

static void reads_rows_with_any_line_end(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_plan_buffer *b;
    size_t count;
    assert_int_equal(
        parse("id,lower,upper,size\n0,1,2,3\r\n\n 7 , -5 ,6,9223372036854775807", &b, &count, NULL),
        AEGIS_OK);
    assert_int_equal(count, 2);
    assert_int_equal(b[0].id, 0);
    assert_int_equal(b[0].lower, 1);
    assert_int_equal(b[0].upper, 2);
    assert_int_equal(b[0].size_bytes, 3);
    assert_int_equal(b[0].alignment, 0);
    assert_int_equal(b[1].id, 7);
    assert_int_equal(b[1].lower, -5);
    assert_int_equal(b[1].size_bytes, INT64_MAX);
    aegis_plan_buffers_free(&allocator, b, count);
    assert_int_equal(parse("\xef\xbb\xbfid,lower,upper,size\r\n4,1,2,3\r\n", &b, &count, NULL),
                     AEGIS_OK); /* as a spreadsheet writes it */
    assert_int_equal(count, 1);
    assert_int_equal(b[0].id, 4);
    aegis_plan_buffers_free(&allocator, b, count);
}

static void reads_an_alignment_column(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_plan_buffer *b;
    size_t count;
    assert_int_equal(parse("id, lower, upper, size, alignment\n1,0,1,5,64\n", &b, &count, NULL),
                     AEGIS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(b[0].alignment, 64);
    aegis_plan_buffers_free(&allocator, b, count);
    assert_int_equal(parse("id,lower,upper,size\n", &b, &count, NULL), AEGIS_OK);
    assert_int_equal(count, 0);
    aegis_plan_buffers_free(&allocator, b, count);
    aegis_plan_buffers_free(&allocator, NULL, 0);
}

static void reads_optional_columns_in_any_order(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_plan_buffer *b;
    size_t count;
    assert_int_equal(parse("id,lower,upper,size,offset,alignment\n1,0,1,5,128,64\n2,0,1,5, ,0\n",
                           &b, &count, NULL),
                     AEGIS_OK);
    assert_int_equal(count, 2);
    assert_true(b[0].fixed);
    assert_int_equal(b[0].fixed_offset, 128);
    assert_int_equal(b[0].alignment, 64);
    assert_false(b[1].fixed);
    aegis_plan_buffers_free(&allocator, b, count);
    assert_int_equal(parse("id,lower,upper,size,offset\n1,0,1,5,", &b, &count, NULL), AEGIS_OK);
    assert_int_equal(count, 1);
    assert_false(b[0].fixed);
    aegis_plan_buffers_free(&allocator, b, count);
}

static void errors_name_the_column(void **state)
{
    (void)state;
    aegis_plan_buffer *b;
    size_t count;
    aegis_error err;
    assert_int_equal(parse("id,lower,upper,size,offset\n1,0,1,5,x\n", &b, &count, &err),
                     AEGIS_ERROR_PARSE);
    assert_non_null(strstr(err.message, "t.csv:2:9: offset: no integer here"));
    assert_int_equal(parse("id,lower,upper,size,colour\n", &b, &count, &err), AEGIS_ERROR_PARSE);
    assert_non_null(strstr(err.message, "'colour'"));
}

static void errors_say_where(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where;
    } cases[] = {
        {"", "t.csv:1:1:"},
        {"id,lower,upper\n", "t.csv:1:15:"},
        {"\xef\xbb\xbfid,lower,upper\n", "t.csv:1:15:"},
        {"id,lower,upper,size,colour\n1,2,3,4,5\n", "t.csv:1:21:"},
        {"id,lower,upper,size,offset,offset\n", "t.csv:1:28:"},
        {"id,lower,upper,size,alignment\n1,2,3,4,\n", "t.csv:2:9:"},
        {"id,lower,upper,size\n1,2,3\n", "t.csv:2:6:"},
        {"id,lower,upper,size\n1,2,3,4,5\n", "t.csv:2:8:"},
        {"id,lower,upper,size\n0,0,1,1\n-1,2,3,4\n", "t.csv:3:1:"},
        {"id,lower,upper,size\n1,2,3,-4\n", "t.csv:2:7:"},
        {"id,lower,upper,size\n4294967296,2,3,4\n", "t.csv:2:1:"},
        {"id,lower,upper,size\n1,2,3,9223372036854775808\n", "t.csv:2:7:"},
        {"id,lower,upper,size\n1,2,3,99999999999999999999999\n", "t.csv:2:7:"},
        {"id,lower,upper,size\n1,x,3,4\n", "t.csv:2:3:"},
        {"id,lower,upper,size\n1,2,-,4\n", "t.csv:2:5:"},
        {"id,lower,upper,size\n1,2,3,4\r5,6,7,8\n", "t.csv:2:8:"},
        {"id,lower,upper,size\n1,2,3,4.5\n", "t.csv:2:8:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        aegis_error err;
        aegis_plan_buffer *b = NULL;
        size_t count = 77;
        assert_int_equal(parse(cases[i].text, &b, &count, &err), AEGIS_ERROR_PARSE);
        if (strncmp(err.message, cases[i].where, strlen(cases[i].where)) != 0) {
            fail_msg("case %zu: %s instead of %s", i, err.message, cases[i].where);
        }
        assert_null(b);
        assert_int_equal(count, 77);
    }
}

static void missing_arguments_are_refused(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_plan_buffer *b;
    size_t count;
    assert_int_equal(aegis_plan_csv_parse(NULL, 3, "t", &allocator, &b, &count, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_plan_csv_parse("x", 1, NULL, &allocator, &b, &count, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_plan_csv_load(NULL, &allocator, &b, &count, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_plan_csv_parse(NULL, 0, "t", &allocator, &b, &count, NULL),
                     AEGIS_ERROR_PARSE);
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    const char *text = "id,lower,upper,size\n1,2,3,4\n";
    char path[] = "/tmp/aegis-plan-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    for (uint64_t nth = 1; nth <= 4; nth++) {
        test_allocator counting = {.fail_at = nth};
        aegis_allocator allocator = test_allocator_make(&counting);
        aegis_plan_buffer *b = NULL;
        size_t count = 0;
        aegis_status status =
            aegis_plan_csv_parse(text, strlen(text), "t", &allocator, &b, &count, NULL);
        assert_int_equal(status, nth <= 2 ? AEGIS_ERROR_NO_MEMORY : AEGIS_OK);
        if (status == AEGIS_OK) {
            aegis_plan_buffers_free(&allocator, b, count);
        }
        counting = (test_allocator){.fail_at = nth};
        b = NULL;
        assert_int_equal(aegis_plan_csv_load(path, &allocator, &b, &count, NULL),
                         nth <= 3 ? AEGIS_ERROR_NO_MEMORY : AEGIS_OK);
        aegis_plan_buffers_free(&allocator, b, count);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
    unlink(path);
}

static void loads_a_file(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    char path[] = "/tmp/aegis-plan-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char text[] = "id,lower,upper,size\n3,1,2,30\n4,1,2,x\n";
    aegis_plan_buffer *b;
    size_t count;
    aegis_error err;
    assert_int_equal(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
    assert_int_equal(aegis_plan_csv_load(path, &allocator, &b, &count, &err), AEGIS_ERROR_PARSE);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(ftruncate(fd, 29), 0);
    assert_int_equal(aegis_plan_csv_load(path, &allocator, &b, &count, NULL), AEGIS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(b[0].size_bytes, 30);
    aegis_plan_buffers_free(&allocator, b, count);
    close(fd);
    unlink(path);
    assert_int_equal(aegis_plan_csv_load(path, &allocator, &b, &count, NULL),
                     AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_plan_csv_load("/", &allocator, &b, &count, NULL), AEGIS_ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_rows_with_any_line_end),
        cmocka_unit_test(reads_an_alignment_column),
        cmocka_unit_test(reads_optional_columns_in_any_order),
        cmocka_unit_test(errors_name_the_column),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(missing_arguments_are_refused),
        cmocka_unit_test(failed_allocations_leak_nothing),
        cmocka_unit_test(loads_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

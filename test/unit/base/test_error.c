/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/error.h>
#include <aegisrt/rationale.h>
#include <aegisrt/version.h>

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void an_error_says_what_where_and_how_bad(void **state)
{
    (void)state;
    aegis_error error = {0};
    aegis_status status = aegis_error_set_native(&error, AEGIS_HERE("test.place"),
                                                 AEGIS_ERROR_QUEUE_FULL, 11, "%d of %s", 3, "four");
    assert_int_equal(status, AEGIS_ERROR_QUEUE_FULL);
    assert_int_equal(error.status, AEGIS_ERROR_QUEUE_FULL);
    assert_int_equal(error.category, AEGIS_CATEGORY_TRANSIENT);
    assert_int_equal(error.native_code, 11);
    assert_string_equal(error.component, "test.place");
    assert_string_equal(error.function, __func__);
    assert_non_null(strstr(error.file, "test_error.c"));
    assert_string_equal(error.message, "3 of four");
    aegis_error_prefix(&error, "model %s", "a");
    assert_string_equal(error.message, "model a: 3 of four");
    /* The message itself as an argument. */
    aegis_error_set(&error, AEGIS_HERE("x"), AEGIS_ERROR_IO, "again: %s", error.message);
    assert_string_equal(error.message, "again: model a: 3 of four");
    aegis_error_clear(&error);
    assert_int_equal(error.status, AEGIS_OK);
    assert_string_equal(error.message, "");
}

static void no_record_is_fine(void **state)
{
    (void)state;
    assert_int_equal(aegis_error_set(NULL, AEGIS_HERE("x"), AEGIS_ERROR_IO, "x"), AEGIS_ERROR_IO);
    assert_int_equal(aegis_error_set_native(NULL, AEGIS_HERE("x"), AEGIS_ERROR_IO, 1, "x"),
                     AEGIS_ERROR_IO);
    aegis_error_prefix(NULL, "x");
    aegis_error_clear(NULL);
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    char text[2 * AEGIS_ERROR_MESSAGE_BYTES];
    aegis_error error = {0};
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    aegis_error_set(&error, AEGIS_HERE("x"), AEGIS_ERROR_IO, "%s", text);
    assert_int_equal(strlen(error.message), AEGIS_ERROR_MESSAGE_BYTES - 1);
    aegis_error_prefix(&error, "%s", text);
    assert_int_equal(strlen(error.message), AEGIS_ERROR_MESSAGE_BYTES - 1);
}

static void every_status_has_a_name_of_its_own_and_a_category(void **state)
{
    (void)state;
    for (int i = 0; i <= AEGIS_ERROR_INTERNAL; i++) {
        const char *name = aegis_status_name((aegis_status)i);
        assert_string_not_equal(name, "unknown");
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(name, aegis_status_name((aegis_status)k));
        }
        aegis_error_category category = aegis_status_category((aegis_status)i);
        assert_int_equal(category == AEGIS_CATEGORY_NONE, i == 0);
        assert_string_not_equal(aegis_error_category_name(category), "unknown");
    }
    assert_string_equal(aegis_status_name((aegis_status)9999), "unknown");
    assert_string_equal(aegis_error_category_name((aegis_error_category)99), "unknown");
}

static void every_rationale_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    static const int ranges[][2] = {{0, 7}, {16, 29}, {40, 43}, {64, 73}};
    for (size_t r = 0; r < AEGIS_ARRAY_LENGTH(ranges); r++) {
        for (int i = ranges[r][0]; i <= ranges[r][1]; i++) {
            assert_string_not_equal(aegis_rationale_name((aegis_rationale)i), "unknown");
            assert_true(strlen(aegis_rationale_sentence((aegis_rationale)i)) > 3 || i == 0);
        }
    }
    assert_string_equal(aegis_rationale_name((aegis_rationale)999), "unknown");
}

static void version_agrees_with_the_header(void **state)
{
    (void)state;
    assert_string_equal(aegis_version(), AEGIS_VERSION_STRING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_says_what_where_and_how_bad),
        cmocka_unit_test(no_record_is_fine),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(every_status_has_a_name_of_its_own_and_a_category),
        cmocka_unit_test(every_rationale_has_a_name_and_a_sentence),
        cmocka_unit_test(version_agrees_with_the_header),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}

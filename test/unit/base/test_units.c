/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct form {
    const char *text;
    uint64_t value;
} form;

static void sizes_are_exact(void **state)
{
    (void)state;
    static const form forms[] = {
        {"0", 0},
        {"512", 512},
        {"7B", 7},
        {"1K", 1024},
        {"1KiB", 1024},
        {"64M", UINT64_C(64) << 20},
        {"64MiB", UINT64_C(64) << 20},
        {"2G", UINT64_C(2) << 30},
        {"2 GiB", UINT64_C(2) << 30},
        {"1.5K", 1536},
        {"0.5MiB", UINT64_C(1) << 19},
        {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(forms); i++) {
        uint64_t value = 42;
        assert_int_equal(aegis_parse_size(forms[i].text, &value, NULL), AEGIS_OK);
        assert_int_equal(value, forms[i].value);
    }
}

static void durations_are_exact(void **state)
{
    (void)state;
    static const form forms[] = {
        {"0ns", 0},           {"5ns", 5},          {"10us", 10000},        {"200ms", 200000000},
        {"1.5s", 1500000000}, {"0.001us", 1},      {"32.768ms", 32768000}, {"3600s", 3600000000000},
        {"7 ms", 7000000},    {"0.000000001s", 1},
    };
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(forms); i++) {
        uint64_t value = 42;
        assert_int_equal(aegis_parse_duration(forms[i].text, &value, NULL), AEGIS_OK);
        assert_int_equal(value, forms[i].value);
    }
}

static void malformed_sizes_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "MiB",
                                        "-1",
                                        "1MB",
                                        "1m",
                                        "0x10",
                                        "1e3",
                                        "1.5",
                                        ".",
                                        "1.3B",
                                        "1..2K",
                                        "18446744073709551616",
                                        "99999999999G"};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(texts); i++) {
        uint64_t value = 42;
        aegis_error error = {0};
        if (aegis_parse_size(texts[i], &value, &error) != AEGIS_ERROR_CONFIG) {
            fail_msg("\"%s\" was taken as %" PRIu64, texts[i], value);
        }
        assert_int_equal(value, 42);
        assert_non_null(strstr(error.message, "64MiB"));
    }
}

static void malformed_durations_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",     "5",     "ms",       "-5ms", "5 m",
                                        "5min", "1.5ns", "0.0001us", "5msx", "99999999999999s"};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(texts); i++) {
        uint64_t value = 42;
        aegis_error error = {0};
        if (aegis_parse_duration(texts[i], &value, &error) != AEGIS_ERROR_CONFIG) {
            fail_msg("\"%s\" was taken as %" PRIu64, texts[i], value);
        }
        assert_int_equal(value, 42);
        assert_non_null(strstr(error.message, "200ms"));
    }
}

static void formats_are_short(void **state)
{
    (void)state;
    char text[32];
    assert_string_equal(aegis_format_size(0, text, sizeof text), "0 B");
    assert_string_equal(aegis_format_size(1023, text, sizeof text), "1023 B");
    assert_string_equal(aegis_format_size(1536, text, sizeof text), "1.50 KiB");
    assert_string_equal(aegis_format_size(UINT64_C(64) << 20, text, sizeof text), "64.0 MiB");
    assert_string_equal(aegis_format_size(UINT64_C(512) << 20, text, sizeof text), "512 MiB");
    assert_string_equal(aegis_format_duration(999, text, sizeof text), "999 ns");
    assert_string_equal(aegis_format_duration(1500, text, sizeof text), "1.50 us");
    assert_string_equal(aegis_format_duration(32000000, text, sizeof text), "32.0 ms");
    assert_string_equal(aegis_format_duration(-200000000, text, sizeof text), "-200 ms");
    assert_string_equal(aegis_format_duration(1500000000, text, sizeof text), "1.50 s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_exact),
        cmocka_unit_test(durations_are_exact),
        cmocka_unit_test(malformed_sizes_are_refused),
        cmocka_unit_test(malformed_durations_are_refused),
        cmocka_unit_test(formats_are_short),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}

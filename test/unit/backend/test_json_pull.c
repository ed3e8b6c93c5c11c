/* SPDX-License-Identifier: Apache-2.0 */
/* The reader accepts what jansson accepts, in any cut of the input, and nothing else. */
#include "backend/transformer/model/json_pull.h"
#include "base/base.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static aegis_status read_all(const char *text, size_t size, aegis_error *error)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_json_pull pull;
    aegis_json_pull_init(&pull, text, size, "j", &allocator);
    aegis_status status = aegis_json_pull_skip(&pull, error);
    if (status == AEGIS_OK) {
        status = aegis_json_pull_end(&pull, error);
    }
    aegis_json_pull_finish(&pull);
    return status;
}

static bool jansson_accepts(const char *text, size_t size)
{
    json_t *tree = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool good = tree != NULL;
    json_decref(tree);
    return good;
}

static void texts_are_accepted_as_by_jansson(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "1",
                                        "-0",
                                        "01",
                                        "-",
                                        "1.",
                                        "1.5",
                                        ".5",
                                        "1e5",
                                        "1e",
                                        "1E+5",
                                        "1e-",
                                        "+1",
                                        "true",
                                        "tru",
                                        "truex",
                                        "null",
                                        "\"a\"",
                                        "\"a",
                                        "\"\\u00e9\"",
                                        "\"\\u00g9\"",
                                        "\"\\ud83d\\ude00\"",
                                        "\"\\ud83d\"",
                                        "\"\\ude00\"",
                                        "\"\\ud83d\\u0041\"",
                                        "\"\\x\"",
                                        "\"\t\"",
                                        "\"\xc3\xa9\"",
                                        "\"\xc3\"",
                                        "\"\xc0\xaf\"",
                                        "\"\xed\xa0\x80\"",
                                        "\"\xf4\x90\x80\x80\"",
                                        "\"\xf0\x9f\x98\x80\"",
                                        "[]",
                                        "[",
                                        "]",
                                        "[1]",
                                        "[1,]",
                                        "[,1]",
                                        "[1 2]",
                                        "[1,2]",
                                        "[[[]]]",
                                        "{}",
                                        "{",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{\"a\":1}",
                                        "{\"a\":1,}",
                                        "{a:1}",
                                        "{\"a\" : [ {\"b\" : null } , 2 ] }",
                                        "{\"a\":1 \"b\":2}",
                                        "[1}",
                                        "{\"a\":1]",
                                        "{} {}",
                                        "[] x",
                                        "\xef\xbb\xbf{}"};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(texts); i++) {
        size_t size = strlen(texts[i]);
        bool ours = read_all(texts[i], size, NULL) == AEGIS_OK;
        if (ours != jansson_accepts(texts[i], size)) {
            fail_msg("%s: %s by us", texts[i], ours ? "accepted" : "refused");
        }
    }
}

/* Random changes of a document: both readers agree. */
static void spoiled_texts_are_judged_as_by_jansson(void **state)
{
    (void)state;
    static const char base[] =
        "{\"a\":[1,-2.5e3,\"x\\n\\u00e9\xc3\xa9\",true,false,null],\"b\":{\"c\":{},\"d\":[]}}";
    static const char alphabet[] = "{}[]:,\"\\u0019e.-tfn a\x01\xc3\xa9\xf0";
    uint64_t seed = 20261121;
    size_t accepted = 0;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof base];
        memcpy(text, base, sizeof base);
        size_t size = sizeof base - 1 - aegis_random_next(&seed) % 3;
        for (uint64_t changes = aegis_random_next(&seed) % 3; changes > 0; changes--) {
            text[aegis_random_next(&seed) % size] =
                alphabet[aegis_random_next(&seed) % (sizeof alphabet - 1)];
        }
        bool ours = read_all(text, size, NULL) == AEGIS_OK;
        accepted += ours;
        if (ours != jansson_accepts(text, size)) {
            fail_msg("seed 20261121, round %d: %.*s: %s by us", round, (int)size, text,
                     ours ? "accepted" : "refused");
        }
    }
    assert_true(accepted > 1000 && accepted < 19000);
}

/* Strings, escapes and numbers across the edges of the window of 64 KiB. */
static void files_are_read_through_a_window(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t pad = 65500; pad < 65560; pad++) {
        char *text = malloc(pad + 100);
        assert_non_null(text);
        memset(text, ' ', pad);
        text[0] = '\n';
        strcpy(text + pad, "[\"ab\\ud83d\\ude00\xc3\xa9\", 1234567890123]");
        int fd = memfd_create("json", MFD_CLOEXEC);
        size_t size = strlen(text);
        assert_true(fd >= 0 && write(fd, "xxx", 3) == 3 && write(fd, text, size) == (ssize_t)size);
        aegis_json_pull pull;
        aegis_error error = {0};
        bool more = false;
        uint64_t number = 0;
        assert_int_equal(aegis_json_pull_init_file(&pull, fd, 3, size, "j", &allocator, &error),
                         AEGIS_OK);
        assert_int_equal(aegis_json_pull_array(&pull, &error), AEGIS_OK);
        assert_int_equal(aegis_json_pull_item(&pull, &more, &error), AEGIS_OK);
        assert_int_equal(aegis_json_pull_string(&pull, &error), AEGIS_OK);
        assert_int_equal(pull.text_size, 8);
        assert_string_equal(pull.text, "ab\xf0\x9f\x98\x80\xc3\xa9");
        assert_int_equal(pull.line, 2);
        assert_int_equal(pull.column, pad + 1); /* line 2 begins at byte 1 */
        assert_int_equal(aegis_json_pull_item(&pull, &more, &error), AEGIS_OK);
        assert_int_equal(aegis_json_pull_unsigned(&pull, &number, &error), AEGIS_OK);
        assert_int_equal(number, 1234567890123);
        assert_int_equal(aegis_json_pull_item(&pull, &more, &error), AEGIS_OK);
        assert_false(more);
        assert_int_equal(aegis_json_pull_end(&pull, &error), AEGIS_OK);
        aegis_json_pull_finish(&pull);
        close(fd);
        free(text);
    }
}

static void limits_are_kept(void **state)
{
    (void)state;
    aegis_error error = {0};
    char deep[200];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    assert_int_equal(read_all(deep + 36, 128, &error), AEGIS_OK); /* 64 levels */
    assert_int_equal(read_all(deep + 35, 130, &error), AEGIS_ERROR_PARSE);
    assert_non_null(strstr(error.message, "j:1:65: nested deeper than 64 levels"));
    size_t size = (2 << 20) + 2;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, 'a', size);
    text[0] = text[size - 1] = '"';
    assert_int_equal(read_all(text, size, &error), AEGIS_ERROR_PARSE);
    assert_non_null(strstr(error.message, "longer than 1048576 bytes"));
    free(text);
    assert_int_equal(read_all("1e400", 5, &error),
                     AEGIS_OK); /* a number as long as nobody wants it */
}

static void a_file_that_fails_is_an_error(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_json_pull pull;
    aegis_error error = {0};
    assert_int_equal(aegis_json_pull_init_file(&pull, -7, 0, 10, "j", &allocator, &error),
                     AEGIS_OK);
    assert_int_equal(aegis_json_pull_skip(&pull, &error), AEGIS_ERROR_IO);
    aegis_json_pull_finish(&pull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_accepted_as_by_jansson),
        cmocka_unit_test(spoiled_texts_are_judged_as_by_jansson),
        cmocka_unit_test(files_are_read_through_a_window),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(a_file_that_fails_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

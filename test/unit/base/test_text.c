/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/bump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void nearest_word_is_found(void **state)
{
    (void)state;
    static const char *const words[] = {"period", "deadline", NULL, "path"};
    size_t count = AEGIS_ARRAY_LENGTH(words);
    assert_string_equal(aegis_nearest_word("perod", words, count), "period");
    assert_string_equal(aegis_nearest_word("dedline", words, count), "deadline");
    assert_string_equal(aegis_nearest_word("path", words, count), "path");
    assert_null(aegis_nearest_word("xylophone", words, count));
    assert_null(aegis_nearest_word("period", words, 0));
    char longer[200];
    memset(longer, 'p', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_null(aegis_nearest_word(longer, words, count));
}

static void text_is_copied(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    char *copy = aegis_copy_text(&allocator, "abc");
    assert_string_equal(copy, "abc");
    aegis_free_text(&allocator, copy);
    aegis_free_text(&allocator, NULL);
}

static void bump_blocks_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_bump bump;
    unsigned char *blocks[300];
    aegis_bump_init(&bump, &allocator);
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(blocks); i++) {
        blocks[i] = aegis_bump_take(&bump, i + 1, 7);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % sizeof(void *), 0);
        for (size_t k = 0; k < (i + 1) * 7; k++) {
            assert_int_equal(blocks[i][k], 0);
        }
        memset(blocks[i], (int)(i & 0xff), (i + 1) * 7);
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(blocks); i++) {
        assert_int_equal(blocks[i][0], i & 0xff);
        assert_int_equal(blocks[i][(i + 1) * 7 - 1], i & 0xff);
    }
    assert_non_null(aegis_bump_take(&bump, 100000, 1));
    assert_non_null(aegis_bump_take(&bump, 0, 8));
    assert_null(aegis_bump_take(&bump, SIZE_MAX, 2));
    assert_null(aegis_bump_take(&bump, SIZE_MAX, 1));
    assert_string_equal(aegis_bump_text(&bump, "abcdef", 3), "abc");
    aegis_bump_finish(&bump);
    assert_non_null(aegis_bump_take(&bump, 1, 1));
    aegis_bump_finish(&bump);
}

static void zeroed_allocation_refuses_overflow(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    assert_null(aegis_allocate_zeroed(&allocator, SIZE_MAX, 2));
    char *bytes = aegis_allocate_zeroed(&allocator, 3, 5);
    assert_non_null(bytes);
    assert_int_equal(bytes[14], 0);
    aegis_deallocate(&allocator, bytes, 3, 5);
    void *none = aegis_allocate_zeroed(&allocator, 0, 5);
    assert_non_null(none);
    aegis_deallocate(&allocator, none, 0, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_word_is_found),
        cmocka_unit_test(text_is_copied),
        cmocka_unit_test(bump_blocks_are_zeroed_aligned_and_apart),
        cmocka_unit_test(zeroed_allocation_refuses_overflow),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}

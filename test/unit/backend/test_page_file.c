/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/page_file.h"

#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RANGES 4

static const size_t SIZES[RANGES] = {4096, 3 * (2 << 20) + 8192, 4096, (2 << 20) - 4096};

typedef struct memory {
    char folder[64];
    aegis_bytes ranges[RANGES];
    unsigned char *before[RANGES];
    uint64_t size;
} memory;

static bool go_on(void *argument)
{
    (void)argument;
    return false;
}

static bool count_down(void *argument)
{
    return --*(int *)argument < 0;
}

static memory make_memory(void)
{
    memory m = {.folder = "/tmp/aegis-page-XXXXXX"};
    uint64_t seed = 3;
    assert_non_null(mkdtemp(m.folder));
    for (int i = 0; i < RANGES; i++) {
        unsigned char *bytes = aligned_alloc(4096, SIZES[i]);
        m.before[i] = malloc(SIZES[i]);
        assert_true(bytes != NULL && m.before[i] != NULL);
        for (size_t k = 0; k < SIZES[i]; k++) {
            bytes[k] = (unsigned char)aegis_random_next(&seed);
        }
        memcpy(m.before[i], bytes, SIZES[i]);
        m.ranges[i] = (aegis_bytes){bytes, SIZES[i]};
        m.size += SIZES[i];
    }
    return m;
}

static void free_memory(memory *m)
{
    for (int i = 0; i < RANGES; i++) {
        free((void *)(uintptr_t)m->ranges[i].bytes); /* NOLINT */
        free(m->before[i]);
    }
    assert_int_equal(rmdir(m->folder), 0);
}

static void spoil(const memory *m)
{
    for (int i = 0; i < RANGES; i++) {
        memset((void *)(uintptr_t)m->ranges[i].bytes, 0x11, SIZES[i]); /* NOLINT */
    }
}

static bool is_whole(const memory *m)
{
    bool whole = true;
    for (int i = 0; i < RANGES; i++) {
        whole = whole && memcmp(m->ranges[i].bytes, m->before[i], SIZES[i]) == 0;
    }
    return whole;
}

static aegis_page_file make(const memory *m)
{
    aegis_error err;
    aegis_page_file file;
    aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(aegis_page_file_make(&file, m->folder, m->ranges, RANGES, &allocator, &err),
                     AEGIS_OK);
    assert_int_equal(file.size_bytes, m->size);
    return file;
}

static void what_was_written_comes_back(void **state)
{
    (void)state;
    aegis_error err;
    memory m = make_memory();
    uint64_t got = 0;
    aegis_page_file file = make(&m);
    assert_true(is_whole(&m));
    for (int i = 0; i < 3; i++) {
        spoil(&m);
        assert_int_equal(aegis_page_file_read(&file, go_on, NULL, &got, &err), AEGIS_OK);
        assert_int_equal(got, m.size);
        assert_true(is_whole(&m));
    }
    /* The same bytes are the same file. */
    aegis_page_file again = make(&m);
    assert_string_equal(file.path, again.path);
    aegis_page_file_close(&again);
    aegis_page_file_close(&again);
    unlink(file.path);
    aegis_page_file_close(&file);
    free_memory(&m);
}

static void reading_ends_between_blocks(void **state)
{
    (void)state;
    aegis_error err;
    memory m = make_memory();
    aegis_page_file file = make(&m);
    size_t blocks = (m.size + AEGIS_PAGE_BLOCK_BYTES - 1) / AEGIS_PAGE_BLOCK_BYTES;
    for (int left = 0; left <= (int)blocks; left++) {
        uint64_t got = 99;
        int counter = left;
        spoil(&m);
        aegis_status status = aegis_page_file_read(&file, count_down, &counter, &got, &err);
        bool all = (size_t)left == blocks;
        assert_int_equal(status, all ? AEGIS_OK : AEGIS_ERROR_TERMINATED);
        assert_int_equal(got, all ? m.size : (uint64_t)left * AEGIS_PAGE_BLOCK_BYTES);
    }
    unlink(file.path);
    aegis_page_file_close(&file);
    free_memory(&m);
}

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_true(fputc(byte ^ 1, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

/* Any bit, in any block; two words that changed places; an end that is missing. */
static void damage_is_found(void **state)
{
    (void)state;
    aegis_error err;
    memory m = make_memory();
    uint64_t got, seed = 9;
    aegis_page_file file = make(&m);
    for (int i = 0; i < 50; i++) {
        long at = (long)(aegis_random_next(&seed) % m.size);
        flip(file.path, at);
        assert_int_equal(aegis_page_file_read(&file, go_on, NULL, &got, &err),
                         AEGIS_ERROR_ENGINE_DESERIALIZE);
        flip(file.path, at);
    }
    assert_int_equal(aegis_page_file_read(&file, go_on, NULL, &got, &err), AEGIS_OK);
    assert_int_equal(truncate(file.path, (off_t)(m.size - 4096)), 0);
    assert_int_equal(aegis_page_file_read(&file, go_on, NULL, &got, &err),
                     AEGIS_ERROR_ENGINE_DESERIALIZE);
    assert_non_null(strstr(err.message, "cut short"));
    unlink(file.path);
    aegis_page_file_close(&file);
    free_memory(&m);
}

/* A file of the right name with other bytes, or of another size. */
static void a_false_file_is_refused_when_it_is_opened(void **state)
{
    (void)state;
    aegis_error err;
    memory m = make_memory();
    aegis_allocator allocator = aegis_allocator_default();
    aegis_page_file file = make(&m), other;
    char path[512];
    snprintf(path, sizeof path, "%s", file.path);
    aegis_page_file_close(&file);
    flip(path, 12345);
    assert_int_equal(aegis_page_file_make(&other, m.folder, m.ranges, RANGES, &allocator, &err),
                     AEGIS_ERROR_ENGINE_DESERIALIZE);
    assert_non_null(strstr(err.message, path));
    for (int i = 0; i < RANGES; i++) { /* spoiled by what was read */
        memcpy((void *)(uintptr_t)m.ranges[i].bytes, m.before[i], SIZES[i]); /* NOLINT */
    }
    assert_int_equal(truncate(path, 4096), 0);
    assert_int_equal(aegis_page_file_make(&other, m.folder, m.ranges, RANGES, &allocator, &err),
                     AEGIS_ERROR_ENGINE_DESERIALIZE);
    assert_int_equal(unlink(path), 0);
    file = make(&m);
    unlink(path);
    aegis_page_file_close(&file);
    free_memory(&m);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    memory m = make_memory();
    for (uint64_t nth = 1; nth < 20; nth++) {
        aegis_error err;
        aegis_page_file file;
        test_allocator counting = {.fail_at = nth};
        aegis_allocator allocator = test_allocator_make(&counting);
        aegis_status status =
            aegis_page_file_make(&file, m.folder, m.ranges, RANGES, &allocator, &err);
        if (status == AEGIS_OK) {
            unlink(file.path);
            aegis_page_file_close(&file);
            assert_int_equal(counting.blocks, 0);
            free_memory(&m);
            return;
        }
        assert_int_equal(status, AEGIS_ERROR_NO_MEMORY);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
    fail_msg("it never succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_comes_back),
        cmocka_unit_test(reading_ends_between_blocks),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(a_false_file_is_refused_when_it_is_opened),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

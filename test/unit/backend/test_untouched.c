/* SPDX-License-Identifier: Apache-2.0 */
/* Which ranges of a mapped file are read, whatever the kernel brings in around them. */
#include "backend/untouched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define RANGES 7
#define TURNS 24 /* each mapping lies elsewhere, and other pages are around a fault */

/* Next to each other, as in a compiled model: a small one, then large ones that begin and end
 * within pages. */
static const uint64_t sizes[RANGES] = {2 * KIB,        258 * KIB,  256 * KIB, 600 * KIB + 64,
                                       256 * KIB + 64, 1536 * KIB, 300 * KIB};

typedef struct fixture {
    char path[512];
    int file;
    uint64_t size;
    char *map, *at[RANGES];
} fixture;

/* In one piece, so that the page cache may hold it in large ones. */
static void make_file(fixture *f)
{
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    *f = (fixture){0};
    for (size_t i = 0; i < RANGES; i++) {
        f->size += sizes[i];
    }
    char *bytes = malloc(f->size);
    assert_non_null(bytes);
    for (uint64_t i = 0; i < f->size; i++) {
        bytes[i] = (char)(i % 251);
    }
    snprintf(f->path, sizeof f->path, "%s/untouched-XXXXXX", folder != NULL ? folder : "/tmp");
    f->file = mkstemp(f->path);
    assert_true(f->file >= 0);
    assert_int_equal(write(f->file, bytes, f->size), f->size);
    free(bytes);
}

static void drop(const fixture *f)
{
    assert_int_equal(madvise(f->map, f->size, MADV_DONTNEED), 0);
}

static void map_file(fixture *f)
{
    f->map = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, f->file, 0);
    assert_true(f->map != MAP_FAILED);
    char *at = f->map;
    for (size_t i = 0; i < RANGES; i++) {
        f->at[i] = at;
        aegis_untouched_set_apart(at, sizes[i]);
        at += sizes[i];
    }
    drop(f);
    if (!aegis_untouched_since(f->at[RANGES - 1], sizes[RANGES - 1])) {
        print_message("this kernel does not tell which pages are there\n");
        skip();
    }
}

static void unmap_file(fixture *f)
{
    assert_int_equal(munmap(f->map, f->size), 0);
}

static void remove_file(const fixture *f)
{
    close(f->file);
    unlink(f->path);
}

static void read_all(const char *range, uint64_t size)
{
    const volatile char *at = range;
    for (uint64_t i = 0; i < size; i += 64) {
        (void)at[i];
    }
}

static void expect(const fixture *f, unsigned touched)
{
    assert_false(aegis_untouched_since(f->at[0], sizes[0])); /* too small to be asked about */
    for (unsigned i = 1; i < RANGES; i++) {
        assert_int_equal(aegis_untouched_since(f->at[i], sizes[i]), (touched >> i & 1) == 0);
    }
}

static void ranges_are_told_from_their_neighbours(void **state)
{
    (void)state;
    fixture f;
    make_file(&f);
    for (unsigned turn = 0; turn < TURNS; turn++) {
        const size_t aside_bytes = (turn + 1) * 4096;
        void *aside = mmap(NULL, aside_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        const unsigned touched = turn % 2 == 0 ? 0x2b : 0x55;
        map_file(&f);
        for (unsigned i = 0; i < RANGES; i++) {
            if ((touched >> i & 1) != 0) {
                read_all(f.at[i], sizes[i]);
            }
        }
        expect(&f, touched);
        drop(&f);
        expect(&f, 0);
        unmap_file(&f);
        munmap(aside, aside_bytes);
    }
    remove_file(&f);
}

static void a_byte_that_is_read_touches_its_range(void **state)
{
    (void)state;
    fixture f;
    make_file(&f);
    map_file(&f);
    for (unsigned i = 1; i < RANGES; i += 2) {
        read_all(f.at[i] + sizes[i] / 3, 1);
    }
    expect(&f, 0x2a);
    unmap_file(&f);
    remove_file(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_told_from_their_neighbours),
        cmocka_unit_test(a_byte_that_is_read_touches_its_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct folder {
    char path[64];
    char file[96];
} folder;

static int make_folder(void **state)
{
    folder *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -1;
    }
    strcpy(made->path, "/tmp/aegis-file-XXXXXX");
    if (mkdtemp(made->path) == NULL) {
        free(made);
        return -1;
    }
    snprintf(made->file, sizeof made->file, "%s/f", made->path);
    *state = made;
    return 0;
}

static int remove_folder(void **state)
{
    folder *made = *state;
    unlink(made->file);
    rmdir(made->path);
    free(made);
    return 0;
}

static void what_is_written_is_read(void **state)
{
    folder *here = *state;
    aegis_allocator allocator = aegis_allocator_default();
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(aegis_file_write_atomic(here->file, "a\0b", 3, NULL), AEGIS_OK);
    assert_int_equal(aegis_file_read(here->file, 3, &allocator, &bytes, &size, NULL), AEGIS_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "a\0b", 4); /* with the NUL behind */
    aegis_file_free(&allocator, bytes, size);

    struct stat info;
    assert_int_equal(stat(here->file, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644);
    assert_int_equal(aegis_file_write_atomic(here->file, "", 0, NULL), AEGIS_OK);
    assert_int_equal(aegis_file_read(here->file, 3, &allocator, &bytes, &size, NULL), AEGIS_OK);
    assert_int_equal(size, 0);
    aegis_file_free(&allocator, bytes, size);
    aegis_file_free(&allocator, NULL, 0);
}

static void reads_are_refused_with_a_reason(void **state)
{
    folder *here = *state;
    aegis_allocator allocator = aegis_allocator_default();
    char *bytes = NULL;
    size_t size = 0;
    aegis_error error = {0};
    assert_int_equal(aegis_file_read(here->file, 9, &allocator, &bytes, &size, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, here->file));
    assert_int_equal(aegis_file_read(here->path, 9, &allocator, &bytes, &size, &error),
                     AEGIS_ERROR_IO);
    assert_int_equal(aegis_file_write_atomic(here->file, "0123456789", 10, NULL), AEGIS_OK);
    assert_int_equal(aegis_file_read(here->file, 9, &allocator, &bytes, &size, &error),
                     AEGIS_ERROR_PARSE);
    assert_non_null(strstr(error.message, "has 10 B, and at most 9 B"));
    assert_null(bytes);
}

static void a_write_that_fails_leaves_nothing(void **state)
{
    folder *here = *state;
    char path[160];
    aegis_error error = {0};
    snprintf(path, sizeof path, "%s/none/f", here->path);
    assert_int_equal(aegis_file_write_atomic(path, "x", 1, &error), AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, path));
    /* The target is a folder: rename fails, the temporary file must go. */
    snprintf(path, sizeof path, "%s/sub", here->path);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_not_equal(aegis_file_write_atomic(path, "x", 1, &error), AEGIS_OK);
    assert_int_equal(rmdir(path), 0); /* remove_folder finds out about leftovers */
    assert_int_equal(rmdir(here->path), 0);
    assert_int_equal(mkdir(here->path, 0755), 0);
}

static void folders_are_made_with_their_parents(void **state)
{
    folder *here = *state;
    char path[160];
    aegis_error error = {0};
    snprintf(path, sizeof path, "%s/a/b", here->path);
    assert_int_equal(aegis_folder_create(path, &error), AEGIS_OK);
    assert_int_equal(aegis_folder_create(path, &error), AEGIS_OK);
    assert_int_equal(rmdir(path), 0);
    snprintf(path, sizeof path, "%s/a", here->path);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(aegis_file_write_atomic(here->file, "x", 1, NULL), AEGIS_OK);
    assert_int_equal(aegis_folder_create(here->file, &error), AEGIS_ERROR_IO);
}

static void hashes_are_known_ones(void **state)
{
    folder *here = *state;
    char hex[AEGIS_SHA256_HEX_BYTES], of_file[AEGIS_SHA256_HEX_BYTES];
    assert_int_equal(aegis_sha256_bytes("", 0, hex, NULL), AEGIS_OK);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(aegis_sha256_bytes("abc", 3, hex, NULL), AEGIS_OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(aegis_file_write_atomic(here->file, "abc", 3, NULL), AEGIS_OK);
    assert_int_equal(aegis_sha256_file(here->file, of_file, NULL), AEGIS_OK);
    assert_string_equal(of_file, hex);
    unlink(here->file);
    aegis_error error = {0};
    assert_int_equal(aegis_sha256_file(here->file, of_file, &error), AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, here->file));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(reads_are_refused_with_a_reason, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_write_that_fails_leaves_nothing, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(folders_are_made_with_their_parents, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(hashes_are_known_ones, make_folder, remove_folder),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}

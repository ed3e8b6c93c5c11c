/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/safetensors.h"
#include "model_files.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end \
    "]}"
#define GOOD_A T("a", "F32", "2,3", "0", "24")
#define GOOD_B T("b", "F16", "4", "24", "32")

static tree_fixture make_folder(void)
{
    static const tree_file none[] = {{NULL, NULL}};
    tree_fixture folder;
    assert_true(tree_make(&folder, none));
    return folder;
}

static aegis_status
open_in(const tree_fixture *folder, const char *name, aegis_safetensors **ret, aegis_error *err)
{
    char path[512];
    aegis_allocator allocator = aegis_allocator_default();
    snprintf(path, sizeof path, "%s/%s", folder->root, name);
    return aegis_safetensors_open(path, &allocator, ret, err);
}

static void a_file_is_described(void **state)
{
    (void)state;
    tree_fixture folder = make_folder();
    aegis_safetensors *tensors = NULL;
    aegis_error error = {0};
    /* the order of the text is not that of the data, and metadata is passed over */
    const char *header =
        "{\"__metadata__\":{\"format\":\"pt\"}," GOOD_B "," GOOD_A
        "," T("empty", "BF16", "0,7", "32", "32") "," T("mask", "BOOL", "1,1,2", "32", "34") "}   ";
    assert_true(put_tensors(&folder, "x.safetensors", header, 0, 34));
    assert_int_equal(open_in(&folder, "x.safetensors", &tensors, &error), AEGIS_OK);
    assert_int_equal(aegis_safetensors_count(tensors), 4);
    const aegis_tensor_source *a = aegis_safetensors_find(tensors, "a");
    const aegis_tensor_source *b = aegis_safetensors_find(tensors, "b");
    assert_non_null(a);
    assert_non_null(b);
    assert_null(aegis_safetensors_find(tensors, "c"));
    assert_int_equal(a->dtype, AEGIS_DTYPE_F32);
    assert_int_equal(a->rank, 2);
    assert_int_equal(a->shape[1], 3);
    assert_int_equal(a->bytes, 24);
    assert_int_equal(a->offset, 8 + strlen(header));
    assert_int_equal(b->offset, a->offset + 24);
    assert_int_equal(b->dtype, AEGIS_DTYPE_F16);
    assert_int_equal(a->offset % a->alignment, 0);
    assert_true(a->alignment == 4096 || a->offset % (2 * a->alignment) != 0);
    const aegis_tensor_source *mask = aegis_safetensors_find(tensors, "mask");
    assert_int_equal(mask->dtype, AEGIS_DTYPE_OTHER);
    assert_string_equal(mask->dtype_name, "BOOL");
    assert_string_equal(aegis_safetensors_at(tensors, 0)->name, "a");
    assert_null(aegis_safetensors_at(tensors, 4));
    assert_null(aegis_safetensors_file_at(tensors, 1));
    const void *view, *again;
    assert_int_equal(aegis_safetensors_map(tensors, 0, &view, &error), AEGIS_OK);
    assert_int_equal(((const unsigned char *)view)[b->offset], 24);
    assert_int_equal(aegis_safetensors_map(tensors, 0, &again, &error), AEGIS_OK);
    assert_ptr_equal(view, again);
    assert_int_equal(aegis_safetensors_map(tensors, 1, &view, &error),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_safetensors_close(tensors);
    aegis_safetensors_close(NULL);
    tree_remove(&folder);
}

typedef struct bad_file {
    const char *header;
    uint64_t claimed;
    size_t data;
    aegis_status status;
    const char *words;
} bad_file;

static const bad_file bad_files[] = {
    {"{" GOOD_A "," GOOD_B "}", 0, 31, AEGIS_ERROR_PARSE,
     "\"b\" ends at byte 32 of the data, which has 31: the file is truncated"},
    {"{" GOOD_A "," GOOD_B "}", 0, 40, AEGIS_ERROR_PARSE, "8 bytes behind b belong to no tensor"},
    {"{" GOOD_A "}", 1000, 24, AEGIS_ERROR_PARSE, "header claims 1000 bytes"},
    {"{" GOOD_A "}", UINT64_MAX, 24, AEGIS_ERROR_PARSE, "header claims 18446744073709551615 bytes"},
    {"{" GOOD_A "," T("b", "F32", "2", "20", "28") "}", 0, 28, AEGIS_ERROR_PARSE,
     "\"b\" overlaps \"a\""},
    {"{" GOOD_A "," T("b", "F32", "6", "0", "24") "}", 0, 24, AEGIS_ERROR_PARSE, "overlaps"},
    {"{" GOOD_A "," T("b", "F32", "2", "32", "40") "}", 0, 40, AEGIS_ERROR_PARSE,
     "hole of 8 bytes lies between a and tensor \"b\""},
    {"{" T("a", "F32", "2", "8", "16") "}", 0, 16, AEGIS_ERROR_PARSE, "hole of 8 bytes"},
    {"{" T("a", "F32", "2", "8", "0") "}", 0, 8, AEGIS_ERROR_PARSE, "end before they begin"},
    {"{" T("a", "F32", "3", "0", "8") "}", 0, 8, AEGIS_ERROR_PARSE,
     "data_offsets give 8 bytes, its shape as F32 needs 12"},
    {"{" T("a", "F32", "4294967296,4294967296", "0", "0") "}", 0, 0, AEGIS_ERROR_PARSE,
     "more than 2^64 bytes"},
    {"{" T("a", "F32", "4294967296,4294967296,0", "0", "0") "}", 0, 0, AEGIS_ERROR_PARSE,
     "more than 2^64 bytes"},
    {"{" T("a", "F4", "2", "0", "1") "}", 0, 1, AEGIS_ERROR_UNSUPPORTED, "dtype \"F4\""},
    {"{" T("a", "F32", "1,1,1,1,1,1,1,1,1", "0", "4") "}", 0, 4, AEGIS_ERROR_UNSUPPORTED,
     "more than 8 dimensions"},
    {"{" T("a", "F32", "-1", "0", "4") "}", 0, 4, AEGIS_ERROR_PARSE, "-1 is not a whole number"},
    {"{" T("a", "F32", "1.0", "0", "4") "}", 0, 4, AEGIS_ERROR_PARSE, "1.0 is not a whole number"},
    {"{" T("a", "F32", "1", "0", "4,4") "}", 0, 4, AEGIS_ERROR_PARSE, "more than two"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 0, 4, AEGIS_ERROR_PARSE,
     "two numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, 4, AEGIS_ERROR_PARSE, "has no data_offsets"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4, AEGIS_ERROR_PARSE, "has no dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4,
     AEGIS_ERROR_PARSE, "\"dtype\" comes twice"},
    {"{\"a\":{\"dtype\":\"F32\",\"size\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4,
     AEGIS_ERROR_PARSE, "unknown key \"size\""},
    {"{" T("a", "F32", "1", "0", "4") "," T("a", "F32", "1", "4", "8") "}", 0, 8, AEGIS_ERROR_PARSE,
     "\"a\" comes twice"},
    {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, 0, AEGIS_ERROR_PARSE, "\"a\" comes twice"},
    {"{\"__metadata__\":{\"a\":1}}", 0, 0, AEGIS_ERROR_PARSE, "a string is wanted"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, 0, AEGIS_ERROR_PARSE, "twice"},
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4, AEGIS_ERROR_PARSE,
     "name is empty"},
    {"{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4,
     AEGIS_ERROR_PARSE, "holds a NUL"},
    {"{} x", 0, 0, AEGIS_ERROR_PARSE, ":1:4: something stands behind"},
    {"[]", 0, 0, AEGIS_ERROR_PARSE, "an object is wanted"},
    {"{\"a\":", 0, 0, AEGIS_ERROR_PARSE, "the text ends"},
};

static void bad_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        const bad_file *bad = &bad_files[i];
        tree_fixture folder = make_folder();
        aegis_safetensors *tensors = NULL;
        aegis_error error = {0};
        assert_true(put_tensors(&folder, "x.safetensors", bad->header, bad->claimed, bad->data));
        aegis_status status = open_in(&folder, "x.safetensors", &tensors, &error);
        tree_remove(&folder);
        if (status != bad->status || strstr(error.message, bad->words) == NULL ||
            strstr(error.message, "x.safetensors") == NULL || tensors != NULL) {
            fail_msg("%s (%d data bytes): status %s, \"%s\", wanted \"%s\"", bad->header,
                     (int)bad->data, aegis_status_name(status), error.message, bad->words);
        }
    }
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    tree_fixture folder = make_folder();
    aegis_safetensors *tensors = NULL;
    aegis_error error = {0};
    char path[512];
    assert_true(put_bytes(&folder, "short.safetensors", "1234567", 7));
    assert_int_equal(open_in(&folder, "short.safetensors", &tensors, &error), AEGIS_ERROR_PARSE);
    assert_non_null(strstr(error.message, "too few"));
    assert_int_equal(open_in(&folder, "none.safetensors", &tensors, &error), AEGIS_ERROR_NOT_FOUND);
    snprintf(path, sizeof path, "%s/pipe.safetensors", folder.root);
    assert_int_equal(mkfifo(path, 0600), 0); /* does not hang either */
    assert_int_equal(open_in(&folder, "pipe.safetensors", &tensors, &error), AEGIS_ERROR_IO);
    aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(aegis_safetensors_open(folder.root, &allocator, &tensors, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "model.safetensors.index.json"));
    tree_remove(&folder);
}

/* A limit on the header even where the file is long enough: sparse, so that nothing is written. */
static void a_header_above_the_limit_is_refused(void **state)
{
    (void)state;
    tree_fixture folder = make_folder();
    aegis_safetensors *tensors = NULL;
    aegis_error error = {0};
    char path[512];
    assert_true(put_tensors(&folder, "x.safetensors", "{}", AEGIS_SAFETENSORS_HEADER_LIMIT + 1, 0));
    snprintf(path, sizeof path, "%s/x.safetensors", folder.root);
    assert_int_equal(truncate(path, (off_t)AEGIS_SAFETENSORS_HEADER_LIMIT + 4096), 0);
    assert_int_equal(open_in(&folder, "x.safetensors", &tensors, &error), AEGIS_ERROR_PARSE);
    assert_non_null(strstr(error.message, "the limit is 100000000"));
    tree_remove(&folder);
}

static void a_file_that_changed_is_not_mapped(void **state)
{
    (void)state;
    tree_fixture folder = make_folder();
    aegis_safetensors *tensors = NULL;
    aegis_error error = {0};
    const void *view = NULL;
    char path[512];
    assert_true(put_tensors(&folder, "x.safetensors", "{" GOOD_A "}", 0, 24));
    assert_int_equal(open_in(&folder, "x.safetensors", &tensors, &error), AEGIS_OK);
    snprintf(path, sizeof path, "%s/x.safetensors", folder.root);
    assert_int_equal(truncate(path, 30), 0);
    assert_int_equal(aegis_safetensors_map(tensors, 0, &view, &error), AEGIS_ERROR_IO);
    assert_null(view);
    aegis_safetensors_close(tensors);
    tree_remove(&folder);
}

#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"
#define INDEX "model.safetensors.index.json"
#define MAP(a, b) \
    "{\"metadata\":{\"total_size\":32},\"weight_map\":{\"a\":\"" a "\",\"b\":\"" b "\"}}"

static tree_fixture make_shards(const char *index)
{
    tree_fixture folder = make_folder();
    assert_true(put_tensors(&folder, SHARD_1, "{" GOOD_A "}", 0, 24));
    assert_true(put_tensors(&folder, SHARD_2, "{" T("b", "F16", "4", "0", "8") "}", 0, 8));
    assert_true(put_bytes(&folder, INDEX, index, strlen(index)));
    return folder;
}

static void shards_are_joined(void **state)
{
    (void)state;
    tree_fixture folder = make_shards(MAP(SHARD_1, SHARD_2));
    aegis_safetensors *tensors = NULL;
    aegis_error error = {0};
    aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(aegis_safetensors_open(folder.root, &allocator, &tensors, &error), AEGIS_OK);
    assert_int_equal(aegis_safetensors_file_count(tensors), 2);
    const aegis_tensor_source *b = aegis_safetensors_find(tensors, "b");
    const aegis_safetensors_file *file = aegis_safetensors_file_at(tensors, b->file);
    assert_non_null(strstr(file->path, SHARD_2));
    assert_int_equal(b->offset, file->data_offset);
    assert_int_equal(b->offset + b->bytes, file->size_bytes);
    unsigned char bytes[8];
    assert_int_equal(pread(file->fd, bytes, 8, (off_t)b->offset), 8);
    assert_int_equal(bytes[7], 7);
    aegis_safetensors_close(tensors);
    tree_remove(&folder);
}

static void bad_shards_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        aegis_status status;
        const char *words;
    } cases[] = {
        {MAP(SHARD_2, SHARD_1), AEGIS_ERROR_CONFIG, "were the files swapped?"},
        {MAP(SHARD_1, SHARD_1), AEGIS_ERROR_CONFIG,
         "\"b\" is said to be in " SHARD_1 ", which does not hold it"},
        {MAP(SHARD_1, "none.safetensors"), AEGIS_ERROR_NOT_FOUND, "none.safetensors"},
        {MAP(SHARD_1, "../x.safetensors"), AEGIS_ERROR_PARSE, "not the plain name"},
        {MAP(SHARD_1, "x.bin"), AEGIS_ERROR_PARSE, "not the plain name"},
        {"{\"weight_map\":{\"b\":\"" SHARD_2 "\",\"a\":\"" SHARD_1 "\",\"c\":\"" SHARD_2 "\"}}",
         AEGIS_ERROR_CONFIG, "\"c\" is said to be in"},
        {"{\"weight_map\":{\"a\":\"" SHARD_1 "\",\"x\":\"" SHARD_2 "\"}}", AEGIS_ERROR_CONFIG,
         "does not name tensor \"b\""},
        {"{\"weight_map\":{\"a\":\"" SHARD_1 "\",\"a\":\"" SHARD_2 "\"}}", AEGIS_ERROR_PARSE,
         "\"a\" comes twice"},
        {"{\"weight_map\":{}}", AEGIS_ERROR_PARSE, "no \"weight_map\" or an empty one"},
        {"{\"metadata\":{}}", AEGIS_ERROR_PARSE, "no \"weight_map\""},
        {"{\"weight_map\":{\"a\":1}}", AEGIS_ERROR_PARSE, "a string is wanted"},
        {"{\"weight_map\":{\"a\":\"" SHARD_1 "\"},\"weight_map\":{}}", AEGIS_ERROR_PARSE,
         "comes twice"},
        {"", AEGIS_ERROR_PARSE, "the text ends"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tree_fixture folder = make_shards(cases[i].index);
        aegis_safetensors *tensors = NULL;
        aegis_error error = {0};
        aegis_status status = open_in(&folder, INDEX, &tensors, &error);
        tree_remove(&folder);
        if (status != cases[i].status || strstr(error.message, cases[i].words) == NULL ||
            tensors != NULL) {
            fail_msg("%s: status %s, \"%s\", wanted \"%s\"", cases[i].index,
                     aegis_status_name(status), error.message, cases[i].words);
        }
    }
}

/* The same tensor in two shards, of which the index can name one only. */
static void a_tensor_in_two_shards_is_refused(void **state)
{
    (void)state;
    tree_fixture folder = make_shards(MAP(SHARD_1, SHARD_2));
    aegis_safetensors *tensors = NULL;
    aegis_error error = {0};
    assert_true(put_tensors(&folder, SHARD_2,
                            "{" T("b", "F16", "4", "0", "8") "," T("a", "I8", "1", "8", "9") "}", 0,
                            9));
    assert_int_equal(open_in(&folder, INDEX, &tensors, &error), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(error.message, "\"a\" is said to be in " SHARD_1 " but is in " SHARD_2));
    tree_remove(&folder);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    tree_fixture folder = make_shards(MAP(SHARD_1, SHARD_2));
    bool done = false;
    for (size_t n = 1; !done && n < 1000; n++) {
        test_allocator memory = {.fail_at = n};
        aegis_safetensors *tensors = NULL;
        aegis_error error = {0};
        aegis_allocator allocator = test_allocator_make(&memory);
        aegis_status status = aegis_safetensors_open(folder.root, &allocator, &tensors, &error);
        done = status == AEGIS_OK;
        assert_true(done || (status == AEGIS_ERROR_NO_MEMORY && tensors == NULL));
        aegis_safetensors_close(tensors);
        assert_int_equal(memory.blocks, 0);
        assert_int_equal(memory.wrong_sizes, 0);
    }
    assert_true(done);
    tree_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_described),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(a_header_above_the_limit_is_refused),
        cmocka_unit_test(a_file_that_changed_is_not_mapped),
        cmocka_unit_test(shards_are_joined),
        cmocka_unit_test(bad_shards_are_refused),
        cmocka_unit_test(a_tensor_in_two_shards_is_refused),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

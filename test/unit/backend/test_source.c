/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/source.h"

#include "support/placed_model.h"

#include <unistd.h>

static const char HEADER[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

/* Builds a .npy of version 1 in `bytes`; returns its size. */
static size_t make_npy(unsigned char *bytes, const char *header, size_t data_bytes)
{
    size_t length = strlen(header) + 1;
    memcpy(bytes, "\x93NUMPY\x01\x00", 8);
    bytes[8] = (unsigned char)(length & 0xff);
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + 10, header, length - 1);
    bytes[10 + length - 1] = '\n';
    for (size_t i = 0; i < data_bytes; i++) {
        bytes[10 + length + i] = (unsigned char)i;
    }
    return 10 + length + data_bytes;
}

static void npy_is_read(void **state)
{
    (void)state;
    aegis_error err;
    aegis_npy npy;
    unsigned char bytes[512];
    size_t size = make_npy(bytes, HEADER, 24);
    must(aegis_npy_parse(bytes, size, "f", &npy, &err), &err);
    assert_int_equal(npy.element, AEGIS_ELEMENT_F32);
    assert_int_equal(npy.rank, 2);
    assert_int_equal(npy.shape[0], 2);
    assert_int_equal(npy.shape[1], 3);
    assert_int_equal(npy.data_bytes, 24);
    assert_int_equal(npy.data[5], 5);
    size = make_npy(bytes, "{\"shape\": (7,), 'fortran_order': False, 'descr': '|u1'}", 7);
    must(aegis_npy_parse(bytes, size, "f", &npy, &err), &err);
    assert_int_equal(npy.rank, 1);
    size = make_npy(bytes, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }", 8);
    must(aegis_npy_parse(bytes, size, "f", &npy, &err), &err);
    assert_int_equal(npy.rank, 0);
}

static void malformed_npy_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *part;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 23,
         "23 bytes of data where its header says 24"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 25, "25 bytes"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", 24, "dtype"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24, "C order"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", 24, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6), }", 24, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", 4,
         "8 dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 0,
         "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 0,
         "shape"},
        {"{'descr': '<f4', 'fortran_order': False, }", 0, "lacks"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 4,
         "repeated"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x", 4, "behind"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), ", 4, "key"},
        {"[]", 0, "dictionary"},
    };
    aegis_error err;
    aegis_npy npy;
    unsigned char bytes[512];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size = make_npy(bytes, cases[i].header, cases[i].data_bytes);
        assert_int_equal(aegis_npy_parse(bytes, size, "f", &npy, &err), AEGIS_ERROR_PARSE);
        if (strstr(err.message, cases[i].part) == NULL) {
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.message, cases[i].part);
        }
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    aegis_npy npy;
    unsigned char bytes[512];
    size_t size = make_npy(bytes, HEADER, 24);
    for (size_t length = 0; length < size; length++) {
        unsigned char *exact = malloc(length + 1);
        memcpy(exact, bytes, length);
        assert_int_equal(aegis_npy_parse(exact, length, "f", &npy, NULL), AEGIS_ERROR_PARSE);
        free(exact);
    }
}

static aegis_status
fill(aegis_source source, aegis_element element, size_t count, void *data, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_tensor_info info = {.name = "x",
                              .element = element,
                              .rank = 1,
                              .shape = {(int64_t)count},
                              .size_bytes = count * aegis_element_bytes(element)};
    return aegis_source_fill(&source, &info, 5, &allocator, data, err);
}

static void random_floats_lie_in_the_unit_interval(void **state)
{
    (void)state;
    aegis_error err;
    float first[256], second[256];
    double sum = 0;
    must(fill((aegis_source){.kind = AEGIS_SOURCE_RANDOM}, AEGIS_ELEMENT_F32, 256, first, &err),
         &err);
    must(fill((aegis_source){.kind = AEGIS_SOURCE_RANDOM}, AEGIS_ELEMENT_F32, 256, second, &err),
         &err);
    assert_memory_equal(first, second, sizeof first);
    for (int i = 0; i < 256; i++) {
        assert_true(first[i] >= 0.0f && first[i] < 1.0f);
        sum += (double)first[i];
    }
    assert_true(sum > 64 && sum < 192);
    uint16_t halves[256];
    must(fill((aegis_source){.kind = AEGIS_SOURCE_RANDOM}, AEGIS_ELEMENT_F16, 256, halves, &err),
         &err);
    for (int i = 0; i < 256; i++) {
        assert_true(halves[i] < 0x3c00); /* 1.0 */
    }
}

static void random_integers_reach_both_ends(void **state)
{
    (void)state;
    aegis_error err;
    int8_t values[512];
    bool low = false, high = false;
    aegis_source source = {.kind = AEGIS_SOURCE_RANDOM, .low = -3, .high = 4};
    must(fill(source, AEGIS_ELEMENT_I8, 512, values, &err), &err);
    for (int i = 0; i < 512; i++) {
        assert_true(values[i] >= -3 && values[i] <= 4);
        low = low || values[i] == -3;
        high = high || values[i] == 4;
    }
    assert_true(low && high);
    source.high = 128;
    assert_int_equal(fill(source, AEGIS_ELEMENT_I8, 1, values, &err), AEGIS_ERROR_CONFIG);
    source = (aegis_source){.kind = AEGIS_SOURCE_RANDOM, .low = INT64_MIN, .high = INT64_MAX};
    int64_t wide[4];
    must(fill(source, AEGIS_ELEMENT_I64, 4, wide, &err), &err);
    assert_true(wide[0] != wide[1] && wide[1] != wide[2]);
}

static void constants_are_exact_or_refused(void **state)
{
    (void)state;
    aegis_error err;
    int64_t wide = 0;
    uint16_t half = 0;
    uint8_t byte = 0;
    float single = 0;
    aegis_source source = {.kind = AEGIS_SOURCE_CONSTANT, .constant = 16000};
    must(fill(source, AEGIS_ELEMENT_I64, 1, &wide, &err), &err);
    assert_int_equal(wide, 16000);
    assert_int_equal(fill(source, AEGIS_ELEMENT_U8, 1, &byte, &err), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "u8"));
    static const struct {
        double value;
        uint16_t f16, bf16;
    } known[] = {{1.0, 0x3c00, 0x3f80},
                 {-2.0, 0xc000, 0xc000},
                 {0.5, 0x3800, 0x3f00},
                 {65504.0, 0x7bff, 0x4780},
                 {65520.0, 0x7c00, 0x4780},
                 {6.103515625e-05, 0x0400, 0x3880},
                 {5.9604644775390625e-08, 0x0001, 0x3380},
                 {0.333251953125, 0x3555, 0x3eab}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        source.constant = known[i].value;
        must(fill(source, AEGIS_ELEMENT_F16, 1, &half, &err), &err);
        assert_int_equal(half, known[i].f16);
        must(fill(source, AEGIS_ELEMENT_BF16, 1, &half, &err), &err);
        assert_int_equal(half, known[i].bf16);
        must(fill(source, AEGIS_ELEMENT_F32, 1, &single, &err), &err);
        assert_true(single == (float)known[i].value);
    }
    source.constant = 1.5;
    assert_int_equal(fill(source, AEGIS_ELEMENT_I64, 1, &wide, &err), AEGIS_ERROR_CONFIG);
    source.constant = 9223372036854775808.0;
    assert_int_equal(fill(source, AEGIS_ELEMENT_I64, 1, &wide, &err), AEGIS_ERROR_CONFIG);
}

static void files_must_match_exactly(void **state)
{
    (void)state;
    aegis_error err;
    unsigned char bytes[512];
    char path[] = "/tmp/aegisrt-npy-XXXXXX";
    float values[6];
    int fd = mkstemp(path);
    size_t size = make_npy(bytes, "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", 24);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
    aegis_source source = {.kind = AEGIS_SOURCE_FILE, .path = path};
    must(fill(source, AEGIS_ELEMENT_F32, 6, values, &err), &err);
    assert_memory_equal(values, bytes + size - 24, 24);
    assert_int_equal(fill(source, AEGIS_ELEMENT_F32, 5, values, &err), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "holds f32 [6], input 'x' is f32 [5]"));
    assert_int_equal(fill(source, AEGIS_ELEMENT_I32, 6, values, &err), AEGIS_ERROR_CONFIG);
    unlink(path);
    assert_int_equal(fill(source, AEGIS_ELEMENT_F32, 6, values, &err), AEGIS_ERROR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_is_read),
        cmocka_unit_test(malformed_npy_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(random_floats_lie_in_the_unit_interval),
        cmocka_unit_test(random_integers_reach_both_ends),
        cmocka_unit_test(constants_are_exact_or_refused),
        cmocka_unit_test(files_must_match_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

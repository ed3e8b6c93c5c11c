/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* FIPS 180-2, appendix B. */
static const struct {
    const char *text, *hash;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

static void pieces_give_the_same_as_the_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(vectors); i++) {
        size_t size = strlen(vectors[i].text);
        char hash[AEGIS_SHA256_HEX_BYTES];
        assert_int_equal(aegis_sha256_bytes(vectors[i].text, size, hash, NULL), AEGIS_OK);
        assert_string_equal(hash, vectors[i].hash);
        for (size_t cut = 0; cut <= size; cut++) {
            aegis_sha256 pieces = {NULL};
            assert_int_equal(aegis_sha256_start(&pieces, NULL), AEGIS_OK);
            assert_int_equal(aegis_sha256_add(&pieces, vectors[i].text, cut, NULL), AEGIS_OK);
            assert_int_equal(aegis_sha256_add(&pieces, vectors[i].text + cut, size - cut, NULL),
                             AEGIS_OK);
            assert_int_equal(aegis_sha256_finish(&pieces, hash, NULL), AEGIS_OK);
            aegis_sha256_end(&pieces);
            assert_string_equal(hash, vectors[i].hash);
        }
    }
}

static void digits_are_parsed_exactly(void **state)
{
    (void)state;
    uint8_t digest[32], untouched[32];
    char text[AEGIS_SHA256_HEX_BYTES + 1];
    assert_true(aegis_sha256_parse(vectors[1].hash, digest));
    assert_int_equal(digest[0], 0xba);
    assert_int_equal(digest[31], 0xad);
    memcpy(untouched, digest, sizeof untouched);
    for (size_t i = 0; i < 64; i++) {
        snprintf(text, sizeof text, "%s", vectors[1].hash);
        text[i] = i % 2 == 0 ? 'A' : '\0';
        assert_false(aegis_sha256_parse(text, digest));
    }
    snprintf(text, sizeof text, "%s0", vectors[1].hash);
    assert_false(aegis_sha256_parse(text, digest));
    assert_memory_equal(digest, untouched, sizeof digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_give_the_same_as_the_whole),
        cmocka_unit_test(digits_are_parsed_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

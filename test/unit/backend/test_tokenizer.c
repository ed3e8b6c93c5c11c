/* SPDX-License-Identifier: Apache-2.0 */
/* Equality with the Python package is the matter of test/python/check_tokenizer.py. */
#include "backend/transformer/tokenizer/tokenizer.h"
#include "backend/transformer/tokenizer/utf8.h"
#include "support/device/tree_fixture.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* h e l o, space, a UTF-8 character in three bytes, and "hell", " hello" by merges. No token for
 * 'x'. */
#define VOCAB                                                                                  \
    "\"h\":0,\"e\":1,\"l\":2,\"o\":3,\"\xc4\xa0\":4,\"he\":5,\"ll\":6,\"hell\":7,\"hello\":8," \
    "\"\xc4\xa0hello\":9,\"\xc3\xa2\":10,\"\xc4\xa4\":11,\"\xc2\xac\":12,\"1\":13,\"2\":14,"   \
    "\"12\":15,\"\xc3\xaf\":16,\"\xc2\xbf\":17,\"\xc2\xbd\":18"
#define MERGES "\"h e\",\"l l\",\"he ll\",\"hell o\",\"\xc4\xa0 hello\",\"1 2\""
#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{" VOCAB "},\"merges\":[" MERGES "]}"
#define PRE                                                                                       \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true," \
    "\"use_regex\":true}"
#define POST "\"decoder\":{\"type\":\"ByteLevel\"}"
#define ADDED(flags) \
    "\"added_tokens\":[{\"id\":20,\"content\":\"<|end|>\",\"special\":true" flags "}]"
#define GOOD "{" ADDED("") "," PRE "," POST "," MODEL "}"

static aegis_status parse(const char *text, aegis_tokenizer **ret, aegis_error *error)
{
    aegis_allocator allocator = aegis_allocator_default();
    return aegis_tokenizer_parse(text, strlen(text), "t.json", &allocator, ret, error);
}

static aegis_tokenizer *good(const char *text)
{
    aegis_tokenizer *tokenizer = NULL;
    aegis_error error = {0};
    if (parse(text, &tokenizer, &error) != AEGIS_OK) {
        fail_msg("%s", error.message);
    }
    return tokenizer;
}

/* Tokens as "1 2 3". */
static void
expect(const aegis_tokenizer *t, const char *text, size_t size, bool specials, const char *wanted)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_token_list list;
    char found[1024] = "";
    size_t at = 0;
    aegis_token_list_init(&list, &allocator);
    assert_int_equal(aegis_tokenizer_encode(t, text, size, specials, &list, NULL), AEGIS_OK);
    for (size_t i = 0; i < list.count; i++) {
        at +=
            (size_t)snprintf(found + at, sizeof found - at, "%s%u", i == 0 ? "" : " ", list.ids[i]);
    }
    aegis_token_list_finish(&list);
    assert_string_equal(found, wanted);
}

static void words_are_merged(void **state)
{
    (void)state;
    aegis_tokenizer *t = good(GOOD);
    expect(t, "", 0, true, "");
    expect(t, "hello hello", 11, true, "8 9");
    expect(t, "hellllo", 7, true, "7 6 3");
    expect(t, "12", 2, true, "15");
    expect(t, "hxe", 3, true, "5"); /* no token for x, nor an unknown one: its neighbours meet */
    expect(t, "hello<|end|>hello", 17, true, "8 20 8");
    expect(t, "hello<|end|>hello", 17, false, "8 1 8");
    aegis_tokenizer_destroy(t);
    aegis_tokenizer_destroy(NULL);
    t = good("{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
             "\"individual_digits\":true},"
             "{\"type\":\"ByteLevel\"}]}," POST "," MODEL "}");
    expect(t, "hello12", 7, true, "8 13 14");
    aegis_tokenizer_destroy(t);
}

static void broken_bytes_become_replacement_characters(void **state)
{
    (void)state;
    aegis_tokenizer *t = good(GOOD);
    /* U+FFFD is EF BF BD: tokens 16 17 18 */
    expect(t, "\xff", 1, true, "16 17 18");
    expect(t, "h\xe2\x82", 3, true, "0 16 17 18");
    expect(t, "\xe2\x82\xac", 3, true, "10 11 12"); /* a whole euro sign */
    expect(t, "\xed\xa0\x80", 3, true, "16 17 18 16 17 18 16 17 18");
    aegis_tokenizer_destroy(t);
}

static void accessors(void **state)
{
    (void)state;
    aegis_tokenizer *t = good(GOOD);
    uint32_t id = 99;
    const char *bytes;
    size_t size;
    assert_int_equal(aegis_tokenizer_size(t), 21);
    assert_true(aegis_tokenizer_memory(t) > 500);
    assert_true(aegis_tokenizer_find(t, "<|end|>", 7, &id) && id == 20);
    assert_true(aegis_tokenizer_find(t, " hello", 6, &id) && id == 9);
    assert_false(aegis_tokenizer_find(t, "x", 1, &id));
    assert_true(aegis_tokenizer_is_special(t, 20));
    assert_false(aegis_tokenizer_is_special(t, 9) || aegis_tokenizer_is_special(t, 1000));
    assert_true(aegis_tokenizer_bytes(t, 9, &bytes, &size));
    assert_int_equal(size, 6);
    assert_memory_equal(bytes, " hello", 6);
    assert_false(aegis_tokenizer_bytes(t, 19, &bytes, &size)); /* a hole */
    assert_false(aegis_tokenizer_bytes(t, 21, &bytes, &size));
    aegis_tokenizer_destroy(t);
}

static void decoding_holds_back_unfinished_characters(void **state)
{
    (void)state;
    aegis_tokenizer *t = good(GOOD);
    aegis_token_decoder d;
    aegis_error error = {0};
    char text[64];
    size_t size = 99;
    assert_true(aegis_tokenizer_max_output(t) <= sizeof text);
    aegis_token_decoder_init(&d, t, false);
    assert_int_equal(aegis_token_decoder_push(&d, 10, text, sizeof text, &size, NULL), AEGIS_OK);
    assert_int_equal(size, 0); /* E2 */
    assert_int_equal(aegis_token_decoder_push(&d, 20, text, sizeof text, &size, NULL), AEGIS_OK);
    assert_int_equal(size, 0); /* a special token is left out */
    assert_int_equal(aegis_token_decoder_push(&d, 11, text, sizeof text, &size, NULL), AEGIS_OK);
    assert_int_equal(size, 0);
    assert_int_equal(aegis_token_decoder_push(&d, 12, text, 8, &size, &error),
                     AEGIS_ERROR_OVERFLOW);
    assert_int_equal(aegis_token_decoder_push(&d, 12, text, 9, &size, &error), AEGIS_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "\xe2\x82\xac", 3);
    assert_int_equal(aegis_token_decoder_push(&d, 10, text, sizeof text, &size, NULL), AEGIS_OK);
    assert_int_equal(aegis_token_decoder_push(&d, 8, text, sizeof text, &size, NULL), AEGIS_OK);
    assert_int_equal(size, 8); /* the character was broken off */
    assert_memory_equal(text, AEGIS_UTF8_REPLACEMENT "hello", 8);
    assert_int_equal(aegis_token_decoder_push(&d, 19, text, sizeof text, &size, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_token_decoder_finish(&d, text), 0);
    assert_int_equal(aegis_token_decoder_push(&d, 10, text, sizeof text, &size, NULL), AEGIS_OK);
    assert_int_equal(aegis_token_decoder_finish(&d, text), 3);
    assert_int_equal(aegis_token_decoder_finish(&d, text), 0);
    aegis_token_decoder_init(&d, t, true);
    assert_int_equal(aegis_token_decoder_push(&d, 20, text, sizeof text, &size, NULL), AEGIS_OK);
    assert_int_equal(size, 7);
    aegis_tokenizer_destroy(t);
}

static const struct {
    const char *text;
    aegis_status status;
    const char *words;
} bad[] = {
    {"", AEGIS_ERROR_PARSE, "t.json:1:1: the text ends"},
    {"{" PRE "," POST "}", AEGIS_ERROR_UNSUPPORTED, "has no model"},
    {"{" PRE "," MODEL "}", AEGIS_ERROR_UNSUPPORTED, "has no decoder"},
    {"{" POST "," MODEL "}", AEGIS_ERROR_UNSUPPORTED, "has no pre_tokenizer"},
    {"{" POST "," MODEL ",\"pre_tokenizer\":{\"type\":\"Digits\"}}", AEGIS_ERROR_UNSUPPORTED,
     "has no pre_tokenizer ByteLevel"},
    {"{" POST "," MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\"}}", AEGIS_ERROR_UNSUPPORTED,
     "pre_tokenizer \"Metaspace\" is not supported"},
    {"{" POST "," MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"}}}",
     AEGIS_ERROR_UNSUPPORTED, "pre_tokenizer \"Split\""},
    {"{" POST "," MODEL ",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"new\":1}}",
     AEGIS_ERROR_UNSUPPORTED, "has a member \"new\""},
    {"{" POST "," MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
     "\"ByteLevel\"},{\"type\":\"Digits\"}]}}",
     AEGIS_ERROR_UNSUPPORTED, "nothing may follow ByteLevel"},
    {"{\"normalizer\":{\"type\":\"NFC\"}," PRE "," POST "," MODEL "}", AEGIS_ERROR_UNSUPPORTED,
     "normalizer \"NFC\" is not supported; only null is"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}," PRE "," POST "," MODEL
     "}",
     AEGIS_ERROR_UNSUPPORTED, "post_processor \"TemplateProcessing\""},
    {"{\"decoder\":{\"type\":\"WordPiece\"}," PRE "," MODEL "}", AEGIS_ERROR_UNSUPPORTED,
     "decoder \"WordPiece\""},
    {"{\"truncation\":{}," PRE "," POST "," MODEL "}", AEGIS_ERROR_UNSUPPORTED,
     "truncation is not supported"},
    {"{\"padding\":{}," PRE "," POST "," MODEL "}", AEGIS_ERROR_UNSUPPORTED,
     "padding is not supported"},
    {"{\"extra\":1}", AEGIS_ERROR_UNSUPPORTED, "the member \"extra\" is not known"},
    {"{" PRE "," PRE "}", AEGIS_ERROR_PARSE, "\"pre_tokenizer\" comes twice"},
    {"{\"model\":{\"type\":\"Unigram\"}}", AEGIS_ERROR_UNSUPPORTED,
     "model \"Unigram\" is not supported; BPE is"},
    {"{\"model\":{\"byte_fallback\":true}}", AEGIS_ERROR_UNSUPPORTED, "byte_fallback"},
    {"{\"model\":{\"dropout\":0.1}}", AEGIS_ERROR_UNSUPPORTED, "dropout"},
    {"{\"model\":{\"continuing_subword_prefix\":\"##\"}}", AEGIS_ERROR_UNSUPPORTED,
     "continuing_subword_prefix"},
    {"{\"model\":{\"end_of_word_suffix\":\"</w>\"}}", AEGIS_ERROR_UNSUPPORTED,
     "end_of_word_suffix"},
    {"{\"model\":{\"speed\":1}}", AEGIS_ERROR_UNSUPPORTED, "model: the member \"speed\""},
    {"{\"model\":{\"vocab\":{\"a\":0,\n\"b\":0}}}", AEGIS_ERROR_PARSE,
     "t.json:2:1: vocab: the id 0 is taken"},
    {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1}}}", AEGIS_ERROR_PARSE,
     "the token is there already, with id 0"},
    {"{\"model\":{\"vocab\":{\"a\":1048576}}}", AEGIS_ERROR_UNSUPPORTED,
     "1048576 is not below 1048576"},
    {"{\"model\":{\"vocab\":{\"a\":-1}}}", AEGIS_ERROR_PARSE, "-1 is not a whole number"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", AEGIS_ERROR_PARSE,
     "merge of \"a\" and \"b\": the vocabulary lacks"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", AEGIS_ERROR_PARSE,
     "merge of \"a\" and \"a\""},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}}", AEGIS_ERROR_PARSE,
     "not two texts with one space"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}}", AEGIS_ERROR_PARSE,
     "not two texts with one space"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", AEGIS_ERROR_PARSE,
     "a merge has two texts"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\",\"a\"]]}}", AEGIS_ERROR_PARSE,
     "a merge has two texts"},
    {"{\"model\":{\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\",[\"a\",\"a\"]]}," PRE "," POST
     "}",
     AEGIS_ERROR_PARSE, "merge 1 is the same as merge 0"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"unk_token\":\"<unk>\"}," PRE "," POST "}",
     AEGIS_ERROR_PARSE, "unk_token \"<unk>\" is not in the vocabulary"},
    {"{" ADDED(",\"single_word\":true") "}", AEGIS_ERROR_UNSUPPORTED, "\"<|end|>\": single_word"},
    {"{" ADDED(",\"lstrip\":true") "}", AEGIS_ERROR_UNSUPPORTED, "lstrip"},
    {"{" ADDED(",\"rstrip\":true") "}", AEGIS_ERROR_UNSUPPORTED, "rstrip"},
    {"{" ADDED(",\"rank\":1") "}", AEGIS_ERROR_UNSUPPORTED, "added_tokens: the member \"rank\""},
    {"{\"added_tokens\":[{\"content\":\"a\"}]}", AEGIS_ERROR_PARSE, "a token has no id"},
    {"{\"added_tokens\":[{\"id\":1}]}", AEGIS_ERROR_PARSE, "a token has no content"},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"\"}]}", AEGIS_ERROR_PARSE,
     "an added token is empty"},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"he\"}]," PRE "," POST "," MODEL "}",
     AEGIS_ERROR_PARSE, "\"he\" has id 1, in the vocabulary 5"},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"zz\"}]," PRE "," POST "," MODEL "}",
     AEGIS_ERROR_PARSE, "the id 1 is another token's"},
    {"{\"added_tokens\":[{\"id\":5,\"content\":\"he\"},{\"id\":5,\"content\":\"he\"}]," PRE "," POST
     "," MODEL "}",
     AEGIS_ERROR_PARSE, "\"he\" comes twice"},
};

static void bad_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        aegis_tokenizer *t = NULL;
        aegis_error error = {0};
        aegis_status status = parse(bad[i].text, &t, &error);
        if (status != bad[i].status || strstr(error.message, bad[i].words) == NULL || t != NULL ||
            error.status != status) {
            fail_msg("%s: status %s, \"%s\", wanted \"%s\"", bad[i].text, aegis_status_name(status),
                     error.message, bad[i].words);
        }
    }
}

static void files_are_opened(void **state)
{
    (void)state;
    static const tree_file files[] = {{"tokenizer.json", GOOD}, {NULL, NULL}};
    tree_fixture folder;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_tokenizer *t = NULL;
    aegis_error error = {0};
    char path[256];
    assert_true(tree_make(&folder, files));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder.root);
    assert_int_equal(aegis_tokenizer_open(path, &allocator, &t, &error), AEGIS_OK);
    expect(t, "hello", 5, true, "8");
    aegis_tokenizer_destroy(t);
    t = NULL;
    assert_int_equal(aegis_tokenizer_open(folder.root, &allocator, &t, &error), AEGIS_ERROR_IO);
    assert_int_equal(truncate(path, (off_t)AEGIS_TOKENIZER_FILE_LIMIT + 1), 0);
    assert_int_equal(aegis_tokenizer_open(path, &allocator, &t, &error), AEGIS_ERROR_UNSUPPORTED);
    tree_remove(&folder);
    assert_int_equal(aegis_tokenizer_open(path, &allocator, &t, &error), AEGIS_ERROR_NOT_FOUND);
    assert_null(t);
}

static void texts_above_the_limit_are_refused(void **state)
{
    (void)state;
    aegis_tokenizer *t = good(GOOD);
    aegis_allocator allocator = aegis_allocator_default();
    aegis_token_list list;
    aegis_error error = {0};
    aegis_token_list_init(&list, &allocator);
    assert_int_equal(
        aegis_tokenizer_encode(t, "h", AEGIS_TOKENIZER_TEXT_LIMIT + 1, true, &list, &error),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(list.count, 0);
    aegis_token_list_finish(&list);
    aegis_tokenizer_destroy(t);
}

/* Both reading and encoding, with everything that takes memory: broken UTF-8, a prefix, long words.
 */
static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    static const char text[] =
        "{" ADDED("") ",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}," POST
                      "," MODEL "}";
    bool done = false;
    for (size_t n = 1; !done && n < 2000; n++) {
        test_allocator memory = {.fail_at = n};
        aegis_allocator allocator = test_allocator_make(&memory);
        aegis_tokenizer *t = NULL;
        aegis_token_list list;
        aegis_error error = {0};
        aegis_token_list_init(&list, &allocator);
        aegis_status status = aegis_token_list_add(&list, 77, &error);
        if (status == AEGIS_OK) {
            status = aegis_tokenizer_parse(text, sizeof text - 1, "t", &allocator, &t, &error);
        }
        if (status == AEGIS_OK) {
            static const char words[] =
                "hello\xffhello<|end|>"
                "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
                "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
            status = aegis_tokenizer_encode(t, words, sizeof words - 1, true, &list, &error);
        }
        done = status == AEGIS_OK;
        if (!done && status != AEGIS_ERROR_NO_MEMORY) {
            fail_msg("allocation %zu: %s: %s", n, aegis_status_name(status), error.message);
        }
        assert_true(done || list.count <= 1); /* as before the call */
        aegis_tokenizer_destroy(t);
        aegis_token_list_finish(&list);
        assert_int_equal(memory.blocks, 0);
        assert_int_equal(memory.wrong_sizes, 0);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_merged),
        cmocka_unit_test(broken_bytes_become_replacement_characters),
        cmocka_unit_test(accessors),
        cmocka_unit_test(decoding_holds_back_unfinished_characters),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(files_are_opened),
        cmocka_unit_test(texts_above_the_limit_are_refused),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

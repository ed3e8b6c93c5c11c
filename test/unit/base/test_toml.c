/* SPDX-License-Identifier: Apache-2.0 */
#include "base/toml.h"

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static aegis_toml *parse(const char *text)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_toml *document = NULL;
    aegis_error error = {0};
    if (aegis_toml_parse(text, strlen(text), "t.toml", &allocator, &document, &error) != AEGIS_OK) {
        fail_msg("%s", error.message);
    }
    return document;
}

static void refused(const char *text, size_t size, const char *message)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_toml *document = NULL;
    aegis_error error = {0};
    assert_int_equal(aegis_toml_parse(text, size, "t.toml", &allocator, &document, &error),
                     AEGIS_ERROR_PARSE);
    assert_null(document);
    if (strstr(error.message, message) == NULL) {
        fail_msg("wanted %s, got %s", message, error.message);
    }
}

static void values_have_their_kinds(void **state)
{
    (void)state;
    aegis_toml *document = parse("s = \"t\"\ni = -4\nf = 0.5\nb = true\nd = 2020-01-01\n"
                                 "a = [1, \"x\"]\nt = { k = 1 }\n");
    const aegis_toml_node *root = aegis_toml_root(document);
    static const aegis_toml_kind kinds[] = {
        AEGIS_TOML_STRING, AEGIS_TOML_INTEGER, AEGIS_TOML_FLOAT, AEGIS_TOML_BOOLEAN,
        AEGIS_TOML_TIME,   AEGIS_TOML_ARRAY,   AEGIS_TOML_TABLE};
    assert_int_equal(root->kind, AEGIS_TOML_TABLE);
    assert_int_equal(root->child_count, AEGIS_ARRAY_LENGTH(kinds));
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(kinds); i++) {
        assert_int_equal(root->children[i].kind, kinds[i]);
        assert_int_equal(root->children[i].key_line, i + 1);
        assert_int_equal(root->children[i].column, 5);
    }
    assert_string_equal(aegis_toml_find(root, "s")->value.text, "t");
    assert_int_equal(aegis_toml_find(root, "i")->value.integer, -4);
    assert_true(aegis_toml_find(root, "b")->value.boolean);
    assert_true(aegis_toml_find(root, "f")->value.number > 0.4);
    assert_null(aegis_toml_find(root, "none"));
    const aegis_toml_node *array = aegis_toml_find(root, "a");
    assert_int_equal(array->child_count, 2);
    assert_null(array->children[1].key);
    assert_int_equal(array->children[1].column, 9);
    aegis_toml_free(document);
}

static void children_keep_the_order_of_the_text(void **state)
{
    (void)state;
    aegis_toml *document = parse("t = { z = 1, b = 2, a = 3 }\n");
    const aegis_toml_node *table = aegis_toml_find(aegis_toml_root(document), "t");
    assert_string_equal(table->children[0].key, "z");
    assert_string_equal(table->children[1].key, "b");
    assert_string_equal(table->children[2].key, "a");
    assert_int_equal(table->children[2].key_column, 21);
    aegis_toml_free(document);
}

static void malformed_text_is_refused_with_its_place(void **state)
{
    (void)state;
    refused("a = 1\nb = \n", 11, "t.toml:2:5: ");
    refused("a = 1\na = 2\n", 12, "t.toml:2:"); /* the column differs with the library */
    refused("a = \"\xff\"\n", 8, "t.toml:1:");
    refused("a = \"\\u0000\"\n", 13, "NUL");
    refused("a = 1\0b", 7, "t.toml:1:");
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[2048];
    size_t used = 0;
    for (int i = 0; i < 200; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%sa", i > 0 ? "." : "");
    }
    snprintf(text + used, sizeof text - used, " = 1\n");
    refused(text, strlen(text), "nested too deeply");
    memset(text, '.', 300);
    refused(text, 300, "t.toml:1:1: more dots");
    memset(text, '[', 100);
    refused(text, 100, "t.toml:1:");
}

static void size_is_bounded(void **state)
{
    (void)state;
    static char text[AEGIS_TOML_MAX_BYTES + 1];
    memset(text, '\n', sizeof text);
    refused(text, sizeof text, "more than the 1048576");
    aegis_toml *document = NULL;
    aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(aegis_toml_parse(text, sizeof text - 1, "t.toml", &allocator, &document, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_toml_root(document)->child_count, 0);
    aegis_toml_free(document);
    aegis_toml_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_their_kinds),
        cmocka_unit_test(children_keep_the_order_of_the_text),
        cmocka_unit_test(malformed_text_is_refused_with_its_place),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(size_is_bounded),
    };
    return cmocka_run_group_tests_name("toml", tests, NULL, NULL);
}

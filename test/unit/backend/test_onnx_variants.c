/* SPDX-License-Identifier: Apache-2.0 */
/* Which operators are folded into the convolution before them and which are not, and what orders of
 * a small graph there are. */
#include "backend/onnxruntime/graph.h"

#include "support/placed_model.h"
#include "support/test_allocator.h"

#include "support/onnx_writer.h"

#define BLOCKED "com.microsoft.nchwc"
#define CHANNELS 16

static aegis_onnx_graph *parse(onnx_bytes model, const aegis_allocator *allocator)
{
    aegis_error err;
    aegis_onnx_graph *graph = NULL;
    must(aegis_onnx_graph_parse(model.data, model.size, "made.onnx", allocator, &graph, &err),
         &err);
    return graph;
}

/* ---- folding ---- */

/* A float initialiser without bytes worth mentioning. */
static onnx_bytes tensor(const char *name, const int64_t *dims, size_t rank)
{
    onnx_bytes t = {NULL, 0, 0};
    for (size_t i = 0; i < rank; i++) {
        onnx_int(&t, 1, (uint64_t)dims[i]);
    }
    onnx_int(&t, 2, 1);
    onnx_text(&t, 8, name);
    return t;
}

static onnx_bytes blocked(const char *op, const char *inputs, const char *output, int64_t channels)
{
    onnx_bytes node = onnx_node(op, inputs, output), attribute = {NULL, 0, 0};
    onnx_text(&node, 7, BLOCKED);
    if (channels > 0) {
        onnx_text(&attribute, 1, "channels");
        onnx_int(&attribute, 3, (uint64_t)channels);
        onnx_int(&attribute, 20, 2);
        onnx_message(&node, 5, attribute);
    }
    return node;
}

/* What differs from the pattern that is folded. */
typedef struct deviation {
    const char *what;
    const char *conv_inputs; /* "x,w" */
    bool relu, second_reader, is_output, plain_conv, unshaped;
    int64_t channels, constant;
} deviation;

static onnx_bytes make(const deviation *d)
{
    const int64_t weight[] = {CHANNELS, 1, 1, 1}, vector[] = {CHANNELS};
    const int64_t constant[] = {d->constant, 1, 1}, wide[] = {1, 1, d->constant};
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1,
                 d->plain_conv ? onnx_node("Conv", d->conv_inputs, "c")
                               : blocked("Conv", d->conv_inputs, "c", 0));
    onnx_message(&graph, 1, blocked("ReorderOutput", "c", "p", d->channels));
    onnx_message(&graph, 1, onnx_node("Add", "p,b", "s"));
    if (d->relu) {
        onnx_message(&graph, 1, onnx_node("Relu", "s", "r"));
    }
    onnx_message(&graph, 1, blocked("ReorderInput", d->relu ? "r" : "s", "q", 0));
    onnx_message(&graph, 1, blocked("Conv", "q,w", "y", 0));
    if (d->second_reader) {
        onnx_message(&graph, 1, onnx_node("Neg", "p", "z"));
        onnx_message(&graph, 12, onnx_value("z", 4));
    }
    onnx_text(&graph, 2, "fold");
    onnx_message(&graph, 5, tensor("w", weight, 4));
    onnx_message(&graph, 5, tensor("v", vector, 1));
    onnx_message(&graph, 5, tensor("b", d->unshaped ? wide : constant, 3));
    onnx_message(&graph, 11, onnx_value("x", 4));
    onnx_message(&graph, 12, onnx_value("y", 4));
    if (d->is_output) {
        onnx_message(&graph, 12, onnx_value("s", 4));
    }
    return onnx_model(graph);
}

static uint32_t operators_of(const aegis_onnx_graph *graph)
{
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_onnx_value *values = NULL;
    size_t count = 0;
    uint32_t operators = 0;
    must(aegis_onnx_graph_flow(graph, &values, &count, &operators, &err), &err);
    aegis_deallocate(&allocator, values, count + 1, sizeof *values);
    return operators;
}

static void only_the_pattern_is_folded(void **state)
{
    (void)state;
    const deviation list[] = {
        {"the pattern", "x,w", .channels = CHANNELS, .constant = CHANNELS},
        {"with Relu", "x,w", .relu = true, .channels = CHANNELS, .constant = CHANNELS},
        {"a bias already", "x,w,v", .channels = CHANNELS, .constant = CHANNELS},
        {"another reader", "x,w", .second_reader = true, .channels = CHANNELS,
         .constant = CHANNELS},
        {"a model output", "x,w", .is_output = true, .channels = CHANNELS, .constant = CHANNELS},
        {"the plain layout", "x,w", .plain_conv = true, .channels = CHANNELS, .constant = CHANNELS},
        {"fewer channels", "x,w", .channels = CHANNELS - 1, .constant = CHANNELS},
        {"one constant for all", "x,w", .channels = CHANNELS, .constant = 1},
        {"constants along the width", "x,w", .unshaped = true, .channels = CHANNELS,
         .constant = CHANNELS},
        {"no weights", "x,u", .channels = CHANNELS, .constant = CHANNELS},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        aegis_error err;
        aegis_allocator allocator = aegis_allocator_default();
        size_t folded = 99;
        onnx_bytes model = make(&list[i]);
        aegis_onnx_graph *graph = parse(model, &allocator);
        uint32_t before = operators_of(graph);
        must(aegis_onnx_graph_fold(graph, &folded, &err), &err);
        print_message("%s: %zu\n", list[i].what, folded);
        assert_int_equal(folded, i < 2);
        assert_int_equal(operators_of(graph), i == 0 ? before - 3 : i == 1 ? before - 4 : before);
        /* Again there is nothing to do. */
        must(aegis_onnx_graph_fold(graph, &folded, &err), &err);
        assert_int_equal(folded, 0);
        aegis_onnx_graph_destroy(graph);
        free(model.data);
    }
}

/* The bias of the convolution is the constant, as a vector; nobody reads the old one any more. */
static void the_constant_becomes_a_bias(void **state)
{
    (void)state;
    const deviation pattern = {"", "x,w", .relu = true, .channels = CHANNELS, .constant = CHANNELS};
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    size_t folded = 0, size = 0;
    void *bytes = NULL;
    onnx_bytes model = make(&pattern);
    aegis_onnx_graph *graph = parse(model, &allocator);
    must(aegis_onnx_graph_fold(graph, &folded, &err), &err);
    must(aegis_onnx_graph_serialise(graph, &bytes, &size, &err), &err);
    assert_non_null(memmem(bytes, size, "b/aegis-bias", 12));
    assert_non_null(memmem(bytes, size, "activation", 10));
    assert_non_null(memmem(bytes, size, "Relu", 4));
    assert_null(memmem(bytes, size, "ReorderInput", 12));
    aegis_onnx_graph_destroy(graph);
    free(bytes);
    free(model.data);
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    const deviation pattern = {"", "x,w", .relu = true, .channels = CHANNELS, .constant = CHANNELS};
    onnx_bytes model = make(&pattern);
    bool whole = false;
    for (uint64_t nth = 1; !whole && nth < 100; nth++) {
        aegis_error err;
        test_allocator counting = {.fail_at = nth};
        aegis_allocator allocator = test_allocator_make(&counting);
        aegis_onnx_graph *graph = NULL;
        aegis_onnx_order *order = NULL;
        size_t folded = 0;
        aegis_status status =
            aegis_onnx_graph_parse(model.data, model.size, "m", &allocator, &graph, &err);
        if (status == AEGIS_OK) {
            status = aegis_onnx_graph_fold(graph, &folded, &err);
        }
        if (status == AEGIS_OK) {
            status = aegis_onnx_order_create(graph, &order, &err);
        }
        whole = status == AEGIS_OK;
        assert_true(whole || status == AEGIS_ERROR_NO_MEMORY);
        aegis_onnx_order_destroy(order);
        aegis_onnx_graph_destroy(graph);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
    assert_true(whole);
    free(model.data);
}

/* ---- orders ---- */

/* a -> b -> c and a -> d; y = c + d. */
static onnx_bytes diamond(bool circle)
{
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("Relu", circle ? "y" : "x", "a"));
    onnx_message(&graph, 1, onnx_node("Relu", "a", "b"));
    onnx_message(&graph, 1, onnx_node("Relu", "b", "c"));
    onnx_message(&graph, 1, onnx_node("Relu", "a", "d"));
    onnx_message(&graph, 1, onnx_node("Add", "c,d", "y"));
    onnx_text(&graph, 2, "diamond");
    onnx_message(&graph, 11, onnx_value("x", 4));
    onnx_message(&graph, 12, onnx_value("y", 4));
    return onnx_model(graph);
}

static uint32_t born(const aegis_onnx_graph *graph, const char *name)
{
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_onnx_value *values = NULL;
    size_t count = 0;
    uint32_t operators = 0, found = UINT32_MAX;
    must(aegis_onnx_graph_flow(graph, &values, &count, &operators, &err), &err);
    assert_int_equal(operators, 5);
    for (size_t i = 0; i < count; i++) {
        found = strcmp(values[i].name, name) == 0 ? values[i].born : found;
    }
    aegis_deallocate(&allocator, values, count + 1, sizeof *values);
    return found;
}

static void a_join_has_a_choice(void **state)
{
    (void)state;
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_onnx_order *order = NULL;
    onnx_bytes model = diamond(false);
    aegis_onnx_graph *graph = parse(model, &allocator);
    must(aegis_onnx_order_create(graph, &order, &err), &err);
    assert_int_equal(aegis_onnx_order_choices(order), 1);
    /* As it is, d stands last of the two and is executed first; the choice is c first. */
    assert_true(born(graph, "d") > born(graph, "c"));
    assert_true(aegis_onnx_order_try(order, 0));
    aegis_onnx_order_keep(order);
    assert_true(aegis_onnx_order_try(order, 0)); /* back again: not kept */
    aegis_onnx_order_destroy(order);
    order = NULL;
    must(aegis_onnx_order_create(graph, &order, &err), &err);
    assert_true(aegis_onnx_order_try(order, 0));
    aegis_onnx_order_apply(order, graph);
    assert_true(born(graph, "d") < born(graph, "c")); /* so that c's branch goes first */
    assert_true(born(graph, "a") == 0 && born(graph, "y") == 4);
    aegis_onnx_order_destroy(order);
    aegis_onnx_graph_destroy(graph);
    free(model.data);
}

static void a_circle_has_none(void **state)
{
    (void)state;
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_onnx_order *order = NULL;
    onnx_bytes model = diamond(true);
    aegis_onnx_graph *graph = parse(model, &allocator);
    must(aegis_onnx_order_create(graph, &order, &err), &err);
    assert_int_equal(aegis_onnx_order_choices(order), 0);
    aegis_onnx_order_destroy(order);
    aegis_onnx_graph_destroy(graph);
    free(model.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_pattern_is_folded),
        cmocka_unit_test(the_constant_becomes_a_bias),
        cmocka_unit_test(failed_allocations_leak_nothing),
        cmocka_unit_test(a_join_has_a_choice),
        cmocka_unit_test(a_circle_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

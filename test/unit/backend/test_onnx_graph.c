/* SPDX-License-Identifier: Apache-2.0 */
/* What crosses where in small graphs, the segments that come of it, and bytes that are no graph. */
#include "backend/onnxruntime/graph.h"

#include "support/placed_model.h"
#include "support/test_allocator.h"

#include "support/onnx_writer.h"

#include <stdio.h>

#define MOST_VALUES 16

typedef struct parsed {
    aegis_onnx_graph *graph;
    aegis_onnx_value *values;
    size_t count;
    uint32_t operators;
    aegis_tensor_info types[MOST_VALUES]; /* float of one element each, by default */
    aegis_allocator allocator;
} parsed;

/* Takes `model`. */
static aegis_onnx_graph *parse(onnx_bytes model)
{
    aegis_error err;
    aegis_onnx_graph *graph = NULL;
    aegis_allocator allocator = aegis_allocator_default();
    must(aegis_onnx_graph_parse(model.data, model.size, "made.onnx", &allocator, &graph, &err),
         &err);
    free(model.data);
    return graph;
}

static parsed flow_of(onnx_bytes graph)
{
    aegis_error err;
    parsed p = {.graph = parse(onnx_model(graph)), .allocator = aegis_allocator_default()};
    must(aegis_onnx_graph_flow(p.graph, &p.values, &p.count, &p.operators, &err), &err);
    assert_true(p.count <= MOST_VALUES);
    for (size_t i = 0; i < MOST_VALUES; i++) {
        p.types[i] = (aegis_tensor_info){.element = AEGIS_ELEMENT_F32, .rank = 1, .shape = {4}};
    }
    return p;
}

static void finish(parsed *p)
{
    aegis_deallocate(&p->allocator, p->values, p->count + 1, sizeof *p->values);
    aegis_onnx_graph_destroy(p->graph);
}

static void expect_life(
    const parsed *p, size_t index, const char *name, uint32_t born, uint32_t last, bool output)
{
    assert_string_equal(p->values[index].name, name);
    assert_int_equal(p->values[index].born, born);
    assert_int_equal(p->values[index].last, last);
    assert_int_equal(p->values[index].output, output);
}

/* x -> a -> b, c = a + b, y = c + x + w; w and v are initialisers, v is used by `a` as well. */
static onnx_bytes skip_graph(void)
{
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("Add", "x,v", "a"));
    onnx_message(&graph, 1, onnx_node("Relu", "a", "b"));
    onnx_message(&graph, 1, onnx_node("Sum", "a,b,v", "c"));
    onnx_message(&graph, 1, onnx_node("Sum", "c,x,w", "y"));
    onnx_text(&graph, 2, "skip");
    onnx_message(&graph, 5, onnx_external("w", "0", "16"));
    onnx_message(&graph, 5, onnx_external("v", "64", "16"));
    onnx_message(&graph, 11, onnx_value("x", 4));
    onnx_message(&graph, 12, onnx_value("y", -1));
    onnx_message(&graph, 13, onnx_value("b", 4));
    return graph;
}

static void values_live_from_birth_to_last_reader(void **state)
{
    (void)state;
    parsed p = flow_of(skip_graph());
    assert_int_equal(p.operators, 4);
    assert_int_equal(p.count, 4);
    expect_life(&p, 0, "a", 0, 2, false);
    expect_life(&p, 1, "b", 1, 2, false);
    expect_life(&p, 2, "c", 2, 3, false);
    expect_life(&p, 3, "y", 3, 3, true);
    finish(&p);
}

static void optional_outputs_and_inputs_have_no_name(void **state)
{
    (void)state;
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("LSTM", "x,,,", "h,,c"));
    onnx_message(&graph, 1, onnx_node("Clip", "c,,x", "y"));
    onnx_message(&graph, 11, onnx_value("x", 4));
    onnx_message(&graph, 12, onnx_value("y", 4));
    parsed p = flow_of(graph);
    assert_int_equal(p.count, 3);
    expect_life(&p, 0, "h", 0, 0, false); /* nobody reads it */
    expect_life(&p, 1, "c", 0, 1, false);
    expect_life(&p, 2, "y", 1, 1, true);
    assert_int_equal(aegis_onnx_graph_operator_outputs(p.graph, 0), 2);
    finish(&p);
}

/* `a` is read only in a subgraph of a subgraph, `b` is what a subgraph gives out as it is; "y" is a
 * name of the inner graph too. */
static onnx_bytes captured_graph(void)
{
    onnx_bytes graph = {NULL, 0, 0}, inner = {NULL, 0, 0}, outer = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("Relu", "x", "a"));
    onnx_message(&graph, 1, onnx_node("Relu", "x", "b"));
    onnx_message(&graph, 1, onnx_node("Relu", "x", "q"));
    onnx_message(&inner, 1, onnx_node("Add", "a,v", "y"));
    onnx_message(&inner, 12, onnx_value("y", 4));
    onnx_bytes loop = onnx_node("If", "q", "z");
    onnx_subgraph(&loop, "then_branch", inner);
    onnx_message(&outer, 1, loop);
    onnx_message(&outer, 12, onnx_value("b", 4));
    onnx_bytes branch = onnx_node("If", "q", "c");
    onnx_subgraph(&branch, "then_branch", outer);
    onnx_message(&graph, 1, branch);
    onnx_message(&graph, 1, onnx_node("Add", "c,c", "y"));
    onnx_message(&graph, 5, onnx_external("v", "0", "16"));
    onnx_message(&graph, 11, onnx_value("x", 4));
    onnx_message(&graph, 12, onnx_value("y", 4));
    return graph;
}

static void segment_of(const parsed *p, uint32_t first, uint32_t end, aegis_onnx_graph **ret_graph)
{
    aegis_error err;
    void *bytes = NULL;
    size_t size = 0;
    must(aegis_onnx_graph_segment(p->graph, p->values, p->types, p->count, first, end, &bytes,
                                  &size, &err),
         &err);
    must(aegis_onnx_graph_parse(bytes, size, "segment.onnx", &p->allocator, ret_graph, &err), &err);
    free(bytes);
}

/* Names in order, "a,b"; fixed shapes. */
static void expect_surface(const aegis_onnx_graph *graph, bool inputs, const char *wanted)
{
    aegis_error err;
    char names[256] = "";
    aegis_surface_declaration *declared = NULL;
    size_t count = 0, used = 0;
    aegis_allocator allocator = aegis_allocator_default();
    must(aegis_onnx_graph_declarations(graph, inputs, &declared, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ",",
                                 declared[i].name);
        assert_int_equal(declared[i].element, AEGIS_ELEMENT_F32);
        assert_int_equal(declared[i].rank, 1);
        assert_int_equal(declared[i].shape[0], 4);
    }
    assert_string_equal(names, wanted);
    aegis_deallocate(&allocator, declared, count + 1, sizeof *declared);
}

static void expect_externals(const aegis_onnx_graph *graph, const char *wanted)
{
    aegis_error err;
    char names[256] = "";
    aegis_onnx_external *externals = NULL;
    size_t count = 0, used = 0;
    bool ambiguous;
    aegis_allocator allocator = aegis_allocator_default();
    must(aegis_onnx_graph_externals(graph, &externals, &count, &ambiguous, &err), &err);
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ",",
                                 externals[i].name);
        assert_string_equal(externals[i].location, "weights.bin");
        assert_int_equal(externals[i].length, 16);
    }
    assert_string_equal(names, wanted);
    aegis_deallocate(&allocator, externals, count + 1, sizeof *externals);
}

static void expect_segment(const parsed *p,
                           uint32_t first,
                           uint32_t end,
                           const char *inputs,
                           const char *outputs,
                           const char *externals)
{
    aegis_onnx_graph *segment = NULL;
    segment_of(p, first, end, &segment);
    expect_surface(segment, true, inputs);
    expect_surface(segment, false, outputs);
    expect_externals(segment, externals);
    aegis_onnx_graph_destroy(segment);
}

static void subgraphs_capture(void **state)
{
    (void)state;
    parsed p = flow_of(captured_graph());
    assert_int_equal(p.count, 5);
    expect_life(&p, 0, "a", 0, 3, false);
    expect_life(&p, 1, "b", 1, 3, false);
    expect_life(&p, 2, "q", 2, 3, false);
    expect_life(&p, 3, "c", 3, 4, false);
    expect_life(&p, 4, "y", 4, 4, true);
    expect_segment(&p, 0, 3, "x", "a,b,q", "");
    expect_segment(&p, 3, 4, "a,b,q", "c", "v");
    expect_segment(&p, 4, 5, "c", "y", "");
    finish(&p);
}

static void segments_have_what_crosses_their_ends(void **state)
{
    (void)state;
    parsed p = flow_of(skip_graph());
    expect_segment(&p, 0, 2, "x", "a,b", "v");
    expect_segment(&p, 2, 4, "x,a,b", "y", "w,v");
    expect_segment(&p, 0, 3, "x", "c", "v");
    expect_segment(&p, 3, 4, "x,c", "y", "w");
    expect_segment(&p, 1, 2, "a", "b", "");
    expect_segment(&p, 0, 4, "x", "y", "w,v");
    finish(&p);
}

/* The first output of the model is read on: it is an output of one segment, an input of the next,
 * and nothing that crosses. */
static void outputs_are_read_on(void **state)
{
    (void)state;
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("Relu", "x", "early"));
    onnx_message(&graph, 1, onnx_node("Relu", "early", "b"));
    onnx_message(&graph, 1, onnx_node("Add", "b,early", "late"));
    onnx_message(&graph, 11, onnx_value("x", 4));
    onnx_message(&graph, 12, onnx_value("late", 4));
    onnx_message(&graph, 12, onnx_value("early", 4));
    parsed p = flow_of(graph);
    expect_life(&p, 0, "early", 0, 2, true);
    expect_segment(&p, 0, 1, "x", "early", "");
    expect_segment(&p, 1, 2, "early", "b", "");
    expect_segment(&p, 2, 3, "early,b", "late", "");
    finish(&p);
}

static void expect_no_segment(
    const parsed *p, uint32_t first, uint32_t end, aegis_status wanted, const char *part)
{
    aegis_error err;
    void *bytes = NULL;
    size_t size = 0;
    assert_int_equal(aegis_onnx_graph_segment(p->graph, p->values, p->types, p->count, first, end,
                                              &bytes, &size, &err),
                     wanted);
    assert_null(bytes);
    if (strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, part);
    }
}

static void segments_need_types_and_operators(void **state)
{
    (void)state;
    parsed p = flow_of(skip_graph());
    p.types[1].element = (aegis_element)0; /* b: a string, say */
    expect_no_segment(&p, 0, 2, AEGIS_ERROR_UNSUPPORTED, "'b' crosses");
    expect_no_segment(&p, 2, 4, AEGIS_ERROR_UNSUPPORTED, "'b' crosses");
    expect_segment(&p, 0, 3, "x", "c", "v");
    expect_no_segment(&p, 2, 2, AEGIS_ERROR_CONFIG, "must ascend");
    expect_no_segment(&p, 3, 5, AEGIS_ERROR_CONFIG, "between 1 and 3");
    finish(&p);
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("Relu", "x", "nobody"));
    onnx_message(&graph, 1, onnx_node("Relu", "x", "y"));
    onnx_message(&graph, 11, onnx_value("x", 4));
    onnx_message(&graph, 12, onnx_value("y", 4));
    p = flow_of(graph);
    expect_no_segment(&p, 0, 1, AEGIS_ERROR_UNSUPPORTED, "nothing that anybody reads");
    finish(&p);
}

static void expect_no_flow(onnx_bytes graph, const char *part)
{
    aegis_error err;
    aegis_onnx_value *values = NULL;
    size_t count = 0;
    uint32_t operators;
    onnx_message(&graph, 11, onnx_value("x", 4));
    aegis_onnx_graph *parsed_graph = parse(onnx_model(graph));
    assert_int_equal(aegis_onnx_graph_flow(parsed_graph, &values, &count, &operators, &err),
                     AEGIS_ERROR_UNSUPPORTED);
    assert_null(values);
    if (strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, part);
    }
    aegis_onnx_graph_destroy(parsed_graph);
}

static void graphs_that_cannot_be_cut_say_why(void **state)
{
    (void)state;
    onnx_bytes unordered = {NULL, 0, 0}, twice = {NULL, 0, 0}, input = {NULL, 0, 0},
               sparse = {NULL, 0, 0}, nothing = {NULL, 0, 0};
    onnx_message(&unordered, 1, onnx_node("Relu", "b", "y"));
    onnx_message(&unordered, 1, onnx_node("Relu", "x", "b"));
    expect_no_flow(unordered, "'b'");
    onnx_message(&twice, 1, onnx_node("Relu", "x", "b"));
    onnx_message(&twice, 1, onnx_node("Relu", "x", "b"));
    expect_no_flow(twice, "two operators compute 'b'");
    onnx_message(&input, 1, onnx_node("Relu", "x", "b"));
    onnx_message(&input, 12, onnx_value("x", 4));
    expect_no_flow(input, "no operator computes its output 'x'");
    onnx_message(&sparse, 1, onnx_node("Relu", "x", "b"));
    onnx_message(&sparse, 15, nothing);
    expect_no_flow(sparse, "sparse");
}

/* Subgraphs in each other; levels of three messages. */
static onnx_bytes nested_graph(int levels)
{
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("Relu", "x", "y"));
    for (int i = 0; i < levels; i++) {
        onnx_bytes outer = {NULL, 0, 0}, node = onnx_node("If", "x", "y");
        onnx_subgraph(&node, "then_branch", graph);
        onnx_message(&outer, 1, node);
        graph = outer;
    }
    return graph;
}

static void expect_no_model(const void *bytes, size_t size)
{
    aegis_error err;
    aegis_onnx_graph *graph = NULL;
    aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(aegis_onnx_graph_parse(bytes, size, "made.onnx", &allocator, &graph, &err),
                     AEGIS_ERROR_PARSE);
    assert_null(graph);
}

/* Without a limit the unpacker would run over the end of the stack. */
static void nesting_has_an_end(void **state)
{
    (void)state;
    onnx_bytes model = onnx_model(nested_graph(4000));
    expect_no_model(model.data, model.size);
    free(model.data);
    aegis_onnx_graph *graph = parse(onnx_model(nested_graph(20)));
    assert_true(aegis_onnx_graph_has_control_flow(graph));
    aegis_onnx_graph_destroy(graph);
}

/* Two bytes each, which would become a structure of a hundred. */
static void memory_follows_the_size_of_the_file(void **state)
{
    (void)state;
    size_t nodes = 3000000;
    onnx_bytes graph = {NULL, 0, 0};
    onnx_message(&graph, 1, onnx_node("Relu", "x", "y"));
    unsigned char *empty = malloc(2 * nodes);
    assert_non_null(empty);
    for (size_t i = 0; i < nodes; i++) {
        empty[2 * i] = 1 << 3 | 2;
        empty[2 * i + 1] = 0;
    }
    onnx_put(&graph, empty, 2 * nodes);
    free(empty);
    onnx_bytes model = onnx_model(graph);
    expect_no_model(model.data, model.size);
    free(model.data);
}

static void every_prefix_and_every_changed_byte_is_answered(void **state)
{
    (void)state;
    onnx_bytes model = onnx_model(captured_graph());
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t size = 0; size < model.size; size++) {
        unsigned char *copy = malloc(size + 1); /* exactly its size, for the sanitizer */
        assert_non_null(copy);
        memcpy(copy, model.data, size);
        aegis_error err;
        aegis_onnx_graph *graph = NULL;
        aegis_status status =
            aegis_onnx_graph_parse(copy, size, "cut.onnx", &allocator, &graph, &err);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_PARSE);
        aegis_onnx_graph_destroy(graph);
        free(copy);
        if (size > 0) {
            unsigned char kept = model.data[size];
            model.data[size] ^= (unsigned char)(1u << size % 8);
            graph = NULL;
            status = aegis_onnx_graph_parse(model.data, model.size, "changed.onnx", &allocator,
                                            &graph, &err);
            assert_true(status == AEGIS_OK || status == AEGIS_ERROR_PARSE);
            aegis_onnx_graph_destroy(graph);
            model.data[size] = kept;
        }
    }
    free(model.data);
}

static aegis_status
cut_once(const onnx_bytes *model, const aegis_allocator *allocator, const aegis_tensor_info *types)
{
    aegis_error err;
    aegis_onnx_graph *graph = NULL;
    aegis_onnx_value *values = NULL;
    size_t count = 0, size = 0;
    uint32_t operators;
    void *bytes = NULL;
    aegis_status status =
        aegis_onnx_graph_parse(model->data, model->size, "made.onnx", allocator, &graph, &err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_flow(graph, &values, &count, &operators, &err);
    }
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_segment(graph, values, types, count, 1, 3, &bytes, &size, &err);
    }
    free(bytes);
    aegis_deallocate(allocator, values, count + 1, sizeof *values);
    aegis_onnx_graph_destroy(graph);
    return status;
}

static void every_failed_allocation_is_given_back(void **state)
{
    (void)state;
    onnx_bytes model = onnx_model(skip_graph());
    parsed p = flow_of(skip_graph());
    test_allocator counter = {.calls = 0};
    aegis_allocator allocator = test_allocator_make(&counter);
    assert_int_equal(cut_once(&model, &allocator, p.types), AEGIS_OK);
    uint64_t calls = counter.calls;
    assert_true(calls > 5);
    for (uint64_t at = 1; at <= calls; at++) {
        counter.calls = 0;
        counter.fail_at = at;
        assert_int_equal(cut_once(&model, &allocator, p.types), AEGIS_ERROR_NO_MEMORY);
        assert_int_equal(counter.blocks, 0);
        assert_int_equal(counter.wrong_sizes, 0);
    }
    finish(&p);
    free(model.data);
}

static void operators_are_named_by_position(void **state)
{
    (void)state;
    aegis_error err;
    void *bytes = NULL;
    size_t size = 0;
    aegis_onnx_graph *graph = parse(onnx_model(skip_graph()));
    must(aegis_onnx_graph_name_operators(graph, &err), &err);
    must(aegis_onnx_graph_name_operators(graph, &err), &err);
    must(aegis_onnx_graph_serialise(graph, &bytes, &size, &err), &err);
    assert_non_null(memmem(bytes, size, AEGIS_ONNX_OPERATOR_NAME "0", 16));
    assert_non_null(memmem(bytes, size, AEGIS_ONNX_OPERATOR_NAME "3", 16));
    assert_null(memmem(bytes, size, AEGIS_ONNX_OPERATOR_NAME "4", 16));
    free(bytes);
    aegis_onnx_graph_destroy(graph);
}

/* Named, given and missing dimensions alike; the file that comes of it says so. */
static void inputs_get_their_shapes(void **state)
{
    (void)state;
    aegis_error err;
    onnx_bytes bytes = {NULL, 0, 0}, bare = {NULL, 0, 0}, tensor = {NULL, 0, 0},
               type = {NULL, 0, 0};
    onnx_int(&tensor, 1, 1);
    onnx_message(&type, 1, tensor);
    onnx_text(&bare, 1, "bare");
    onnx_message(&bare, 2, type);
    onnx_message(&bytes, 1, onnx_node("Sum", "free,given,other,bare", "y"));
    onnx_message(&bytes, 11, onnx_value("free", -1));
    onnx_message(&bytes, 11, onnx_value("given", 7));
    onnx_message(&bytes, 11, onnx_value("other", 4));
    onnx_message(&bytes, 11, bare);
    onnx_message(&bytes, 12, onnx_value("y", -1));
    aegis_onnx_graph *graph = parse(onnx_model(bytes)), *again = NULL;
    const aegis_input_shape shapes[] = {
        {"free", 1, {4}}, {"given", 1, {4}}, {"bare", 1, {4}}, {"not there", 1, {9}}};
    must(aegis_onnx_graph_fix_inputs(graph, shapes, 4, &err), &err);
    expect_surface(graph, true, "free,given,other,bare");
    onnx_bytes written = {NULL, 0, 0};
    void *data = NULL;
    must(aegis_onnx_graph_serialise(graph, &data, &written.size, &err), &err);
    written.data = data;
    again = parse(written);
    expect_surface(again, true, "free,given,other,bare");
    const aegis_input_shape wrong = {"given", 2, {2, 2}};
    assert_int_equal(aegis_onnx_graph_fix_inputs(graph, &wrong, 1, &err), AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(err.message, "'given'"));
    aegis_onnx_graph_destroy(again);
    aegis_onnx_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_get_their_shapes),
        cmocka_unit_test(values_live_from_birth_to_last_reader),
        cmocka_unit_test(optional_outputs_and_inputs_have_no_name),
        cmocka_unit_test(subgraphs_capture),
        cmocka_unit_test(segments_have_what_crosses_their_ends),
        cmocka_unit_test(outputs_are_read_on),
        cmocka_unit_test(segments_need_types_and_operators),
        cmocka_unit_test(graphs_that_cannot_be_cut_say_why),
        cmocka_unit_test(nesting_has_an_end),
        cmocka_unit_test(memory_follows_the_size_of_the_file),
        cmocka_unit_test(every_prefix_and_every_changed_byte_is_answered),
        cmocka_unit_test(every_failed_allocation_is_given_back),
        cmocka_unit_test(operators_are_named_by_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

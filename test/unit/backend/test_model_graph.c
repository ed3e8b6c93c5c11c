/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/graph.h"
#include "model_files.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WIDTH 8
#define FEED 24
#define KEYS 4
#define VOCABULARY 10
#define POSITIONS 6

/* What is different from a good model. Zeroes: nothing. */
typedef struct variant {
    bool llama, bare, untied, quantised;
    const char *leave_out; /* a name */
    const char *reshape;   /* this one gets a column or element more */
    const char *retype;    /* this one becomes I64 */
    const char *quantise;  /* this one becomes I8 without scales */
    const char *add;       /* a tensor besides */
    uint64_t add_columns;
} variant;

static void
put(header_text *header, const variant *v, const char *name, uint64_t rows, uint64_t columns)
{
    char scales[128];
    bool quantised = v->quantised && columns != 0 && strstr(name, "wpe") == NULL;
    bool retyped = v->retype != NULL && strcmp(v->retype, name) == 0;
    bool bare_i8 = v->quantise != NULL && strcmp(v->quantise, name) == 0;
    if (v->leave_out != NULL && strcmp(v->leave_out, name) == 0) {
        return;
    }
    if (v->reshape != NULL && strcmp(v->reshape, name) == 0) {
        rows += columns == 0;
        columns += columns != 0;
    }
    if (quantised || bare_i8) {
        header_add(header, name, "I8", 1, rows, columns);
    } else if (retyped) {
        header_add(header, name, "I64", 8, rows, columns);
    } else {
        header_add(header, name, "F16", 2, rows, columns);
    }
    if (quantised) {
        bool transposed = strstr(name, ".c_") != NULL;
        snprintf(scales, sizeof scales, "%s.scales", name);
        header_add(header, scales, "F32", 4, transposed ? columns : rows, 0);
    }
}

static void put_gpt2(header_text *header, const variant *v)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } block[] = {{"ln_1.weight", WIDTH, 0},
                 {"ln_1.bias", WIDTH, 0},
                 {"attn.c_attn.weight", WIDTH, 3 * WIDTH},
                 {"attn.c_attn.bias", 3 * WIDTH, 0},
                 {"attn.c_proj.weight", WIDTH, WIDTH},
                 {"attn.c_proj.bias", WIDTH, 0},
                 {"ln_2.weight", WIDTH, 0},
                 {"ln_2.bias", WIDTH, 0},
                 {"mlp.c_fc.weight", WIDTH, FEED},
                 {"mlp.c_fc.bias", FEED, 0},
                 {"mlp.c_proj.weight", FEED, WIDTH},
                 {"mlp.c_proj.bias", WIDTH, 0}};
    const char *prefix = v->bare ? "" : "transformer.";
    char name[128];
    snprintf(name, sizeof name, "%swte.weight", prefix);
    put(header, v, name, VOCABULARY, WIDTH);
    snprintf(name, sizeof name, "%swpe.weight", prefix);
    put(header, v, name, POSITIONS, WIDTH);
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < sizeof block / sizeof *block; k++) {
            snprintf(name, sizeof name, "%sh.%d.%s", prefix, i, block[k].name);
            put(header, v, name, block[k].rows, block[k].columns);
        }
    }
    snprintf(name, sizeof name, "%sln_f.weight", prefix);
    put(header, v, name, WIDTH, 0);
    snprintf(name, sizeof name, "%sln_f.bias", prefix);
    put(header, v, name, WIDTH, 0);
}

static void put_llama(header_text *header, const variant *v)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } block[] = {
        {"input_layernorm.weight", WIDTH, 0},      {"self_attn.q_proj.weight", WIDTH, WIDTH},
        {"self_attn.k_proj.weight", KEYS, WIDTH},  {"self_attn.v_proj.weight", KEYS, WIDTH},
        {"self_attn.o_proj.weight", WIDTH, WIDTH}, {"post_attention_layernorm.weight", WIDTH, 0},
        {"mlp.gate_proj.weight", FEED, WIDTH},     {"mlp.up_proj.weight", FEED, WIDTH},
        {"mlp.down_proj.weight", WIDTH, FEED}};
    char name[128];
    put(header, v, "model.embed_tokens.weight", VOCABULARY, WIDTH);
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < sizeof block / sizeof *block; k++) {
            snprintf(name, sizeof name, "model.layers.%d.%s", i, block[k].name);
            put(header, v, name, block[k].rows, block[k].columns);
        }
    }
    put(header, v, "model.norm.weight", WIDTH, 0);
}

static tree_fixture make_model(const variant *v)
{
    static const tree_file none[] = {{NULL, NULL}};
    tree_fixture folder;
    char config[512];
    header_text *header = calloc(1, sizeof *header);
    assert_non_null(header);
    assert_true(tree_make(&folder, none));
    if (v->llama) {
        snprintf(config, sizeof config,
                 "{\"model_type\":\"llama\",\"num_hidden_layers\":2,\"hidden_size\":%d,"
                 "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"intermediate_size\":%d,"
                 "\"max_position_embeddings\":%d,\"vocab_size\":%d,\"tie_word_embeddings\":%s}",
                 WIDTH, FEED, POSITIONS, VOCABULARY, v->untied ? "false" : "true");
        put_llama(header, v);
    } else {
        snprintf(config, sizeof config,
                 "{\"model_type\":\"gpt2\",\"n_layer\":2,\"n_embd\":%d,\"n_head\":2,\"n_inner\":%d,"
                 "\"n_positions\":%d,\"vocab_size\":%d,\"tie_word_embeddings\":%s}",
                 WIDTH, FEED, POSITIONS, VOCABULARY, v->untied ? "false" : "true");
        put_gpt2(header, v);
    }
    if (v->untied) {
        put(header, v, "lm_head.weight", VOCABULARY, WIDTH);
    }
    if (v->add != NULL) {
        header_add(header, v->add, "F32", 4, VOCABULARY, v->add_columns);
    }
    assert_true(put_bytes(&folder, "config.json", config, strlen(config)));
    assert_true(header_put(header, &folder, "model.safetensors"));
    free(header);
    return folder;
}

/* Loads and validates. *ret is NULL after a failure. */
static aegis_status build(const variant *v, aegis_graph_validated **ret, aegis_error *error)
{
    tree_fixture folder = make_model(v);
    aegis_allocator allocator = aegis_allocator_default();
    aegis_graph_loaded *loaded = NULL;
    *ret = NULL;
    aegis_status status = aegis_graph_load(folder.root, &allocator, &loaded, error);
    if (status != AEGIS_OK) {
        fail_msg("load: %s", error->message);
    }
    status = aegis_graph_validate(&loaded, ret, error);
    assert_true((status == AEGIS_OK) == (loaded == NULL));
    aegis_graph_loaded_free(loaded);
    tree_remove(&folder);
    return status;
}

static aegis_graph_validated *good(const variant *v)
{
    aegis_graph_validated *graph;
    aegis_error error = {0};
    if (build(v, &graph, &error) != AEGIS_OK) {
        fail_msg("%s", error.message);
    }
    return graph;
}

static void check_gpt2(const aegis_graph_validated *graph)
{
    assert_int_equal(aegis_graph_layer_count(graph), 5);
    const aegis_graph_layer *block = aegis_graph_layer_at(graph, 2);
    assert_int_equal(block->kind, AEGIS_LAYER_BLOCK);
    assert_int_equal(block->block, 1);
    assert_int_equal(block->tensor_count, 12);
    const aegis_graph_tensor *qkv = aegis_graph_tensor_of(block, AEGIS_ROLE_QUERY_KEY_VALUE);
    assert_true(qkv->transposed);
    assert_int_equal(qkv->rows, 3 * WIDTH); /* output features */
    assert_int_equal(qkv->columns, WIDTH);
    assert_int_equal(qkv->source->shape[0], WIDTH); /* as Conv1D stores it */
    const aegis_graph_tensor *bias = aegis_graph_tensor_of(block, AEGIS_ROLE_UP_BIAS);
    assert_int_equal(bias->rows, FEED);
    assert_int_equal(bias->columns, 1);
    assert_false(bias->transposed);
    assert_null(aegis_graph_tensor_of(block, AEGIS_ROLE_GATE));
    assert_null(aegis_graph_layer_at(graph, 5));
    const aegis_graph_layer *head = aegis_graph_layer_at(graph, 4);
    assert_true(head->tied);
    assert_int_equal(head->bytes, 2 * VOCABULARY * WIDTH);
    assert_ptr_equal(head->tensors[0].source, aegis_graph_layer_at(graph, 0)->tensors[0].source);
    assert_int_equal(head->tensors[0].role, AEGIS_ROLE_HEAD);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 4; i++) {
        sum += aegis_graph_layer_at(graph, i)->bytes;
    }
    assert_int_equal(aegis_graph_weight_bytes(graph), sum); /* the tied table once */
}

static void gpt2_with_and_without_prefix(void **state)
{
    (void)state;
    variant v = {0};
    aegis_graph_validated *graph = good(&v);
    check_gpt2(graph);
    assert_string_equal(aegis_graph_layer_at(graph, 1)->tensors[0].source->name,
                        "transformer.h.0.ln_1.weight");
    aegis_graph_free(graph);
    v.bare = true;
    graph = good(&v);
    check_gpt2(graph);
    assert_string_equal(aegis_graph_layer_at(graph, 1)->tensors[0].source->name, "h.0.ln_1.weight");
    assert_int_equal(aegis_graph_ignored_count(graph), 0);
    aegis_graph_free(graph);
    aegis_graph_free(NULL);
    aegis_graph_loaded_free(NULL);
}

static void llama_is_mapped(void **state)
{
    (void)state;
    variant v = {.llama = true, .untied = true};
    aegis_graph_validated *graph = good(&v);
    const aegis_graph_layer *block = aegis_graph_layer_at(graph, 1);
    assert_int_equal(block->tensor_count, 9);
    assert_int_equal(aegis_graph_tensor_of(block, AEGIS_ROLE_KEY)->rows, KEYS);
    assert_int_equal(aegis_graph_tensor_of(block, AEGIS_ROLE_DOWN)->columns, FEED);
    const aegis_graph_layer *head = aegis_graph_layer_at(graph, 4);
    assert_false(head->tied);
    assert_string_equal(head->tensors[0].source->name, "lm_head.weight");
    assert_int_equal(aegis_graph_config(graph)->kv_heads, 1);
    assert_int_equal(aegis_safetensors_file_count(aegis_graph_files(graph)), 1);
    aegis_graph_free(graph);
}

static void int8_needs_its_scales(void **state)
{
    (void)state;
    for (int llama = 0; llama < 2; llama++) {
        variant v = {.llama = llama != 0, .quantised = true};
        aegis_graph_validated *graph = good(&v);
        const aegis_graph_tensor *down =
            aegis_graph_tensor_of(aegis_graph_layer_at(graph, 1), AEGIS_ROLE_DOWN);
        assert_int_equal(down->source->dtype, AEGIS_DTYPE_I8);
        assert_int_equal(down->scales->shape[0], WIDTH); /* one an output feature */
        assert_int_equal(down->bytes, WIDTH * FEED + 4 * WIDTH);
        aegis_graph_free(graph);
    }
}

static void buffers_are_passed_over(void **state)
{
    (void)state;
    variant v = {.add = "transformer.h.1.attn.bias", .add_columns = 3};
    aegis_graph_validated *graph = good(&v);
    assert_int_equal(aegis_graph_ignored_count(graph), 1);
    assert_int_equal(aegis_graph_ignored_bytes(graph), 4 * VOCABULARY * 3);
    aegis_graph_free(graph);
    v = (variant){.llama = true, .add = "lm_head.weight", .add_columns = WIDTH};
    graph = good(&v); /* a copy of the tied table */
    assert_int_equal(aegis_graph_ignored_count(graph), 1);
    assert_true(aegis_graph_layer_at(graph, 4)->tied);
    aegis_graph_free(graph);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        variant v;
        aegis_status status;
        const char *words;
    } cases[] = {
        {{.leave_out = "transformer.h.1.mlp.c_fc.bias"},
         AEGIS_ERROR_CONFIG,
         "\"transformer.h.1.mlp.c_fc.bias\" (up_bias) is missing"},
        {{.leave_out = "transformer.wte.weight"},
         AEGIS_ERROR_CONFIG,
         "wte.weight\" (token_embedding) is missing"},
        {{.llama = true, .leave_out = "model.norm.weight"},
         AEGIS_ERROR_CONFIG,
         "(final_norm) is missing"},
        {{.llama = true, .untied = true, .leave_out = "lm_head.weight"},
         AEGIS_ERROR_CONFIG,
         "(head) is missing"},
        {{.reshape = "transformer.h.0.attn.c_attn.weight"},
         AEGIS_ERROR_CONFIG,
         "has shape [8, 25], config.json asks for [8, 24]"},
        {{.llama = true, .reshape = "model.layers.1.input_layernorm.weight"},
         AEGIS_ERROR_CONFIG,
         "has shape [9], config.json asks for [8]"},
        {{.retype = "transformer.ln_f.bias"},
         AEGIS_ERROR_UNSUPPORTED,
         "dtype I64; only F32, F16 and BF16"},
        {{.llama = true, .retype = "model.layers.0.mlp.up_proj.weight"},
         AEGIS_ERROR_UNSUPPORTED,
         "dtype I64"},
        {{.llama = true, .quantise = "model.layers.0.mlp.up_proj.weight"},
         AEGIS_ERROR_CONFIG,
         "there are no scales \"model.layers.0.mlp.up_proj.weight.scales\""},
        {{.llama = true, .quantise = "model.norm.weight"},
         AEGIS_ERROR_UNSUPPORTED,
         "dtype I8; only"},
        {{.quantise = "transformer.wpe.weight"}, AEGIS_ERROR_UNSUPPORTED, "dtype I8; only"},
        {{.add = "transformer.h.2.ln_1.weight"},
         AEGIS_ERROR_CONFIG,
         "1 tensors have no place in a gpt2 of 2 layers, first \"transformer.h.2.ln_1.weight\""},
        {{.llama = true, .add = "model.layers.0.self_attn.q_proj.bias"},
         AEGIS_ERROR_CONFIG,
         "q_proj.bias"},
        {{.llama = true, .add = "lm_head.weight", .add_columns = 3},
         AEGIS_ERROR_CONFIG,
         "lm_head.weight\" has shape [10, 3]"},
        {{.llama = true, .quantised = true, .reshape = "model.layers.0.mlp.up_proj.weight"},
         AEGIS_ERROR_CONFIG,
         "has shape"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        aegis_graph_validated *graph;
        aegis_error error = {0};
        aegis_status status = build(&cases[i].v, &graph, &error);
        if (status != cases[i].status || strstr(error.message, cases[i].words) == NULL ||
            graph != NULL) {
            fail_msg("case %zu: status %s, \"%s\", wanted \"%s\"", i, aegis_status_name(status),
                     error.message, cases[i].words);
        }
    }
}

static void folders_that_are_no_models(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_graph_loaded *graph = NULL;
    aegis_error error = {0};
    variant v = {0};
    char path[256];
    assert_int_equal(aegis_graph_load("/nonexistent", &allocator, &graph, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_graph_load("/proc/version", &allocator, &graph, &error),
                     AEGIS_ERROR_NOT_FOUND);
    tree_fixture folder = make_model(&v);
    snprintf(path, sizeof path, "%s/model.safetensors", folder.root);
    unlink(path);
    assert_int_equal(aegis_graph_load(folder.root, &allocator, &graph, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "model.safetensors"));
    snprintf(path, sizeof path, "%s/config.json", folder.root);
    unlink(path);
    assert_int_equal(aegis_graph_load(folder.root, &allocator, &graph, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "config.json"));
    assert_null(graph);
    tree_remove(&folder);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    variant v = {.llama = true};
    tree_fixture folder = make_model(&v);
    bool done = false;
    for (size_t n = 1; !done && n < 1000; n++) {
        test_allocator memory = {.fail_at = n};
        aegis_allocator allocator = test_allocator_make(&memory);
        aegis_graph_loaded *loaded = NULL;
        aegis_graph_validated *graph = NULL;
        aegis_status status = aegis_graph_load(folder.root, &allocator, &loaded, NULL);
        if (status == AEGIS_OK) {
            status = aegis_graph_validate(&loaded, &graph, NULL);
        }
        done = status == AEGIS_OK;
        assert_true(done || status == AEGIS_ERROR_NO_MEMORY);
        aegis_graph_free(graph);
        aegis_graph_loaded_free(loaded);
        assert_int_equal(memory.blocks, 0);
        assert_int_equal(memory.wrong_sizes, 0);
    }
    assert_true(done);
    tree_remove(&folder);
}

static void smollm2_is_valid(void **state)
{
    (void)state;
    char path[512];
    aegis_allocator allocator = aegis_allocator_default();
    aegis_graph_loaded *loaded = NULL;
    aegis_graph_validated *graph = NULL;
    aegis_error error = {0};
    const char *source = getenv("AEGISRT_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/models/smollm2-135m", source == NULL ? "." : source);
    if (access(path, R_OK) != 0) {
        print_message("%s is missing: make models\n", path);
        skip();
    }
    assert_int_equal(aegis_graph_load(path, &allocator, &loaded, &error), AEGIS_OK);
    assert_int_equal(aegis_graph_validate(&loaded, &graph, &error), AEGIS_OK);
    assert_int_equal(aegis_graph_layer_count(graph), 33);
    assert_int_equal(aegis_graph_weight_bytes(graph), 269030016); /* 134515008 parameters in f16 */
    assert_int_equal(aegis_graph_ignored_count(graph), 0);
    aegis_graph_free(graph);
}

static void names_are_known(void **state)
{
    (void)state;
    for (int role = 0; role < AEGIS_ROLE_COUNT; role++) {
        assert_string_not_equal(aegis_tensor_role_name((aegis_tensor_role)role), "unknown");
    }
    assert_string_equal(aegis_tensor_role_name(AEGIS_ROLE_COUNT), "unknown");
    assert_string_equal(aegis_layer_kind_name(AEGIS_LAYER_FINAL_NORM), "final_norm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_with_and_without_prefix),
        cmocka_unit_test(llama_is_mapped),
        cmocka_unit_test(int8_needs_its_scales),
        cmocka_unit_test(buffers_are_passed_over),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(folders_that_are_no_models),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(smollm2_is_valid),
        cmocka_unit_test(names_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/config.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GPT2                                                                               \
    "\"model_type\":\"gpt2\",\"n_layer\":2,\"n_embd\":48,\"n_head\":3,\"n_positions\":64," \
    "\"vocab_size\":100"
#define LLAMA                                                                            \
    "\"model_type\":\"llama\",\"num_hidden_layers\":2,\"hidden_size\":48,"               \
    "\"num_attention_heads\":4,\"intermediate_size\":96,\"max_position_embeddings\":64," \
    "\"vocab_size\":100"

static aegis_status parse(const char *text, aegis_decoder_config *config, aegis_error *error)
{
    aegis_allocator allocator = aegis_allocator_default();
    return aegis_model_config_parse(text, strlen(text), "config.json", &allocator, config, error);
}

static void gpt2_has_its_defaults(void **state)
{
    (void)state;
    aegis_decoder_config c;
    assert_int_equal(parse("{" GPT2 "}", &c, NULL), AEGIS_OK);
    assert_int_equal(c.architecture, AEGIS_ARCHITECTURE_GPT2);
    assert_int_equal(c.activation, AEGIS_ACTIVATION_GELU_TANH);
    assert_int_equal(c.layers, 2);
    assert_int_equal(c.head_width, 16);
    assert_int_equal(c.kv_heads, 3);
    assert_int_equal(c.feed_forward, 192);
    assert_true(c.tied && c.norm_epsilon == 1e-5F);
    assert_int_equal(c.dtype, AEGIS_DTYPE_OTHER);
    assert_int_equal(c.bos_token, -1);
    assert_int_equal(c.eos_count, 0);
}

static void gpt2_says_more(void **state)
{
    (void)state;
    aegis_decoder_config c;
    assert_int_equal(
        parse("{" GPT2 ",\"n_inner\":64,\"activation_function\":\"gelu\",\"layer_norm_epsilon\":"
              "1e-6,\"tie_word_embeddings\":false,\"torch_dtype\":\"float16\",\"bos_token_id\":99,"
              "\"eos_token_id\":99,\"summary_type\":{\"a\":[1]}}",
              &c, NULL),
        AEGIS_OK);
    assert_int_equal(c.feed_forward, 64);
    assert_int_equal(c.activation, AEGIS_ACTIVATION_GELU);
    assert_true(!c.tied && c.norm_epsilon == 1e-6F);
    assert_int_equal(c.dtype, AEGIS_DTYPE_F16);
    assert_int_equal(c.bos_token, 99);
    assert_int_equal(c.eos_count, 1);
    assert_int_equal(c.eos_tokens[0], 99);
}

static void llama_is_read(void **state)
{
    (void)state;
    aegis_decoder_config c;
    assert_int_equal(
        parse("{" LLAMA ",\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,\"rope_theta\":1e5,"
              "\"rope_scaling\":null,\"tie_word_embeddings\":true,\"hidden_act\":\"silu\","
              "\"attention_bias\":false,\"dtype\":\"bfloat16\",\"eos_token_id\":[1,2]}",
              &c, NULL),
        AEGIS_OK);
    assert_int_equal(c.architecture, AEGIS_ARCHITECTURE_LLAMA);
    assert_int_equal(c.activation, AEGIS_ACTIVATION_SILU);
    assert_int_equal(c.head_width, 12);
    assert_int_equal(c.kv_heads, 2);
    assert_true(c.rope_theta == 1e5 && c.tied);
    assert_int_equal(c.dtype, AEGIS_DTYPE_BF16);
    assert_int_equal(c.eos_count, 2);
    /* what later versions of transformers write */
    assert_int_equal(parse("{" LLAMA ",\"rope_parameters\":{\"rope_theta\":5000.0,\"rope_type\":"
                           "\"default\"},\"head_dim\":20}",
                           &c, NULL),
                     AEGIS_OK);
    assert_true(c.rope_theta == 5000 && !c.tied);
    assert_int_equal(c.head_width, 20);
    assert_int_equal(c.kv_heads, 4);
}

static void smollm2_is_read(void **state)
{
    (void)state;
    char path[512];
    aegis_decoder_config c;
    aegis_error error = {0};
    aegis_allocator allocator = aegis_allocator_default();
    const char *source = getenv("AEGISRT_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/models/smollm2-135m/config.json",
             source == NULL ? "." : source);
    if (access(path, R_OK) != 0) {
        print_message("%s is missing: make models\n", path);
        skip();
    }
    assert_int_equal(aegis_model_config_read(path, &allocator, &c, &error), AEGIS_OK);
    assert_int_equal(c.layers, 30);
    assert_int_equal(c.width, 576);
    assert_int_equal(c.heads, 9);
    assert_int_equal(c.kv_heads, 3);
    assert_int_equal(c.feed_forward, 1536);
    assert_int_equal(c.vocabulary, 49152);
    assert_true(c.rope_theta == 100000 && c.tied);
    assert_int_equal(c.eos_tokens[0], 2);
}

static const struct {
    const char *text;
    aegis_status status;
    const char *words;
} bad[] = {
    {"", AEGIS_ERROR_PARSE, "config.json:1:1: the text ends"},
    {"[]", AEGIS_ERROR_PARSE, "an object is wanted"},
    {"{} {}", AEGIS_ERROR_PARSE, "config.json:1:4: something stands behind"},
    {"{\n \"a\": 1,\n \"a\": 2}", AEGIS_ERROR_PARSE, "config.json:3:2: the key \"a\" comes twice"},
    {"{}", AEGIS_ERROR_CONFIG, "config.json:1:1: model_type: the key is missing"},
    {"{\"model_type\":\"bert\"}", AEGIS_ERROR_UNSUPPORTED,
     "architecture \"bert\" is not supported; gpt2 and llama are"},
    {"{\"model_type\":7}", AEGIS_ERROR_CONFIG, "a string is wanted, not a number"},
    {"{" GPT2 ",\"activation_function\":\"relu\"}", AEGIS_ERROR_UNSUPPORTED, "activation \"relu\""},
    {"{" GPT2 ",\n  \"scale_attn_weights\":false}", AEGIS_ERROR_UNSUPPORTED,
     "config.json:2:3: scale_attn_weights: only true"},
    {"{" GPT2 ",\"scale_attn_by_inverse_layer_idx\":true}", AEGIS_ERROR_UNSUPPORTED, "only false"},
    {"{" GPT2 ",\"reorder_and_upcast_attn\":true}", AEGIS_ERROR_UNSUPPORTED,
     "reorder_and_upcast_attn"},
    {"{" GPT2 ",\"add_cross_attention\":true}", AEGIS_ERROR_UNSUPPORTED, "add_cross_attention"},
    {"{" GPT2 ",\"quantization_config\":{}}", AEGIS_ERROR_UNSUPPORTED,
     "quantization_config: only null"},
    {"{" GPT2 ",\"n_inner\":0}", AEGIS_ERROR_CONFIG, "0 is outside [1, 16777216]"},
    {"{" GPT2 ",\"n_inner\":1.5}", AEGIS_ERROR_CONFIG, "1.5 is not a whole number"},
    {"{" GPT2 ",\"layer_norm_epsilon\":0}", AEGIS_ERROR_CONFIG, "layer_norm_epsilon"},
    {"{" GPT2 ",\"torch_dtype\":\"float64\"}", AEGIS_ERROR_UNSUPPORTED,
     "weights of type \"float64\""},
    {"{" GPT2 ",\"bos_token_id\":100}", AEGIS_ERROR_CONFIG, "100 is outside [0, 99]"},
    {"{" GPT2 ",\"eos_token_id\":100}", AEGIS_ERROR_CONFIG, "token 100 is outside"},
    {"{" GPT2 ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]}", AEGIS_ERROR_CONFIG, "up to 8 ids"},
    {"{" GPT2 ",\"tie_word_embeddings\":1}", AEGIS_ERROR_CONFIG, "true or false is wanted"},
    {"{\"model_type\":\"gpt2\",\"n_layer\":2,\"n_embd\":50,\"n_head\":3,\"n_positions\":64,\"vocab_"
     "size\":9}",
     AEGIS_ERROR_CONFIG, "3 heads do not divide n_embd, 50"},
    {"{\"model_type\":\"gpt2\",\"n_layer\":2,\"n_embd\":16777216,\"n_head\":1,\"n_positions\":64,"
     "\"vocab_size\":9}",
     AEGIS_ERROR_CONFIG, "four times n_embd"},
    {"{\"model_type\":\"gpt2\",\"n_layer\":5000,\"n_embd\":48,\"n_head\":3,\"n_positions\":64,"
     "\"vocab_size\":9}",
     AEGIS_ERROR_CONFIG, "n_layer: 5000 is outside"},
    {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", AEGIS_ERROR_UNSUPPORTED,
     "rope_scaling: only null"},
    {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"llama3\"}}", AEGIS_ERROR_UNSUPPORTED,
     "rope_type: only \"default\""},
    {"{" LLAMA ",\"rope_interleaved\":true}", AEGIS_ERROR_UNSUPPORTED, "rope_interleaved"},
    {"{" LLAMA ",\"attention_bias\":true}", AEGIS_ERROR_UNSUPPORTED, "attention_bias: only false"},
    {"{" LLAMA ",\"mlp_bias\":true}", AEGIS_ERROR_UNSUPPORTED, "mlp_bias"},
    {"{" LLAMA ",\"sliding_window\":4096}", AEGIS_ERROR_UNSUPPORTED, "sliding_window"},
    {"{" LLAMA ",\"partial_rotary_factor\":0.5}", AEGIS_ERROR_UNSUPPORTED,
     "partial_rotary_factor: only 1"},
    {"{" LLAMA ",\"num_key_value_heads\":3}", AEGIS_ERROR_CONFIG,
     "3 key-value heads do not divide 4"},
    {"{" LLAMA ",\"head_dim\":3}", AEGIS_ERROR_UNSUPPORTED, "an even width"},
    {"{" LLAMA ",\"rope_theta\":0}", AEGIS_ERROR_CONFIG, "rope_theta"},
    {"{" LLAMA ",\"hidden_act\":\"gelu\"}", AEGIS_ERROR_UNSUPPORTED,
     "activation \"gelu\" is not supported for llama"},
    {"{\"model_type\":\"llama\",\"hidden_size\":1e400}", AEGIS_ERROR_PARSE, "is not a number"},
};

static void bad_texts_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        aegis_decoder_config c = {.layers = 77};
        aegis_error error = {0};
        aegis_status status = parse(bad[i].text, &c, &error);
        if (status != bad[i].status || strstr(error.message, bad[i].words) == NULL ||
            c.layers != 77) {
            fail_msg("%s: status %s, \"%s\", wanted \"%s\"", bad[i].text, aegis_status_name(status),
                     error.message, bad[i].words);
        }
    }
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    aegis_decoder_config c;
    aegis_error error = {0};
    aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(aegis_model_config_read("/nonexistent/config.json", &allocator, &c, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_model_config_read("/tmp", &allocator, &c, &error), AEGIS_ERROR_IO);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    const char *text = "{" LLAMA ",\"rope_parameters\":{\"rope_theta\":5000.0}}";
    bool done = false;
    for (size_t n = 1; !done && n < 1000; n++) {
        test_allocator memory = {.fail_at = n};
        aegis_allocator allocator = test_allocator_make(&memory);
        aegis_decoder_config c;
        aegis_status status =
            aegis_model_config_parse(text, strlen(text), "c", &allocator, &c, NULL);
        done = status == AEGIS_OK;
        assert_true(done || status == AEGIS_ERROR_NO_MEMORY);
        assert_int_equal(memory.blocks, 0);
        assert_int_equal(memory.wrong_sizes, 0);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_has_its_defaults),
        cmocka_unit_test(gpt2_says_more),
        cmocka_unit_test(llama_is_read),
        cmocka_unit_test(smollm2_is_read),
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

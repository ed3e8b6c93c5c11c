/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/config.h"

#include "backend/transformer/model/config_fields.h"
#include "base/base.h"

#include <string.h>

#define COMPONENT "transformer.config"
#define LARGEST_SIZE (1 << 24)
#define LARGEST_COUNT (1 << 12)

const char *aegis_architecture_name(aegis_architecture architecture)
{
    switch (architecture) {
    case AEGIS_ARCHITECTURE_GPT2:
        return "gpt2";
    case AEGIS_ARCHITECTURE_LLAMA:
        return "llama";
    }
    return "unknown";
}

static aegis_status
read_architecture(aegis_config_fields *fields, aegis_decoder_config *config, aegis_error *err)
{
    static const struct {
        const char *name;
        aegis_architecture architecture;
    } known[] = {{"gpt2", AEGIS_ARCHITECTURE_GPT2}, {"llama", AEGIS_ARCHITECTURE_LLAMA}};
    const char *name;
    aegis_status status = aegis_config_text(fields, "model_type", NULL, &name, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(known); i++) {
        if (strcmp(name, known[i].name) == 0) {
            config->architecture = known[i].architecture;
            return AEGIS_OK;
        }
    }
    return aegis_config_fail(fields, "model_type", AEGIS_ERROR_UNSUPPORTED, err,
                             "architecture \"%s\" is not supported; gpt2 and llama are", name);
}

static aegis_status
read_activation(aegis_config_fields *fields, aegis_decoder_config *config, aegis_error *err)
{
    static const struct {
        const char *name;
        aegis_architecture architecture;
        aegis_activation activation;
    } known[] = {
        {"gelu_new", AEGIS_ARCHITECTURE_GPT2, AEGIS_ACTIVATION_GELU_TANH},
        {"gelu_pytorch_tanh", AEGIS_ARCHITECTURE_GPT2, AEGIS_ACTIVATION_GELU_TANH},
        {"gelu", AEGIS_ARCHITECTURE_GPT2, AEGIS_ACTIVATION_GELU},
        {"silu", AEGIS_ARCHITECTURE_LLAMA, AEGIS_ACTIVATION_SILU},
        {"swish", AEGIS_ARCHITECTURE_LLAMA, AEGIS_ACTIVATION_SILU},
    };
    bool gpt2 = config->architecture == AEGIS_ARCHITECTURE_GPT2;
    const char *key = gpt2 ? "activation_function" : "hidden_act";
    const char *name;
    aegis_status status = aegis_config_text(fields, key, gpt2 ? "gelu_new" : "silu", &name, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(known); i++) {
        if (known[i].architecture == config->architecture && strcmp(name, known[i].name) == 0) {
            config->activation = known[i].activation;
            return AEGIS_OK;
        }
    }
    return aegis_config_fail(fields, key, AEGIS_ERROR_UNSUPPORTED, err,
                             "activation \"%s\" is not supported for %s; %s", name,
                             aegis_architecture_name(config->architecture),
                             gpt2 ? "gelu_new, gelu_pytorch_tanh and gelu are" : "silu is");
}

/* torch_dtype, or dtype as later versions write it. What the tensors say counts. */
static aegis_status
read_dtype(aegis_config_fields *fields, aegis_decoder_config *config, aegis_error *err)
{
    static const struct {
        const char *name;
        aegis_dtype dtype;
    } known[] = {{"float32", AEGIS_DTYPE_F32},
                 {"float16", AEGIS_DTYPE_F16},
                 {"bfloat16", AEGIS_DTYPE_BF16},
                 {"int8", AEGIS_DTYPE_I8}};
    const char *name;
    const char *key = aegis_config_has(fields, "torch_dtype") ? "torch_dtype" : "dtype";
    aegis_status status = aegis_config_text(fields, key, "", &name, err);
    config->dtype = AEGIS_DTYPE_OTHER;
    if (status != AEGIS_OK || name[0] == '\0') {
        return status;
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(known); i++) {
        if (strcmp(name, known[i].name) == 0) {
            config->dtype = known[i].dtype;
            return AEGIS_OK;
        }
    }
    return aegis_config_fail(fields, key, AEGIS_ERROR_UNSUPPORTED, err,
                             "weights of type \"%s\" are not supported; convert them to float32, "
                             "float16 or bfloat16",
                             name);
}

/* A key that every model has: its name, where it goes, and the largest value. */
typedef struct size_key {
    const char *key;
    uint32_t *ret;
    double most;
} size_key;

static aegis_status
read_sizes(aegis_config_fields *fields, const size_key *keys, size_t count, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < count && status == AEGIS_OK; i++) {
        double number;
        status = aegis_config_whole(fields, keys[i].key, 1, keys[i].most, -1, &number, err);
        if (status == AEGIS_OK) {
            *keys[i].ret = (uint32_t)number;
        }
    }
    return status;
}

static aegis_status
read_gpt2(aegis_config_fields *fields, aegis_decoder_config *c, aegis_error *err)
{
    static const aegis_config_fixed fixed[] = {
        {"scale_attn_weights", AEGIS_CONFIG_TRUE},
        {"scale_attn_by_inverse_layer_idx", AEGIS_CONFIG_FALSE},
        {"reorder_and_upcast_attn", AEGIS_CONFIG_FALSE},
        {"add_cross_attention", AEGIS_CONFIG_FALSE},
        {"quantization_config", AEGIS_CONFIG_NULL},
    };
    const size_key keys[] = {{"n_layer", &c->layers, LARGEST_COUNT},
                             {"n_embd", &c->width, LARGEST_SIZE},
                             {"n_head", &c->heads, LARGEST_COUNT},
                             {"n_positions", &c->positions, LARGEST_SIZE},
                             {"vocab_size", &c->vocabulary, LARGEST_SIZE}};
    double inner = 0, epsilon = 0;
    aegis_status status = aegis_config_check_fixed(fields, fixed, AEGIS_ARRAY_LENGTH(fixed), err);
    if (status == AEGIS_OK) {
        status = read_sizes(fields, keys, AEGIS_ARRAY_LENGTH(keys), err);
    }
    if (status == AEGIS_OK) {
        status =
            aegis_config_whole(fields, "n_inner", 1, LARGEST_SIZE, 4.0 * c->width, &inner, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_config_number(fields, "layer_norm_epsilon", 1e-12, 0.1, 1e-5, &epsilon, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_config_boolean(fields, "tie_word_embeddings", true, &c->tied, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (inner > LARGEST_SIZE) {
        return aegis_config_fail(fields, "n_embd", AEGIS_ERROR_CONFIG, err,
                                 "four times n_embd is above %d", LARGEST_SIZE);
    }
    if (c->width % c->heads != 0) {
        return aegis_config_fail(fields, "n_head", AEGIS_ERROR_CONFIG, err,
                                 "%u heads do not divide n_embd, %u", c->heads, c->width);
    }
    c->kv_heads = c->heads;
    c->head_width = c->width / c->heads;
    c->feed_forward = (uint32_t)inner;
    c->norm_epsilon = (float)epsilon;
    return AEGIS_OK;
}

static aegis_status
read_heads(aegis_config_fields *fields, aegis_decoder_config *c, aegis_error *err)
{
    double kv_heads = 0, head_width = 0;
    const uint32_t even_share = c->width / c->heads;
    aegis_status status = aegis_config_whole(fields, "num_key_value_heads", 1, LARGEST_COUNT,
                                             c->heads, &kv_heads, err);
    if (status == AEGIS_OK && !aegis_config_has(fields, "head_dim") && c->width % c->heads != 0) {
        status = aegis_config_fail(fields, "num_attention_heads", AEGIS_ERROR_CONFIG, err,
                                   "%u heads do not divide hidden_size, %u, and there is no "
                                   "head_dim",
                                   c->heads, c->width);
    }
    if (status == AEGIS_OK) {
        status = aegis_config_whole(fields, "head_dim", 1, 65536, even_share, &head_width, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    c->kv_heads = (uint32_t)kv_heads;
    c->head_width = (uint32_t)head_width;
    if (c->heads % c->kv_heads != 0) {
        return aegis_config_fail(fields, "num_key_value_heads", AEGIS_ERROR_CONFIG, err,
                                 "%u key-value heads do not divide %u heads", c->kv_heads,
                                 c->heads);
    }
    if (c->head_width % 2 != 0) {
        return aegis_config_fail(fields, "num_attention_heads", AEGIS_ERROR_UNSUPPORTED, err,
                                 "a head is %u wide; RoPE wants pairs, so an even width",
                                 c->head_width);
    }
    if ((uint64_t)c->heads * c->head_width > LARGEST_SIZE) {
        return aegis_config_fail(fields, "head_dim", AEGIS_ERROR_CONFIG, err,
                                 "%u heads of width %u are wider than %d", c->heads, c->head_width,
                                 LARGEST_SIZE);
    }
    return AEGIS_OK;
}

static aegis_status
read_llama(aegis_config_fields *fields, aegis_decoder_config *c, aegis_error *err)
{
    static const aegis_config_fixed fixed[] = {
        {"rope_scaling", AEGIS_CONFIG_NULL},    {"rope_interleaved", AEGIS_CONFIG_FALSE},
        {"attention_bias", AEGIS_CONFIG_FALSE}, {"mlp_bias", AEGIS_CONFIG_FALSE},
        {"sliding_window", AEGIS_CONFIG_NULL},  {"partial_rotary_factor", AEGIS_CONFIG_ONE},
        {"rope_type", AEGIS_CONFIG_DEFAULT},    {"quantization_config", AEGIS_CONFIG_NULL}};
    const size_key keys[] = {{"num_hidden_layers", &c->layers, LARGEST_COUNT},
                             {"hidden_size", &c->width, LARGEST_SIZE},
                             {"num_attention_heads", &c->heads, LARGEST_COUNT},
                             {"intermediate_size", &c->feed_forward, LARGEST_SIZE},
                             {"max_position_embeddings", &c->positions, LARGEST_SIZE},
                             {"vocab_size", &c->vocabulary, LARGEST_SIZE}};
    double epsilon = 0;
    aegis_status status = aegis_config_check_fixed(fields, fixed, AEGIS_ARRAY_LENGTH(fixed), err);
    if (status == AEGIS_OK) {
        status = read_sizes(fields, keys, AEGIS_ARRAY_LENGTH(keys), err);
    }
    if (status == AEGIS_OK) {
        status = read_heads(fields, c, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_config_number(fields, "rms_norm_eps", 1e-12, 0.1, 1e-6, &epsilon, err);
        c->norm_epsilon = (float)epsilon;
    }
    if (status == AEGIS_OK) {
        status = aegis_config_number(fields, "rope_theta", 1, 1e12, 10000, &c->rope_theta, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_config_boolean(fields, "tie_word_embeddings", false, &c->tied, err);
    }
    return status;
}

static aegis_status
read_tokens(aegis_config_fields *fields, aegis_decoder_config *config, aegis_error *err)
{
    const double last = config->vocabulary - 1.0;
    double bos = -1;
    aegis_status status = AEGIS_OK;
    if (aegis_config_has(fields, "bos_token_id")) {
        status = aegis_config_whole(fields, "bos_token_id", 0, last, 0, &bos, err);
    }
    config->bos_token = (int64_t)bos;
    config->eos_count = 0;
    for (uint32_t i = 0; i < fields->eos_count && status == AEGIS_OK; i++) {
        if (fields->eos[i] > last) {
            status = aegis_config_fail(fields, "eos_token_id", AEGIS_ERROR_CONFIG, err,
                                       "token %.0f is outside the vocabulary of %u", fields->eos[i],
                                       config->vocabulary);
        } else {
            config->eos_tokens[config->eos_count++] = (uint32_t)fields->eos[i];
        }
    }
    return status;
}

static aegis_status
interpret(aegis_config_fields *fields, aegis_decoder_config *ret_config, aegis_error *err)
{
    aegis_decoder_config config = {0};
    aegis_status status = read_architecture(fields, &config, err);
    if (status == AEGIS_OK) {
        status = config.architecture == AEGIS_ARCHITECTURE_GPT2 ? read_gpt2(fields, &config, err)
                                                                : read_llama(fields, &config, err);
    }
    if (status == AEGIS_OK) {
        status = read_activation(fields, &config, err);
    }
    if (status == AEGIS_OK) {
        status = read_dtype(fields, &config, err);
    }
    if (status == AEGIS_OK) {
        status = read_tokens(fields, &config, err);
    }
    if (status == AEGIS_OK) {
        *ret_config = config;
    }
    return status;
}

aegis_status aegis_model_config_parse(const char *text,
                                      size_t size,
                                      const char *origin,
                                      const aegis_allocator *allocator,
                                      aegis_decoder_config *ret_config,
                                      aegis_error *err)
{
    aegis_config_fields fields;
    aegis_status status = aegis_config_fields_read(&fields, text, size, origin, allocator, err);
    if (status == AEGIS_OK) {
        status = interpret(&fields, ret_config, err);
    }
    aegis_config_fields_finish(&fields);
    return status;
}

aegis_status aegis_model_config_read(const char *path,
                                     const aegis_allocator *allocator,
                                     aegis_decoder_config *ret_config,
                                     aegis_error *err)
{
    char *text;
    size_t size;
    aegis_status status = aegis_file_read(path, AEGIS_CONFIG_LIMIT, allocator, &text, &size, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_model_config_parse(text, size, path, allocator, ret_config, err);
    aegis_file_free(allocator, text, size);
    return status;
}

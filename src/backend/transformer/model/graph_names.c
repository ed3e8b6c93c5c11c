/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of the two architectures as Hugging Face's transformers names them. */
#include "backend/transformer/model/graph_internal.h"

#define VECTOR(role, name, rows) {role, name, rows, AEGIS_EXTENT_ONE, false, false}
#define MATRIX(role, name, rows, columns) {role, name, rows, columns, false, true}
/* Conv1D of gpt2: [in, out]. */
#define CONV1D(role, name, rows, columns) {role, name, rows, columns, true, true}
#define TABLE(role, name, rows, columns) {role, name, rows, columns, false, false}
#define END {AEGIS_ROLE_COUNT, NULL, AEGIS_EXTENT_ONE, AEGIS_EXTENT_ONE, false, false}

static const aegis_tensor_rule head[] = {
    MATRIX(AEGIS_ROLE_HEAD, "lm_head.weight", AEGIS_EXTENT_VOCABULARY, AEGIS_EXTENT_WIDTH), END};

static const aegis_tensor_rule gpt2_embedding[] = {
    MATRIX(AEGIS_ROLE_TOKEN_EMBEDDING, "wte.weight", AEGIS_EXTENT_VOCABULARY, AEGIS_EXTENT_WIDTH),
    TABLE(AEGIS_ROLE_POSITION_EMBEDDING, "wpe.weight", AEGIS_EXTENT_POSITIONS, AEGIS_EXTENT_WIDTH),
    END};

static const aegis_tensor_rule gpt2_block[] = {
    VECTOR(AEGIS_ROLE_ATTENTION_NORM, "ln_1.weight", AEGIS_EXTENT_WIDTH),
    VECTOR(AEGIS_ROLE_ATTENTION_NORM_BIAS, "ln_1.bias", AEGIS_EXTENT_WIDTH),
    CONV1D(
        AEGIS_ROLE_QUERY_KEY_VALUE, "attn.c_attn.weight", AEGIS_EXTENT_WIDTH_3, AEGIS_EXTENT_WIDTH),
    VECTOR(AEGIS_ROLE_QUERY_KEY_VALUE_BIAS, "attn.c_attn.bias", AEGIS_EXTENT_WIDTH_3),
    CONV1D(
        AEGIS_ROLE_ATTENTION_OUTPUT, "attn.c_proj.weight", AEGIS_EXTENT_WIDTH, AEGIS_EXTENT_WIDTH),
    VECTOR(AEGIS_ROLE_ATTENTION_OUTPUT_BIAS, "attn.c_proj.bias", AEGIS_EXTENT_WIDTH),
    VECTOR(AEGIS_ROLE_FEED_FORWARD_NORM, "ln_2.weight", AEGIS_EXTENT_WIDTH),
    VECTOR(AEGIS_ROLE_FEED_FORWARD_NORM_BIAS, "ln_2.bias", AEGIS_EXTENT_WIDTH),
    CONV1D(AEGIS_ROLE_UP, "mlp.c_fc.weight", AEGIS_EXTENT_FEED_FORWARD, AEGIS_EXTENT_WIDTH),
    VECTOR(AEGIS_ROLE_UP_BIAS, "mlp.c_fc.bias", AEGIS_EXTENT_FEED_FORWARD),
    CONV1D(AEGIS_ROLE_DOWN, "mlp.c_proj.weight", AEGIS_EXTENT_WIDTH, AEGIS_EXTENT_FEED_FORWARD),
    VECTOR(AEGIS_ROLE_DOWN_BIAS, "mlp.c_proj.bias", AEGIS_EXTENT_WIDTH),
    END};

static const aegis_tensor_rule gpt2_final_norm[] = {
    VECTOR(AEGIS_ROLE_FINAL_NORM, "ln_f.weight", AEGIS_EXTENT_WIDTH),
    VECTOR(AEGIS_ROLE_FINAL_NORM_BIAS, "ln_f.bias", AEGIS_EXTENT_WIDTH), END};

/* The causal mask and the value below it, once stored as buffers. */
static const char *const gpt2_passed_over[] = {".attn.bias", ".attn.masked_bias", NULL};

static const aegis_tensor_rule llama_embedding[] = {MATRIX(AEGIS_ROLE_TOKEN_EMBEDDING,
                                                           "embed_tokens.weight",
                                                           AEGIS_EXTENT_VOCABULARY,
                                                           AEGIS_EXTENT_WIDTH),
                                                    END};

static const aegis_tensor_rule llama_block[] = {
    VECTOR(AEGIS_ROLE_ATTENTION_NORM, "input_layernorm.weight", AEGIS_EXTENT_WIDTH),
    MATRIX(AEGIS_ROLE_QUERY, "self_attn.q_proj.weight", AEGIS_EXTENT_QUERIES, AEGIS_EXTENT_WIDTH),
    MATRIX(AEGIS_ROLE_KEY, "self_attn.k_proj.weight", AEGIS_EXTENT_KEYS, AEGIS_EXTENT_WIDTH),
    MATRIX(AEGIS_ROLE_VALUE, "self_attn.v_proj.weight", AEGIS_EXTENT_KEYS, AEGIS_EXTENT_WIDTH),
    MATRIX(AEGIS_ROLE_ATTENTION_OUTPUT,
           "self_attn.o_proj.weight",
           AEGIS_EXTENT_WIDTH,
           AEGIS_EXTENT_QUERIES),
    VECTOR(AEGIS_ROLE_FEED_FORWARD_NORM, "post_attention_layernorm.weight", AEGIS_EXTENT_WIDTH),
    MATRIX(AEGIS_ROLE_GATE, "mlp.gate_proj.weight", AEGIS_EXTENT_FEED_FORWARD, AEGIS_EXTENT_WIDTH),
    MATRIX(AEGIS_ROLE_UP, "mlp.up_proj.weight", AEGIS_EXTENT_FEED_FORWARD, AEGIS_EXTENT_WIDTH),
    MATRIX(AEGIS_ROLE_DOWN, "mlp.down_proj.weight", AEGIS_EXTENT_WIDTH, AEGIS_EXTENT_FEED_FORWARD),
    END};

static const aegis_tensor_rule llama_final_norm[] = {
    VECTOR(AEGIS_ROLE_FINAL_NORM, "norm.weight", AEGIS_EXTENT_WIDTH), END};

static const char *const llama_passed_over[] = {".self_attn.rotary_emb.inv_freq", NULL};

static const aegis_tensor_names gpt2 = {"transformer.",  "h.", gpt2_embedding,  gpt2_block,
                                        gpt2_final_norm, head, gpt2_passed_over};
static const aegis_tensor_names llama = {"model.",         "layers.", llama_embedding,  llama_block,
                                         llama_final_norm, head,      llama_passed_over};

const aegis_tensor_names *aegis_tensor_names_of(aegis_architecture architecture)
{
    return architecture == AEGIS_ARCHITECTURE_GPT2 ? &gpt2 : &llama;
}

uint64_t aegis_extent_of(const aegis_decoder_config *config, aegis_extent extent)
{
    switch (extent) {
    case AEGIS_EXTENT_ONE:
        return 1;
    case AEGIS_EXTENT_VOCABULARY:
        return config->vocabulary;
    case AEGIS_EXTENT_POSITIONS:
        return config->positions;
    case AEGIS_EXTENT_WIDTH:
        return config->width;
    case AEGIS_EXTENT_WIDTH_3:
        return UINT64_C(3) * config->width;
    case AEGIS_EXTENT_QUERIES:
        return (uint64_t)config->heads * config->head_width;
    case AEGIS_EXTENT_KEYS:
        return (uint64_t)config->kv_heads * config->head_width;
    case AEGIS_EXTENT_FEED_FORWARD:
        return config->feed_forward;
    }
    return 0;
}

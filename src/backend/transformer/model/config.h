/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CONFIG_H
#define AEGIS_TRANSFORMER_CONFIG_H

/*
 * config.json of a model in Hugging Face's layout, for the architectures gpt2 and llama. What would
 * change the computation and is not supported is refused by name; keys that do not concern
 * inference are passed over.
 */

#include "backend/transformer/dtype.h"

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A config.json above this is not one. */
#define AEGIS_CONFIG_LIMIT (UINT64_C(1) << 20)
#define AEGIS_CONFIG_MAX_EOS 8

typedef enum aegis_architecture {
    AEGIS_ARCHITECTURE_GPT2 = 0, /* LayerNorm, learned positions, GELU, biases, fused QKV */
    AEGIS_ARCHITECTURE_LLAMA /* RMSNorm, RoPE (halves), gated SiLU, grouped queries, no biases */
} aegis_architecture;

typedef enum aegis_activation {
    AEGIS_ACTIVATION_GELU = 0,  /* 0.5 x (1 + erf(x / sqrt 2)) */
    AEGIS_ACTIVATION_GELU_TANH, /* gelu_new, gelu_pytorch_tanh: the approximation by tanh */
    AEGIS_ACTIVATION_SILU       /* x / (1 + exp -x) */
} aegis_activation;

/* All sizes are at least 1 and at most 2^24, layers, heads at most 2^12. No pointers. */
typedef struct aegis_decoder_config {
    aegis_architecture architecture;
    aegis_activation activation;
    uint32_t layers;       /* n_layer, num_hidden_layers */
    uint32_t width;        /* n_embd, hidden_size */
    uint32_t heads;        /* n_head, num_attention_heads */
    uint32_t kv_heads;     /* divides heads; equal to it for gpt2 */
    uint32_t head_width;   /* width / heads, or head_dim; even for llama */
    uint32_t feed_forward; /* n_inner or 4 n_embd, intermediate_size */
    uint32_t vocabulary;   /* vocab_size */
    uint32_t positions;    /* n_positions, max_position_embeddings */
    float norm_epsilon;    /* layer_norm_epsilon, rms_norm_eps */
    double rope_theta;     /* llama; 0 for gpt2 */
    bool tied;             /* tie_word_embeddings: the head is the token embedding */
    aegis_dtype dtype;     /* torch_dtype as declared (OTHER when absent); the tensors decide */
    int64_t bos_token;     /* -1 when there is none */
    uint32_t eos_count;
    uint32_t eos_tokens[AEGIS_CONFIG_MAX_EOS];
} aegis_decoder_config;

/*
 * Reads the text of a config.json; `origin` stands for the file in messages, which begin with
 * "origin:line:column". PARSE (not JSON, a key twice), CONFIG (a key is missing, of the wrong kind,
 * out of range, or contradicts another), UNSUPPORTED (architecture, activation, RoPE scaling,
 * attention bias and the like), NO_MEMORY. Any thread.
 */
aegis_status aegis_model_config_parse(const char *text,
                                      size_t size,
                                      const char *origin,
                                      const aegis_allocator *allocator,
                                      aegis_decoder_config *ret_config,
                                      aegis_error *err);
/* As above from a file; NOT_FOUND, PERMISSION, IO besides. */
aegis_status aegis_model_config_read(const char *path,
                                     const aegis_allocator *allocator,
                                     aegis_decoder_config *ret_config,
                                     aegis_error *err);

/* "gpt2", "llama". Static. */
const char *aegis_architecture_name(aegis_architecture architecture);

#endif

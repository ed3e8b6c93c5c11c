/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_GRAPH_H
#define AEGIS_TRANSFORMER_GRAPH_H

/*
 * A model as a chain of layers: embedding, blocks, final norm, head. Two types for two states:
 * aegis_graph_load gives an aegis_graph_loaded, of which nothing is known but that its files are
 * well formed; aegis_graph_validate makes an aegis_graph_validated of it, in which every tensor
 * that the architecture needs is there with the shape and a dtype that the configuration asks for.
 * Only the second has layers, so that a plan of an unchecked model does not compile.
 *
 * Int8 weights: a matrix of dtype I8 has a companion "<name>.scales", F32, of shape [output
 * features]; weight[o][i] = integer * scales[o]. Only matrices (token embedding and head included,
 * where the output feature is the token) may be I8; norms, biases and positions may not.
 */

#include "backend/transformer/model/config.h"
#include "backend/transformer/model/safetensors.h"

typedef struct aegis_graph_loaded aegis_graph_loaded;
typedef struct aegis_graph_validated aegis_graph_validated;

/* What a tensor does. Shapes in the order (rows, columns) = (output features, input features). */
typedef enum aegis_tensor_role {
    AEGIS_ROLE_TOKEN_EMBEDDING = 0, /* vocabulary, width */
    AEGIS_ROLE_POSITION_EMBEDDING,  /* positions, width; gpt2 */
    AEGIS_ROLE_ATTENTION_NORM,      /* width */
    AEGIS_ROLE_ATTENTION_NORM_BIAS, /* width; gpt2, as all biases */
    AEGIS_ROLE_QUERY,               /* heads * head_width, width; llama */
    AEGIS_ROLE_KEY,                 /* kv_heads * head_width, width; llama */
    AEGIS_ROLE_VALUE,               /* kv_heads * head_width, width; llama */
    AEGIS_ROLE_QUERY_KEY_VALUE,     /* 3 width, width: all queries, then keys, then values; gpt2 */
    AEGIS_ROLE_QUERY_KEY_VALUE_BIAS,
    AEGIS_ROLE_ATTENTION_OUTPUT, /* width, heads * head_width */
    AEGIS_ROLE_ATTENTION_OUTPUT_BIAS,
    AEGIS_ROLE_FEED_FORWARD_NORM, /* width */
    AEGIS_ROLE_FEED_FORWARD_NORM_BIAS,
    AEGIS_ROLE_GATE, /* feed_forward, width; llama */
    AEGIS_ROLE_UP,   /* feed_forward, width */
    AEGIS_ROLE_UP_BIAS,
    AEGIS_ROLE_DOWN, /* width, feed_forward */
    AEGIS_ROLE_DOWN_BIAS,
    AEGIS_ROLE_FINAL_NORM, /* width */
    AEGIS_ROLE_FINAL_NORM_BIAS,
    AEGIS_ROLE_HEAD, /* vocabulary, width */
    AEGIS_ROLE_COUNT
} aegis_tensor_role;

typedef struct aegis_graph_tensor {
    aegis_tensor_role role;
    const aegis_tensor_source *source;
    const aegis_tensor_source *scales; /* of I8 matrices, else NULL */
    uint64_t rows;                     /* output features; the length of a vector */
    uint64_t columns;                  /* input features; 1 for a vector */
    bool transposed;                   /* stored as [columns][rows]: matrices of gpt2's blocks */
    uint64_t bytes;                    /* of source and scales */
} aegis_graph_tensor;

typedef enum aegis_layer_kind {
    AEGIS_LAYER_EMBEDDING = 0,
    AEGIS_LAYER_BLOCK,
    AEGIS_LAYER_FINAL_NORM,
    AEGIS_LAYER_HEAD
} aegis_layer_kind;

typedef struct aegis_graph_layer {
    aegis_layer_kind kind;
    uint32_t block; /* number of the block from 0; 0 for others */
    bool tied;      /* the head whose one tensor is the embedding's token table */
    uint32_t tensor_count;
    const aegis_graph_tensor *tensors; /* in the order of roles */
    uint64_t bytes;                    /* of its tensors; a tied head says those of the table too */
} aegis_graph_layer;

/* Whether there is such a folder at all. NOT_FOUND with the cure, PERMISSION, IO. */
aegis_status aegis_graph_check_folder(const char *folder, aegis_error *err);

/*
 * Reads config.json and the headers of the weights in `folder`. What aegis_model_config_read and
 * aegis_safetensors_open return. A folder without them is NOT_FOUND and says which file is missing.
 */
aegis_status aegis_graph_load(const char *folder,
                              const aegis_allocator *allocator,
                              aegis_graph_loaded **ret_graph,
                              aegis_error *err);
/* NULL is fine. */
void aegis_graph_loaded_free(aegis_graph_loaded *graph);

/*
 * Maps the tensors to layers. Takes *graph on success and sets it to NULL; on failure it stays the
 * caller's, unchanged. CONFIG (a tensor is missing, is not foreseen, has the wrong shape; scales
 * are missing), UNSUPPORTED (dtype), NO_MEMORY. Buffers that transformers once stored with the
 * weights (attn.bias, attn.masked_bias, rotary_emb.inv_freq) are passed over, and so is a head
 * beside tied embeddings when it has the table's shape.
 */
aegis_status aegis_graph_validate(aegis_graph_loaded **graph,
                                  aegis_graph_validated **ret_graph,
                                  aegis_error *err);
/* NULL is fine. Closes the files. */
void aegis_graph_free(aegis_graph_validated *graph);

const aegis_decoder_config *aegis_graph_config(const aegis_graph_validated *graph);
/* The embedding, config.layers blocks, the final norm, the head: config.layers + 3. */
uint32_t aegis_graph_layer_count(const aegis_graph_validated *graph);
const aegis_graph_layer *aegis_graph_layer_at(const aegis_graph_validated *graph, uint32_t index);
/* The files behind the descriptors; borrowed. Not const because of aegis_safetensors_map. */
aegis_safetensors *aegis_graph_files(const aegis_graph_validated *graph);
/* Bytes of all tensors that are used, a tied table once. */
uint64_t aegis_graph_weight_bytes(const aegis_graph_validated *graph);
/* Tensors in the files that are passed over, and their bytes. */
uint32_t aegis_graph_ignored_count(const aegis_graph_validated *graph);
uint64_t aegis_graph_ignored_bytes(const aegis_graph_validated *graph);
/* The layer's tensor of that role, or NULL. */
const aegis_graph_tensor *aegis_graph_tensor_of(const aegis_graph_layer *layer,
                                                aegis_tensor_role role);
/* "token_embedding", "query", ... Static. */
const char *aegis_tensor_role_name(aegis_tensor_role role);
/* "embedding", "block", "final_norm", "head". Static. */
const char *aegis_layer_kind_name(aegis_layer_kind kind);

#endif

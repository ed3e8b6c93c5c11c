/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_GRAPH_INTERNAL_H
#define AEGIS_TRANSFORMER_GRAPH_INTERNAL_H

#include "backend/transformer/model/graph.h"
#include "base/bump.h"

struct aegis_graph_loaded {
    aegis_allocator allocator;
    aegis_decoder_config config;
    aegis_safetensors *files;
};

struct aegis_graph_validated {
    aegis_allocator allocator;
    aegis_decoder_config config;
    aegis_safetensors *files;
    aegis_bump bump; /* layers and their tensors */
    aegis_graph_layer *layers;
    uint32_t layer_count;
    uint64_t weight_bytes;
    uint32_t ignored_count;
    uint64_t ignored_bytes;
};

/* Extents in terms of the configuration. */
typedef enum aegis_extent {
    AEGIS_EXTENT_ONE, /* as the columns of a vector */
    AEGIS_EXTENT_VOCABULARY,
    AEGIS_EXTENT_POSITIONS,
    AEGIS_EXTENT_WIDTH,
    AEGIS_EXTENT_WIDTH_3,
    AEGIS_EXTENT_QUERIES,
    AEGIS_EXTENT_KEYS,
    AEGIS_EXTENT_FEED_FORWARD
} aegis_extent;

/* A tensor that an architecture has, by the name that Hugging Face gives it. */
typedef struct aegis_tensor_rule {
    aegis_tensor_role role;
    const char *name; /* behind the prefix; of blocks behind the block's prefix as well */
    aegis_extent rows, columns;
    bool transposed;
    bool matrix; /* may be I8 */
} aegis_tensor_rule;

/* What graph_names.c knows of an architecture. Lists end with a name of NULL. */
typedef struct aegis_tensor_names {
    const char *prefix;       /* "transformer.", optional in the files as a whole */
    const char *block_prefix; /* "h." number "." */
    const aegis_tensor_rule *embedding, *block, *final_norm;
    const aegis_tensor_rule *head;  /* never has the prefix */
    const char *const *passed_over; /* ends of names of blocks' buffers that are not weights */
} aegis_tensor_names;

const aegis_tensor_names *aegis_tensor_names_of(aegis_architecture architecture);
uint64_t aegis_extent_of(const aegis_decoder_config *config, aegis_extent extent);

#endif

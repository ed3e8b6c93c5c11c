/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_COMPILE_H
#define AEGIS_BACKEND_ORT_COMPILE_H

/*
 * Offline compilation. A model file becomes a folder of the cache:
 *   graph.onnx    the optimised graph, initialisers external
 *   weights.bin   the initialisers, each aligned to 64 bytes: small ones first
 *   compiled.json how it was made, sizes and hashes: weights.bin in chunks, one that holds all
 * small initialisers and one for each other, so that models share what is equal made under a
 * temporary name and renamed, so that a crash leaves no half. Graphs with control flow that ONNX
 * Runtime cannot load again from this form are kept unoptimised ("at load").
 */

#include "backend/onnxruntime/graph.h"
#include "backend/onnxruntime/ort.h"

typedef struct aegis_ort_weight {
    char *name;
    int32_t onnx_type;
    int64_t dims[AEGIS_MAX_RANK];
    size_t rank;
    uint64_t offset, length; /* in weights.bin */
    uint32_t chunk;
} aegis_ort_weight;

/* A range of weights.bin that is loaded, checked and shared as one. They follow each other. */
typedef struct aegis_ort_chunk {
    uint64_t offset, length; /* multiples of 64 */
    char hash[AEGIS_SHA256_HEX_BYTES];
    uint8_t content[AEGIS_CONTENT_BYTES];
} aegis_ort_chunk;

/* What a session takes or gives: an input or output of the model, or what crosses a cut. */
typedef enum aegis_ort_role {
    AEGIS_ORT_ROLE_INPUT = 0,
    AEGIS_ORT_ROLE_OUTPUT, /* also as what a later segment reads */
    AEGIS_ORT_ROLE_BOUNDARY
} aegis_ort_role;

typedef struct aegis_ort_operand {
    aegis_ort_role role;
    uint32_t index; /* among the compiled inputs, outputs or boundaries */
} aegis_ort_operand;

/* The graph of one session: the whole, or a segment. */
typedef struct aegis_ort_part {
    char *path;
    char hash[AEGIS_SHA256_HEX_BYTES]; /* checked when it is read; "": it was checked before */
    uint64_t graph_bytes;
    aegis_ort_operand *operands; /* inputs, then outputs */
    size_t input_count, output_count;
    uint32_t *weights; /* those that it uses: indices */
    size_t weight_count;
} aegis_ort_part;

typedef struct aegis_ort_boundary {
    aegis_tensor_info info; /* name owned */
    uint32_t first, end;    /* written by segment `first`, read last by segment `end` - 1 */
} aegis_ort_boundary;

typedef struct aegis_ort_compiled {
    aegis_allocator allocator;
    char hash[AEGIS_SHA256_HEX_BYTES]; /* of the model file with its external data */
    char graph_hash[AEGIS_SHA256_HEX_BYTES];
    char folder[1024], graph_path[1024], weights_path[1024];
    char model_folder[1024]; /* of the model file, for external data of graphs optimised at load */
    bool at_load, control_flow;
    uint64_t graph_bytes, weights_bytes;
    uint64_t different_bytes; /* of the weights: equal chunks counted once */
    aegis_ort_chunk *chunks;
    size_t chunk_count;
    aegis_ort_weight *weights;
    size_t weight_count;
    aegis_tensor_info *inputs, *outputs; /* names owned; an output may have free dimensions */
    size_t input_count, output_count;
    aegis_ort_part *parts; /* see cut.h */
    size_t part_count;
    aegis_ort_boundary *boundaries; /* by the segment that writes them */
    size_t boundary_count;
} aegis_ort_compiled;

/* Statuses of aegis_model_open. With `cuda` the graph is for a CUDA device: simplified here for the
 * shapes of its inputs, which takes the arithmetic on shapes out of it (the CPU would do that), and
 * optimised for the device at load. */
aegis_status aegis_ort_compile(const aegis_ort *ort,
                               const char *cache_dir,
                               const aegis_model_config *config,
                               bool cuda,
                               const aegis_allocator *allocator,
                               aegis_ort_compiled *ret_compiled,
                               aegis_error *err);
void aegis_ort_compiled_finish(aegis_ort_compiled *compiled); /* of a zeroed one too */

/* Session options that every session of this backend has. */
OrtStatus *
aegis_ort_base_options(const aegis_ort *ort, unsigned threads, OrtSessionOptions **ret_options);

#endif

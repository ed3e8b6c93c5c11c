/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_SURFACE_H
#define AEGIS_BACKEND_SURFACE_H

/* The surface of a model, the same for every runtime: inputs, outputs, state pairs, slots, where
 * their bytes are and what fills them. Host-addressable memory. */

#include "backend/source.h"

/* What a model declares, before shapes are fixed. */
typedef struct aegis_surface_declaration {
    const char *name;
    aegis_element element;
    int rank;                              /* -1: not declared */
    int64_t shape[AEGIS_MAX_RANK];         /* -1: free */
    const char *free_name[AEGIS_MAX_RANK]; /* of a free dimension, or NULL */
} aegis_surface_declaration;

typedef struct aegis_surface_buffer {
    aegis_memory_class memory_class; /* STATE, INPUT or OUTPUT */
    uint64_t size_bytes;
    void *pointer;
} aegis_surface_buffer;

typedef struct aegis_surface {
    aegis_allocator allocator;
    char *model_name;
    aegis_tensor_info *inputs, *outputs; /* names owned */
    size_t input_count, output_count;
    int *input_partner;    /* per input: the output that feeds it, or -1 */
    int *output_partner;   /* per output: the input that it feeds, or -1 */
    aegis_source *sources; /* per input; paths owned */
    uint64_t seed;
    uint32_t slots;
    uint32_t parity;  /* which half of a state pair is current */
    uint32_t written; /* which half was written last */
    aegis_surface_buffer *buffers;
    size_t buffer_count;
    void *trial; /* one block under all buffers until the model is placed */
} aegis_surface;

/**
 * Fixes the inputs' shapes: given ones, declared ones, and free dimensions whose name another input
 * has fixed. CONFIG names the input, what is declared and the cure. Writes one shape per declared
 * input to `ret_shapes` (names borrowed from the declarations).
 */
aegis_status aegis_surface_fix_shapes(const aegis_model_config *config,
                                      const aegis_surface_declaration *declared,
                                      size_t count,
                                      aegis_input_shape *ret_shapes,
                                      aegis_error *err);

/** Takes copies of everything. `inputs` and `outputs` have fixed shapes. CONFIG for state pairs and
 * sources that name nothing or do not match, UNSUPPORTED for empty tensors. */
aegis_status aegis_surface_init(aegis_surface *surface,
                                const aegis_model_config *config,
                                const aegis_tensor_info *inputs,
                                size_t input_count,
                                const aegis_tensor_info *outputs,
                                size_t output_count,
                                const aegis_allocator *allocator,
                                aegis_error *err);
void aegis_surface_finish(
    aegis_surface *surface); /* also after a failed or missing init, when zeroed */

/* Buffers of a memory of their own, filled from their sources. */
aegis_status aegis_surface_open_trial(aegis_surface *surface, aegis_error *err);
/* Points the buffers at `pointers` (one each) and fills them; the trial memory goes back. On
 * failure nothing changes. */
aegis_status aegis_surface_place(aegis_surface *surface, void *const *pointers, aegis_error *err);
aegis_status aegis_surface_reset(aegis_surface *surface, aegis_error *err);

void *aegis_surface_input_pointer(const aegis_surface *surface,
                                  size_t input,
                                  uint32_t slot,
                                  uint32_t parity);
void *aegis_surface_output_pointer(const aegis_surface *surface,
                                   size_t output,
                                   uint32_t slot,
                                   uint32_t parity);
/* For the public calls: by name, with the current state (input) or the one written last (output).
 */
aegis_status aegis_surface_find_input(aegis_surface *surface,
                                      uint32_t slot,
                                      const char *name,
                                      void **ret_data,
                                      uint64_t *ret_size,
                                      aegis_error *err);
aegis_status aegis_surface_find_output(aegis_surface *surface,
                                       uint32_t slot,
                                       const char *name,
                                       void **ret_data,
                                       uint64_t *ret_size,
                                       aegis_error *err);

/* Lifetimes of the buffers, in their order; `first` numbers the first tensor. */
void aegis_surface_lifetimes(const aegis_surface *surface,
                             uint32_t first,
                             aegis_tensor_lifetime *ret_lifetimes);

/* "unknown input 'z'; did you mean 'x'? The model has: 'x', 'y'" */
aegis_status aegis_surface_unknown(const aegis_surface *surface,
                                   const char *what,
                                   const char *name,
                                   const char *const *known,
                                   size_t count,
                                   aegis_status status,
                                   aegis_error *err);

#endif

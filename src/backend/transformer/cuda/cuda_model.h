/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_MODEL_H
#define AEGIS_TRANSFORMER_CUDA_MODEL_H

/*
 * A language model with jobs on a CUDA device: what backend/language_model.h says of inputs,
 * outputs, jobs and measured jobs holds here too. What differs:
 *
 *  - A segment is one kernel. It runs to its end: nothing terminates it. Cuts lie between blocks
 *    and before the head; position i is before block i.
 *  - Inputs, outputs and state live on the device. aegis_model_input and _output give the address
 *    of a copy in pinned host memory: an output is copied when it is asked for, after its job; an
 *    input goes to the device with the next job of its slot. So each is asked for anew.
 *  - Whether a cursor or token is valid the kernel finds out. Such a job leaves -1 as token, and
 * the job after it fails with what was wrong.
 */

#include "backend/surface.h"
#include "backend/transformer/cuda/program.h"

#include <aegisrt/ext/backend_ops.h>

#include <stdatomic.h>

#define AEGIS_LANGUAGE_CUDA "backend.transformer.cuda"

enum {
    CUDA_TOKENS = 0,
    CUDA_CURSOR,
    CUDA_INPUTS
};
enum {
    CUDA_TOKEN = 0,
    CUDA_LOGITS,
    CUDA_NEXT_CURSOR,
    CUDA_OUTPUTS
};

typedef struct cuda_backend {
    aegis_allocator allocator;
    aegis_device *device; /* borrowed */
    int index;
} cuda_backend;

typedef struct cuda_model {
    aegis_allocator allocator;
    aegis_device *device;
    int index;             /* of the device */
    aegis_stream *stream;  /* that records it when no other is given; borrowed, may be NULL */
    aegis_surface surface; /* its buffers are the host's copies */
    void *pinned;          /* they, and the fault */
    uint64_t pinned_bytes;
    aegis_program *program;
    const aegis_program_facts *facts;
    char label[160];
    bool stop_at_end;
    uint32_t prompt;

    uint32_t *ends; /* of segments: layers; the last is layers, with the head */
    uint32_t segment_count;
    aegis_tensor_lifetime *lifetimes;
    size_t lifetime_count;
    aegis_cut_candidate *candidates;
    bool recorded, placed;

    /* Device memory: one block until the model is placed. */
    void *trial;
    uint8_t *layers, *fixed, *cache, *work;
    uint8_t **mirrors;  /* per buffer of the surface */
    atomic_bool *dirty; /* the host's copy is newer */
    aegis_decode_fault *fault;
    uint32_t next; /* segment that is due */
} cuda_model;

/* cuda_memory.c */
aegis_status aegis_cuda_model_open_trial(cuda_model *model, aegis_error *err);
void aegis_cuda_model_free(cuda_model *model);
uint64_t aegis_cuda_model_weight_bytes(const cuda_model *model);
size_t aegis_cuda_model_tensors(const cuda_model *model);
aegis_status aegis_cuda_model_record(void *self, aegis_stream *stream, aegis_error *err);
aegis_status aegis_cuda_model_lifetimes(void *self,
                                        const aegis_tensor_lifetime **ret_lifetimes,
                                        size_t *ret_count,
                                        aegis_error *err);
aegis_status
aegis_cuda_model_place(void *self, const aegis_model_placement *placement, aegis_error *err);
/* The device's bytes behind a host's copy. */
size_t aegis_cuda_model_buffer(const cuda_model *model, const void *host);
aegis_status aegis_cuda_model_fill(cuda_model *model, aegis_error *err);

/* cuda_run.c */
aegis_status aegis_cuda_model_execute(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err);
/* Layers [0, last) at the last position, seven times on a stream of its own; the median. */
aegis_status
aegis_cuda_model_measure(cuda_model *model, uint32_t last, uint64_t *ret_ns, aegis_error *err);

#endif

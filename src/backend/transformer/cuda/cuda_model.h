/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_MODEL_H
#define AEGIS_TRANSFORMER_CUDA_MODEL_H

/*
 * A language model with jobs on a CUDA device: what backend/language_base.h says of inputs,
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

#include "backend/transformer/backend/language_base.h"
#include "backend/transformer/cuda/program.h"

#include <stdatomic.h>

#define AEGIS_LANGUAGE_CUDA "backend.transformer.cuda"

typedef struct cuda_backend {
    aegis_allocator allocator;
    aegis_device *device; /* borrowed */
    int index;
} cuda_backend;

typedef struct cuda_model {
    aegis_language base; /* first; the buffers of its surface are the host's copies */
    aegis_device *device;
    int index;            /* of the device */
    aegis_stream *stream; /* that records it when no other is given; borrowed, may be NULL */
    void *pinned;         /* the surface's buffers, and the fault */
    uint64_t pinned_bytes;
    aegis_program *program;
    const aegis_program_facts *facts;
    uint32_t *ends; /* of segments: layers; the last is layers, with the head */

    /* Device memory: one block until the model is placed. */
    void *trial;
    uint8_t *layers, *fixed, *cache, *work;
    uint8_t **mirrors;  /* per buffer of the surface */
    atomic_bool *dirty; /* the host's copy is newer */
    aegis_decode_fault *fault;
} cuda_model;

/* cuda_memory.c */
aegis_status aegis_cuda_model_open_trial(cuda_model *model, aegis_error *err);
void aegis_cuda_model_free(cuda_model *model);
uint64_t aegis_cuda_model_weight_bytes(const cuda_model *model);
aegis_status aegis_cuda_model_record(void *self, aegis_stream *stream, aegis_error *err);
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

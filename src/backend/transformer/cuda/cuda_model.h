/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_MODEL_H
#define AEGIS_TRANSFORMER_CUDA_MODEL_H

/*
 * A language model with jobs on a CUDA device: what backend/language_base.h says of inputs,
 * outputs, jobs and measured jobs holds here too. What differs:
 *
 *  - A segment is one kernel, or several of a streamed model. It runs to its end: nothing
 *    terminates it. Cuts lie between blocks and before the head; position i is before block i.
 *  - Weights of a streamed model come from pinned memory as part of its segments (residency.h): no
 *    segment waits for them off the lane, and a profile measures them with the rest.
 *  - Inputs, outputs and state live on the device. aegis_model_input and _output give the address
 *    of a copy in pinned host memory: an output is copied when it is asked for, after its job; an
 *    input goes to the device with the next job of its slot. So each is asked for anew.
 *  - With prompt_block a job takes up to that many tokens of the prompt at once: the same segments,
 *    each its layers for all of them (prompt.h), and the head for the last. So all jobs are bounded
 *    by the longer of block and step, and a prompt is done in as many jobs as it has blocks. Of a
 *    streamed model both copy the same bytes in the same segments.
 *  - Whether a cursor or token is valid the kernel finds out. Such a job leaves -1 as token, and
 * the job after it fails with what was wrong.
 */

#include "backend/transformer/backend/language_base.h"
#include "backend/transformer/cuda/program.h"
#include "backend/transformer/cuda/residency.h"

#include <stdatomic.h>

#define AEGIS_LANGUAGE_CUDA "backend.transformer.cuda"

typedef struct cuda_backend {
    aegis_allocator allocator;
    aegis_device *device; /* borrowed */
    int index;
} cuda_backend;

/* What kernels write for the host; in pinned memory. */
typedef struct cuda_words {
    aegis_decode_fault fault;
    int64_t positions[2]; /* of both halves of the cursor */
} cuda_words;

/* Blocks of the prompt. */
typedef struct cuda_prompt {
    aegis_prompt_plan plan; /* rows 0: none */
    aegis_cublas *cublas;
    aegis_prompt_lane lane;         /* its stream is that of the launch */
    struct CUgraphExec_st **graphs; /* by the first layer of a launch; NULL in it: none, or eager */
    bool is_longest;                /* a block takes longer than a step */
    bool is_due;                    /* the job that goes on takes one */
} cuda_prompt;

typedef struct cuda_model {
    aegis_language base; /* first; the buffers of its surface are the host's copies */
    aegis_device *device;
    int index;            /* of the device */
    aegis_stream *stream; /* that records it when no other is given; borrowed, may be NULL */
    bool eager;           /* no graphs */
    aegis_buffer pinned;  /* the surface's buffers, and words */
    aegis_program *program;
    const aegis_program_facts *facts;
    uint32_t *ends; /* of segments: layers; the last is layers, with the head */
    aegis_residency_plan residency;

    /* Device memory: one block until the model is placed. */
    void *trial;
    uint8_t *layers, *fixed; /* layers that stay, and behind them everything else that is read */
    uint8_t *cache, *work;
    uint8_t *ring;      /* slots of layers that come; NULL: all stay */
    uint8_t *block;     /* of a block of the prompt */
    uint8_t *table;     /* where units lie, for blocks */
    uint8_t **mirrors;  /* per buffer of the surface */
    atomic_bool *dirty; /* the host's copy is newer */
    cuda_words *words;
    cuda_prompt prompt;

    /* Of a streamed model. */
    aegis_buffer streamed; /* pinned: the layers that come, in their order */
    aegis_residency_slots slots;
    struct CUstream_st *copies;
    struct CUevent_st *begun, *filled[AEGIS_RESIDENCY_SLOTS], *freed[AEGIS_RESIDENCY_SLOTS];
} cuda_model;

/* cuda_memory.c */
aegis_status aegis_cuda_model_open_trial(cuda_model *model, aegis_error *err);
void aegis_cuda_model_free(cuda_model *model);
/* Of the device: layers that stay and everything else that is read, and slots of those that come.
 */
uint64_t aegis_cuda_model_weight_bytes(const cuda_model *model);
uint64_t aegis_cuda_model_ring_bytes(const cuda_model *model);
aegis_status aegis_cuda_model_record(void *self, aegis_stream *stream, aegis_error *err);
aegis_status
aegis_cuda_model_place(void *self, const aegis_model_placement *placement, aegis_error *err);
/* The device's bytes behind a host's copy. */
size_t aegis_cuda_model_buffer(const cuda_model *model, const void *host);
aegis_status aegis_cuda_model_fill(cuda_model *model, aegis_error *err);

/* cuda_fetch.c: the copies' stream and its events; the device is current. */
aegis_status aegis_cuda_fetch_init(cuda_model *model, aegis_error *err);
void aegis_cuda_fetch_finish(cuda_model *model);

/* What a segment launches at once: layers [first, last), whose packed weights lie from `layers` on
 * when the device gets there. Of a resident model the whole segment, of a streamed one the layers
 * between two fetches; the same in each job. */
typedef struct cuda_part {
    uint32_t segment, number; /* number: of the segment's, from 0 */
    uint32_t first, last;
    const uint8_t *layers;
} cuda_part;
typedef aegis_status (*cuda_part_launch)(void *self, const cuda_part *part, aegis_error *err);

/* Launches a segment's parts into `stream`, which `launch` does, and copies between them. */
aegis_status aegis_cuda_fetch_run(cuda_model *model,
                                  uint32_t segment,
                                  struct CUstream_st *stream,
                                  cuda_part_launch launch,
                                  void *self,
                                  aegis_error *err);
/* The same parts in the same order, and nothing is copied. */
aegis_status aegis_cuda_fetch_visit(const cuda_model *model,
                                    uint32_t segment,
                                    cuda_part_launch visit,
                                    void *self,
                                    aegis_error *err);

/* cuda_prompt.c. Opens only what the configuration asks for; CONFIG (too many tokens),
 * RUNTIME_NOT_AVAILABLE (no cuBLAS). The device is current in all of them. */
aegis_status aegis_cuda_prompt_open(cuda_model *model, uint32_t rows, aegis_error *err);
void aegis_cuda_prompt_close(cuda_model *model);
uint64_t aegis_cuda_prompt_table_bytes(const cuda_model *model);
aegis_status aegis_cuda_prompt_load(cuda_model *model, aegis_error *err);
/* Anew, where the model lies now. After a failure what was captured before holds. */
aegis_status aegis_cuda_prompt_capture(cuda_model *model, aegis_error *err);
/* Whether the job that begins takes a block. */
bool aegis_cuda_prompt_takes(const cuda_model *model);
aegis_status aegis_cuda_prompt_run(cuda_model *model,
                                   uint32_t segment,
                                   const aegis_program_job *job,
                                   struct CUstream_st *stream,
                                   aegis_error *err);
/* Its layers alone, upon whatever the slots hold. */
aegis_status aegis_cuda_prompt_compute(const cuda_model *model,
                                       uint32_t segment,
                                       const aegis_program_job *job,
                                       struct CUstream_st *stream,
                                       aegis_error *err);

/* cuda_run.c */
/* With layers from `layers` on. */
aegis_program_memory aegis_cuda_model_memory(const cuda_model *model, const uint8_t *layers);
aegis_status aegis_cuda_model_execute(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err);
/* Layers [0, last) of a step at the last position, or all of the last block, seven times on a
 * stream of its own; the median. Copies are left out: of a streamed model `last` is all layers. */
aegis_status aegis_cuda_model_measure(
    cuda_model *model, uint32_t last, bool block, uint64_t *ret_ns, aegis_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PROGRAM_H
#define AEGIS_TRANSFORMER_CUDA_PROGRAM_H

/*
 * A model made ready for one CUDA device: its weights in the order in which the kernel reads them,
 * and the kernel's arguments. Owns host memory only; where everything lies on the device its user
 * says.
 */

#include "backend/transformer/cuda/prompt.h"

#include <aegisrt/allocator.h>

typedef struct aegis_program aegis_program;

typedef struct aegis_program_facts {
    const char *architecture, *dtype; /* static */
    uint32_t layers, vocabulary, context;
    uint32_t blocks, warps, depth;
    bool clusters; /* of blocks: clusters.cuh */
    char hash[65]; /* over config.json and the files of the weights */
    /* Device memory. Packed layers are `layer_bytes` each; `fixed` holds everything else that is
     * read only: head, tables, vectors. */
    uint64_t layer_bytes, fixed_bytes;
    uint64_t cache_bytes;  /* keys and values */
    uint64_t work_bytes;   /* packets and what crosses segments; zero at first, kept between jobs */
    uint64_t step_bytes;   /* that a step reads of layers and head, padding included */
    uint64_t matrix_bytes; /* of those: what the matrices have in their files */
    uint64_t crossing_bytes; /* from one segment to the next */
    uint64_t heap_bytes;
} aegis_program_facts;

/* For `form`: the first that fits; the first that packs matrices in units (aegis_decode_where),
 * which blocks of a prompt read and the form in clusters has not. */
#define AEGIS_PROGRAM_ANY_FORM UINT32_MAX
#define AEGIS_PROGRAM_UNIT_FORM (UINT32_MAX - 1)

/* `device` is the CUDA device's index. `form`: of aegis_decode_form_at, or one of the above. As
 * aegis_runner_open, and UNSUPPORTED (matrices of several dtypes or int8, too wide, a device
 * without cooperative launches), DEVICE and the like. */
aegis_status aegis_program_open(const char *folder,
                                uint32_t context,
                                int device,
                                uint32_t form,
                                const aegis_allocator *allocator,
                                aegis_program **ret_program,
                                aegis_error *err);
/* NULL is fine. */
void aegis_program_close(aegis_program *program);
const aegis_program_facts *aegis_program_about(const aegis_program *program);

/* Packs one layer, or everything else, into host memory of layer_bytes, fixed_bytes. IO. */
aegis_status
aegis_program_pack_layer(aegis_program *program, uint32_t layer, void *to, aegis_error *err);
aegis_status aegis_program_pack_fixed(aegis_program *program, void *to, aegis_error *err);

/* Whether the weights stay in the L2 cache as long as there is room (not, at first): they then push
 * out what other models have there. */
void aegis_program_keep_in_cache(aegis_program *program, bool keep);

/* Device addresses, aligned to 256. */
typedef struct aegis_program_memory {
    const void *layers; /* of the launch's first layer on */
    const void *fixed;
    void *cache, *work;
} aegis_program_memory;

/* Areas for what crosses from one launch to the next. */
#define AEGIS_PROGRAM_CROSSINGS 4u

/* One launch of a job: a segment, or a part of one. */
typedef struct aegis_program_job {
    uint32_t first, last; /* layers */
    bool head, measured, stop_at_end;
    uint32_t crossing_in, crossing_out; /* areas; not the same, so that a launch can be repeated */
    const int64_t *prompt, *cursor;
    uint32_t prompt_count;
    int64_t *next_cursor, *token;
    int64_t *next_position; /* NULL: the host need not know */
    float *logits;
    aegis_decode_fault *fault;
} aegis_program_job;

/* Enqueues; allocates nothing. */
aegis_status aegis_program_launch(const aegis_program *program,
                                  const aegis_program_memory *memory,
                                  const aegis_program_job *job,
                                  struct CUstream_st *stream,
                                  aegis_error *err);

/* program_prompt.c: blocks of a prompt, of `rows` tokens at most (prompt.h). They compute the job's
 * layers and leave what the head needs in area AEGIS_PROGRAM_PROMPT_CROSSING: it follows as a
 * launch from the last layer on, at the cursor of aegis_prompt_cursor. For the current device. */
#define AEGIS_PROGRAM_PROMPT_CROSSING 2u
aegis_status aegis_program_plan_prompt(const aegis_program *program,
                                       uint32_t rows,
                                       aegis_prompt_plan *ret_plan,
                                       aegis_error *err);
/* The table of aegis_prompt_memory, plan->units entries of the host's. */
void aegis_program_where(const aegis_program *program, uint32_t *ret_where);
aegis_status aegis_program_begin_prompt(const aegis_program *program,
                                        const aegis_prompt_plan *plan,
                                        const aegis_program_memory *memory,
                                        const aegis_prompt_memory *block,
                                        const aegis_program_job *job,
                                        struct CUstream_st *stream,
                                        aegis_error *err);
/* Of `job` only the layers count; `from` and `to` as for aegis_prompt_layers. */
aegis_status aegis_program_launch_prompt(const aegis_program *program,
                                         const aegis_prompt_plan *plan,
                                         const aegis_program_memory *memory,
                                         const aegis_prompt_memory *block,
                                         const aegis_program_job *job,
                                         uint32_t from,
                                         uint32_t to,
                                         aegis_cublas *cublas,
                                         const aegis_prompt_lane *lane,
                                         aegis_error *err);

#endif

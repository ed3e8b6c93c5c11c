/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PROGRAM_INTERNAL_H
#define AEGIS_TRANSFORMER_CUDA_PROGRAM_INTERNAL_H

/* What program.c and program_pack.c share. */

#include "backend/transformer/cuda/layout.h"
#include "backend/transformer/cuda/program.h"
#include "backend/transformer/engine/weights.h"

#define AEGIS_PROGRAM_ALIGNMENT 256u

/* Bytes from the begin of the fixed memory. */
typedef struct program_places {
    uint64_t head, tokens, positions, vectors, final_norm, frequencies, shares, lanes, head_tiles;
} program_places;

/* Bytes from the begin of the work memory. */
typedef struct program_work {
    uint64_t control, best, exchange, crossing[AEGIS_PROGRAM_CROSSINGS];
} program_work;

struct aegis_program {
    aegis_allocator allocator;
    aegis_graph_validated *graph;
    aegis_weights weights; /* its tables; nothing is loaded through it */
    aegis_dtype dtype;
    uint32_t context, type, form;
    uint32_t exchange_packets;
    aegis_decode_layout layout;
    aegis_decode_step step; /* what is the same for every launch */
    program_places places;
    program_work work;
    aegis_program_facts facts;
};

/* Sizes and places of everything, once the layout is made. */
void aegis_program_place(aegis_program *program);
/* The kernel's arguments for one launch. */
void aegis_program_set_step(const aegis_program *program,
                            const aegis_program_memory *memory,
                            const aegis_program_job *job,
                            aegis_decode_step *ret_step);

#endif

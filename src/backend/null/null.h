/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_NULL_H
#define AEGIS_BACKEND_NULL_H

/*
 * A small runtime of our own: scripts of allocations, spinning and releases around a computation
 * whose result depends on every byte it was given. It is the twin that conformance and scheduling
 * tests use, and what a build without other runtimes has.
 *
 * A model is a JSON file (*.null):
 *   { "inputs":  [ {"name": "x", "dtype": "f32", "shape": [1, null]} ],   null: free dimension
 *     "outputs": [ {"name": "y", "dtype": "f32", "shape": [1, 4]} ],
 *     "weights_bytes": 256, "prepacked_bytes": 64,                        optional
 *     "segments": [ [ {"alloc": 1024}, {"spin": "20us"}, {"free": 0} ] ], indices within the
 * segment "faults": [ {"run": 3, "segment": 0, "kind": "grow", "allocation": 0, "bytes": 64,
 *                  "trial": false} ] }                                    optional
 * Runs are counted from 1, anew when the model is placed. Kinds: "grow" (an allocation asks for
 * more), "fail" (the run fails), "lose" (the model is lost), "hang" (spins until terminated, 10 s
 * at most). The memory of each allocation is filled when it begins and read when it ends, so that
 * two tensors that share bytes while both live change the outputs.
 */

#include "backend/surface.h"

typedef enum aegis_null_kind {
    AEGIS_NULL_ALLOC,
    AEGIS_NULL_FREE,
    AEGIS_NULL_SPIN,
    AEGIS_NULL_WRITE, /* a boundary tensor */
    AEGIS_NULL_READ,
    AEGIS_NULL_MARK /* the end of an operator */
} aegis_null_kind;

typedef struct aegis_null_step {
    aegis_null_kind kind;
    uint64_t operand; /* bytes, index or ns */
    uint64_t bytes;   /* of what is read, written or freed */
} aegis_null_step;

typedef struct aegis_null_operator {
    uint64_t spin_ns, bytes;
    size_t until; /* index of the operator that reads its tensor last */
} aegis_null_operator;

/* A tensor that crosses a cut. */
typedef struct aegis_null_boundary {
    uint64_t bytes;
    uint32_t first, last; /* segments that write it, and read it last */
} aegis_null_boundary;

typedef struct aegis_null_segment {
    aegis_null_step *steps;
    size_t step_count, step_capacity, allocation_count;
} aegis_null_segment;

typedef enum aegis_null_fault_kind {
    AEGIS_NULL_GROW,
    AEGIS_NULL_FAIL,
    AEGIS_NULL_LOSE,
    AEGIS_NULL_HANG
} aegis_null_fault_kind;

typedef struct aegis_null_fault {
    aegis_null_fault_kind kind;
    uint64_t run, bytes;
    uint32_t segment;
    int64_t allocation;
    int64_t operator_index; /* -1: the segment is given */
    bool trial;
} aegis_null_fault;

typedef struct aegis_null_file {
    aegis_allocator allocator;
    aegis_surface_declaration *inputs, *outputs; /* names owned */
    size_t input_count, output_count;
    uint64_t weights_bytes, prepacked_bytes;
    aegis_null_segment *segments;
    size_t segment_count;
    aegis_null_operator *operators; /* none: the segments are given */
    size_t operator_count;
    aegis_null_boundary *boundaries;
    size_t boundary_count;
    aegis_null_fault *faults;
    size_t fault_count;
} aegis_null_file;

/* PARSE names the line or the key. */
aegis_status aegis_null_file_parse(const char *bytes,
                                   size_t size,
                                   const char *path,
                                   const aegis_allocator *allocator,
                                   aegis_null_file *ret_file,
                                   aegis_error *err);
/* null_cut.c: makes segments of the operators. CONFIG when a position is none, or for any cut of a
 * model that is a list of segments. */
aegis_status aegis_null_file_cut(aegis_null_file *file,
                                 const uint32_t *cuts,
                                 size_t cut_count,
                                 aegis_error *err);
void aegis_null_file_finish(aegis_null_file *file); /* of a zeroed one too */

#endif

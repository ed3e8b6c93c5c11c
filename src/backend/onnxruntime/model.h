/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_MODEL_H
#define AEGIS_BACKEND_ORT_MODEL_H

#include "backend/onnxruntime/cuda.h"
#include "backend/onnxruntime/cut.h"
#include "backend/onnxruntime/gate.h"
#include "backend/onnxruntime/loading.h"
#include "backend/onnxruntime/packed.h"
#include "backend/onnxruntime/paging.h"
#include "backend/onnxruntime/weights.h"

#include <aegisrt/ext/backend_ops.h>

typedef struct aegis_ort_backend {
    aegis_allocator allocator;
    const aegis_ort *ort;
    char *cache_dir;
    aegis_reserve reserve;
    aegis_device *device;     /* a CUDA device, or NULL: models are on the host */
    aegis_reserve no_reserve; /* on a device: of no bytes */
    aegis_backend_ops ops;
    aegis_ort_residents residents;
} aegis_ort_backend;

/* One session with what it allocates: the whole model, or a part between two cuts. */
typedef struct aegis_ort_segment {
    aegis_ort_context contexts[2]; /* of the session and of the one that will replace it */
    aegis_ort_context *context;    /* the one in use */
    aegis_ort_session session;
    const char **names; /* inputs, then outputs; borrowed from surface and boundaries */
    aegis_tape loading, run;
    void **addresses; /* planned, of what runs ask for */
    size_t address_capacity;
    size_t kept_count; /* blocks that stay from loading */
} aegis_ort_segment;

/* When an output is written: within [at, end) of the events of its segment, nobody reads or writes
 * it before. */
typedef struct aegis_ort_birth {
    uint32_t segment;
    int64_t at, end;
} aegis_ort_birth;

typedef struct aegis_ort_model {
    aegis_ort_backend *backend;
    aegis_allocator allocator;
    aegis_ort_compiled compiled;
    aegis_surface surface;
    char label[128];
    unsigned threads;
    bool prepack, recorded, placed, lost;
    uint64_t memory_limit;
    uint64_t overhead_bytes, loading_peak_bytes;
    aegis_ort_loading loading;  /* on the host: which measurement this open is */
    aegis_ort_held held_before; /* before its sessions were made */

    aegis_ort_segment *segments; /* one a part; they do not move */
    size_t segment_count;
    aegis_ort_gate gate;
    aegis_ort_paging paging;
    void **boundaries;      /* where each boundary tensor is */
    void *trial_boundaries; /* one block under them until the model is placed */
    uint32_t reached;       /* segments of the job in `reached_slot` that have completed */
    uint32_t reached_slot;
    uint32_t last_segment; /* that ran */

    void *mapped_weights; /* file: for the trial, and later for what the runtime has packed */
    void **chunks;        /* where compiled.chunks are: there */
    void **places;        /* or, once placed, in the plan; NULL there: still in the file */
    void **packed; /* once placed: packed copies that others may read too; NULL: another block */
    size_t packed_count;
    bool packed_told;        /* `lifetimes` has their contents */
    bool *unread;            /* chunks that runs do not read, known once it is recorded */
    aegis_ort_birth *births; /* per output, once it is recorded */
    aegis_tensor_lifetime *lifetimes;
    size_t lifetime_count, lifetime_capacity;
    aegis_cut_candidate *candidates;
    size_t candidate_count;
    aegis_ort_cuda *cuda; /* NULL: on the host */
} aegis_ort_model;

aegis_status aegis_ort_model_open(aegis_ort_backend *backend,
                                  const aegis_model_config *config,
                                  aegis_ort_model **ret_model,
                                  aegis_error *err);
void aegis_ort_model_close(aegis_ort_model *model);

/* run.c */
/* Runs a segment's session, whatever the job; on a CUDA device it only enqueues its work. */
aegis_status
aegis_ort_segment_run(aegis_ort_model *model, uint32_t index, uint32_t slot, aegis_error *err);
/* One segment of the job in `slot`. STATE when it is not the next one of that job, nor the last one
 * again: what it would read is not there. */
aegis_status
aegis_ort_model_run(aegis_ort_model *model, uint32_t segment, uint32_t slot, aegis_error *err);
/* As run, of a segment that is on the device already. */
aegis_status aegis_ort_model_take_ahead(aegis_ort_model *model,
                                        uint32_t segment,
                                        uint32_t slot,
                                        aegis_error *err);
aegis_status aegis_ort_model_record(aegis_ort_model *model, aegis_error *err);
/* For outputs whose shape only a run tells: runs once over the inputs' sources and completes
 * compiled.outputs. Before the surface is made. */
aegis_status
aegis_ort_model_probe(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err);

/* The trial session's block behind a lifetime of class PREPACKED. */
const aegis_tape_allocation *aegis_ort_model_packed_block(const aegis_ort_model *model,
                                                          size_t lifetime);
/* Gives the lifetimes of packed copies their contents; the trial session is still there. */
aegis_status aegis_ort_model_tell_packed(aegis_ort_model *model, aegis_error *err);

/* births.c: runs each segment once more, with outputs that the runtime makes; fills `births`. */
aegis_status aegis_ort_model_find_births(aegis_ort_model *model, aegis_error *err);
/* Into the lifetimes of the surface's buffers. */
void aegis_ort_model_set_births(const aegis_ort_model *model, aegis_tensor_lifetime *surface);

/* place.c */
/* Puts a paged model's trial session over an image of its own, so that runs read it in. */
aegis_status aegis_ort_model_page_trial(aegis_ort_model *model, aegis_error *err);
aegis_status aegis_ort_model_place(aegis_ort_model *model,
                                   const aegis_model_placement *placement,
                                   aegis_error *err);

/* candidates.c: where the model can be cut: at most 8 tensors cross, all of known type and shape,
 * and either one alone does or no neighbouring position is crossed by fewer bytes. Fills
 * `candidates`. */
aegis_status aegis_ort_model_candidates(aegis_ort_model *model, aegis_error *err);

/* model.c: what sessions of the model have in common, and where its operands are. */
aegis_ort_session_config aegis_ort_model_session(const aegis_ort_model *model, size_t segment);
aegis_status aegis_ort_model_bind(aegis_ort_model *model, aegis_error *err);

/* Bytes that any plan needs, and whether the model's own limit allows them. */
uint64_t aegis_ort_model_permanent_bytes(const aegis_ort_model *model);
aegis_status
aegis_ort_model_check_limit(const aegis_ort_model *model, uint64_t activations, aegis_error *err);

#endif

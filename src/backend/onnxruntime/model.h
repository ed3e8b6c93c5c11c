/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_MODEL_H
#define AEGIS_BACKEND_ORT_MODEL_H

#include "backend/onnxruntime/gate.h"
#include "backend/onnxruntime/session.h"

typedef struct aegis_ort_backend {
    aegis_allocator allocator;
    const aegis_ort *ort;
    char *cache_dir;
    aegis_reserve reserve;
} aegis_ort_backend;

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

    aegis_ort_context contexts[2]; /* of the trial session and of the placed one */
    aegis_ort_context *context;    /* the one in use */
    aegis_ort_session session;
    aegis_ort_gate gate;
    const char **names; /* inputs, then outputs; borrowed from the surface */

    void *trial_weights; /* mapped file */
    aegis_tape loading, run;
    void **addresses;  /* planned, of what runs ask for */
    size_t kept_count; /* blocks that stay from loading */
    aegis_tensor_lifetime *lifetimes;
    size_t lifetime_count, lifetime_capacity;
    size_t address_capacity;
} aegis_ort_model;

aegis_status aegis_ort_model_open(aegis_ort_backend *backend,
                                  const aegis_model_config *config,
                                  aegis_ort_model **ret_model,
                                  aegis_error *err);
void aegis_ort_model_close(aegis_ort_model *model);

/* run.c */
aegis_status aegis_ort_model_run(aegis_ort_model *model, uint32_t slot, aegis_error *err);
aegis_status aegis_ort_model_record(aegis_ort_model *model, aegis_error *err);
/* For outputs whose shape only a run tells: runs once over the inputs' sources and completes
 * compiled.outputs. Before the surface is made. */
aegis_status
aegis_ort_model_probe(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err);

/* place.c */
aegis_status aegis_ort_model_place(aegis_ort_model *model,
                                   const aegis_model_placement *placement,
                                   aegis_error *err);

/* Bytes that any plan needs, and whether the model's own limit allows them. */
uint64_t aegis_ort_model_permanent_bytes(const aegis_ort_model *model);
aegis_status
aegis_ort_model_check_limit(const aegis_ort_model *model, uint64_t activations, aegis_error *err);

#endif

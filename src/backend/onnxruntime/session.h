/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_SESSION_H
#define AEGIS_BACKEND_ORT_SESSION_H

/* A session over bytes that the caller owns: weights, inputs and outputs. */

#include "backend/onnxruntime/compile.h"
#include "backend/onnxruntime/cuda.h"

typedef struct aegis_ort_session {
    const aegis_ort *ort;
    aegis_allocator allocator;
    OrtSession *session;
    OrtValue **weights; /* over the caller's bytes; live as long as the session */
    size_t weight_count;
    OrtValue **values; /* per slot and parity: the inputs, then the outputs */
    size_t value_count, input_count, output_count;
} aegis_ort_session;

typedef struct aegis_ort_session_config {
    const aegis_ort_compiled *compiled;
    const aegis_ort_part *part;
    unsigned threads;
    bool prepack;
    void *const *chunks;        /* where compiled->chunks are */
    aegis_ort_context *context; /* entered by the caller; NULL: the runtime's own memory */
    const char *profile;        /* prefix of a file to profile into, or NULL */
    aegis_ort_cuda *cuda;       /* on that device; NULL: on the host */
} aegis_ort_session_config;

/* ENGINE_DESERIALIZE. */
aegis_status aegis_ort_session_create(const aegis_ort *ort,
                                      const aegis_ort_session_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_ort_session *ret_session,
                                      aegis_error *err);

/* Where the operands of a part are. */
typedef struct aegis_ort_binding {
    const aegis_ort_part *part;
    const aegis_surface *surface;
    const aegis_ort_boundary *boundaries;
    void *const *boundary_pointers;
    bool inputs_only;            /* outputs are left to the runtime */
    const OrtMemoryInfo *memory; /* where all of that is; NULL: on the host */
} aegis_ort_binding;

/* Makes the values of all slots, anew when they exist. */
aegis_status aegis_ort_session_bind(aegis_ort_session *session,
                                    const aegis_ort_binding *binding,
                                    aegis_error *err);
/* The values of a run: inputs first, outputs behind them. */
OrtValue **
aegis_ort_session_values(const aegis_ort_session *session, uint32_t slot, uint32_t parity);
/* The caller has entered its context. Also of a zeroed one. */
void aegis_ort_session_finish(aegis_ort_session *session);

ONNXTensorElementDataType aegis_ort_element(aegis_element element);
/* False for what is no number. */
bool aegis_ort_element_of(ONNXTensorElementDataType type, aegis_element *ret_element);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_SESSION_H
#define AEGIS_BACKEND_ORT_SESSION_H

/* A session over bytes that the caller owns: weights, inputs and outputs. */

#include "backend/onnxruntime/compile.h"

typedef struct aegis_ort_session {
    const aegis_ort *ort;
    aegis_allocator allocator;
    OrtSession *session;
    OrtValue **weights; /* over the caller's bytes; live as long as the session */
    size_t weight_count;
    OrtValue **values; /* per slot and parity: the inputs, then the outputs */
    size_t value_count, input_count, output_count;
} aegis_ort_session;

/* Creates the session; the caller has entered its context. `weights` holds compiled->weights_bytes.
 * ENGINE_DESERIALIZE. */
aegis_status aegis_ort_session_create(const aegis_ort *ort,
                                      const aegis_ort_compiled *compiled,
                                      unsigned threads,
                                      bool prepack,
                                      void *weights,
                                      aegis_ort_context *context,
                                      const aegis_allocator *allocator,
                                      aegis_ort_session *ret_session,
                                      aegis_error *err);
/* Makes the values over the surface's buffers, anew when they exist. */
aegis_status
aegis_ort_session_bind(aegis_ort_session *session, const aegis_surface *surface, aegis_error *err);
/* The values of a run: inputs first, outputs behind them. */
OrtValue **
aegis_ort_session_values(const aegis_ort_session *session, uint32_t slot, uint32_t parity);
/* The caller has entered its context. Also of a zeroed one. */
void aegis_ort_session_finish(aegis_ort_session *session);

ONNXTensorElementDataType aegis_ort_element(aegis_element element);

#endif

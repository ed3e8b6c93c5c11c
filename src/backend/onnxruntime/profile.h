/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_PROFILE_H
#define AEGIS_BACKEND_ORT_PROFILE_H

/* Runs of a session of its own with ONNX Runtime's profiler on: the time of each operator, and the
 * types and shapes of what it computes. */

#include "backend/onnxruntime/session.h"

typedef struct aegis_ort_profile {
    aegis_allocator allocator;
    aegis_onnx_graph *graph;
    aegis_onnx_value *values; /* see aegis_onnx_graph_flow */
    size_t value_count;
    uint32_t operators;
    aegis_tensor_info *types; /* per value; element 0: unknown */
    uint64_t *elapsed_ns;     /* per position, operators + 1: median time of those before it */
} aegis_ort_profile;

/* `config` describes the whole model; its context is not used. Inputs are those of `surface`.
 * After one run to warm up, `runs` runs are measured. UNSUPPORTED when the graph cannot be cut;
 * INFERENCE, IO. */
aegis_status aegis_ort_profile_take(const aegis_ort *ort,
                                    const aegis_ort_session_config *config,
                                    const aegis_surface *surface,
                                    unsigned runs,
                                    const aegis_allocator *allocator,
                                    aegis_ort_profile *ret_profile,
                                    aegis_error *err);
void aegis_ort_profile_finish(aegis_ort_profile *profile); /* of a zeroed one too */

#endif

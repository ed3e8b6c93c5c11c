/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_LOADING_H
#define AEGIS_BACKEND_ORT_LOADING_H

/*
 * What opening a model takes of the process's memory, asked for (aegis_model_config.reserve) before
 * it is taken, in three steps:
 *
 *   reading    the file's bytes and the graph parsed from them
 *   compiling  only when it is not in the cache: an estimate from the sizes of the files
 *   sessions   measured when the model was opened before (loading.json beside the compiled model),
 *              else its weights, which a session maps and touches
 *
 * None of them asks for more than a plain model takes. A graph that computes its weights, or that
 * needs much for its activations, takes more the first time; then only the check of what the
 * process holds afterwards finds it.
 */

#include "backend/onnxruntime/compile.h"

/* Which of the measurements of one compiled model counts: what moves the bytes. */
typedef struct aegis_ort_loading {
    bool prepack, paged;
    size_t segments;
    uint32_t slots;
    uint64_t input_elements;
} aegis_ort_loading;

/* What the process held at a moment. */
typedef struct aegis_ort_held {
    uint64_t now, peak;
} aegis_ort_held;

/* BUDGET_EXCEEDED, and what else config->reserve says; OK without one. */
aegis_status aegis_ort_ask_reading(const aegis_model_config *config, aegis_error *err);
aegis_status aegis_ort_ask_compiling(const aegis_model_config *config,
                                     uint64_t file_bytes,
                                     uint64_t external_bytes,
                                     aegis_error *err);
aegis_status aegis_ort_ask_sessions(const aegis_model_config *config,
                                    const aegis_ort_compiled *compiled,
                                    const aegis_ort_loading *loading,
                                    aegis_error *err);

/* Before the sessions are made; zeroes where the system does not say. */
aegis_ort_held aegis_ort_hold(void);
/* Keeps what it took since `before`, or `counted` when that is more (the process has held more
 * earlier, so that its peak tells nothing), when it is well above what is known. What cannot be
 * written is measured again next time. */
void aegis_ort_keep_held(const aegis_ort_compiled *compiled,
                         const aegis_ort_loading *loading,
                         const aegis_ort_held *before,
                         uint64_t counted);

#endif

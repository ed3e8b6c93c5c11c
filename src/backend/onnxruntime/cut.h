/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_CUT_H
#define AEGIS_BACKEND_ORT_CUT_H

/*
 * The parts of a compiled model: the whole graph, or its segments. The segments of one choice of
 * cuts are a folder "cut-<16 digits of the key>" within that of the compiled model:
 *   segment-000.onnx ...  each a model of its own; initialisers are ranges of ../weights.bin
 *   segments.json         their sizes and hashes
 * The key covers the compiled graph, the shapes of the inputs and the cuts. Types and shapes of
 * what crosses a cut stand in the segments; they come from a run, so that they need no inference.
 */

#include "backend/onnxruntime/profile.h"

/* One part: the graph as it is. */
aegis_status aegis_ort_parts_whole(aegis_ort_compiled *compiled, aegis_error *err);

/* Finds the segments in the cache or makes them, which runs the whole model once (`whole`: its
 * threads, packing and weights; compiled->parts is empty) over the sources that `config` gives.
 * CONFIG (positions), UNSUPPORTED (this graph, or at such a place), ENGINE_DESERIALIZE (damaged),
 * what profiling returns. */
aegis_status aegis_ort_parts_cut(const aegis_ort *ort,
                                 const aegis_ort_session_config *whole,
                                 const aegis_model_config *config,
                                 aegis_ort_compiled *compiled,
                                 aegis_error *err);
void aegis_ort_parts_finish(aegis_ort_compiled *compiled);

#endif

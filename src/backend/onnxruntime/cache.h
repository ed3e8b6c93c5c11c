/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_CACHE_H
#define AEGIS_BACKEND_ORT_CACHE_H

/* The folder of one compiled model: files, seal, and reading it back. */

#include "backend/onnxruntime/compile.h"

#include <jansson.h>

#define AEGIS_CACHE_GRAPH "graph.onnx"
#define AEGIS_CACHE_WEIGHTS "weights.bin"
#define AEGIS_CACHE_SEAL "compiled.json"

/* From optimised.onnx and optimised.data to graph.onnx and weights.bin, initialisers aligned to 64
 * bytes. `ret_packed` is false when names are ambiguous, so that they cannot be handed over.
 * `ret_chunks` says what lies in weights.bin, for the seal: the caller's. */
aegis_status aegis_cache_pack(const char *folder,
                              const aegis_allocator *allocator,
                              bool *ret_packed,
                              json_t **ret_chunks,
                              aegis_error *err);
/* Instead: the graph as it is, to be optimised at load. */
aegis_status
aegis_cache_keep_source(const char *folder, const void *bytes, size_t size, aegis_error *err);
/* Writes compiled.json with sizes and hashes of what is there. */
aegis_status aegis_cache_seal(
    const char *folder, const char *model_hash, bool at_load, json_t *chunks, aegis_error *err);
/* Renames `temporary` to `folder`; when another process was faster, its result is taken. */
aegis_status aegis_cache_publish(const char *temporary, const char *folder, aegis_error *err);
/* Removes the folder and the files that this module makes. */
void aegis_cache_remove(const char *folder);
/* Reads and checks a folder; fills paths, weights and outputs. ENGINE_DESERIALIZE when something is
 * damaged or belongs to another model. The bytes of the weights are checked by who copies them. */
aegis_status aegis_cache_open(const char *folder, aegis_ort_compiled *compiled, aegis_error *err);

/* ENGINE_DESERIALIZE with the cure. */
aegis_status aegis_cache_damaged(const char *folder, const char *what, aegis_error *err);

#endif

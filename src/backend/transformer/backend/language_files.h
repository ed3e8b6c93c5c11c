/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_LANGUAGE_FILES_H
#define AEGIS_TRANSFORMER_LANGUAGE_FILES_H

/* The folder of a language model, read and checked up to the table of its weights: what is the same
 * for the host's runner and a device's program. */

#include "backend/transformer/engine/weights.h"

/* What was read stays with the caller, also after a failure. NOT_FOUND, PARSE, UNSUPPORTED, IO,
 * PERMISSION, NO_MEMORY. */
aegis_status aegis_language_files_open(const char *folder,
                                       const aegis_allocator *allocator,
                                       aegis_graph_validated **graph,
                                       aegis_weights *weights,
                                       aegis_error *err);
/* Positions for keys and values: `wanted`, or 0: 1024, or what the model can. CONFIG. */
aegis_status aegis_language_files_context(const aegis_weights *weights,
                                          uint32_t wanted,
                                          uint32_t *ret_context,
                                          aegis_error *err);
/* One hash over those of config.json and all files of weights, so that shards count. */
aegis_status aegis_language_files_hash(const aegis_graph_validated *graph,
                                       const char *folder,
                                       const aegis_allocator *allocator,
                                       char ret_hash[65],
                                       aegis_error *err);

#endif

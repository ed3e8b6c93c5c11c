/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_PACKED_H
#define AEGIS_BACKEND_ORT_PACKED_H

/*
 * Packed copies of weights that several sessions read.
 *
 * A session packs node by node, in the order of its graph, so that the k-th block of a size has the
 * same contents in each session of that graph (what the runtime keeps of small initialisers comes
 * in the order of a table that differs from session to session; those blocks stay apart). The trial
 * session tells the contents, the plan puts equal ones at one place, and each session packs there
 * once more: the bytes that are there already. It clears them first, so that nobody may read while
 * a session is made over them.
 */

#include "backend/onnxruntime/weights.h"
#include "backend/tape.h"

/* Smaller ones are not worth a place of their own. Above the size from which compiling moves
 * initialisers out of the graph: what is as large as this comes from packing. */
#define AEGIS_ORT_PACKED_LEAST_BYTES UINT64_C(4096)

/* Whether blocks of a size that stay from loading can be told by their contents: none of that size
 * is given back while the session is made, as such a one could take the place of another. */
bool aegis_ort_packed_is_told(const aegis_tape *loading, uint64_t size_bytes);

/* The one of the blocks of a size that stay which comes `nth`; NULL: there are fewer. */
const aegis_tape_allocation *
aegis_ort_packed_block(const aegis_tape *loading, uint64_t size_bytes, size_t nth);

/* Hashes a block. */
aegis_status aegis_ort_packed_identify(const void *bytes,
                                       uint64_t size_bytes,
                                       uint8_t ret_content[AEGIS_CONTENT_BYTES],
                                       aegis_error *err);

/* After a session was made: the blocks at shared places become residents, or they are equal to
 * those that are. All or none are taken; their places go to `ret_taken`, NULL for the others.
 * INTERNAL when a block differs from what others read there; NO_MEMORY. */
aegis_status aegis_ort_packed_take(aegis_ort_residents *residents,
                                   const aegis_ort_place *places,
                                   size_t count,
                                   void **ret_taken,
                                   aegis_error *err);

/* After a session was not made: puts back what others read at shared places, from the blocks of the
 * trial session. INTERNAL when that is something else. */
aegis_status aegis_ort_packed_restore(const aegis_ort_residents *residents,
                                      const aegis_ort_place *places,
                                      size_t count,
                                      aegis_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_WEIGHTS_H
#define AEGIS_BACKEND_ORT_WEIGHTS_H

/* The bytes of initialisers: mapped for a trial, or read to planned places. Planned places with a
 * content id can be those of several models: whoever takes one first reads it, nobody writes it
 * afterwards. Used by the thread that opens, places and closes models. */

#include "backend/onnxruntime/compile.h"

/* A chunk that lies at a planned place. */
typedef struct aegis_ort_resident {
    const void *address;
    uint8_t content[AEGIS_CONTENT_BYTES];
    size_t users;
} aegis_ort_resident;

typedef struct aegis_ort_residents {
    aegis_allocator allocator;
    aegis_ort_resident *list;
    size_t count, room;
} aegis_ort_residents;

void aegis_ort_residents_finish(aegis_ort_residents *residents);
/* Room for `more` that come. NO_MEMORY. */
aegis_status
aegis_ort_residents_reserve(aegis_ort_residents *residents, size_t more, aegis_error *err);
/* What lies there; NULL: nothing that is known. */
const uint8_t *aegis_ort_residents_content(const aegis_ort_residents *residents,
                                           const void *address);
/* One user more of what lies there; false when that is another content. There is room. */
bool aegis_ort_residents_hold(aegis_ort_residents *residents,
                              const void *address,
                              const uint8_t content[AEGIS_CONTENT_BYTES]);

/* weights.bin as it lies in the page cache, each chunk checked against its hash; chunk `i` is at
 * `ret_chunks[i]`. Unmap `compiled->weights_bytes` at `ret_map`, which is set on failure too; NULL
 * when there are none. ENGINE_DESERIALIZE. */
aegis_status aegis_ort_weights_map(const aegis_ort_compiled *compiled,
                                   void **ret_map,
                                   void **ret_chunks,
                                   aegis_error *err);

/* Drops what is resident of the mapping; a later read brings it back from the file. */
void aegis_ort_weights_forget(const aegis_ort_compiled *compiled, void *map);
/* Which chunks nothing has read since `forget`: the runtime has packed copies of them and needs
 * the originals no more. False for small ones, and throughout when the kernel does not tell
 * (backend/untouched.h). */
void aegis_ort_weights_find_unread(const aegis_ort_compiled *compiled,
                                   const void *map,
                                   bool *ret_unread);

/* Reads chunk `i` to `places[i]` and checks it; NULL places are left out, equal ones read once.
 * Nobody shares these bytes. ENGINE_DESERIALIZE. */
aegis_status
aegis_ort_weights_read(const aegis_ort_compiled *compiled, void *const *places, aegis_error *err);

/* Sees to it that chunk `i` lies at `places[i]`: reads and checks those that are not there yet;
 * NULL places are left out. All or none are taken. ENGINE_DESERIALIZE; NO_MEMORY; INTERNAL when
 * another content is still in use at such a place. */
aegis_status aegis_ort_weights_take(aegis_ort_residents *residents,
                                    const aegis_ort_compiled *compiled,
                                    void *const *places,
                                    aegis_error *err);
/* What lies there may be overwritten once all who took it have given it back. */
void aegis_ort_weights_give(aegis_ort_residents *residents, void *const *places, size_t count);

#endif

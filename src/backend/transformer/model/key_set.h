/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_KEY_SET_H
#define AEGIS_TRANSFORMER_KEY_SET_H

/* The keys of one JSON object, to refuse one that comes twice. For objects of at most a few hundred
 * keys: a key is compared with all before it. */

#include "backend/transformer/model/json_pull.h"
#include "base/bump.h"

#define AEGIS_KEY_SET_LIMIT 4096

typedef struct aegis_key {
    uint32_t hash;
    size_t size;
    const char *text;
} aegis_key;

typedef struct aegis_key_set {
    aegis_bump bump;
    aegis_key *keys;
    size_t count, capacity;
} aegis_key_set;

void aegis_key_set_init(aegis_key_set *set, const aegis_allocator *allocator);
void aegis_key_set_finish(aegis_key_set *set);
/* Adds the key that `pull` has just read. PARSE at its place when it is there already or when there
 * are too many; NO_MEMORY. */
aegis_status aegis_key_set_add(aegis_key_set *set, const aegis_json_pull *pull, aegis_error *err);

#endif

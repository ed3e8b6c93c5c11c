/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cuts were found last time, beside the profiles and under the key of the whole model's. A
 * search begins with them: their profile is in the cache, so that a second start measures nothing.
 */
#include "system/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYOUT 1
#define LARGEST_FILE (UINT64_C(1) << 16)

static void path_of(const aegis_system *system, size_t index, char *path, size_t size)
{
    snprintf(path, size, "%s/cuts-%.32s.json", system->workload->cache_dir,
             system->entries[index].whole.key);
}

/* Ascending positions, at least one and fewer than segments. */
static bool positions_from(const json_t *list, uint32_t *ret_positions, size_t *ret_count)
{
    size_t count = json_array_size(list);
    if (count == 0 || count >= AEGIS_MAX_SEGMENTS) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, i);
        json_int_t least = i == 0 ? 1 : (json_int_t)ret_positions[i - 1] + 1;
        json_int_t position = json_integer_value(one);
        if (!json_is_integer(one) || position < least || position > UINT32_MAX) {
            return false;
        }
        ret_positions[i] = (uint32_t)position;
    }
    *ret_count = count;
    return true;
}

bool aegis_system_recall_cuts(const aegis_system *system,
                              size_t index,
                              uint32_t *ret_positions,
                              size_t *ret_count)
{
    char path[4096], *bytes = NULL;
    size_t size = 0;
    path_of(system, index, path, sizeof path);
    if (system->options.fresh_profiles ||
        aegis_file_read(path, LARGEST_FILE, &system->allocator, &bytes, &size, NULL) != AEGIS_OK) {
        return false;
    }
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, NULL);
    const char *key = json_string_value(json_object_get(root, "key"));
    bool known = json_integer_value(json_object_get(root, "schema_version")) == LAYOUT &&
                 key != NULL && strcmp(key, system->entries[index].whole.key) == 0 &&
                 positions_from(json_object_get(root, "cuts"), ret_positions, ret_count);
    json_decref(root);
    aegis_file_free(&system->allocator, bytes, size);
    return known;
}

aegis_status aegis_system_remember_cuts(const aegis_system *system,
                                        size_t index,
                                        const uint32_t *positions,
                                        size_t count,
                                        aegis_error *err)
{
    char path[4096];
    path_of(system, index, path, sizeof path);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer(positions[i]));
    }
    json_t *root = json_pack("{s:i, s:s, s:s, s:o}", "schema_version", LAYOUT, "key",
                             system->entries[index].whole.key, "model", system->models[index].name,
                             "cuts", list);
    char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (text == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to remember the cuts of %s",
                               system->models[index].name);
    }
    aegis_status status = aegis_file_write_atomic(path, text, strlen(text), err);
    free(text);
    return status;
}

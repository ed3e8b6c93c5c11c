/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_SAFETENSORS_INTERNAL_H
#define AEGIS_TRANSFORMER_SAFETENSORS_INTERNAL_H

/* The parts of safetensors.c: one header (safetensors_header.c), the index (safetensors_index.c).
 */

#include "backend/transformer/model/json_pull.h"
#include "backend/transformer/model/safetensors.h"
#include "base/bump.h"

typedef struct aegis_tensor_list {
    aegis_allocator allocator;
    aegis_tensor_source *items;
    uint32_t count, capacity;
} aegis_tensor_list;

struct aegis_safetensors {
    aegis_allocator allocator;
    aegis_bump bump; /* names, paths */
    aegis_tensor_list list;
    aegis_safetensors_file *files;
    void **views; /* mappings, NULL until asked for */
    uint32_t file_count;
};

/* Appends the tensors of the open file `index` to the list, checked by themselves and against the
 * size of the file. Sets the file's data_offset. */
aegis_status
aegis_safetensors_read_header(aegis_safetensors *tensors, uint32_t index, aegis_error *err);

/* One line of an index. */
typedef struct aegis_shard_entry {
    const char *name;
    uint32_t file;
    bool found;
} aegis_shard_entry;

typedef struct aegis_shard_index {
    aegis_allocator allocator;
    const char *path;
    aegis_bump bump; /* names */
    aegis_shard_entry *entries;
    uint32_t count, capacity; /* of entries, ascending by name once read */
    const char *files[AEGIS_SAFETENSORS_MAX_FILES];
    uint32_t file_count;
} aegis_shard_index;

/* Finish also after a failure. */
aegis_status aegis_shard_index_read(aegis_shard_index *index,
                                    const char *path,
                                    const aegis_allocator *allocator,
                                    aegis_error *err);
void aegis_shard_index_finish(aegis_shard_index *index);
/* Every tensor is where the index says, and the index names every tensor. */
aegis_status aegis_shard_index_check(aegis_shard_index *index,
                                     const aegis_safetensors *tensors,
                                     aegis_error *err);

#endif

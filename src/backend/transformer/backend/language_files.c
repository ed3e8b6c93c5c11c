/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the folder of a language model. */
#include "backend/transformer/backend/language_files.h"

#include "base/base.h"

#include <stdio.h>

#define HERE AEGIS_HERE("transformer.files")
#define STANDARD_CONTEXT 1024u

aegis_status aegis_language_files_open(const char *folder,
                                       const aegis_allocator *allocator,
                                       aegis_graph_validated **graph,
                                       aegis_weights *weights,
                                       aegis_error *err)
{
    aegis_graph_loaded *loaded = NULL;
    aegis_status status = aegis_graph_load(folder, allocator, &loaded, err);
    if (status == AEGIS_OK) {
        status = aegis_graph_validate(&loaded, graph, err);
        aegis_graph_loaded_free(loaded);
    }
    return status == AEGIS_OK ? aegis_weights_init(weights, *graph, allocator, err) : status;
}

aegis_status aegis_language_files_context(const aegis_weights *weights,
                                          uint32_t wanted,
                                          uint32_t *ret_context,
                                          aegis_error *err)
{
    const uint32_t positions = weights->config->positions;
    if (wanted > positions) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                               "a context of %u tokens; the model was made for %u, write at most "
                               "that",
                               wanted, positions);
    }
    const uint32_t standard = positions < STANDARD_CONTEXT ? positions : STANDARD_CONTEXT;
    *ret_context = wanted != 0 ? wanted : standard;
    return AEGIS_OK;
}

aegis_status aegis_language_files_hash(const aegis_graph_validated *graph,
                                       const char *folder,
                                       const aegis_allocator *allocator,
                                       char ret_hash[65],
                                       aegis_error *err)
{
    const aegis_safetensors *files = aegis_graph_files(graph);
    const uint32_t count = aegis_safetensors_file_count(files);
    const size_t size = ((size_t)count + 1) * 64;
    char path[4096], *text = aegis_allocate_zeroed(allocator, size + 1, 1);
    if (text == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a hash");
    }
    snprintf(path, sizeof path, "%s/config.json", folder);
    aegis_status status = aegis_sha256_file(path, text, err);
    for (uint32_t f = 0; f < count && status == AEGIS_OK; f++) {
        status = aegis_sha256_file(aegis_safetensors_file_at(files, f)->path,
                                   text + 64 * ((size_t)f + 1), err);
    }
    if (status == AEGIS_OK) {
        status = aegis_sha256_bytes(text, size, ret_hash, err);
    }
    aegis_deallocate(allocator, text, size + 1, 1);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/graph_internal.h"
#include "base/base.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define COMPONENT "transformer.graph"

aegis_status aegis_graph_check_folder(const char *folder, aegis_error *err)
{
    struct stat info;
    if (stat(folder, &info) != 0) {
        int code = errno;
        aegis_status status = code == ENOENT || code == ENOTDIR ? AEGIS_ERROR_NOT_FOUND
                              : code == EACCES                  ? AEGIS_ERROR_PERMISSION
                                                                : AEGIS_ERROR_IO;
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), status, code,
                                      "cannot open the model folder %s: %s; 'make models' fetches "
                                      "models",
                                      folder, strerror(code));
    }
    if (!S_ISDIR(info.st_mode)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_FOUND,
                               "%s is not a folder; name the one that holds config.json", folder);
    }
    return AEGIS_OK;
}

static aegis_status read_config(aegis_graph_loaded *graph, const char *folder, aegis_error *err)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/config.json", folder) >= sizeof path) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_FOUND,
                               "the path of the model folder is longer than %d bytes",
                               PATH_MAX - 1);
    }
    return aegis_model_config_read(path, &graph->allocator, &graph->config, err);
}

aegis_status aegis_graph_load(const char *folder,
                              const aegis_allocator *allocator,
                              aegis_graph_loaded **ret_graph,
                              aegis_error *err)
{
    aegis_status status = aegis_graph_check_folder(folder, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_graph_loaded *graph = aegis_allocate_zeroed(allocator, 1, sizeof *graph);
    if (graph == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a model");
    }
    graph->allocator = *allocator;
    status = read_config(graph, folder, err);
    if (status == AEGIS_OK) {
        status = aegis_safetensors_open(folder, allocator, &graph->files, err);
    }
    if (status != AEGIS_OK) {
        aegis_graph_loaded_free(graph);
        return status;
    }
    *ret_graph = graph;
    return AEGIS_OK;
}

void aegis_graph_loaded_free(aegis_graph_loaded *graph)
{
    if (graph != NULL) {
        aegis_allocator allocator = graph->allocator;
        aegis_safetensors_close(graph->files);
        aegis_deallocate(&allocator, graph, 1, sizeof *graph);
    }
}

void aegis_graph_free(aegis_graph_validated *graph)
{
    if (graph != NULL) {
        aegis_allocator allocator = graph->allocator;
        aegis_safetensors_close(graph->files);
        aegis_bump_finish(&graph->bump);
        aegis_deallocate(&allocator, graph, 1, sizeof *graph);
    }
}

const aegis_decoder_config *aegis_graph_config(const aegis_graph_validated *graph)
{
    return &graph->config;
}

uint32_t aegis_graph_layer_count(const aegis_graph_validated *graph)
{
    return graph->layer_count;
}

const aegis_graph_layer *aegis_graph_layer_at(const aegis_graph_validated *graph, uint32_t index)
{
    return index < graph->layer_count ? &graph->layers[index] : NULL;
}

aegis_safetensors *aegis_graph_files(const aegis_graph_validated *graph)
{
    return graph->files;
}

uint64_t aegis_graph_weight_bytes(const aegis_graph_validated *graph)
{
    return graph->weight_bytes;
}

uint32_t aegis_graph_ignored_count(const aegis_graph_validated *graph)
{
    return graph->ignored_count;
}

uint64_t aegis_graph_ignored_bytes(const aegis_graph_validated *graph)
{
    return graph->ignored_bytes;
}

const aegis_graph_tensor *aegis_graph_tensor_of(const aegis_graph_layer *layer,
                                                aegis_tensor_role role)
{
    for (uint32_t i = 0; i < layer->tensor_count; i++) {
        if (layer->tensors[i].role == role) {
            return &layer->tensors[i];
        }
    }
    return NULL;
}

const char *aegis_tensor_role_name(aegis_tensor_role role)
{
    static const char *const names[AEGIS_ROLE_COUNT] = {
        [AEGIS_ROLE_TOKEN_EMBEDDING] = "token_embedding",
        [AEGIS_ROLE_POSITION_EMBEDDING] = "position_embedding",
        [AEGIS_ROLE_ATTENTION_NORM] = "attention_norm",
        [AEGIS_ROLE_ATTENTION_NORM_BIAS] = "attention_norm_bias",
        [AEGIS_ROLE_QUERY] = "query",
        [AEGIS_ROLE_KEY] = "key",
        [AEGIS_ROLE_VALUE] = "value",
        [AEGIS_ROLE_QUERY_KEY_VALUE] = "query_key_value",
        [AEGIS_ROLE_QUERY_KEY_VALUE_BIAS] = "query_key_value_bias",
        [AEGIS_ROLE_ATTENTION_OUTPUT] = "attention_output",
        [AEGIS_ROLE_ATTENTION_OUTPUT_BIAS] = "attention_output_bias",
        [AEGIS_ROLE_FEED_FORWARD_NORM] = "feed_forward_norm",
        [AEGIS_ROLE_FEED_FORWARD_NORM_BIAS] = "feed_forward_norm_bias",
        [AEGIS_ROLE_GATE] = "gate",
        [AEGIS_ROLE_UP] = "up",
        [AEGIS_ROLE_UP_BIAS] = "up_bias",
        [AEGIS_ROLE_DOWN] = "down",
        [AEGIS_ROLE_DOWN_BIAS] = "down_bias",
        [AEGIS_ROLE_FINAL_NORM] = "final_norm",
        [AEGIS_ROLE_FINAL_NORM_BIAS] = "final_norm_bias",
        [AEGIS_ROLE_HEAD] = "head",
    };
    return (unsigned)role < AEGIS_ROLE_COUNT ? names[role] : "unknown";
}

const char *aegis_layer_kind_name(aegis_layer_kind kind)
{
    switch (kind) {
    case AEGIS_LAYER_EMBEDDING:
        return "embedding";
    case AEGIS_LAYER_BLOCK:
        return "block";
    case AEGIS_LAYER_FINAL_NORM:
        return "final_norm";
    case AEGIS_LAYER_HEAD:
        return "head";
    }
    return "unknown";
}

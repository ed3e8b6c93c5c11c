/* SPDX-License-Identifier: Apache-2.0 */
/* The C side of check_converter.py: describe_model FOLDER prints one line for each tensor of the
 * validated graph: role, block, rows, columns, dtype, file, offset, bytes, offset of the scales or
 * 0. */
#include "backend/transformer/model/graph.h"

#include <inttypes.h>
#include <stdio.h>

static void print_tensor(const aegis_graph_validated *graph,
                         const aegis_graph_layer *layer,
                         const aegis_graph_tensor *tensor)
{
    const aegis_tensor_source *source = tensor->source;
    printf("%s %u %" PRIu64 " %" PRIu64 " %s %s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
           aegis_tensor_role_name(tensor->role), layer->block, tensor->rows, tensor->columns,
           aegis_dtype_name(source->dtype),
           aegis_safetensors_file_at(aegis_graph_files(graph), source->file)->path, source->offset,
           source->bytes, tensor->scales == NULL ? 0 : tensor->scales->offset);
}

int main(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_graph_loaded *loaded = NULL;
    aegis_graph_validated *graph = NULL;
    aegis_error error = {0};
    if (argc != 2 || aegis_graph_load(argv[1], &allocator, &loaded, &error) != AEGIS_OK ||
        aegis_graph_validate(&loaded, &graph, &error) != AEGIS_OK) {
        fprintf(stderr, "%s\n", error.message);
        aegis_graph_loaded_free(loaded);
        return 1;
    }
    for (uint32_t i = 0; i < aegis_graph_layer_count(graph); i++) {
        const aegis_graph_layer *layer = aegis_graph_layer_at(graph, i);
        for (uint32_t k = 0; k < layer->tensor_count; k++) {
            print_tensor(graph, layer, &layer->tensors[k]);
        }
    }
    aegis_graph_free(graph);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/weights.h"

#include "base/base.h"

#define HERE AEGIS_HERE("transformer.weights")

static aegis_matrix matrix_of(const aegis_graph_tensor *tensor, uint32_t unit)
{
    return (aegis_matrix){
        .tensor = tensor,
        .layout = tensor->transposed ? AEGIS_LAYOUT_COLUMNS : AEGIS_LAYOUT_ROWS,
        .inputs = (uint32_t)tensor->columns,
        .outputs = (uint32_t)tensor->rows,
        .unit = unit,
    };
}

/* Adds a unit for the layer's tensor of that role. Shapes fit 32 bits: config.h bounds them. */
static aegis_matrix
add_unit(aegis_weights *weights, uint32_t layer, aegis_tensor_role role, bool lookup)
{
    const aegis_graph_tensor *tensor =
        aegis_graph_tensor_of(aegis_graph_layer_at(weights->graph, layer), role);
    if (tensor == NULL) {
        return (aegis_matrix){0};
    }
    const uint64_t rows = tensor->transposed ? tensor->columns : tensor->rows;
    const uint64_t columns = tensor->transposed ? tensor->rows : tensor->columns;
    weights->units[weights->unit_count] = (aegis_partition_unit){
        .layer = layer,
        .rows = (uint32_t)rows,
        .row_bytes = columns * aegis_dtype_bytes(tensor->source->dtype),
        .file = tensor->source->file,
        .offset = tensor->source->offset,
        .lookup = lookup,
    };
    return matrix_of(tensor, weights->unit_count++);
}

static void add_block(aegis_weights *weights, uint32_t layer, aegis_block_weights *block)
{
    if (weights->config->architecture == AEGIS_ARCHITECTURE_GPT2) {
        block->qkv[block->qkv_count++] =
            add_unit(weights, layer, AEGIS_ROLE_QUERY_KEY_VALUE, false);
    } else {
        block->qkv[block->qkv_count++] = add_unit(weights, layer, AEGIS_ROLE_QUERY, false);
        block->qkv[block->qkv_count++] = add_unit(weights, layer, AEGIS_ROLE_KEY, false);
        block->qkv[block->qkv_count++] = add_unit(weights, layer, AEGIS_ROLE_VALUE, false);
    }
    block->output = add_unit(weights, layer, AEGIS_ROLE_ATTENTION_OUTPUT, false);
    if (weights->config->architecture == AEGIS_ARCHITECTURE_LLAMA) {
        block->up[block->up_count++] = add_unit(weights, layer, AEGIS_ROLE_GATE, false);
    }
    block->up[block->up_count++] = add_unit(weights, layer, AEGIS_ROLE_UP, false);
    block->down = add_unit(weights, layer, AEGIS_ROLE_DOWN, false);
}

static void add_units(aegis_weights *weights)
{
    const uint32_t layers = weights->config->layers;
    for (uint32_t block = 0; block < layers; block++) {
        add_block(weights, block + 1, &weights->blocks[block]);
    }
    const aegis_graph_layer *head = aegis_graph_layer_at(weights->graph, layers + 2);
    /* A tied head's one tensor keeps the role that it has in the embedding. */
    weights->head = add_unit(weights, layers + 2, head->tensors[0].role, false);
    weights->tokens =
        head->tied ? weights->head : add_unit(weights, 0, AEGIS_ROLE_TOKEN_EMBEDDING, true);
    if (weights->config->architecture == AEGIS_ARCHITECTURE_GPT2) {
        weights->positions = add_unit(weights, 0, AEGIS_ROLE_POSITION_EMBEDDING, true);
    }
}

static uint64_t vector_bytes(const aegis_graph_validated *graph)
{
    uint64_t values = 0;
    for (uint32_t l = 0; l < aegis_graph_layer_count(graph); l++) {
        const aegis_graph_layer *layer = aegis_graph_layer_at(graph, l);
        for (uint32_t t = 0; t < layer->tensor_count; t++) {
            const aegis_graph_tensor *tensor = &layer->tensors[t];
            const bool vector = tensor->columns == 1 && tensor->source->rank == 1;
            values += vector ? tensor->rows : 0;
            values += tensor->scales != NULL && !layer->tied ? tensor->rows : 0;
        }
    }
    return values * sizeof(float);
}

aegis_status aegis_weights_init(aegis_weights *weights,
                                const aegis_graph_validated *graph,
                                const aegis_allocator *allocator,
                                aegis_error *err)
{
    const aegis_decoder_config *config = aegis_graph_config(graph);
    aegis_weights made = {.allocator = *allocator, .graph = graph, .config = config};
    made.blocks = aegis_allocate_zeroed(allocator, config->layers, sizeof *made.blocks);
    made.units =
        aegis_allocate_zeroed(allocator, (size_t)config->layers * 7 + 3, sizeof *made.units);
    if (made.blocks == NULL || made.units == NULL) {
        aegis_weights_finish(&made);
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for the tables of %u layers", config->layers);
    }
    add_units(&made);
    made.vector_bytes = vector_bytes(graph);
    *weights = made;
    return AEGIS_OK;
}

void aegis_weights_finish(aegis_weights *weights)
{
    aegis_weight_stream_destroy(weights->stream);
    if (weights->pinned != NULL) {
        aegis_pages_unmap(weights->pinned, weights->partition->pinned_bytes);
    }
    aegis_pages_unmap(weights->row, weights->row_bytes);
    aegis_weight_reader_close(&weights->reader);
    if (weights->config != NULL) {
        aegis_deallocate(&weights->allocator, weights->vectors, 1, weights->vector_bytes);
        aegis_deallocate(&weights->allocator, weights->blocks, weights->config->layers,
                         sizeof *weights->blocks);
        aegis_deallocate(&weights->allocator, weights->units,
                         (size_t)weights->config->layers * 7 + 3, sizeof *weights->units);
    }
    *weights = (aegis_weights){0};
}

uint64_t aegis_weights_row_bytes(const aegis_weights *weights)
{
    uint64_t row =
        (uint64_t)weights->tokens.inputs * aegis_dtype_bytes(weights->tokens.tensor->source->dtype);
    if (weights->positions.tensor != NULL) {
        const uint64_t other = (uint64_t)weights->positions.inputs *
                               aegis_dtype_bytes(weights->positions.tensor->source->dtype);
        row = other > row ? other : row;
    }
    return aegis_align_up(row, AEGIS_READ_BLOCK) + AEGIS_READ_BLOCK;
}

/* The pinned bytes of the row, or NULL. */
static const uint8_t *
pinned_row(const aegis_weights *weights, const aegis_matrix *table, uint32_t row)
{
    uint32_t low = table->first_piece, high = low + table->piece_count;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (weights->partition->pieces[middle].first <= row) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const aegis_partition_piece *piece = &weights->partition->pieces[low];
    if (piece->group != AEGIS_PARTITION_PINNED) {
        return NULL;
    }
    return weights->pinned + piece->offset +
           weights->units[table->unit].row_bytes * (row - piece->first);
}

aegis_status aegis_weights_lookup(aegis_weights *weights,
                                  const aegis_matrix *table,
                                  uint32_t row,
                                  const aegis_kernels *kernels,
                                  float *ret_values,
                                  aegis_error *err)
{
    const uint8_t *bytes = pinned_row(weights, table, row);
    if (bytes == NULL) {
        const aegis_partition_unit *unit = &weights->units[table->unit];
        const uint64_t at = unit->offset + unit->row_bytes * row;
        const uint64_t begin = at / AEGIS_READ_BLOCK * AEGIS_READ_BLOCK;
        const uint64_t size = aegis_align_up(at + unit->row_bytes - begin, AEGIS_READ_BLOCK);
        aegis_status status =
            aegis_weight_read(&weights->reader, unit->file, begin, size, weights->row, err);
        if (status != AEGIS_OK) {
            return status;
        }
        weights->lookup_bytes += size;
        bytes = (const uint8_t *)weights->row + (at - begin);
    }
    kernels->widen(table->tensor->source->dtype, bytes, table->inputs, ret_values);
    if (table->scales != NULL) {
        kernels->scale(table->scales[row], table->inputs, ret_values);
    }
    return AEGIS_OK;
}

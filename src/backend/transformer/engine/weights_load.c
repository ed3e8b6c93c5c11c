/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/weights.h"

#include "backend/transformer/tensor/bands.h"
#include "base/base.h"

#include <assert.h>

#define HERE AEGIS_HERE("transformer.weights")

/* --- norms, biases and scales: f32 in memory, whatever they are in the file ------------------- */

typedef struct vector_loader {
    aegis_weights *weights;
    aegis_load_part *parts;
    const aegis_tensor_source **sources;
    uint8_t *raw;
    uint64_t raw_bytes;
    uint32_t count;
} vector_loader;

static void want(vector_loader *loader, const aegis_tensor_source *source)
{
    loader->sources[loader->count] = source;
    loader->parts[loader->count++] =
        (aegis_load_part){.file = source->file, .offset = source->offset, .bytes = source->bytes};
    loader->raw_bytes += source->bytes;
}

static uint32_t most_vectors(const aegis_graph_validated *graph)
{
    uint32_t count = 0;
    for (uint32_t l = 0; l < aegis_graph_layer_count(graph); l++) {
        count += 2 * aegis_graph_layer_at(graph, l)->tensor_count;
    }
    return count;
}

static void want_all(vector_loader *loader)
{
    const aegis_graph_validated *graph = loader->weights->graph;
    for (uint32_t l = 0; l < aegis_graph_layer_count(graph); l++) {
        const aegis_graph_layer *layer = aegis_graph_layer_at(graph, l);
        for (uint32_t t = 0; t < layer->tensor_count; t++) {
            const aegis_graph_tensor *tensor = &layer->tensors[t];
            if (tensor->columns == 1 && tensor->source->rank == 1) {
                want(loader, tensor->source);
            }
            if (tensor->scales != NULL && !layer->tied) {
                want(loader, tensor->scales);
            }
        }
    }
}

static aegis_status
read_vectors(vector_loader *loader, const aegis_kernels *kernels, aegis_error *err)
{
    aegis_weights *weights = loader->weights;
    uint64_t at = 0;
    for (uint32_t i = 0; i < loader->count; i++) {
        loader->parts[i].to = loader->raw + at;
        at += loader->parts[i].bytes;
    }
    aegis_status status = aegis_weight_load(&weights->reader, loader->parts, loader->count, 2, err);
    float *to = weights->vectors;
    for (uint32_t i = 0; status == AEGIS_OK && i < loader->count; i++) {
        const aegis_tensor_source *source = loader->sources[i];
        assert(aegis_dtype_bytes(source->dtype) > 0); /* a validated graph has nothing else */
        const uint64_t values = source->bytes / aegis_dtype_bytes(source->dtype);
        kernels->widen(source->dtype, loader->parts[i].to, (uint32_t)values, to);
        to += values;
    }
    return status;
}

/* Where the vector of a source lies: the same order again. */
static const float *vector_at(const vector_loader *loader, const aegis_tensor_source *source)
{
    const float *at = loader->weights->vectors;
    for (uint32_t i = 0; source != NULL && i < loader->count; i++) {
        if (loader->sources[i] == source) {
            return at;
        }
        at += loader->sources[i]->bytes / aegis_dtype_bytes(loader->sources[i]->dtype);
    }
    return NULL;
}

static const float *
role_at(const vector_loader *loader, const aegis_graph_layer *layer, aegis_tensor_role role)
{
    const aegis_graph_tensor *tensor = aegis_graph_tensor_of(layer, role);
    return tensor != NULL ? vector_at(loader, tensor->source) : NULL;
}

static void bind_scales(const vector_loader *loader, aegis_matrix *matrix)
{
    if (matrix->tensor != NULL) {
        matrix->scales = vector_at(loader, matrix->tensor->scales);
    }
}

static void bind_vectors(vector_loader *loader)
{
    aegis_weights *weights = loader->weights;
    const uint32_t layers = weights->config->layers;
    for (uint32_t b = 0; b < layers; b++) {
        const aegis_graph_layer *layer = aegis_graph_layer_at(weights->graph, b + 1);
        aegis_block_weights *block = &weights->blocks[b];
        block->attention_norm = role_at(loader, layer, AEGIS_ROLE_ATTENTION_NORM);
        block->attention_norm_bias = role_at(loader, layer, AEGIS_ROLE_ATTENTION_NORM_BIAS);
        block->feed_forward_norm = role_at(loader, layer, AEGIS_ROLE_FEED_FORWARD_NORM);
        block->feed_forward_norm_bias = role_at(loader, layer, AEGIS_ROLE_FEED_FORWARD_NORM_BIAS);
        block->qkv_bias = role_at(loader, layer, AEGIS_ROLE_QUERY_KEY_VALUE_BIAS);
        block->output_bias = role_at(loader, layer, AEGIS_ROLE_ATTENTION_OUTPUT_BIAS);
        block->up_bias = role_at(loader, layer, AEGIS_ROLE_UP_BIAS);
        block->down_bias = role_at(loader, layer, AEGIS_ROLE_DOWN_BIAS);
        for (uint32_t i = 0; i < block->qkv_count; i++) {
            bind_scales(loader, &block->qkv[i]);
        }
        for (uint32_t i = 0; i < block->up_count; i++) {
            bind_scales(loader, &block->up[i]);
        }
        bind_scales(loader, &block->output);
        bind_scales(loader, &block->down);
    }
    const aegis_graph_layer *norm = aegis_graph_layer_at(weights->graph, layers + 1);
    weights->final_norm = role_at(loader, norm, AEGIS_ROLE_FINAL_NORM);
    weights->final_norm_bias = role_at(loader, norm, AEGIS_ROLE_FINAL_NORM_BIAS);
    bind_scales(loader, &weights->head);
    bind_scales(loader, &weights->tokens);
    bind_scales(loader, &weights->positions);
}

static aegis_status load_vectors(aegis_weights *weights, aegis_error *err)
{
    const aegis_allocator *allocator = &weights->allocator;
    const uint32_t most = most_vectors(weights->graph);
    vector_loader loader = {.weights = weights};
    loader.parts = aegis_allocate_zeroed(allocator, most, sizeof *loader.parts);
    loader.sources = aegis_allocate_zeroed(allocator, most, sizeof *loader.sources);
    weights->vectors = aegis_allocate_zeroed(allocator, 1, weights->vector_bytes);
    if (loader.parts != NULL && loader.sources != NULL) {
        want_all(&loader);
        loader.raw = aegis_allocate_zeroed(allocator, 1, loader.raw_bytes);
    }
    aegis_status status = AEGIS_OK;
    if (weights->vectors == NULL || loader.raw == NULL) {
        status = aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                                 "no memory for %u norms and biases", loader.count);
    }
    if (status == AEGIS_OK) {
        status = read_vectors(&loader, aegis_kernels_choose(), err);
    }
    if (status == AEGIS_OK) {
        bind_vectors(&loader);
    }
    aegis_deallocate(allocator, loader.raw, 1, loader.raw_bytes);
    aegis_deallocate(allocator, loader.sources, most, sizeof *loader.sources);
    aegis_deallocate(allocator, loader.parts, most, sizeof *loader.parts);
    return status;
}

/* --- pinned pieces ---------------------------------------------------------------------------- */

static aegis_status load_pinned(aegis_weights *weights, uint32_t threads, aegis_error *err)
{
    const aegis_partition *plan = weights->partition;
    const aegis_allocator *allocator = &weights->allocator;
    if (plan->pinned_bytes == 0) {
        return AEGIS_OK;
    }
    weights->pinned = aegis_pages_map(plan->pinned_bytes);
    aegis_load_part *parts = aegis_allocate_zeroed(allocator, plan->piece_count, sizeof *parts);
    if (weights->pinned == NULL || parts == NULL) {
        aegis_deallocate(allocator, parts, plan->piece_count, sizeof *parts);
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for %llu bytes of weights",
                               (unsigned long long)plan->pinned_bytes);
    }
    uint32_t count = 0;
    for (uint32_t p = 0; p < plan->piece_count; p++) {
        const aegis_partition_piece *piece = &plan->pieces[p];
        const aegis_partition_unit *unit = &weights->units[piece->unit];
        if (piece->group != AEGIS_PARTITION_PINNED) {
            continue;
        }
        const aegis_load_part part = {.file = unit->file,
                                      .offset = unit->offset + unit->row_bytes * piece->first,
                                      .bytes = unit->row_bytes * piece->count,
                                      .to = weights->pinned + piece->offset};
        aegis_load_part *last = count > 0 ? &parts[count - 1] : NULL;
        if (last != NULL && last->file == part.file && last->offset + last->bytes == part.offset &&
            last->to + last->bytes == part.to) {
            last->bytes += part.bytes;
        } else {
            parts[count++] = part;
        }
    }
    aegis_status status = aegis_weight_load(&weights->reader, parts, count, threads, err);
    aegis_deallocate(allocator, parts, plan->piece_count, sizeof *parts);
    return status;
}

/* --- which pieces are whose ------------------------------------------------------------------- */

static void bind_pieces(aegis_weights *weights, aegis_matrix *matrix)
{
    const aegis_partition *plan = weights->partition;
    if (matrix->tensor == NULL) {
        return;
    }
    uint32_t p = 0;
    while (plan->pieces[p].unit != matrix->unit) {
        p++;
    }
    matrix->first_piece = p;
    while (p < plan->piece_count && plan->pieces[p].unit == matrix->unit) {
        p++;
    }
    matrix->piece_count = p - matrix->first_piece;
}

static void bind_partition(aegis_weights *weights)
{
    const aegis_partition *plan = weights->partition;
    for (uint32_t b = 0; b < weights->config->layers; b++) {
        aegis_block_weights *block = &weights->blocks[b];
        for (uint32_t i = 0; i < block->qkv_count; i++) {
            bind_pieces(weights, &block->qkv[i]);
        }
        for (uint32_t i = 0; i < block->up_count; i++) {
            bind_pieces(weights, &block->up[i]);
        }
        bind_pieces(weights, &block->output);
        bind_pieces(weights, &block->down);
    }
    bind_pieces(weights, &weights->head);
    bind_pieces(weights, &weights->tokens);
    bind_pieces(weights, &weights->positions);
    weights->head_piece = weights->head.first_piece;
    weights->headless_groups = 0;
    while (weights->headless_groups < plan->group_count &&
           plan->groups[weights->headless_groups].first_piece < weights->head_piece) {
        weights->headless_groups++;
    }
}

/* --- matrices in bands ------------------------------------------------------------------------ */

/* Whether all of the matrix is pinned, in one place. */
static bool lies_whole(const aegis_weights *weights, const aegis_matrix *matrix)
{
    const aegis_partition_piece *pieces = &weights->partition->pieces[matrix->first_piece];
    const uint64_t row_bytes = weights->units[matrix->unit].row_bytes;
    for (uint32_t p = 0; p < matrix->piece_count; p++) {
        if (pieces[p].group != AEGIS_PARTITION_PINNED ||
            pieces[p].offset != pieces[0].offset + row_bytes * pieces[p].first) {
            return false;
        }
    }
    return true;
}

static aegis_status put_into_bands(aegis_weights *weights, aegis_matrix *matrix, aegis_error *err)
{
    if (matrix->layout != AEGIS_LAYOUT_COLUMNS || !aegis_bands_fit(matrix->outputs) ||
        !lies_whole(weights, matrix)) {
        return AEGIS_OK;
    }
    uint8_t *data = weights->pinned + weights->partition->pieces[matrix->first_piece].offset;
    matrix->layout = AEGIS_LAYOUT_BANDS;
    return aegis_bands_arrange(matrix->tensor->source->dtype, matrix->inputs, matrix->outputs, data,
                               &weights->allocator, err);
}

static aegis_status arrange_pinned(aegis_weights *weights, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint32_t b = 0; status == AEGIS_OK && b < weights->config->layers; b++) {
        aegis_block_weights *block = &weights->blocks[b];
        for (uint32_t i = 0; status == AEGIS_OK && i < block->qkv_count; i++) {
            status = put_into_bands(weights, &block->qkv[i], err);
        }
        for (uint32_t i = 0; status == AEGIS_OK && i < block->up_count; i++) {
            status = put_into_bands(weights, &block->up[i], err);
        }
        if (status == AEGIS_OK) {
            status = put_into_bands(weights, &block->output, err);
        }
        if (status == AEGIS_OK) {
            status = put_into_bands(weights, &block->down, err);
        }
    }
    return status;
}

aegis_status aegis_weights_load(aegis_weights *weights,
                                const aegis_partition *partition,
                                uint32_t read_threads,
                                uint64_t read_bytes,
                                aegis_error *err)
{
    weights->partition = partition;
    weights->row_bytes = aegis_weights_row_bytes(weights);
    weights->row = aegis_pages_map(weights->row_bytes);
    if (weights->row == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a row of a table");
    }
    aegis_status status = aegis_weight_reader_open(
        &weights->reader, aegis_graph_files(weights->graph), &weights->allocator, err);
    if (status == AEGIS_OK) {
        status = load_vectors(weights, err);
    }
    if (status == AEGIS_OK) {
        status = load_pinned(weights, read_threads, err);
    }
    if (status == AEGIS_OK) {
        bind_partition(weights);
        status = arrange_pinned(weights, err);
    }
    if (status == AEGIS_OK && partition->group_count > 0) {
        status = aegis_weight_stream_create(&weights->reader, partition, read_threads, read_bytes,
                                            &weights->allocator, &weights->stream, err);
    }
    return status;
}

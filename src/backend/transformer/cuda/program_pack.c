/* SPDX-License-Identifier: Apache-2.0 */
/* What of a model lies where in a CUDA device's memory, and bringing it into that form. */
#include "backend/transformer/cuda/program_internal.h"

#include "base/base.h"

#include <math.h>
#include <string.h>

#define HERE AEGIS_HERE("transformer.cuda")

/* ---- sizes and places ---- */

static uint64_t take(uint64_t *used, uint64_t bytes)
{
    const uint64_t at = *used;
    *used = aegis_align_up(at + bytes, AEGIS_PROGRAM_ALIGNMENT);
    return at;
}

static uint64_t table_bytes(const aegis_matrix *table)
{
    return (uint64_t)table->outputs * table->inputs *
           aegis_dtype_bytes(table->tensor->source->dtype);
}

static bool is_tied(const aegis_program *program)
{
    return program->weights.tokens.unit == program->weights.head.unit;
}

/* Floats; each vector begins at a multiple of 16 bytes. */
static uint32_t take_floats(uint32_t *used, uint32_t count)
{
    const uint32_t at = *used;
    *used = (at + count + 3) / 4 * 4;
    return at;
}

static void place_vectors(aegis_program *program)
{
    const aegis_decoder_config *config = program->weights.config;
    aegis_decode_vectors *at = &program->step.at;
    at->attention_norm = take_floats(&at->stride, 2 * config->width);
    at->feed_forward_norm = take_floats(&at->stride, 2 * config->width);
    if (program->step.biases) {
        for (uint32_t p = 0; p < AEGIS_DECODE_LAYER_PRODUCTS; p++) {
            at->biases[p] = take_floats(&at->stride, program->step.rows[p]);
        }
    }
}

static void place_fixed(aegis_program *program)
{
    const aegis_decode_layout *layout = &program->layout;
    const aegis_weights *weights = &program->weights;
    const aegis_decoder_config *config = weights->config;
    program_places *at = &program->places;
    uint64_t used = 0;
    at->head = take(&used, (uint64_t)layout->head_units * AEGIS_DECODE_UNIT_BYTES);
    at->tokens = is_tied(program) ? 0 : take(&used, table_bytes(&weights->tokens));
    at->positions =
        weights->positions.tensor == NULL ? 0 : take(&used, table_bytes(&weights->positions));
    at->vectors = take(&used, (uint64_t)config->layers * program->step.at.stride * sizeof(float));
    at->final_norm = take(&used, 2 * (uint64_t)config->width * sizeof(float));
    at->frequencies = take(&used, config->head_width / 2 * sizeof(float));
    at->shares =
        take(&used, (uint64_t)layout->blocks * AEGIS_DECODE_PRODUCTS * sizeof *layout->shares);
    at->lanes = take(&used, (uint64_t)layout->blocks * layout->warps * sizeof *layout->lanes);
    at->head_tiles =
        take(&used, layout->products[AEGIS_DECODE_HEAD].tiles * sizeof *layout->head_tiles);
    program->facts.fixed_bytes = used;
}

static void place_work(aegis_program *program)
{
    const aegis_decode_step *step = &program->step;
    program_work *at = &program->work;
    uint64_t used = 0;
    at->control = take(&used, sizeof(aegis_decode_control));
    at->best = take(&used, step->blocks * sizeof(uint64_t));
    at->exchange = take(&used, program->exchange_packets * sizeof(uint64_t));
    for (uint32_t i = 0; i < AEGIS_PROGRAM_CROSSINGS;
         i++) { /* the stream, and the mean of its last norm */
        at->crossing[i] = take(&used, ((uint64_t)step->width + 1) * sizeof(float));
    }
    program->facts.crossing_bytes = ((uint64_t)step->width + 1) * sizeof(float);
    program->facts.work_bytes = used;
}

void aegis_program_place(aegis_program *program)
{
    const aegis_decoder_config *config = program->weights.config;
    const aegis_decode_layout *layout = &program->layout;
    const aegis_decode_form form = aegis_decode_form_at(program->form);
    aegis_program_facts *facts = &program->facts;
    place_vectors(program);
    place_fixed(program);
    place_work(program);
    facts->architecture = aegis_architecture_name(config->architecture);
    facts->dtype = aegis_dtype_name(program->dtype);
    facts->layers = config->layers;
    facts->vocabulary = config->vocabulary;
    facts->context = program->context;
    facts->blocks = program->step.blocks;
    facts->warps = form.warps;
    facts->depth = form.depth;
    facts->clusters = form.clusters;
    facts->layer_bytes = aegis_align_up((uint64_t)layout->layer_units * AEGIS_DECODE_UNIT_BYTES,
                                        AEGIS_PROGRAM_ALIGNMENT);
    facts->cache_bytes = (uint64_t)config->layers * 2 * config->kv_heads * program->context *
                         config->head_width * sizeof(float);
    facts->step_bytes = ((uint64_t)layout->layer_units * config->layers + layout->head_units) *
                        AEGIS_DECODE_UNIT_BYTES;
    facts->heap_bytes = sizeof *program +
                        (uint64_t)layout->blocks * layout->warps * sizeof *layout->lanes +
                        layout->products[AEGIS_DECODE_HEAD].tiles * sizeof *layout->head_tiles;
    for (uint32_t p = 0; p < AEGIS_DECODE_PRODUCTS; p++) {
        facts->matrix_bytes += (uint64_t)layout->products[p].rows * layout->products[p].columns *
                               aegis_dtype_bytes(program->dtype) *
                               (p == AEGIS_DECODE_HEAD ? 1 : config->layers);
    }
}

/* ---- contents ---- */

static aegis_status data_of(aegis_program *program,
                            const aegis_tensor_source *source,
                            const uint8_t **ret_data,
                            aegis_error *err)
{
    const void *bytes = NULL;
    aegis_status status =
        aegis_safetensors_map(aegis_graph_files(program->graph), source->file, &bytes, err);
    if (status == AEGIS_OK) {
        *ret_data = (const uint8_t *)bytes + source->offset;
    }
    return status;
}

static aegis_status source_of(aegis_program *program,
                              const aegis_matrix *matrix,
                              aegis_decode_source *ret_source,
                              aegis_error *err)
{
    const uint8_t *data = NULL;
    aegis_status status = data_of(program, matrix->tensor->source, &data, err);
    if (status == AEGIS_OK) {
        *ret_source = (aegis_decode_source){.data = data,
                                            .rows = matrix->outputs,
                                            .transposed = matrix->layout == AEGIS_LAYOUT_COLUMNS};
    }
    return status;
}

static void pack_sources(const aegis_program *program,
                         uint32_t product,
                         const aegis_decode_source *sources,
                         uint32_t count,
                         bool in_turns,
                         void *to)
{
    const aegis_decode_matrix matrix = {.sources = sources,
                                        .count = count,
                                        .in_turns = in_turns,
                                        .rows = program->layout.products[product].rows,
                                        .columns = program->layout.products[product].columns,
                                        .element_bytes =
                                            (uint32_t)aegis_dtype_bytes(program->dtype)};
    if (program->step.clusters.clusters != 0) {
        aegis_clusters_pack(&program->step.clusters, product, &matrix, to);
    } else {
        aegis_decode_pack(&program->layout, product, &matrix, to);
    }
}

static aegis_status pack_product(aegis_program *program,
                                 uint32_t product,
                                 const aegis_matrix *matrices,
                                 uint32_t count,
                                 bool in_turns,
                                 void *to,
                                 aegis_error *err)
{
    aegis_decode_source sources[3];
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; i < count && status == AEGIS_OK; i++) {
        status = source_of(program, &matrices[i], &sources[i], err);
    }
    if (status == AEGIS_OK) {
        pack_sources(program, product, sources, count, in_turns, to);
    }
    return status;
}

/* Whether the matrices behind a layer's norms have these within. */
static bool folds_norms(const aegis_program *program)
{
    return program->step.clusters.clusters != 0 && AEGIS_CLUSTERS_FOLD(program->type);
}

/* A vector as f32, every `step`-th float from `to` on: runs of two, then a gap of two, for norms.
 * Where there is none it stays zero. */
static aegis_status put_vector(aegis_program *program,
                               uint32_t layer,
                               aegis_tensor_role role,
                               bool in_pairs,
                               float *to,
                               aegis_error *err)
{
    const aegis_graph_tensor *tensor =
        aegis_graph_tensor_of(aegis_graph_layer_at(program->graph, layer), role);
    const uint8_t *data = NULL;
    if (tensor == NULL) {
        return AEGIS_OK;
    }
    aegis_status status = data_of(program, tensor->source, &data, err);
    const size_t bytes = aegis_dtype_bytes(tensor->source->dtype);
    for (uint64_t i = 0; status == AEGIS_OK && i < tensor->rows; i++) {
        uint32_t aligned = 0; /* the files promise 8 bytes only for the first value */
        memcpy(&aligned, data + i * bytes, bytes);
        const uint64_t at = in_pairs ? i / 2 * 4 + i % 2 : i;
        switch (tensor->source->dtype) {
        case AEGIS_DTYPE_F32:
            memcpy(&to[at], &aligned, sizeof(float));
            break;
        case AEGIS_DTYPE_F16:
            to[at] = aegis_half_to_float((uint16_t)aligned);
            break;
        case AEGIS_DTYPE_BF16:
            to[at] = aegis_bfloat_to_float((uint16_t)aligned);
            break;
        case AEGIS_DTYPE_I8:
        case AEGIS_DTYPE_OTHER:
            break; /* a validated graph has none */
        }
    }
    return status;
}

/* The matrix behind a norm, of one of whose tensors `scale` tells. */
static aegis_status pack_behind_norm(aegis_program *program,
                                     uint32_t block,
                                     uint32_t product,
                                     aegis_tensor_role scale,
                                     void *to,
                                     aegis_error *err)
{
    const aegis_block_weights *weights = &program->weights.blocks[block];
    const bool up = product == AEGIS_DECODE_UP;
    const aegis_matrix *matrices = up ? weights->up : weights->qkv;
    const uint32_t count = up ? weights->up_count : weights->qkv_count;
    if (!folds_norms(program)) {
        return pack_product(program, product, matrices, count, up, to, err);
    }
    const uint32_t columns = matrices->inputs; /* one matrix, of a GPT-2 */
    const size_t floats = ((size_t)matrices->outputs + 1) * columns;
    float *folded = aegis_allocate_zeroed(&program->allocator, floats, sizeof *folded);
    if (folded == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for the %zu values of a matrix", floats);
    }
    float *factors = folded + floats - columns;
    aegis_decode_source source;
    aegis_status status = source_of(program, matrices, &source, err);
    if (status == AEGIS_OK) {
        status = put_vector(program, block + 1, scale, false, factors, err);
    }
    if (status == AEGIS_OK) {
        aegis_decode_fold_scale(&source, columns, factors, folded);
        source = (aegis_decode_source){.data = folded, .rows = source.rows};
        pack_sources(program, product, &source, 1, false, to);
    }
    aegis_deallocate(&program->allocator, folded, floats, sizeof *folded);
    return status;
}

aegis_status
aegis_program_pack_layer(aegis_program *program, uint32_t layer, void *to, aegis_error *err)
{
    const aegis_block_weights *block = &program->weights.blocks[layer];
    memset(to, 0, program->facts.layer_bytes);
    aegis_status status =
        pack_behind_norm(program, layer, AEGIS_DECODE_QKV, AEGIS_ROLE_ATTENTION_NORM, to, err);
    if (status == AEGIS_OK) {
        status = pack_product(program, AEGIS_DECODE_OUTPUT, &block->output, 1, false, to, err);
    }
    if (status == AEGIS_OK) {
        status = pack_behind_norm(program, layer, AEGIS_DECODE_UP, AEGIS_ROLE_FEED_FORWARD_NORM, to,
                                  err);
    }
    return status == AEGIS_OK
               ? pack_product(program, AEGIS_DECODE_DOWN, &block->down, 1, false, to, err)
               : status;
}

typedef struct vector_place {
    aegis_tensor_role role;
    uint32_t at;
    bool in_pairs;
} vector_place;

/* What a matrix gives of the shift of the norm in front of it, to its biases. */
static aegis_status fold_shift(aegis_program *program,
                               uint32_t block,
                               const aegis_matrix *matrix,
                               aegis_tensor_role shift,
                               float *biases,
                               aegis_error *err)
{
    float values[AEGIS_DECODE_MAX_WIDTH] = {0};
    aegis_decode_source source;
    aegis_status status = source_of(program, matrix, &source, err);
    if (status == AEGIS_OK) {
        status = put_vector(program, block + 1, shift, false, values, err);
    }
    if (status == AEGIS_OK) {
        aegis_decode_fold_shift(&source, matrix->inputs, values, biases);
    }
    return status;
}

static aegis_status
fold_shifts(aegis_program *program, uint32_t block, float *vectors, aegis_error *err)
{
    const aegis_block_weights *weights = &program->weights.blocks[block];
    const uint32_t *biases = program->step.at.biases;
    aegis_status status =
        fold_shift(program, block, &weights->qkv[0], AEGIS_ROLE_ATTENTION_NORM_BIAS,
                   vectors + biases[AEGIS_DECODE_QKV], err);
    return status == AEGIS_OK
               ? fold_shift(program, block, &weights->up[0], AEGIS_ROLE_FEED_FORWARD_NORM_BIAS,
                            vectors + biases[AEGIS_DECODE_UP], err)
               : status;
}

static aegis_status
put_layer_vectors(aegis_program *program, uint32_t block, float *to, aegis_error *err)
{
    const aegis_decode_vectors *at = &program->step.at;
    const vector_place places[] = {
        {AEGIS_ROLE_ATTENTION_NORM, at->attention_norm, true},
        {AEGIS_ROLE_ATTENTION_NORM_BIAS, at->attention_norm + 2, true},
        {AEGIS_ROLE_FEED_FORWARD_NORM, at->feed_forward_norm, true},
        {AEGIS_ROLE_FEED_FORWARD_NORM_BIAS, at->feed_forward_norm + 2, true},
        {AEGIS_ROLE_QUERY_KEY_VALUE_BIAS, at->biases[AEGIS_DECODE_QKV], false},
        {AEGIS_ROLE_ATTENTION_OUTPUT_BIAS, at->biases[AEGIS_DECODE_OUTPUT], false},
        {AEGIS_ROLE_UP_BIAS, at->biases[AEGIS_DECODE_UP], false},
        {AEGIS_ROLE_DOWN_BIAS, at->biases[AEGIS_DECODE_DOWN], false},
    };
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(places) && status == AEGIS_OK; i++) {
        status = put_vector(program, block + 1, places[i].role, places[i].in_pairs,
                            to + (size_t)block * at->stride + places[i].at, err);
    }
    if (status == AEGIS_OK && folds_norms(program)) {
        status = fold_shifts(program, block, to + (size_t)block * at->stride, err);
    }
    return status;
}

static aegis_status put_vectors(aegis_program *program, uint8_t *to, aegis_error *err)
{
    const aegis_decoder_config *config = program->weights.config;
    float *vectors = (float *)(void *)(to + program->places.vectors);
    float *norm = (float *)(void *)(to + program->places.final_norm);
    float *frequencies = (float *)(void *)(to + program->places.frequencies);
    aegis_status status = AEGIS_OK;
    for (uint32_t b = 0; b < config->layers && status == AEGIS_OK; b++) {
        status = put_layer_vectors(program, b, vectors, err);
    }
    if (status == AEGIS_OK) {
        status = put_vector(program, config->layers + 1, AEGIS_ROLE_FINAL_NORM, true, norm, err);
    }
    if (status == AEGIS_OK) {
        status = put_vector(program, config->layers + 1, AEGIS_ROLE_FINAL_NORM_BIAS, true, norm + 2,
                            err);
    }
    for (uint32_t i = 0; i < config->head_width / 2 && config->rope_theta > 0; i++) {
        const float exponent = (float)(2 * i) / (float)config->head_width; /* as the engine */
        frequencies[i] = 1.0f / (float)pow(config->rope_theta, (double)exponent);
    }
    return status;
}

static aegis_status
put_table(aegis_program *program, const aegis_matrix *table, uint8_t *to, aegis_error *err)
{
    const uint8_t *data = NULL;
    aegis_status status = data_of(program, table->tensor->source, &data, err);
    if (status == AEGIS_OK) {
        memcpy(to, data, table_bytes(table));
    }
    return status;
}

static void put_tables_of_layout(const aegis_program *program, uint8_t *to)
{
    const aegis_decode_layout *layout = &program->layout;
    if (layout->shares == NULL) { /* in clusters the kernel needs none */
        return;
    }
    memcpy(to + program->places.shares, layout->shares,
           (size_t)layout->blocks * AEGIS_DECODE_PRODUCTS * sizeof *layout->shares);
    memcpy(to + program->places.lanes, layout->lanes,
           (size_t)layout->blocks * layout->warps * sizeof *layout->lanes);
    memcpy(to + program->places.head_tiles, layout->head_tiles,
           layout->products[AEGIS_DECODE_HEAD].tiles * sizeof *layout->head_tiles);
}

aegis_status aegis_program_pack_fixed(aegis_program *program, void *to, aegis_error *err)
{
    const aegis_weights *weights = &program->weights;
    uint8_t *bytes = to;
    memset(bytes, 0, program->facts.fixed_bytes);
    put_tables_of_layout(program, bytes);
    aegis_status status = pack_product(program, AEGIS_DECODE_HEAD, &weights->head, 1, false,
                                       bytes + program->places.head, err);
    if (status == AEGIS_OK && !is_tied(program)) {
        status = put_table(program, &weights->tokens, bytes + program->places.tokens, err);
    }
    if (status == AEGIS_OK && weights->positions.tensor != NULL) {
        status = put_table(program, &weights->positions, bytes + program->places.positions, err);
    }
    return status == AEGIS_OK ? put_vectors(program, bytes, err) : status;
}

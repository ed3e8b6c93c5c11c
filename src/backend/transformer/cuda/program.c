/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a model for a CUDA device, and launching its steps. */
#include "backend/transformer/backend/language_files.h"
#include "backend/transformer/cuda/program_internal.h"

#include "base/base.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_error.h"

#include <string.h>

#define HERE AEGIS_HERE("transformer.cuda")

/* ---- what can be computed ---- */

static aegis_status
check_dtype(aegis_program *program, const aegis_matrix *matrix, aegis_error *err)
{
    if (matrix->tensor == NULL) {
        return AEGIS_OK;
    }
    const aegis_dtype dtype = matrix->tensor->source->dtype;
    if (dtype != program->dtype ||
        (dtype != AEGIS_DTYPE_F32 && dtype != AEGIS_DTYPE_F16 && dtype != AEGIS_DTYPE_BF16)) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_UNSUPPORTED,
                               "tensor '%s' is %s and the head %s; on a CUDA device all matrices "
                               "are f32, or f16, or bf16: convert them, or use kind = \"host\"",
                               matrix->tensor->source->name, aegis_dtype_name(dtype),
                               aegis_dtype_name(program->dtype));
    }
    return AEGIS_OK;
}

static aegis_status check_dtypes(aegis_program *program, aegis_error *err)
{
    const aegis_weights *weights = &program->weights;
    aegis_status status = check_dtype(program, &weights->head, err);
    if (status == AEGIS_OK) {
        status = check_dtype(program, &weights->tokens, err);
    }
    if (status == AEGIS_OK) {
        status = check_dtype(program, &weights->positions, err);
    }
    for (uint32_t b = 0; b < weights->config->layers && status == AEGIS_OK; b++) {
        const aegis_block_weights *block = &weights->blocks[b];
        const aegis_matrix *all[] = {&block->qkv[0], &block->qkv[1], &block->qkv[2], &block->output,
                                     &block->up[0],  &block->up[1],  &block->down};
        for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(all) && status == AEGIS_OK; i++) {
            status = check_dtype(program, all[i], err);
        }
    }
    return status;
}

static aegis_status check_shape(const aegis_program *program, aegis_error *err)
{
    const aegis_decoder_config *config = program->weights.config;
    if (config->width > AEGIS_DECODE_MAX_WIDTH ||
        config->head_width > AEGIS_DECODE_MAX_HEAD_WIDTH || config->width % 2 != 0 ||
        config->head_width % 4 != 0 || config->feed_forward % 2 != 0) {
        return aegis_error_set(
            err, HERE, AEGIS_ERROR_UNSUPPORTED,
            "width %u, heads of %u, feed-forward %u; on a CUDA device a width is "
            "even and at most %u, a head's a multiple of 4 and at most %u, a "
            "feed-forward's even: use kind = \"host\"",
            config->width, config->head_width, config->feed_forward, AEGIS_DECODE_MAX_WIDTH,
            AEGIS_DECODE_MAX_HEAD_WIDTH);
    }
    return AEGIS_OK;
}

/* ---- the kernel's arguments ---- */

static uint32_t even(uint32_t count)
{
    return (count + 1) / 2 * 2;
}

static void set_model(aegis_program *program)
{
    const aegis_decoder_config *config = program->weights.config;
    program->step = (aegis_decode_step){
        .layers = config->layers,
        .width = config->width,
        .heads = config->heads,
        .kv_heads = config->kv_heads,
        .head_width = config->head_width,
        .feed_forward = config->feed_forward,
        .vocabulary = config->vocabulary,
        .context = program->context,
        .llama = config->architecture == AEGIS_ARCHITECTURE_LLAMA,
        .gelu_erf = config->activation == AEGIS_ACTIVATION_GELU,
        .biases = config->architecture == AEGIS_ARCHITECTURE_GPT2,
        .epsilon = config->norm_epsilon,
        .width_inverse = 1.0f / (float)config->width,
        .end_count = config->eos_count,
    };
    memcpy(program->step.ends, config->eos_tokens, sizeof program->step.ends);
    _Static_assert(sizeof program->step.ends == sizeof config->eos_tokens, "one list of ends");
    const uint32_t columns =
        AEGIS_DECODE_UNIT_ROW_BYTES / (uint32_t)aegis_dtype_bytes(program->dtype);
    const uint32_t query = config->heads * config->head_width;
    const uint32_t inputs[AEGIS_DECODE_PRODUCTS] = {config->width, query, config->width,
                                                    config->feed_forward, config->width};
    for (uint32_t p = 0; p < AEGIS_DECODE_PRODUCTS; p++) {
        program->step.units[p] = (inputs[p] + columns - 1) / columns;
    }
    program->step.rows[AEGIS_DECODE_QKV] =
        (config->heads + 2 * config->kv_heads) * config->head_width;
    program->step.rows[AEGIS_DECODE_OUTPUT] = config->width;
    program->step.rows[AEGIS_DECODE_UP] =
        program->step.llama ? 2 * config->feed_forward : config->feed_forward;
    program->step.rows[AEGIS_DECODE_DOWN] = config->width;
}

static void set_packets(aegis_program *program)
{
    const aegis_decoder_config *config = program->weights.config;
    aegis_decode_step *step = &program->step;
    uint32_t at = 0;
    if (step->clusters.clusters != 0) { /* terms of the heads, and of hidden units in turns */
        program->exchange_packets = 3 * AEGIS_CLUSTER_MOST * step->width;
        return;
    }
    step->splits = step->blocks / config->heads;
    step->splits = step->splits < 1 ? 1 : step->splits;
    step->splits = step->splits > AEGIS_DECODE_MAX_SPLITS ? AEGIS_DECODE_MAX_SPLITS : step->splits;
    for (uint32_t p = 0; p < AEGIS_DECODE_LAYER_PRODUCTS; p++) {
        step->packets.results[p] = at;
        at += even(step->rows[p]);
    }
    step->packets.attention = at;
    step->packets.stride = at + config->heads * step->splits * (config->head_width + 2);
    program->exchange_packets = 2 * step->packets.stride;
}

static bool is_asked_for(uint32_t form, uint32_t f)
{
    return form == f || form == AEGIS_PROGRAM_ANY_FORM ||
           (form == AEGIS_PROGRAM_UNIT_FORM && !aegis_decode_form_at(f).clusters);
}

/* The first form that this device runs of those asked for. */
static aegis_status choose_form(aegis_program *program, uint32_t form, aegis_error *err)
{
    uint32_t blocks = 0;
    aegis_status status = AEGIS_OK;
    for (uint32_t f = 0; aegis_decode_form_at(f).warps != 0 && blocks == 0; f++) {
        if (!is_asked_for(form, f)) {
            continue;
        }
        status = aegis_decode_prepare(&program->step, program->type, f, &blocks, err);
        if (status != AEGIS_OK) {
            return status;
        }
        program->form = f;
    }
    if (blocks == 0) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_UNSUPPORTED,
                               "this device does not run the step's kernel: it lacks cooperative "
                               "launches, or a block would need %u bytes of shared memory; use "
                               "kind = \"host\"",
                               aegis_decode_shared_bytes(
                                   &program->step, &(aegis_decode_form){.warps = 12, .depth = 10}));
    }
    program->step.blocks = blocks;
    if (!aegis_decode_form_at(program->form).clusters) {
        program->step.blocks =
            aegis_decode_most_blocks(program->step.rows[AEGIS_DECODE_UP], blocks);
        aegis_decode_set_attention(&program->step, aegis_decode_form_at(program->form).warps);
    }
    return AEGIS_OK;
}

static aegis_status make_layout(aegis_program *program, aegis_error *err)
{
    const aegis_decoder_config *config = program->weights.config;
    const uint32_t query = config->heads * config->head_width;
    const uint32_t *of = program->step.rows;
    const uint32_t rows[AEGIS_DECODE_PRODUCTS] = {of[0], of[1], of[2], of[3], config->vocabulary};
    const uint32_t columns[AEGIS_DECODE_PRODUCTS] = {config->width, query, config->width,
                                                     config->feed_forward, config->width};
    if (program->step.clusters.clusters != 0) {
        aegis_decode_layout_init_clusters(&program->layout, rows, columns, &program->step.clusters);
        return AEGIS_OK;
    }
    return aegis_decode_layout_init(
        &program->layout, rows, columns, (uint32_t)aegis_dtype_bytes(program->dtype),
        program->step.blocks, aegis_decode_form_at(program->form).warps, &program->allocator, err);
}

/* ---- opening ---- */

static aegis_status make_program(
    aegis_program *program, const char *folder, uint32_t context, uint32_t form, aegis_error *err)
{
    aegis_status status = aegis_language_files_open(folder, &program->allocator, &program->graph,
                                                    &program->weights, err);
    if (status != AEGIS_OK) {
        return status;
    }
    program->dtype = program->weights.head.tensor->source->dtype;
    program->type = program->dtype == AEGIS_DTYPE_F32   ? AEGIS_DECODE_F32
                    : program->dtype == AEGIS_DTYPE_F16 ? AEGIS_DECODE_F16
                                                        : AEGIS_DECODE_BF16;
    status = check_dtypes(program, err);
    if (status == AEGIS_OK) {
        status = check_shape(program, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_language_files_context(&program->weights, context, &program->context, err);
    }
    if (status == AEGIS_OK) {
        set_model(program);
        status = choose_form(program, form, err);
    }
    if (status == AEGIS_OK) {
        set_packets(program);
        status = make_layout(program, err);
    }
    if (status == AEGIS_OK) {
        aegis_program_place(program);
        status = aegis_language_files_hash(program->graph, folder, &program->allocator,
                                           program->facts.hash, err);
    }
    return status;
}

aegis_status aegis_program_open(const char *folder,
                                uint32_t context,
                                int device,
                                uint32_t form,
                                const aegis_allocator *allocator,
                                aegis_program **ret_program,
                                aegis_error *err)
{
    int previous = 0;
    aegis_program *program = aegis_allocate_zeroed(allocator, 1, sizeof *program);
    if (program == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a model");
    }
    program->allocator = *allocator;
    aegis_status status =
        aegis_cuda_check(aegis_cuda_enter(device, &previous), "cudaSetDevice", HERE, err);
    if (status == AEGIS_OK) {
        status = make_program(program, folder, context, form, err);
        aegis_cuda_leave(previous);
    }
    if (status != AEGIS_OK) {
        aegis_program_close(program);
        return status;
    }
    *ret_program = program;
    return AEGIS_OK;
}

void aegis_program_close(aegis_program *program)
{
    if (program == NULL) {
        return;
    }
    const aegis_allocator allocator = program->allocator;
    aegis_decode_layout_finish(&program->layout);
    aegis_weights_finish(&program->weights);
    aegis_graph_free(program->graph);
    aegis_deallocate(&allocator, program, 1, sizeof *program);
}

const aegis_program_facts *aegis_program_about(const aegis_program *program)
{
    return &program->facts;
}

void aegis_program_keep_in_cache(aegis_program *program, bool keep)
{
    program->step.keep_in_cache = keep;
}

/* ---- launching ---- */

static const void *behind(const void *base, uint64_t bytes)
{
    return (const uint8_t *)base + bytes;
}

static void set_weights(const aegis_program *program,
                        const aegis_program_memory *memory,
                        aegis_decode_step *step)
{
    const program_places *at = &program->places;
    step->layer_weights = memory->layers;
    step->layer_bytes = program->facts.layer_bytes;
    step->head_weights = behind(memory->fixed, at->head);
    step->shares = behind(memory->fixed, at->shares);
    step->lanes = behind(memory->fixed, at->lanes);
    step->head_tiles = behind(memory->fixed, at->head_tiles);
    step->vectors = behind(memory->fixed, at->vectors);
    step->final_norm = behind(memory->fixed, at->final_norm);
    step->frequencies = behind(memory->fixed, at->frequencies);
    step->tokens = at->tokens != 0 ? behind(memory->fixed, at->tokens) : NULL;
    step->positions = at->positions != 0 ? behind(memory->fixed, at->positions) : NULL;
}

static void set_memory(const aegis_program *program,
                       const aegis_program_memory *memory,
                       const aegis_program_job *job,
                       aegis_decode_step *step)
{
    uint8_t *work = memory->work;
    const program_work *at = &program->work;
    step->cache = memory->cache;
    step->control = (aegis_decode_control *)(void *)(work + at->control);
    step->best = (uint64_t *)(void *)(work + at->best);
    step->exchange = (uint64_t *)(void *)(work + at->exchange);
    step->crossing_in = (const float *)(void *)(work + at->crossing[job->crossing_in]);
    step->crossing_out = (float *)(void *)(work + at->crossing[job->crossing_out]);
}

void aegis_program_set_step(const aegis_program *program,
                            const aegis_program_memory *memory,
                            const aegis_program_job *job,
                            aegis_decode_step *ret_step)
{
    *ret_step = program->step;
    set_weights(program, memory, ret_step);
    set_memory(program, memory, job, ret_step);
    ret_step->first = job->first;
    ret_step->last = job->last;
    ret_step->head = job->head;
    ret_step->measured = job->measured;
    ret_step->stop_at_end = job->stop_at_end;
    ret_step->prompt = job->prompt;
    ret_step->prompt_count = job->prompt_count;
    ret_step->cursor = job->cursor;
    ret_step->next_cursor = job->next_cursor;
    ret_step->next_position = job->next_position;
    ret_step->token = job->token;
    ret_step->logits = job->logits;
    ret_step->fault = job->fault;
}

aegis_status aegis_program_launch(const aegis_program *program,
                                  const aegis_program_memory *memory,
                                  const aegis_program_job *job,
                                  struct CUstream_st *stream,
                                  aegis_error *err)
{
    aegis_decode_step step;
    aegis_program_set_step(program, memory, job, &step);
    return aegis_decode_launch(&step, program->type, program->form, stream, err);
}

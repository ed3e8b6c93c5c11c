/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, loading and closing the runner. */
#include "backend/transformer/backend/language_files.h"
#include "backend/transformer/backend/runner_internal.h"

#include "base/base.h"

#include <stdio.h>
#include <string.h>

#define HERE AEGIS_HERE("transformer.runner")
#define READ_THREADS 2u
/* What aligning the areas of a streamed model to cache lines and pages takes at most. */
#define FIVE_PAGES ((uint64_t)5 * AEGIS_READ_BLOCK)

static void set_facts(aegis_runner *runner)
{
    const aegis_decoder_config *config = runner->weights.config;
    const aegis_partition *partition = runner->partition;
    runner->facts.architecture = aegis_architecture_name(config->architecture);
    runner->facts.dtype = aegis_dtype_name(runner->weights.head.tensor->source->dtype);
    runner->facts.instructions = runner->kernels->name;
    runner->facts.layers = config->layers;
    runner->facts.streamed_bytes = partition->streamed_bytes;
    runner->facts.model_bytes = partition->model_bytes;
    runner->facts.sizes =
        (aegis_runner_sizes){.weights = partition->pinned_bytes,
                             .buffers = partition->buffers * partition->buffer_bytes,
                             .cache = aegis_forward_cache_bytes(config, &runner->limits),
                             .vectors = runner->weights.vector_bytes};
    aegis_runner_measure(runner, &runner->facts.sizes.crossing, &runner->facts.sizes.working);
    runner->facts.pieces = 0;
    while (runner->facts.pieces < partition->piece_count &&
           partition->pieces[runner->facts.pieces].unit <= runner->weights.head.unit) {
        runner->facts.pieces++;
    }
}

aegis_status aegis_runner_open(const char *folder,
                               uint32_t context,
                               const aegis_allocator *allocator,
                               aegis_runner **ret_runner,
                               aegis_error *err)
{
    aegis_runner *runner = aegis_allocate_zeroed(allocator, 1, sizeof *runner);
    if (runner == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a runner");
    }
    runner->allocator = *allocator;
    runner->kernels = aegis_kernels_choose();
    runner->limits = (aegis_forward_limits){.sequences = 1, .rows = 1, .logits = 1};
    aegis_status status =
        aegis_language_files_open(folder, allocator, &runner->graph, &runner->weights, err);
    if (status == AEGIS_OK) {
        status =
            aegis_language_files_context(&runner->weights, context, &runner->limits.positions, err);
    }
    if (status == AEGIS_OK) {
        runner->facts.vocabulary = runner->weights.config->vocabulary;
        runner->facts.context = runner->limits.positions;
        status =
            aegis_language_files_hash(runner->graph, folder, allocator, runner->facts.hash, err);
    }
    if (status != AEGIS_OK) {
        aegis_runner_close(runner);
        return status;
    }
    *ret_runner = runner;
    return AEGIS_OK;
}

aegis_status
aegis_runner_divide(aegis_runner *runner, const aegis_runner_division *division, aegis_error *err)
{
    uint64_t crossing, working, available = UINT64_MAX / 2;
    if (division->stream) {
        aegis_runner_measure(runner, &crossing, &working);
        const uint64_t fixed = division->other_bytes + crossing + working + FIVE_PAGES +
                               aegis_forward_cache_bytes(runner->weights.config, &runner->limits);
        available = division->memory_bytes > fixed ? division->memory_bytes - fixed : 0;
    }
    aegis_status status = aegis_runner_plan(runner, available, err);
    if (status == AEGIS_OK) {
        set_facts(runner);
    }
    return status;
}

/* What is left of the forward pass's own mapping after the arrays have places of their own: the
 * frequencies, which are computed once. */
static aegis_status keep_frequencies(aegis_runner *runner, aegis_error *err)
{
    aegis_forward *forward = runner->forward;
    const uint32_t half = runner->weights.config->head_width / 2 + 1;
    runner->frequencies = aegis_allocate_zeroed(&runner->allocator, half, sizeof(float));
    if (runner->frequencies == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %u angles", half);
    }
    memcpy(runner->frequencies, forward->frequencies, half * sizeof(float));
    forward->frequencies = runner->frequencies;
    aegis_pages_unmap(forward->work, forward->work_bytes);
    forward->work = NULL;
    return AEGIS_OK;
}

aegis_status aegis_runner_load(aegis_runner *runner, aegis_error *err)
{
    aegis_status status = aegis_weights_load(&runner->weights, runner->partition, READ_THREADS,
                                             AEGIS_RUNNER_TILE_BYTES, err);
    if (status == AEGIS_OK) {
        status = aegis_compute_pool_create(1, &runner->allocator, &runner->pool, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_forward_create(&runner->weights, runner->kernels, runner->pool,
                                      &runner->limits, &runner->allocator, &runner->forward, err);
    }
    if (status == AEGIS_OK) {
        status = keep_frequencies(runner, err);
    }
    if (status == AEGIS_OK && runner->weights.stream != NULL) {
        runner->forward->never_rewinds = true;
        aegis_weight_stream_be_idle(runner->weights.stream);
    }
    return status;
}

void aegis_runner_close(aegis_runner *runner)
{
    if (runner == NULL) {
        return;
    }
    const aegis_allocator allocator = runner->allocator;
    if (runner->moved) {                                     /* they are somebody else's */
        aegis_weight_stream_destroy(runner->weights.stream); /* its buffers may go after this */
        runner->weights.stream = NULL;
        runner->weights.pinned = NULL;
        runner->forward->cache = NULL;
    }
    const uint32_t half =
        runner->weights.config != NULL ? runner->weights.config->head_width / 2 + 1 : 0;
    aegis_deallocate(&allocator, runner->frequencies, half, sizeof(float));
    aegis_forward_destroy(runner->forward);
    aegis_compute_pool_destroy(runner->pool);
    aegis_weights_finish(&runner->weights);
    aegis_partition_free(runner->partition);
    aegis_graph_free(runner->graph);
    aegis_deallocate(&allocator, runner, 1, sizeof *runner);
}

const aegis_runner_facts *aegis_runner_about(const aegis_runner *runner)
{
    return &runner->facts;
}

bool aegis_runner_is_end(const aegis_runner *runner, uint32_t token)
{
    const aegis_decoder_config *config = runner->weights.config;
    for (uint32_t e = 0; e < config->eos_count; e++) {
        if (config->eos_tokens[e] == token) {
            return true;
        }
    }
    return false;
}

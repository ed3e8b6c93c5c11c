/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/engine.h"

#include "base/base.h"
#include "device/cgroup.h"
#include "device/host/host_capabilities.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#define HERE AEGIS_HERE("transformer.engine")
#define DEFAULT_CONTEXT 1024
#define DEFAULT_ROWS 32
#define PATH_BYTES 4096

static aegis_engine *engine_of_idle(aegis_transformer_idle *engine)
{
    return (aegis_engine *)(void *)engine;
}

static aegis_engine *engine_of_planned(const aegis_transformer_planned *engine)
{
    return (aegis_engine *)(uintptr_t)engine;
}

static aegis_engine *engine_of_ready(const aegis_transformer_ready *engine)
{
    return (aegis_engine *)(uintptr_t)engine;
}

/* --- idle ------------------------------------------------------------------------------------- */

static aegis_status check_range(const char *name, uint32_t value, uint32_t most, aegis_error *err)
{
    if (value > most) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG, "%s = %u; at most %u", name, value,
                               most);
    }
    return AEGIS_OK;
}

static aegis_status check_numbers(const aegis_transformer_config *config, aegis_error *err)
{
    aegis_status status = check_range("threads", config->threads, AEGIS_POOL_MAX_THREADS, err);
    if (status == AEGIS_OK) {
        status = check_range("sequences", config->sequences, AEGIS_ENGINE_MAX_SEQUENCES, err);
    }
    if (status == AEGIS_OK) {
        status = check_range("draft_tokens", config->draft_tokens, AEGIS_ENGINE_MAX_DRAFT, err);
    }
    if (status == AEGIS_OK) {
        status = check_range("prefill_rows", config->prefill_rows, 1024, err);
    }
    return status;
}

static aegis_status choose_strategy(aegis_engine *engine, aegis_error *err)
{
    const char *name = engine->config.strategy;
    engine->strategy = engine->config.own_strategy;
    if (engine->strategy == NULL) {
        engine->strategy = aegis_partition_strategy_find(name != NULL ? name : "auto");
    }
    if (engine->strategy == NULL) {
        const char *names[8];
        uint32_t count = 0;
        const aegis_partition_strategy *known;
        while ((known = aegis_partition_strategy_at(count)) != NULL) {
            names[count++] = known->name;
        }
        const char *near = aegis_nearest_word(name, names, count);
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                               "unknown strategy \"%s\"%s%s%s; there are sequential, "
                               "greedy-grouping, speculative-prefetch, resident-stream and auto",
                               name, near != NULL ? "; did you mean \"" : "",
                               near != NULL ? near : "", near != NULL ? "\"" : "");
    }
    return AEGIS_OK;
}

static aegis_status choose_kernels(aegis_engine *engine, aegis_error *err)
{
    const char *name = engine->config.instructions;
    engine->kernels = name != NULL ? aegis_kernels_find(name) : aegis_kernels_choose();
    if (engine->kernels == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_UNSUPPORTED,
                               "this machine does not execute \"%s\"; its best set is %s", name,
                               aegis_kernels_choose()->name);
    }
    return AEGIS_OK;
}

static aegis_status
copy_strings(aegis_engine *engine, const aegis_transformer_config *config, aegis_error *err)
{
    const char *const from[] = {config->model, config->strategy, config->instructions,
                                config->products, config->system_root};
    const char **const to[] = {&engine->config.model, &engine->config.strategy,
                               &engine->config.instructions, &engine->config.products,
                               &engine->config.system_root};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(from); i++) {
        *to[i] = NULL;
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(from); i++) {
        *to[i] = from[i] != NULL ? aegis_copy_text(&engine->allocator, from[i]) : NULL;
        if (from[i] != NULL && *to[i] == NULL) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for an engine");
        }
    }
    return AEGIS_OK;
}

static void destroy(aegis_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    const aegis_allocator allocator = engine->allocator;
    aegis_forward_destroy(engine->forward);
    aegis_compute_pool_destroy(engine->pool);
    aegis_weights_finish(&engine->weights);
    aegis_partition_free(engine->partition);
    aegis_graph_free(engine->graph);
    aegis_tokenizer_destroy(engine->tokenizer);
    const char *const texts[] = {engine->config.model, engine->config.strategy,
                                 engine->config.instructions, engine->config.products,
                                 engine->config.system_root};
    aegis_multiplier_close(&engine->multiplier);
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(texts); i++) {
        aegis_free_text(&allocator, (char *)(uintptr_t)texts[i]);
    }
    aegis_deallocate(&allocator, engine, 1, sizeof *engine);
}

aegis_status aegis_transformer_create(const aegis_transformer_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_transformer_idle **ret_engine,
                                      aegis_error *err)
{
    if (config->model == NULL || config->model[0] == '\0') {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "no model; name the folder that holds its config.json");
    }
    aegis_status status = check_numbers(config, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_engine *engine = aegis_allocate_zeroed(allocator, 1, sizeof *engine);
    if (engine == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for an engine");
    }
    engine->allocator = *allocator;
    engine->config = *config;
    status = copy_strings(engine, config, err);
    if (status == AEGIS_OK) {
        status = choose_strategy(engine, err);
    }
    if (status == AEGIS_OK) {
        status = choose_kernels(engine, err);
    }
    if (status == AEGIS_OK) {
        status =
            aegis_multiplier_open(engine->config.products, allocator, &engine->multiplier, err);
    }
    if (status != AEGIS_OK) {
        destroy(engine);
        return status;
    }
    *ret_engine = (aegis_transformer_idle *)(void *)engine;
    return AEGIS_OK;
}

void aegis_transformer_idle_destroy(aegis_transformer_idle *engine)
{
    destroy(engine_of_idle(engine));
}

/* --- planned ---------------------------------------------------------------------------------- */

/* Everything that load makes; moved into the engine once all of it exists. */
static aegis_status load_parts(aegis_engine *made, aegis_error *err)
{
    char path[PATH_BYTES];
    aegis_status status = aegis_graph_check_folder(made->config.model, err);
    /* First the tokenizer: what reading it takes is given back before weights need the room. */
    if (status == AEGIS_OK && !made->config.no_tokenizer) {
        snprintf(path, sizeof path, "%s/tokenizer.json", made->config.model);
        status = aegis_tokenizer_open(path, &made->allocator, &made->tokenizer, err);
    }
    aegis_graph_loaded *loaded = NULL;
    if (status == AEGIS_OK) {
        status = aegis_graph_load(made->config.model, &made->allocator, &loaded, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_graph_validate(&loaded, &made->graph, err);
        aegis_graph_loaded_free(loaded);
    }
    if (status == AEGIS_OK) {
        status = aegis_weights_init(&made->weights, made->graph, &made->allocator, err);
    }
    return status;
}

static aegis_status set_limits(aegis_engine *made, aegis_error *err)
{
    const aegis_transformer_config *config = &made->config;
    const uint32_t positions = made->weights.config->positions;
    const uint32_t standard = positions < DEFAULT_CONTEXT ? positions : DEFAULT_CONTEXT;
    aegis_forward_limits limits = {.sequences = config->sequences != 0 ? config->sequences : 1,
                                   .positions = config->context_tokens != 0 ? config->context_tokens
                                                                            : standard,
                                   .half_cache = config->half_cache};
    if (limits.positions > positions && config->clip_context) {
        limits.positions = positions;
    }
    if (limits.positions > positions) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                               "a context of %u tokens; the model was made for %u",
                               limits.positions, positions);
    }
    const uint32_t decoding = limits.sequences * (1 + config->draft_tokens);
    limits.rows = config->prefill_rows != 0 ? config->prefill_rows : DEFAULT_ROWS;
    limits.rows = limits.rows > limits.sequences ? limits.rows : limits.sequences;
    limits.logits = decoding < limits.rows ? decoding : limits.rows;
    limits.scratch_bytes = made->multiplier.ops != NULL ? made->multiplier.ops->scratch_bytes : 0;
    made->limits = limits;
    return AEGIS_OK;
}

static aegis_status find_budget(aegis_engine *made, aegis_error *err)
{
    aegis_host_facts facts = {0};
    const char *root = made->config.system_root != NULL ? made->config.system_root : "/";
    aegis_error ignored;
    aegis_status status = aegis_host_facts_read(root, &facts, &ignored);
    if (made->config.threads == 0) {
        const int cpus = status == AEGIS_OK && facts.usable_cpus > 0 ? facts.usable_cpus : 1;
        made->threads = (uint32_t)(cpus < AEGIS_POOL_MAX_THREADS ? cpus : AEGIS_POOL_MAX_THREADS);
    } else {
        made->threads = made->config.threads;
    }
    made->memory.process = aegis_process_resident_bytes(root);
    made->peak_before = aegis_process_peak_bytes(root);
    if (made->config.budget_bytes != 0) {
        made->memory.budget = made->config.budget_bytes;
        made->memory.source = AEGIS_BUDGET_GIVEN;
        return AEGIS_OK;
    }
    if (status != AEGIS_OK) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                               "no budget was given, and how much memory there is cannot be read "
                               "(%s)",
                               ignored.message);
    }
    made->memory.budget = facts.available_bytes + made->memory.process;
    if (facts.limited_by_cgroup) {
        /* Pages of libraries that others loaded first are resident here and charged there. */
        aegis_cgroup_limits limits;
        aegis_cgroup_read(root, &limits);
        const uint64_t limit = limits.memory_limit_bytes;
        made->memory.budget = made->memory.budget < limit ? made->memory.budget : limit;
    }
    made->memory.source =
        facts.limited_by_cgroup ? AEGIS_BUDGET_CONTROL_GROUP : AEGIS_BUDGET_MACHINE;
    return AEGIS_OK;
}

static void take_plan(aegis_engine *made)
{
    aegis_transformer_memory *memory = &made->memory;
    memory->pinned = made->partition->pinned_bytes;
    memory->buffers = made->partition->memory_bytes - memory->pinned;
    memory->planned = memory->process + memory->pinned + memory->vectors + memory->buffers +
                      memory->cache + memory->work + memory->threads + memory->reserve;
}

static aegis_status plan(aegis_engine *made, aegis_error *err)
{
    uint64_t available;
    const bool enough = aegis_engine_divide(made, made->memory.budget, &made->memory, &available);
    if (!enough) {
        char need[32], have[32], held[32];
        return aegis_error_set(
            err, HERE, AEGIS_ERROR_BUDGET_EXCEEDED,
            "this model with a context of %u tokens for each of %u sequence%s needs a budget of at "
            "least %s (%" PRIu64
            " bytes), it has %s (%s); the process alone holds %s; a shorter context "
            "or keys and values in f16 need less",
            made->limits.positions, made->limits.sequences, made->limits.sequences == 1 ? "" : "s",
            aegis_format_size(made->memory.least, need, sizeof need), made->memory.least,
            aegis_format_size(made->memory.budget, have, sizeof have),
            aegis_budget_source_name(made->memory.source),
            aegis_format_size(made->memory.process, held, sizeof held));
    }
    aegis_partition_request request = aegis_engine_request(made, available);
    uint64_t whole = 0;
    for (uint32_t u = 0; u < request.unit_count; u++) {
        whole += aegis_align_up(request.units[u].row_bytes * request.units[u].rows, 64);
    }
    if (strcmp(made->strategy->name, "auto") == 0 && whole > available) {
        aegis_status status = aegis_engine_measure(made, available, err);
        if (status != AEGIS_OK) {
            return status;
        }
        request = aegis_engine_request(made, available);
    }
    aegis_status status =
        aegis_partition_plan(made->strategy, &request, &made->allocator, &made->partition, err);
    if (status == AEGIS_OK) {
        take_plan(made);
    }
    return status;
}

static void drop_parts(aegis_engine *made)
{
    aegis_weights_finish(&made->weights);
    aegis_partition_free(made->partition);
    aegis_graph_free(made->graph);
    aegis_tokenizer_destroy(made->tokenizer);
}

aegis_status aegis_transformer_load(aegis_transformer_idle **engine,
                                    aegis_transformer_planned **ret_engine,
                                    aegis_error *err)
{
    aegis_engine *self = engine_of_idle(*engine);
    aegis_engine made = *self; /* on failure the engine is as before */
    aegis_status status = load_parts(&made, err);
    if (status == AEGIS_OK) {
        status = set_limits(&made, err);
    }
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    malloc_trim(0); /* what parsing freed counts against the budget until the kernel has it back */
#endif
    if (status == AEGIS_OK) {
        status = find_budget(&made, err);
    }
    if (status == AEGIS_OK) {
        status = plan(&made, err);
    }
    if (status != AEGIS_OK) {
        drop_parts(&made);
        return status;
    }
    *self = made;
    *engine = NULL;
    *ret_engine = (aegis_transformer_planned *)(void *)self;
    return AEGIS_OK;
}

void aegis_transformer_planned_destroy(aegis_transformer_planned *engine)
{
    destroy(engine_of_planned(engine));
}

static void fill_info(const aegis_engine *engine, aegis_transformer_info *ret_info)
{
    const aegis_decoder_config *config = engine->weights.config;
    const aegis_partition *partition = engine->partition;
    aegis_transformer_info info = {.architecture = aegis_architecture_name(config->architecture),
                                   .strategy = partition->strategy,
                                   .instructions = engine->kernels->name,
                                   .products = aegis_multiplier_name(&engine->multiplier),
                                   .layers = config->layers,
                                   .width = config->width,
                                   .heads = config->heads,
                                   .kv_heads = config->kv_heads,
                                   .feed_forward = config->feed_forward,
                                   .vocabulary = config->vocabulary,
                                   .positions = config->positions,
                                   .context_tokens = engine->limits.positions,
                                   .sequences = engine->limits.sequences,
                                   .threads = engine->threads,
                                   .weight_bytes = aegis_graph_weight_bytes(engine->graph),
                                   .streamed_bytes = partition->streamed_bytes,
                                   .groups =
                                       partition->group_count > 0 ? partition->group_count : 1,
                                   .disk_rate = engine->disk_rate,
                                   .memory_rate = engine->memory_rate,
                                   .estimated_token_s = partition->estimated_token_s,
                                   .memory = engine->memory};
    for (uint32_t l = 0; l < aegis_graph_layer_count(engine->graph); l++) {
        const aegis_graph_layer *layer = aegis_graph_layer_at(engine->graph, l);
        for (uint32_t t = 0; !layer->tied && t < layer->tensor_count; t++) {
            info.parameters += layer->tensors[t].rows * layer->tensors[t].columns;
        }
    }
    *ret_info = info;
}

void aegis_transformer_planned_info(const aegis_transformer_planned *engine,
                                    aegis_transformer_info *ret_info)
{
    fill_info(engine_of_planned(engine), ret_info);
}

uint32_t aegis_transformer_planned_layers(const aegis_transformer_planned *engine)
{
    return aegis_graph_layer_count(engine_of_planned(engine)->graph);
}

void aegis_transformer_planned_layer(const aegis_transformer_planned *engine,
                                     uint32_t index,
                                     aegis_transformer_layer *ret_layer)
{
    const aegis_graph_layer *layer = aegis_graph_layer_at(engine_of_planned(engine)->graph, index);
    const aegis_graph_tensor *largest = &layer->tensors[0];
    for (uint32_t t = 1; t < layer->tensor_count; t++) {
        largest = layer->tensors[t].bytes > largest->bytes ? &layer->tensors[t] : largest;
    }
    *ret_layer = (aegis_transformer_layer){.kind = aegis_layer_kind_name(layer->kind),
                                           .block = layer->block,
                                           .tied = layer->tied,
                                           .bytes = layer->tied ? 0 : layer->bytes,
                                           .tensors = layer->tensor_count,
                                           .dtype = aegis_dtype_name(largest->source->dtype)};
}

const aegis_partition *aegis_transformer_planned_partition(const aegis_transformer_planned *engine)
{
    return engine_of_planned(engine)->partition;
}

const aegis_partition_unit *aegis_transformer_planned_units(const aegis_transformer_planned *engine,
                                                            uint32_t *ret_count)
{
    const aegis_engine *self = engine_of_planned(engine);
    *ret_count = self->weights.unit_count;
    return self->weights.units;
}

aegis_status aegis_transformer_planned_try(const aegis_transformer_planned *engine,
                                           const char *strategy,
                                           uint64_t budget_bytes,
                                           aegis_partition **ret_partition,
                                           aegis_error *err)
{
    const aegis_engine *self = engine_of_planned(engine);
    const aegis_partition_strategy *tried = aegis_partition_strategy_find(strategy);
    aegis_transformer_memory memory;
    uint64_t available;
    if (tried == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NOT_FOUND, "no strategy \"%s\"", strategy);
    }
    if (!aegis_engine_divide(self, budget_bytes, &memory, &available)) {
        char need[32];
        return aegis_error_set(err, HERE, AEGIS_ERROR_BUDGET_EXCEEDED,
                               "needs a budget of at least %s",
                               aegis_format_size(memory.least, need, sizeof need));
    }
    const aegis_partition_request request = aegis_engine_request(self, available);
    return aegis_partition_plan(tried, &request, &self->allocator, ret_partition, err);
}

aegis_status aegis_transformer_planned_measure(aegis_transformer_planned *engine, aegis_error *err)
{
    aegis_engine *self = engine_of_planned(engine);
    aegis_transformer_memory memory;
    uint64_t available;
    aegis_engine_divide(self, self->memory.budget, &memory, &available);
    return aegis_engine_measure(self, available, err);
}

/* --- ready ------------------------------------------------------------------------------------ */

aegis_status aegis_transformer_prepare(aegis_transformer_planned **engine,
                                       aegis_transformer_ready **ret_engine,
                                       aegis_error *err)
{
    aegis_engine *self = engine_of_planned(*engine);
    /* Weights of its own, in place (the stream keeps their address): on failure those of the
     * planned engine come back as they were. */
    aegis_weights planned = self->weights;
    aegis_compute_pool *pool = NULL;
    self->weights = (aegis_weights){0};
    aegis_status status = aegis_weights_init(&self->weights, self->graph, &self->allocator, err);
    if (status == AEGIS_OK) {
        status = aegis_weights_load(&self->weights, self->partition, AEGIS_ENGINE_READ_THREADS,
                                    AEGIS_ENGINE_TILE_BYTES, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_compute_pool_create(self->threads, &self->allocator, &pool, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_engine_check_held(self, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_forward_create(&self->weights, self->kernels, pool, &self->limits,
                                      &self->allocator, &self->forward, err);
    }
    if (status != AEGIS_OK) {
        aegis_compute_pool_destroy(pool);
        aegis_weights_finish(&self->weights);
        self->weights = planned;
        return status;
    }
    aegis_weights_finish(&planned);
    aegis_forward_multiply_by(self->forward, &self->multiplier);
    self->pool = pool;
    *engine = NULL;
    *ret_engine = (aegis_transformer_ready *)(void *)self;
    return AEGIS_OK;
}

void aegis_transformer_ready_destroy(aegis_transformer_ready *engine)
{
    destroy(engine_of_ready(engine));
}

void aegis_transformer_ready_info(const aegis_transformer_ready *engine,
                                  aegis_transformer_info *ret_info)
{
    fill_info(engine_of_ready(engine), ret_info);
}

bool aegis_transformer_ready_direct(const aegis_transformer_ready *engine)
{
    return engine_of_ready(engine)->weights.reader.direct;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/engine.h"

#include "base/base.h"
#include "device/system_tree.h"

#include <aegisrt/clock.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HERE AEGIS_HERE("transformer.budget")

/* A thread touches little of its stack: the strip that products widen, and its frames. */
#define THREAD_BYTES ((uint64_t)96 << 10)
/* Tables of pieces, texts, what malloc keeps back. */
#define RESERVE_BYTES ((uint64_t)1 << 20)
/* 8 bytes of page table for 4096. */
#define PAGE_TABLE_SHARE 512

const char *aegis_budget_source_name(aegis_budget_source source)
{
    switch (source) {
    case AEGIS_BUDGET_GIVEN:
        return "given";
    case AEGIS_BUDGET_CONTROL_GROUP:
        return "control group";
    case AEGIS_BUDGET_MACHINE:
        return "machine";
    }
    return "unknown";
}

static uint64_t status_bytes(const char *system_root, const char *key)
{
    uint64_t bytes = 0;
    const char *root = system_root != NULL ? system_root : "/";
    return aegis_tree_field_number(root, "proc/self/status", key, &bytes) ? bytes : 0;
}

uint64_t aegis_process_resident_bytes(const char *system_root)
{
    return status_bytes(system_root, "VmRSS");
}

uint64_t aegis_process_peak_bytes(const char *system_root)
{
    return status_bytes(system_root, "VmHWM");
}

uint64_t aegis_engine_held_bytes(const aegis_engine *engine)
{
    const char *root = engine->config.system_root;
    const uint64_t peak = aegis_process_peak_bytes(root);
    return peak > engine->peak_before ? peak : aegis_process_resident_bytes(root);
}

aegis_status aegis_engine_check_held(aegis_engine *engine, aegis_error *err)
{
    const aegis_transformer_memory *memory = &engine->memory;
    const uint64_t now = aegis_process_resident_bytes(engine->config.system_root);
    const uint64_t promised = now > 0 ? now + memory->cache + memory->work : 0;
    uint64_t most = aegis_engine_held_bytes(engine);
    engine->memory.loaded = most;
    most = most > promised ? most : promised;
    if (most > memory->budget) {
        char held[32], budget[32], planned[32];
        return aegis_error_set(
            err, HERE, AEGIS_ERROR_BUDGET_EXCEEDED,
            "the process holds %s (%" PRIu64 " bytes) with the weights loaded and keys, values and "
            "activations to come; its budget is %s, the plan was %s: something beside the engine "
            "takes memory; give it a larger budget or less to do",
            aegis_format_size(most, held, sizeof held), most,
            aegis_format_size(memory->budget, budget, sizeof budget),
            aegis_format_size(memory->planned, planned, sizeof planned));
    }
    return AEGIS_OK;
}

/* What weights and buffers need at least: the smallest budget that would do. */
static uint64_t least_budget(const aegis_engine *engine, uint64_t fixed)
{
    const aegis_partition_request request = aegis_engine_request(engine, UINT64_MAX);
    const uint64_t sum = fixed + aegis_partition_least_bytes(&request);
    return sum + sum / (PAGE_TABLE_SHARE - 1) + AEGIS_PARTITION_BLOCK;
}

bool aegis_engine_divide(const aegis_engine *engine,
                         uint64_t budget,
                         aegis_transformer_memory *ret_memory,
                         uint64_t *ret_available)
{
    const aegis_decoder_config *config = engine->weights.config;
    aegis_transformer_memory memory = engine->memory;
    memory.budget = budget;
    memory.vectors = engine->weights.vector_bytes + aegis_weights_row_bytes(&engine->weights);
    memory.cache = aegis_forward_cache_bytes(config, &engine->limits);
    memory.work = aegis_forward_work_bytes(config, &engine->limits, engine->threads) +
                  (uint64_t)config->vocabulary * sizeof(aegis_candidate);
    if (engine->multiplier.ops != NULL) {
        memory.work += engine->threads * engine->multiplier.ops->library_bytes;
    }
    memory.threads = (engine->threads + AEGIS_ENGINE_READ_THREADS) * THREAD_BYTES;
    const uint64_t fixed = memory.process + memory.vectors + memory.cache + memory.work +
                           memory.threads + RESERVE_BYTES;
    memory.reserve = RESERVE_BYTES + budget / PAGE_TABLE_SHARE;
    memory.least = least_budget(engine, fixed);
    const uint64_t used = fixed + budget / PAGE_TABLE_SHARE;
    *ret_memory = memory;
    *ret_available = budget > used ? budget - used : 0;
    return budget >= memory.least;
}

aegis_partition_request aegis_engine_request(const aegis_engine *engine, uint64_t available)
{
    return (aegis_partition_request){.units = engine->weights.units,
                                     .unit_count = engine->weights.unit_count,
                                     .available_bytes = available,
                                     .tile_bytes = AEGIS_ENGINE_TILE_BYTES,
                                     .disk_rate = engine->disk_rate,
                                     .memory_rate = engine->memory_rate};
}

/* --- measured rates for `auto` ---------------------------------------------------------------- */

#define SAMPLE_BYTES ((uint64_t)32 << 20)
#define FIRST_SAMPLE_BYTES ((uint64_t)4 << 20)
#define SWEEP_INPUTS 1024

static uint64_t now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

/* Bytes a second of direct reads from the begin of the model's largest file. */
static aegis_status read_sample(const aegis_weight_reader *reader,
                                uint32_t file,
                                uint64_t bytes,
                                uint8_t *to,
                                double *ret_rate,
                                aegis_error *err)
{
    const aegis_load_part part = {.file = file, .offset = 0, .bytes = bytes, .to = to};
    const uint64_t begin = now_ns();
    aegis_status status = aegis_weight_load(reader, &part, 1, AEGIS_ENGINE_READ_THREADS, err);
    if (status == AEGIS_OK) {
        *ret_rate = (double)bytes * 1e9 / (double)(now_ns() - begin);
    }
    return status;
}

static aegis_status measure_disk(
    const aegis_engine *engine, uint8_t *room, uint64_t size, double *ret_rate, aegis_error *err)
{
    aegis_weight_reader reader = {0};
    aegis_status status = aegis_weight_reader_open(&reader, aegis_graph_files(engine->graph),
                                                   &engine->allocator, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint32_t file = 0;
    for (uint32_t i = 1; i < reader.count; i++) {
        file = reader.files[i].size_bytes > reader.files[file].size_bytes ? i : file;
    }
    uint64_t bytes = reader.files[file].size_bytes;
    bytes = bytes < size ? bytes : size;
    bytes = bytes < SAMPLE_BYTES ? bytes : SAMPLE_BYTES;
    const uint64_t first = bytes < FIRST_SAMPLE_BYTES ? bytes : FIRST_SAMPLE_BYTES;
    status = read_sample(&reader, file, first, room, ret_rate, err);
    /* A slow disk has said enough; a fast one is asked for longer. */
    if (status == AEGIS_OK && bytes > first && *ret_rate > 4.0 * (double)first) {
        status = read_sample(&reader, file, bytes, room, ret_rate, err);
    }
    aegis_weight_reader_close(&reader);
    return status;
}

/* Bytes a second of weights through the kernels: the second of two sweeps over `size` bytes. */
static aegis_status measure_memory(
    const aegis_engine *engine, uint8_t *room, uint64_t size, double *ret_rate, aegis_error *err)
{
    const uint64_t line = SWEEP_INPUTS * sizeof(float);
    const uint32_t outputs = (uint32_t)(size / line);
    aegis_compute_pool *pool = NULL;
    float *x = aegis_allocate_zeroed(&engine->allocator, SWEEP_INPUTS, sizeof *x);
    float *y = aegis_allocate_zeroed(&engine->allocator, outputs, sizeof *y);
    aegis_status status = AEGIS_OK;
    if (x == NULL || y == NULL) {
        status = aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a measurement");
    }
    if (status == AEGIS_OK) {
        status = aegis_compute_pool_create(engine->threads, &engine->allocator, &pool, err);
    }
    if (status == AEGIS_OK) {
        memset(room, 0, size); /* numbers: not-a-numbers take longer on some machines */
        const aegis_product product = {.run = {.data = room,
                                               .type = AEGIS_DTYPE_F32,
                                               .inputs = SWEEP_INPUTS,
                                               .outputs = outputs,
                                               .count = outputs},
                                       .x = {x, SWEEP_INPUTS},
                                       .y = {y, outputs}};
        aegis_products_run(engine->kernels, pool, &product, 1, 1);
        const uint64_t begin = now_ns();
        aegis_products_run(engine->kernels, pool, &product, 1, 1);
        *ret_rate = (double)outputs * (double)line * 1e9 / (double)(now_ns() - begin + 1);
    }
    aegis_compute_pool_destroy(pool);
    aegis_deallocate(&engine->allocator, y, outputs, sizeof *y);
    aegis_deallocate(&engine->allocator, x, SWEEP_INPUTS, sizeof *x);
    return status;
}

aegis_status aegis_engine_measure(aegis_engine *engine, uint64_t room, aegis_error *err)
{
    uint64_t size = 2 * SAMPLE_BYTES;
    size = room / 2 < size ? room / 2 / AEGIS_PARTITION_BLOCK * AEGIS_PARTITION_BLOCK : size;
    size = size < AEGIS_LOAD_BYTES ? AEGIS_LOAD_BYTES : size;
    uint8_t *pages = aegis_pages_map(size);
    if (pages == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a measurement");
    }
    double disk = 0, memory = 0;
    aegis_status status = measure_disk(engine, pages, size, &disk, err);
    if (status == AEGIS_OK) {
        status = measure_memory(engine, pages, size, &memory, err);
    }
    aegis_pages_unmap(pages, size);
    if (status == AEGIS_OK) {
        engine->disk_rate = disk;
        engine->memory_rate = memory;
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BENCH_LLM_GPU_H
#define AEGIS_BENCH_LLM_GPU_H

/* Made-up language models on a CUDA device through the backend: what benchmarks of them share. */

#include "gpu.h"

#include <aegisrt/backend.h>
#include <aegisrt/transformer.h>

#include <stdatomic.h>

#define LLM_SKIPPED 77

typedef struct llm_bed {
    bench_report report;
    aegis_device *device;
    aegis_stream *stream;
    aegis_backend *backend;
    const char *name; /* of the model */
} llm_bed;

static inline void llm_raise_flag(void *flag)
{
    atomic_store((atomic_bool *)flag, true);
}

/* As a lane that polls and its driver do: until the host knows that the work is done. */
static inline void llm_await(const llm_bed *b)
{
    atomic_bool done = false;
    aegis_error err;
    gpu_check(aegis_stream_notify(b->stream, llm_raise_flag, &done, &err), &err);
    while (!atomic_load(&done)) {
    }
    gpu_check(aegis_stream_take_failure(b->stream, &err), &err);
}

/* False, and said why, where there is no GPU. */
static inline bool
llm_begin(llm_bed *b, const char *name, uint64_t arena_bytes, uint64_t pinned_bytes)
{
    const aegis_device_config config = {
        .kind = AEGIS_DEVICE_CUDA, .arena_bytes = arena_bytes, .pinned_bytes = pinned_bytes};
    const aegis_backend_config runtime = {.runtime = "transformer", .consumer = "bench"};
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_stream_config stream = aegis_stream_config_default("bench");
    aegis_error err;
    *b = (llm_bed){.device = NULL};
    if (aegis_device_create(&config, &allocator, &b->device, &err) != AEGIS_OK) {
        fprintf(stderr, "skipped: %s\n", err.message);
        return false;
    }
    stream.completion = AEGIS_COMPLETION_POLL;
    b->report = bench_report_begin(name);
    gpu_check(aegis_stream_create(b->device, &stream, &b->stream, &err), &err);
    gpu_check(aegis_backend_create(&runtime, b->device, &allocator, &b->backend, &err), &err);
    return true;
}

static inline void llm_end(llm_bed *b)
{
    gpu_report_device(&b->report);
    bench_report_end(&b->report);
    aegis_backend_destroy(b->backend);
    aegis_stream_destroy(b->stream);
    aegis_device_destroy(b->device);
}

/* A model of SHAPE:DTYPE in a folder of its own, until llm_remove. */
typedef struct llm_made {
    char folder[64], name[80];
} llm_made;

static inline void llm_make(llm_bed *b, const char *what, llm_made *made)
{
    char shape[64];
    aegis_error err;
    const char *colon = strchr(what, ':');
    snprintf(made->folder, sizeof made->folder, "/tmp/aegisrt-bench-XXXXXX");
    if (colon == NULL || mkdtemp(made->folder) == NULL) {
        fprintf(stderr, "bench: %s: write SHAPE:DTYPE\n", what);
        exit(1);
    }
    snprintf(shape, sizeof shape, "%.*s", (int)(colon - what), what);
    snprintf(made->name, sizeof made->name, "%s %s", shape, colon + 1);
    gpu_check(aegis_transformer_synthesize(made->folder, shape, colon + 1, 7, &err), &err);
    b->name = made->name;
}

static inline void llm_remove(const llm_made *made)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", made->folder);
    if (system(command) != 0) {
        exit(1);
    }
}

#endif

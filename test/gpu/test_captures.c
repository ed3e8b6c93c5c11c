/* SPDX-License-Identifier: Apache-2.0 */
/* What ext/cuda_graph.h refuses on a CUDA device: captures and launches from another thread, work
 * that cannot be captured, memory that is not there. Exit 77 without a GPU. */
#include "support/cuda/gpu_bed.h"
#include "support/cuda/require.h"

#include <aegisrt/ext/cuda_graph.h>

#include <string.h>

#define ARENA_BYTES ((size_t)1 << 20)
#define FAR_TOO_MUCH (UINT64_C(1) << 50)

static void *no_memory(void *self, size_t size)
{
    (void)self;
    (void)size;
    return NULL;
}

static void keep_memory(void *self, void *block, size_t size)
{
    (void)self;
    (void)block;
    (void)size;
}

static const aegis_allocator short_of_memory = {.alloc = no_memory, .free = keep_memory};

typedef struct capture {
    aegis_device *device;
    aegis_stream *stream;
    void *words;
    aegis_cuda_graph *graph;
} capture;

static void refused(aegis_status status, aegis_status wanted, const aegis_error *err)
{
    if (status != wanted) {
        printf("%s: %s\n", aegis_status_name(status), err->message);
    }
    REQUIRE(status == wanted && err->status == wanted && err->message[0] != '\0');
}

static void begin_a_kernel(const capture *self)
{
    struct CUstream_st *handle = NULL;
    REQUIRE(aegis_cuda_capture_begin(self->stream, NULL) == AEGIS_OK);
    REQUIRE(aegis_cuda_stream_handle(self->stream, &handle, NULL) == AEGIS_OK);
    REQUIRE(kernel_increment(handle, self->words, 16) == 0);
}

/* Ends a capture that never began, one that asked for device memory, one of which nobody can take
 * note, and one that is whole. On the stream's own thread. */
static void capture_on_own_thread(void *argument)
{
    capture *self = argument;
    const aegis_allocator allocator = aegis_allocator_default();
    void *memory = NULL;
    aegis_error err = {0};
    refused(aegis_cuda_capture_end(self->stream, &allocator, &self->graph, NULL, &err),
            AEGIS_ERROR_UNSUPPORTED, &err);
    REQUIRE(aegis_cuda_capture_begin(self->stream, NULL) == AEGIS_OK);
    REQUIRE(aegis_cuda_memory_alloc(self->device, 4096, &memory, NULL) != AEGIS_OK);
    refused(aegis_cuda_capture_end(self->stream, &allocator, &self->graph, NULL, &err),
            AEGIS_ERROR_UNSUPPORTED, &err);
    begin_a_kernel(self);
    refused(aegis_cuda_capture_end(self->stream, &short_of_memory, &self->graph, NULL, &err),
            AEGIS_ERROR_NO_MEMORY, &err);
    REQUIRE(self->graph == NULL);
    begin_a_kernel(self);
    REQUIRE(aegis_cuda_capture_end(self->stream, &allocator, &self->graph, NULL, NULL) == AEGIS_OK);
    REQUIRE(self->graph != NULL && aegis_cuda_graph_launch(self->graph, NULL) == AEGIS_OK);
}

static void from_another_thread(const capture *self)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_cuda_graph *graph = NULL;
    aegis_error err = {0};
    refused(aegis_cuda_capture_begin(self->stream, &err), AEGIS_ERROR_STATE, &err);
    refused(aegis_cuda_capture_end(self->stream, &allocator, &graph, NULL, &err), AEGIS_ERROR_STATE,
            &err);
    refused(aegis_cuda_graph_launch(self->graph, &err), AEGIS_ERROR_STATE, &err);
    REQUIRE(graph == NULL);
}

static void memory_beside_the_arena(aegis_device *device)
{
    void *memory = NULL;
    uint64_t before = 0;
    aegis_error err = {0};
    REQUIRE(aegis_cuda_memory_in_use(device, &before, NULL) == AEGIS_OK && before >= ARENA_BYTES);
    refused(aegis_cuda_memory_alloc(device, FAR_TOO_MUCH, &memory, &err), AEGIS_ERROR_NO_MEMORY,
            &err);
    REQUIRE(memory == NULL && err.native_code != 0);
    REQUIRE(aegis_cuda_memory_alloc(device, 4096, &memory, NULL) == AEGIS_OK && memory != NULL);
    aegis_cuda_memory_free(device, memory);
}

int main(void)
{
    capture self = {.device = gpu_device(ARENA_BYTES, 65536)};
    const aegis_stream_config lane = aegis_stream_config_default("captures");
    aegis_buffer words;
    REQUIRE(kernel_load() == 0);
    REQUIRE(aegis_device_pinned_alloc(self.device, 4096, 64, &words, NULL) == AEGIS_OK);
    memset(words.pointer, 0, 4096);
    self.words = words.pointer;
    REQUIRE(aegis_stream_create(self.device, &lane, &self.stream, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_call(self.stream, capture_on_own_thread, &self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_synchronize(self.stream, NULL) == AEGIS_OK);
    REQUIRE(*(uint32_t *)words.pointer == 1); /* captured three times, run once */
    from_another_thread(&self);
    memory_beside_the_arena(self.device);
    aegis_cuda_graph_destroy(self.graph);
    aegis_stream_destroy(self.stream);
    aegis_device_destroy(self.device);
    printf("%s\n", failures == 0 ? "ok" : "FAIL");
    return failures == 0 ? 0 : 1;
}

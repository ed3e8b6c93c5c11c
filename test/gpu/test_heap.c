/* SPDX-License-Identifier: Apache-2.0 */
/* Launching a captured graph with copies past another one that stands at the gate takes nothing of
 * the heap, the first time neither: AegisRT does not, and the driver below it, which would, has
 * done so when the stream was made. Exit 77 without a GPU. */
#include "support/cuda/gpu_bed.h"
#include "support/cuda/require.h"
#include "support/thread_allocations.h"

#include <aegisrt/ext/cuda_graph.h>

#include "support/thread_allocations.inc"

#define NAME "heap"
#define ROUNDS 50
#define VALUES ((size_t)4096)
#define BYTES (VALUES * sizeof(uint32_t))

typedef struct lane {
    aegis_stream *stream;
    aegis_buffer in, out, values;
    aegis_cuda_graph *standing, *passing;
    sem_t seen;
} lane;

static void capture(lane *self, aegis_cuda_graph **ret_graph)
{
    const aegis_allocator allocator = aegis_allocator_default();
    struct CUstream_st *handle = NULL;
    void *values = self->values.pointer;
    REQUIRE(aegis_cuda_capture_begin(self->stream, NULL) == AEGIS_OK);
    REQUIRE(aegis_cuda_stream_handle(self->stream, &handle, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_enqueue_copy(self->stream, values, self->in.pointer, BYTES, NULL) ==
            AEGIS_OK);
    REQUIRE(kernel_increment(handle, values, VALUES) == 0);
    REQUIRE(aegis_stream_enqueue_copy(self->stream, self->out.pointer, values, BYTES, NULL) ==
            AEGIS_OK);
    REQUIRE(aegis_cuda_capture_end(self->stream, &allocator, ret_graph, NULL, NULL) == AEGIS_OK);
}

/* ---- on the stream's own thread ---- */

static void prepare(void *argument)
{
    lane *self = argument;
    capture(self, &self->standing);
    capture(self, &self->passing);
}

static void launch(void *argument)
{
    REQUIRE(aegis_cuda_graph_launch(((lane *)argument)->passing, NULL) == AEGIS_OK);
}

static void put(void *argument)
{
    lane *self = argument;
    REQUIRE(aegis_stream_ahead_begin(self->stream, NULL) == AEGIS_OK);
    REQUIRE(aegis_cuda_graph_launch(self->standing, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_ahead_end(self->stream, NULL) == AEGIS_OK);
}

static void take(void *argument)
{
    aegis_stream_ahead_take(((lane *)argument)->stream);
}

static void see(void *argument)
{
    sem_post(&((lane *)argument)->seen);
}

/* ---- on the test's ---- */

static void call(lane *self, aegis_stream_function function)
{
    REQUIRE(aegis_stream_call(self->stream, function, self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_notify(self->stream, see, self, NULL) == AEGIS_OK);
    gpu_sem_wait(&self->seen);
}

static uint64_t taken(void)
{
    uint64_t count = 0;
    REQUIRE(test_thread_allocations(NAME, &count));
    return count;
}

static void open_lane(aegis_device *device, lane *self)
{
    aegis_error error;
    aegis_stream_config config = aegis_stream_config_default(NAME);
    config.completion = AEGIS_COMPLETION_POLL;
    config.ahead = true;
    gpu_check(aegis_stream_create(device, &config, &self->stream, &error), &error);
    gpu_check(aegis_device_pinned_alloc(device, BYTES, 0, &self->in, &error), &error);
    gpu_check(aegis_device_pinned_alloc(device, BYTES, 0, &self->out, &error), &error);
    gpu_check(aegis_device_alloc(device, BYTES, 0, &self->values, &error), &error);
    memset(self->in.pointer, 0, BYTES);
    sem_init(&self->seen, 0, 0);
}

static void close_lane(aegis_device *device, lane *self)
{
    aegis_cuda_graph_destroy(self->standing);
    aegis_cuda_graph_destroy(self->passing);
    aegis_stream_destroy(self->stream);
    REQUIRE(aegis_device_pinned_free(device, &self->in, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_pinned_free(device, &self->out, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_free(device, &self->values, NULL) == AEGIS_OK);
}

int main(void)
{
    lane self = {0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    aegis_device *device = gpu_device(UINT64_C(1) << 20, UINT64_C(1) << 20);
    REQUIRE(kernel_load() == 0);
    open_lane(device, &self);
    call(&self, prepare);
    call(&self, launch); /* it has run, alone */
    const uint64_t before = taken();
    for (int round = 0; round < ROUNDS; round++) {
        call(&self, put);
        call(&self, launch); /* past what stands */
        call(&self, take);
    }
    const uint64_t after = taken();
    printf("%llu heap calls before, %llu in %d rounds of 2 launches\n", (unsigned long long)before,
           (unsigned long long)(after - before), ROUNDS);
    REQUIRE(before > 0 && after == before);
    close_lane(device, &self);
    aegis_device_destroy(device);
    printf("%s\n", failures == 0 ? "ok" : "FAIL");
    return failures == 0 ? 0 : 1;
}

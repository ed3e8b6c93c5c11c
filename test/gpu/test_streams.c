/* SPDX-License-Identifier: Apache-2.0 */
/* Streams with real kernels: order of copies and kernels across streams, pinned memory seen by
 * kernels, overlap on the device, jobs of a cut model, multiprocessors of a stream's own. Exit 77
 * without a GPU. */
#include "support/cuda/gpu_bed.h"
#include "support/cuda/require.h"

#include <aegisrt/ext/cuda_graph.h>

#define MS UINT64_C(1000000)
#define VALUES ((size_t)1 << 20)

static aegis_stream *new_stream(aegis_device *device, int multiprocessors, aegis_error *error)
{
    aegis_stream_config config = aegis_stream_config_default("streams");
    aegis_stream *stream = NULL;
    config.multiprocessors = multiprocessors;
    return aegis_stream_create(device, &config, &stream, error) == AEGIS_OK ? stream : NULL;
}

typedef struct round {
    aegis_stream *stream;
    aegis_event *arrived, *computed;
    uint32_t *host, *arena;
    aegis_status status;
    int code;
} round_trip;

static void keep(round_trip *self, aegis_status status)
{
    self->status = self->status == AEGIS_OK ? status : self->status;
}

/* A backend's execute: copy in, kernels, copy out, in one function on the lane's thread. */
static void copy_increment_copy(void *argument)
{
    round_trip *self = argument;
    struct CUstream_st *handle = NULL;
    size_t bytes = VALUES * sizeof *self->host;
    keep(self, aegis_cuda_stream_handle(self->stream, &handle, NULL));
    keep(self, aegis_stream_enqueue_copy(self->stream, self->arena, self->host, bytes, NULL));
    self->code = kernel_increment(handle, self->arena, VALUES);
    keep(self, aegis_stream_enqueue_copy(self->stream, self->host, self->arena, bytes, NULL));
}

static void increment_only(void *argument)
{
    round_trip *self = argument;
    struct CUstream_st *handle = NULL;
    keep(self, aegis_cuda_stream_handle(self->stream, &handle, NULL));
    self->code = kernel_increment(handle, self->arena, VALUES);
}

static bool all_are(const uint32_t *values, uint32_t wanted)
{
    for (size_t i = 0; i < VALUES; i++) {
        if (values[i] != wanted) {
            return false;
        }
    }
    return true;
}

static void one_function_keeps_its_order(aegis_device *device, uint32_t *host, uint32_t *arena)
{
    aegis_stream *stream = new_stream(device, 0, NULL);
    round_trip self = {.stream = stream, .host = host, .arena = arena};
    memset(host, 0, VALUES * sizeof *host);
    for (int i = 0; i < 10; i++) {
        REQUIRE(aegis_stream_call(stream, copy_increment_copy, &self, NULL) == AEGIS_OK);
    }
    REQUIRE(aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    REQUIRE(self.status == AEGIS_OK && self.code == 0);
    REQUIRE(all_are(host, 10));
    aegis_stream_destroy(stream);
}

/* In, kernel, out on two streams, handed over by events; the host waits once, at the end. */
static void two_streams_hand_over(aegis_device *device, uint32_t *host, uint32_t *arena)
{
    aegis_stream *lane = new_stream(device, 0, NULL), *copies = new_stream(device, 0, NULL);
    round_trip self = {.stream = lane, .arena = arena};
    size_t bytes = VALUES * sizeof *host;
    REQUIRE(aegis_event_create(device, &self.arrived, NULL) == AEGIS_OK);
    REQUIRE(aegis_event_create(device, &self.computed, NULL) == AEGIS_OK);
    memset(host, 0, bytes);
    for (int i = 0; i < 10; i++) {
        REQUIRE(aegis_stream_copy(copies, arena, host, bytes, NULL) == AEGIS_OK);
        REQUIRE(aegis_event_record(self.arrived, copies, NULL) == AEGIS_OK);
        REQUIRE(aegis_stream_wait_event(lane, self.arrived, NULL) == AEGIS_OK);
        REQUIRE(aegis_stream_call(lane, increment_only, &self, NULL) == AEGIS_OK);
        REQUIRE(aegis_event_record(self.computed, lane, NULL) == AEGIS_OK);
        REQUIRE(aegis_stream_wait_event(copies, self.computed, NULL) == AEGIS_OK);
        REQUIRE(aegis_stream_copy(copies, host, arena, bytes, NULL) == AEGIS_OK);
    }
    REQUIRE(aegis_stream_synchronize(copies, NULL) == AEGIS_OK);
    REQUIRE(self.status == AEGIS_OK && self.code == 0);
    REQUIRE(all_are(host, 10));
    aegis_event_destroy(self.arrived);
    aegis_event_destroy(self.computed);
    aegis_stream_destroy(lane);
    aegis_stream_destroy(copies);
}

static void kernels_reach_pinned_memory(aegis_device *device, uint32_t *host)
{
    aegis_stream *stream = new_stream(device, 0, NULL);
    round_trip self = {.stream = stream, .arena = host};
    memset(host, 0, VALUES * sizeof *host);
    REQUIRE(aegis_stream_call(stream, increment_only, &self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    REQUIRE(self.code == 0 && all_are(host, 1));
    aegis_stream_destroy(stream);
}

typedef struct spinner {
    aegis_stream *stream;
    const volatile int *flag;
    int code;
} spinner;

static void launch_waiting_kernel(void *argument)
{
    spinner *self = argument;
    struct CUstream_st *handle = NULL;
    if (aegis_cuda_stream_handle(self->stream, &handle, NULL) == AEGIS_OK) {
        self->code = kernel_hang(handle, self->flag, 10000 * MS);
    }
}

/* The kernel ends when a copy that came later has arrived: only overlap lets both end. */
static void copy_arrives_while_a_kernel_runs(aegis_device *device, uint32_t *host, uint32_t *arena)
{
    aegis_stream *lane = new_stream(device, 0, NULL), *copies = new_stream(device, 0, NULL);
    aegis_buffer flag;
    REQUIRE(aegis_device_pinned_alloc(device, sizeof(int), 0, &flag, NULL) == AEGIS_OK);
    volatile int *shared = flag.pointer;
    *shared = 0;
    spinner self = {.stream = lane, .flag = shared};
    REQUIRE(aegis_stream_call(lane, launch_waiting_kernel, &self, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_copy(copies, arena, host, VALUES * sizeof *host, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_synchronize_until(copies, gpu_now_ns() + 5000 * MS, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_query(lane, NULL) == AEGIS_ERROR_BUSY);
    *shared = 1;
    REQUIRE(aegis_stream_synchronize_until(lane, gpu_now_ns() + 5000 * MS, NULL) == AEGIS_OK);
    REQUIRE(self.code == 0);
    aegis_stream_destroy(lane);
    aegis_stream_destroy(copies);
}

typedef struct spreader {
    aegis_stream *stream;
    uint64_t *bits;
    int blocks, code;
    aegis_cuda_graph *graph;
} spreader;

static int count_bits(const uint64_t *bits)
{
    int count = 0;
    for (int i = 0; i < 4; i++) {
        count += __builtin_popcountll(bits[i]);
    }
    return count;
}

static void launch_spread(void *argument)
{
    spreader *self = argument;
    struct CUstream_st *handle = NULL;
    if (aegis_cuda_stream_handle(self->stream, &handle, NULL) == AEGIS_OK) {
        self->code = kernel_spread(handle, 200000, self->blocks, self->bits);
    }
}

/* The same as a graph that is captured here. */
static void launch_captured_spread(void *argument)
{
    spreader *self = argument;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_cuda_graph_info info = {0};
    REQUIRE(aegis_cuda_capture_begin(self->stream, NULL) == AEGIS_OK);
    launch_spread(self);
    REQUIRE(aegis_cuda_capture_end(self->stream, &allocator, &self->graph, &info, NULL) ==
            AEGIS_OK);
    REQUIRE(info.kernels == 1 && count_bits(self->bits) == 0);
    REQUIRE(self->graph != NULL && aegis_cuda_graph_launch(self->graph, NULL) == AEGIS_OK);
}

/* Runs on all that the stream may use and returns on how many that was, 0 on failure. */
static int multiprocessors_used(aegis_stream *stream, uint64_t *bits, int blocks, bool captured)
{
    spreader self = {.stream = stream, .bits = bits, .blocks = blocks, .code = -1};
    REQUIRE(aegis_stream_call(stream, captured ? launch_captured_spread : launch_spread, &self,
                              NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    REQUIRE(self.code == 0);
    aegis_cuda_graph_destroy(self.graph);
    return count_bits(bits);
}

/* Two streams with parts of their own never meet on a multiprocessor, in a graph neither, one
 * without has all, and a part that was given back can be taken again. */
static void partitions_do_not_meet(aegis_device *device)
{
    const aegis_device_capabilities *is = aegis_device_get_capabilities(device);
    int size = is->partition_granularity, blocks = 8 * is->multiprocessor_count;
    if (size == 0) {
        printf("left out: this driver or device has no green contexts\n");
        return;
    }
    int third = is->multiprocessor_count / 3, most = (third + size - 1) / size * size;
    aegis_buffer memory;
    REQUIRE(aegis_device_pinned_alloc(device, 16 * sizeof(uint64_t), 64, &memory, NULL) ==
            AEGIS_OK);
    uint64_t *bits = memory.pointer;
    memset(bits, 0, 16 * sizeof *bits);
    aegis_error error = {0};
    aegis_stream *first = new_stream(device, third, &error);
    aegis_stream *second = new_stream(device, third, &error), *all = new_stream(device, 0, &error);
    if (first == NULL || second == NULL || all == NULL) {
        printf("%s\n", error.message);
        failures++;
        return;
    }
    int used[] = {multiprocessors_used(first, bits, blocks, false),
                  multiprocessors_used(second, bits + 4, blocks, true),
                  multiprocessors_used(all, bits + 8, blocks, false)};
    printf("two streams with %d multiprocessors of their own ran on %d and %d, one without on %d\n",
           most, used[0], used[1], used[2]);
    REQUIRE(used[0] == most && used[1] == most && used[2] == is->multiprocessor_count);
    for (int i = 0; i < 4; i++) {
        REQUIRE((bits[i] & bits[4 + i]) == 0);
    }
    aegis_stream_destroy(first);
    first = new_stream(device, third, &error);
    REQUIRE(first != NULL && multiprocessors_used(first, bits + 12, blocks, false) == most);
    aegis_stream_destroy(first);
    aegis_stream_destroy(second);
    aegis_stream_destroy(all);
}

static void note_end(void *self, const aegis_job_result *result)
{
    if (result->end != AEGIS_JOB_COMPLETED) {
        failures++;
    }
    sem_post(self);
}

/* A cut model's kernels run one after the other, none begins before the one before has ended. */
static void segments_of_a_job_do_not_overlap(void)
{
    gpu_bed bed;
    sem_t ended;
    size_t count;
    sem_init(&ended, 0, 0);
    gpu_bed_open(&bed,
                 &(gpu_bed_config){.ahead = true, .wake_bound_ns = MS, .overhead_bound_ns = MS});
    uint32_t model = gpu_bed_add(&bed, "8x50000", GPU_BED_HOUR_NS, 0, 1);
    gpu_bed_start(&bed);
    for (int i = 0; i < 20; i++) {
        gpu_bed_submit(&bed, model, note_end, &ended);
        gpu_sem_wait(&ended);
    }
    const kernel_stamp *stamps = kernel_model_stamps(bed.models[model], &count);
    REQUIRE(count == 160);
    for (size_t i = 0; i + 1 < count; i++) {
        if (stamps[i].end_ns == 0 || stamps[i].end_ns > stamps[i + 1].start_ns) {
            printf("kernel %zu ran into the next\n", i);
            failures++;
        }
    }
    gpu_bed_close(&bed);
}

int main(void)
{
    aegis_device *device = gpu_device(VALUES * 8, VALUES * 4 + 65536);
    aegis_buffer host, arena;
    REQUIRE(kernel_load() == 0);
    REQUIRE(aegis_device_pinned_alloc(device, VALUES * 4, 0, &host, NULL) == AEGIS_OK);
    REQUIRE(aegis_device_alloc(device, VALUES * 4, 0, &arena, NULL) == AEGIS_OK);
    one_function_keeps_its_order(device, host.pointer, arena.pointer);
    two_streams_hand_over(device, host.pointer, arena.pointer);
    kernels_reach_pinned_memory(device, host.pointer);
    copy_arrives_while_a_kernel_runs(device, host.pointer, arena.pointer);
    partitions_do_not_meet(device);
    aegis_device_destroy(device);
    segments_of_a_job_do_not_overlap();
    printf("%s\n", failures == 0 ? "ok" : "FAIL");
    return failures == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Captured work, and device memory beside the arena. */
#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_error.h"

#include <aegisrt/ext/cuda.h>
#include <aegisrt/ext/cuda_graph.h>

#include <inttypes.h>

#define COMPONENT "device.cuda.graph"

struct aegis_cuda_graph {
    aegis_allocator allocator;
    aegis_stream *stream;
    cudaStream_t handle;
    cudaGraphExec_t exec;
    int index; /* of the device */
};

static int index_of(const aegis_device *device)
{
    return aegis_device_get_capabilities(device)->index;
}

static aegis_status own_stream(aegis_stream *stream, cudaStream_t *ret_handle, aegis_error *err)
{
    aegis_status status = aegis_cuda_stream_handle(stream, ret_handle, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (!aegis_cuda_stream_is_own_thread(aegis_stream_self(stream))) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "work is captured and launched from the stream's own thread; use "
                               "aegis_stream_call");
    }
    return AEGIS_OK;
}

aegis_status aegis_cuda_capture_begin(aegis_stream *stream, aegis_error *err)
{
    cudaStream_t handle = NULL;
    aegis_status status = own_stream(stream, &handle, err);
    /* Other threads go on with what this one must not do meanwhile. */
    return status != AEGIS_OK
               ? status
               : aegis_cuda_check(cudaStreamBeginCapture(handle, cudaStreamCaptureModeThreadLocal),
                                  "cudaStreamBeginCapture", AEGIS_HERE(COMPONENT), err);
}

static void count_node(cudaGraphNode_t node, aegis_cuda_graph_info *info)
{
    enum cudaGraphNodeType type;
    if (cudaGraphNodeGetType(node, &type) != cudaSuccess) {
        return;
    }
    info->kernels += type == cudaGraphNodeTypeKernel;
    info->copies += type == cudaGraphNodeTypeMemcpy;
    info->memsets += type == cudaGraphNodeTypeMemset;
    info->host_calls += type == cudaGraphNodeTypeHost;
    info->allocations += type == cudaGraphNodeTypeMemAlloc;
}

static aegis_status count_nodes(cudaGraph_t graph,
                                const aegis_allocator *allocator,
                                aegis_cuda_graph_info *info,
                                aegis_error *err)
{
    size_t count = 0;
    aegis_status status = aegis_cuda_check(cudaGraphGetNodes(graph, NULL, &count),
                                           "cudaGraphGetNodes", AEGIS_HERE(COMPONENT), err);
    if (status != AEGIS_OK) {
        return status;
    }
    cudaGraphNode_t *nodes = aegis_allocate_zeroed(allocator, count + 1, sizeof(cudaGraphNode_t));
    if (nodes == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for the %zu nodes of a graph", count);
    }
    status = aegis_cuda_check(cudaGraphGetNodes(graph, nodes, &count), "cudaGraphGetNodes",
                              AEGIS_HERE(COMPONENT), err);
    *info = (aegis_cuda_graph_info){.nodes = (uint32_t)count};
    for (size_t i = 0; status == AEGIS_OK && i < count; i++) {
        count_node(nodes[i], info);
    }
    aegis_deallocate(allocator, nodes, count + 1, sizeof(cudaGraphNode_t));
    if (status == AEGIS_OK && info->host_calls > 0) {
        /* They release what the capture made: a second time when the graph runs again. */
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%" PRIu32 " functions on the CPU are part of the captured work",
                               info->host_calls);
    }
    return status;
}

static aegis_status make_ready(cudaGraph_t captured, aegis_cuda_graph *graph, aegis_error *err)
{
    aegis_status status = aegis_cuda_check(cudaGraphInstantiate(&graph->exec, captured, 0),
                                           "cudaGraphInstantiate", AEGIS_HERE(COMPONENT), err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaGraphUpload(graph->exec, graph->handle), "cudaGraphUpload",
                                  AEGIS_HERE(COMPONENT), err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaStreamSynchronize(graph->handle), "cudaStreamSynchronize",
                                  AEGIS_HERE(COMPONENT), err);
    }
    return status;
}

static aegis_status instantiate(cudaGraph_t captured,
                                aegis_cuda_graph *wanted,
                                aegis_cuda_graph **ret,
                                aegis_error *err)
{
    const aegis_allocator allocator = wanted->allocator;
    aegis_cuda_graph *graph = aegis_allocate_zeroed(&allocator, 1, sizeof *graph);
    if (graph == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for a graph");
    }
    *graph = *wanted;
    aegis_status status = make_ready(captured, graph, err);
    if (status != AEGIS_OK) {
        aegis_cuda_graph_destroy(graph);
        return status;
    }
    *ret = graph;
    return AEGIS_OK;
}

aegis_status aegis_cuda_capture_end(aegis_stream *stream,
                                    const aegis_allocator *allocator,
                                    aegis_cuda_graph **ret_graph,
                                    aegis_cuda_graph_info *ret_info,
                                    aegis_error *err)
{
    cudaGraph_t captured = NULL;
    aegis_cuda_graph graph = {.allocator = *allocator, .stream = stream};
    aegis_cuda_graph_info info = {0};
    aegis_status status = own_stream(stream, &graph.handle, err);
    if (status != AEGIS_OK) {
        return status;
    }
    graph.index = index_of(aegis_stream_device(stream));
    cudaError_t code = cudaStreamEndCapture(graph.handle, &captured);
    if (code != cudaSuccess || captured == NULL) {
        (void)cudaGetLastError();
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                      (int64_t)code, "the work cannot be captured: %s (%s)",
                                      cudaGetErrorString(code), cudaGetErrorName(code));
    }
    status = count_nodes(captured, allocator, &info, err);
    if (ret_info != NULL) {
        *ret_info = info;
    }
    if (status == AEGIS_OK) {
        status = instantiate(captured, &graph, ret_graph, err);
    }
    (void)cudaGraphDestroy(captured);
    return status;
}

aegis_status aegis_cuda_graph_launch(const aegis_cuda_graph *graph, aegis_error *err)
{
    if (!aegis_cuda_stream_is_own_thread(aegis_stream_self(graph->stream))) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "a graph is launched from the thread of its stream");
    }
    return aegis_cuda_check(
        cudaGraphLaunch(graph->exec, aegis_cuda_stream_native(aegis_stream_self(graph->stream))),
        "cudaGraphLaunch", AEGIS_HERE(COMPONENT), err);
}

void aegis_cuda_graph_destroy(aegis_cuda_graph *graph)
{
    if (graph == NULL) {
        return;
    }
    aegis_allocator allocator = graph->allocator;
    int previous = 0;
    if (graph->exec != NULL && aegis_cuda_enter(graph->index, &previous) == cudaSuccess) {
        (void)cudaGraphExecDestroy(graph->exec);
        aegis_cuda_leave(previous);
    }
    aegis_deallocate(&allocator, graph, 1, sizeof *graph);
}

/* ---- memory beside the arena ---- */

static aegis_status check_kind(const aegis_device *device, aegis_error *err)
{
    return aegis_device_get_capabilities(device)->kind == AEGIS_DEVICE_CUDA
               ? AEGIS_OK
               : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                 "only a CUDA device has memory beside the host's");
}

aegis_status aegis_cuda_memory_alloc(aegis_device *device,
                                     uint64_t size_bytes,
                                     void **ret_memory,
                                     aegis_error *err)
{
    int previous = 0;
    void *memory = NULL;
    aegis_status status = check_kind(device, err);
    if (status != AEGIS_OK) {
        return status;
    }
    cudaError_t code = aegis_cuda_enter(index_of(device), &previous);
    if (code == cudaSuccess) {
        code = cudaMalloc(&memory, size_bytes);
        aegis_cuda_leave(previous);
    }
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return aegis_error_set_native(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY, (int64_t)code,
            "the device has no %" PRIu64 " bytes beside the arena, which loading a model takes for "
            "a while; reduce [device] memory or end other programs on the GPU",
            size_bytes);
    }
    status = aegis_cuda_check(code, "cudaMalloc", AEGIS_HERE(COMPONENT), err);
    if (status == AEGIS_OK) {
        *ret_memory = memory;
    }
    return status;
}

void aegis_cuda_memory_free(aegis_device *device, void *memory)
{
    int previous = 0;
    if (memory != NULL && aegis_cuda_enter(index_of(device), &previous) == cudaSuccess) {
        (void)cudaFree(memory);
        aegis_cuda_leave(previous);
    }
}

aegis_status
aegis_cuda_memory_in_use(const aegis_device *device, uint64_t *ret_bytes, aegis_error *err)
{
    int previous = 0;
    size_t free_bytes = 0, total = 0;
    aegis_status status = check_kind(device, err);
    if (status != AEGIS_OK) {
        return status;
    }
    cudaError_t code = aegis_cuda_enter(index_of(device), &previous);
    if (code == cudaSuccess) {
        code = cudaMemGetInfo(&free_bytes, &total);
        aegis_cuda_leave(previous);
    }
    status = aegis_cuda_check(code, "cudaMemGetInfo", AEGIS_HERE(COMPONENT), err);
    if (status == AEGIS_OK) {
        *ret_bytes = total - free_bytes;
    }
    return status;
}

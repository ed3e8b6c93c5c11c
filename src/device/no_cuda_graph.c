/* SPDX-License-Identifier: Apache-2.0 */
/* What ext/cuda_graph.h is in a build without CUDA. */
#include "base/base.h"

#include <aegisrt/ext/cuda_graph.h>

#ifndef AEGISRT_HAVE_CUDA
static aegis_status not_built(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_DEVICE_NOT_AVAILABLE,
                           "this build has no CUDA device: configure with -DAEGISRT_BUILD_CUDA=ON "
                           "(AEGISRT_BUILD_CUDA)");
}

aegis_status aegis_cuda_capture_begin(aegis_stream *stream, aegis_error *err)
{
    (void)stream;
    return not_built(err);
}

aegis_status aegis_cuda_capture_end(aegis_stream *stream,
                                    const aegis_allocator *allocator,
                                    aegis_cuda_graph **ret_graph,
                                    aegis_cuda_graph_info *ret_info,
                                    aegis_error *err)
{
    (void)stream;
    (void)allocator;
    (void)ret_graph;
    (void)ret_info;
    return not_built(err);
}

aegis_status aegis_cuda_graph_launch(const aegis_cuda_graph *graph, aegis_error *err)
{
    (void)graph;
    return not_built(err);
}

void aegis_cuda_graph_destroy(aegis_cuda_graph *graph)
{
    (void)graph; /* there are none */
}

aegis_status aegis_cuda_memory_alloc(aegis_device *device,
                                     uint64_t size_bytes,
                                     void **ret_memory,
                                     aegis_error *err)
{
    (void)device;
    (void)size_bytes;
    (void)ret_memory;
    return not_built(err);
}

void aegis_cuda_memory_free(aegis_device *device, void *memory)
{
    (void)device;
    (void)memory;
}

aegis_status
aegis_cuda_memory_in_use(const aegis_device *device, uint64_t *ret_bytes, aegis_error *err)
{
    (void)device;
    (void)ret_bytes;
    return not_built(err);
}
#endif

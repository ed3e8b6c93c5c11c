/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_CUDA_DEVICE_H
#define AEGIS_DEVICE_CUDA_DEVICE_H

#include <aegisrt/ext/device_ops.h>

#include "device/cuda/cuda_end.h"
#include "device/cuda/cuda_partition.h"

#include <cuda_runtime_api.h>
#include <stdatomic.h>

typedef struct aegis_cuda_device {
    aegis_allocator allocator;
    aegis_device_capabilities capabilities;
    int index;
    int lowest_priority; /* CUDA counts downwards from here */
    void *base;
    uint64_t size;
    void *pinned;
    uint64_t pinned_size;
    aegis_cuda_partitions *partitions; /* NULL: the device cannot be divided */
    cudaStream_t copies; /* of set-up: blocking copies and the clearing of the arena */
    _Atomic int gates;   /* of its streams */
} aegis_cuda_device;

/* Makes a device current and remembers which was, so that the caller's thread keeps its own. */
cudaError_t aegis_cuda_enter(int index, int *ret_previous);
void aegis_cuda_leave(int previous);

/* cuda_stream.c; entries of the ops table. `self` is the aegis_cuda_device. */
aegis_status aegis_cuda_stream_create(void *self,
                                      const aegis_stream_config *config,
                                      void **ret_stream,
                                      aegis_error *err);
void aegis_cuda_stream_destroy(void *self);
aegis_status aegis_cuda_stream_call(void *stream,
                                    aegis_stream_function function,
                                    void *argument,
                                    aegis_error *err);
aegis_status aegis_cuda_stream_notify(void *stream,
                                      aegis_stream_function function,
                                      void *argument,
                                      aegis_error *err);
aegis_status aegis_cuda_stream_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err);
aegis_status aegis_cuda_stream_synchronize(void *self, aegis_error *err);
aegis_status aegis_cuda_stream_query(void *self, aegis_error *err);
aegis_status aegis_cuda_stream_wait_event(void *stream, void *self, aegis_error *err);
void *aegis_cuda_stream_native(void *stream);

aegis_status aegis_cuda_stream_synchronize_until(void *self, uint64_t until_ns, aegis_error *err);
aegis_status aegis_cuda_stream_take_failure(void *self, aegis_error *err);
bool aegis_cuda_stream_abandon(void *self);
void aegis_cuda_stream_expect(void *self, uint64_t least_ns);
bool aegis_cuda_stream_is_own_thread(void *stream);
aegis_status aegis_cuda_ahead_begin(void *self, aegis_error *err);
aegis_status aegis_cuda_ahead_end(void *self, aegis_error *err);
void aegis_cuda_ahead_open(void *self);
void aegis_cuda_ahead_take(void *self);
void aegis_cuda_ahead_discard(void *self);
aegis_cuda_meanwhile *aegis_cuda_stream_meanwhile(void *stream);
/* cuda_end.c */
void aegis_cuda_set_meanwhile(void *stream, aegis_stream_function function, void *argument);
void aegis_cuda_ask_meanwhile(void *stream);
aegis_status aegis_cuda_enqueue_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err);
aegis_status aegis_cuda_enqueue_record(void *stream, void *self, aegis_error *err);
aegis_status aegis_cuda_enqueue_wait(void *stream, void *self, aegis_error *err);

aegis_status aegis_cuda_event_create(void *self, void **ret_event, aegis_error *err);
void aegis_cuda_event_destroy(void *event);
aegis_status aegis_cuda_event_record(void *self, void *stream, aegis_error *err);
aegis_status aegis_cuda_event_query(void *self, aegis_error *err);
aegis_status aegis_cuda_event_synchronize(void *self, aegis_error *err);
aegis_status
aegis_cuda_event_elapsed_ns(void *start, void *end, int64_t *ret_elapsed_ns, aegis_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_DEVICE_OPS_H
#define AEGISRT_EXT_DEVICE_OPS_H

/** @file device_ops.h For people who write a device. See device.h for what users are promised. */

#include <aegisrt/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Version 1 ended with event_elapsed_ns, version 2 with stream_expect. Tables of any version up to
 * this one are taken. */
#define AEGIS_DEVICE_OPS_VERSION 4u

/** All entries are required unless said otherwise. `self`, `stream` and `event` are the
 * implementation's own objects. Threads and statuses: as the public call of the same name, which
 * has checked its arguments: pointers, ranges, that objects belong to the same device, priority,
 * width, cpu, fifo_priority, and depth, which is never 0 here, as name is never NULL. */
typedef struct aegis_device_ops {
    uint32_t version;
    const char *name;
    void (*destroy)(void *self);
    const aegis_device_capabilities *(*capabilities)(void *self);
    bool (*host_addressable)(void *self);
    void (*arena)(void *self, void **ret_base, uint64_t *ret_size_bytes);
    aegis_status (*copy)(
        void *self, void *destination, const void *source, size_t size_bytes, aegis_error *err);

    aegis_status (*stream_create)(void *self,
                                  const aegis_stream_config *config,
                                  void **ret_stream,
                                  aegis_error *err);
    void (*stream_destroy)(void *stream);
    aegis_status (*stream_call)(void *stream,
                                aegis_stream_function function,
                                void *argument,
                                aegis_error *err);
    aegis_status (*stream_notify)(void *stream,
                                  aegis_stream_function function,
                                  void *argument,
                                  aegis_error *err);
    aegis_status (*stream_copy)(
        void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err);
    aegis_status (*stream_synchronize)(void *stream, aegis_error *err);
    aegis_status (*stream_query)(void *stream, aegis_error *err);
    aegis_status (*stream_wait_event)(void *stream, void *event, aegis_error *err);
    /** Optional: the native handle (cudaStream_t), for ext/cuda.h. */
    void *(*stream_native)(void *stream);

    aegis_status (*event_create)(void *self, void **ret_event, aegis_error *err);
    void (*event_destroy)(void *event);
    aegis_status (*event_record)(void *event, void *stream, aegis_error *err);
    aegis_status (*event_query)(void *event, aegis_error *err);
    aegis_status (*event_synchronize)(void *event, aegis_error *err);
    aegis_status (*event_elapsed_ns)(void *start,
                                     void *end,
                                     int64_t *ret_elapsed_ns,
                                     aegis_error *err);

    /* Since version 2, all optional: NULL means UNSUPPORTED unless said otherwise. */
    /** NULL: there is no pinned memory. */
    void (*pinned)(void *self, void **ret_base, uint64_t *ret_size_bytes);
    aegis_status (*stream_synchronize_until)(void *stream, uint64_t until_ns, aegis_error *err);
    /** NULL: work does not fail after its call returned. */
    aegis_status (*stream_take_failure)(void *stream, aegis_error *err);
    /** In place of stream_destroy. False: something was left behind, `self` is never destroyed. */
    bool (*stream_abandon)(void *stream);
    /** True on the thread that runs the stream's functions; required with any of the next three. */
    bool (*stream_is_own_thread)(void *stream);
    aegis_status (*enqueue_copy)(
        void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err);
    aegis_status (*enqueue_record)(void *stream, void *event, aegis_error *err);
    aegis_status (*enqueue_wait)(void *stream, void *event, aegis_error *err);
    /** NULL: the hint is not needed. */
    void (*stream_expect)(void *stream, uint64_t least_ns);

    /* Since version 3; all five or none: work that stands behind a gate. */
    aegis_status (*ahead_begin)(void *stream, aegis_error *err);
    aegis_status (*ahead_end)(void *stream, aegis_error *err);
    void (*ahead_open)(void *stream);
    void (*ahead_take)(void *stream);
    void (*ahead_discard)(void *stream);

    /* Since version 4; both or none: while a stream's thread waits. NULL: it does nothing then. */
    void (*set_meanwhile)(void *stream, aegis_stream_function function, void *argument);
    void (*ask_meanwhile)(void *stream);
} aegis_device_ops;

/** Wraps an implementation. Takes `self` (destroyed with the device, also when this fails).
 * INVALID_ARGUMENT when the version or a required entry is missing. The sub-allocation of the
 * arena (aegis_device_alloc) is done above the ops, once for all devices. */
aegis_status aegis_device_wrap(const aegis_device_ops *ops,
                               void *self,
                               const aegis_allocator *allocator,
                               aegis_device **ret_device,
                               aegis_error *err);

/** The implementation's own stream behind a public one. */
void *aegis_stream_self(aegis_stream *stream);
/** The ops of a device, to tell whose streams are whose. */
const aegis_device_ops *aegis_device_get_ops(const aegis_device *device);

#ifdef __cplusplus
}
#endif
#endif

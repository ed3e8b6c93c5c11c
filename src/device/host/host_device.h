/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_HOST_DEVICE_H
#define AEGIS_DEVICE_HOST_DEVICE_H

#include <aegisrt/ext/device_ops.h>

typedef struct aegis_host_device {
    aegis_allocator allocator;
    aegis_device_capabilities capabilities;
    void *base;
    uint64_t size;
    void *pinned;
    uint64_t pinned_size;
} aegis_host_device;

/* host_stream.c; entries of the ops table. `self` is the aegis_host_device. */
aegis_status aegis_host_stream_create(void *self,
                                      const aegis_stream_config *config,
                                      void **ret_stream,
                                      aegis_error *err);
void aegis_host_stream_destroy(void *self);
aegis_status aegis_host_stream_call(void *stream,
                                    aegis_stream_function function,
                                    void *argument,
                                    aegis_error *err);
aegis_status aegis_host_stream_notify(void *stream,
                                      aegis_stream_function function,
                                      void *argument,
                                      aegis_error *err);
aegis_status aegis_host_stream_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err);
aegis_status aegis_host_stream_synchronize(void *stream, aegis_error *err);
aegis_status aegis_host_stream_query(void *stream, aegis_error *err);
aegis_status aegis_host_stream_wait_event(void *stream, void *self, aegis_error *err);
aegis_status aegis_host_stream_synchronize_until(void *stream, uint64_t until_ns, aegis_error *err);
bool aegis_host_stream_abandon(void *self);
bool aegis_host_stream_is_own_thread(void *stream);
aegis_status aegis_host_enqueue_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err);
aegis_status aegis_host_enqueue_record(void *stream, void *self, aegis_error *err);
aegis_status aegis_host_enqueue_wait(void *stream, void *self, aegis_error *err);

aegis_status aegis_host_event_create(void *self, void **ret_event, aegis_error *err);
void aegis_host_event_destroy(void *event);
aegis_status aegis_host_event_record(void *self, void *stream, aegis_error *err);
aegis_status aegis_host_event_query(void *self, aegis_error *err);
aegis_status aegis_host_event_synchronize(void *self, aegis_error *err);
aegis_status
aegis_host_event_elapsed_ns(void *start, void *end, int64_t *ret_elapsed_ns, aegis_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Public streams and events: checks, then the ops of their device. */
#include <aegisrt/ext/cuda.h>

#include "device/device.h"

#include <inttypes.h>
#include <stdatomic.h>

#define DEFAULT_DEPTH 64u
#define MAXIMUM_DEPTH 65536u

struct aegis_stream {
    aegis_device *device;
    void *self;
    int width;
};

struct aegis_event {
    aegis_device *device;
    void *self;
    aegis_stream *_Atomic recorded_in; /* stream of the last record; compared, not followed */
};

aegis_stream_config aegis_stream_config_default(const char *name)
{
    return (aegis_stream_config){.name = name, .cpu = -1, .width = 1};
}

static aegis_status invalid(aegis_error *err, const char *what)
{
    return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_INVALID_ARGUMENT, "%s",
                           what);
}

static aegis_status
out_of_range(aegis_error *err, const char *key, int64_t value, int64_t lowest, int64_t highest)
{
    return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_INVALID_ARGUMENT,
                           "%s = %" PRId64 ": this device takes %" PRId64 " to %" PRId64, key,
                           value, lowest, highest);
}

static aegis_status check_config(const aegis_device_capabilities *capabilities,
                                 const aegis_stream_config *config,
                                 aegis_error *err)
{
    int priorities = capabilities->stream_priorities;
    int widest =
        capabilities->kind == AEGIS_DEVICE_HOST ? capabilities->multiprocessor_count : INT16_MAX;
    if (config->priority < 0 || config->priority >= priorities) {
        return out_of_range(err, "priority", config->priority, 0, priorities - 1);
    }
    if (config->width < 1 || config->width > widest) {
        return out_of_range(err, "width", config->width, 1, widest);
    }
    if (config->cpu < -1 || config->cpu > INT16_MAX) {
        return out_of_range(err, "cpu", config->cpu, -1, INT16_MAX);
    }
    if (config->fifo_priority < 0 || config->fifo_priority > 99) {
        return out_of_range(err, "fifo_priority", config->fifo_priority, 0, 99);
    }
    if (config->depth > MAXIMUM_DEPTH) {
        return out_of_range(err, "depth", (int64_t)config->depth, 0, MAXIMUM_DEPTH);
    }
    /* As int: a foreign value is to be found, too. */
    if ((int)config->completion < 0 || (int)config->completion > AEGIS_COMPLETION_BLOCK) {
        return out_of_range(err, "completion", (int)config->completion, 0, AEGIS_COMPLETION_BLOCK);
    }
    if (config->multiprocessors < 0 ||
        config->multiprocessors > capabilities->multiprocessor_count) {
        return out_of_range(err, "multiprocessors", config->multiprocessors, 0,
                            capabilities->multiprocessor_count);
    }
    if (config->multiprocessors > 0 && capabilities->partition_granularity == 0) {
        return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_UNSUPPORTED,
                               "stream '%s' wants %d multiprocessors for itself, and '%s' cannot "
                               "be divided (that needs a GPU and a driver with green contexts)",
                               config->name, config->multiprocessors, capabilities->name);
    }
    return AEGIS_OK;
}

static aegis_status check_not_lost(const aegis_device *device, aegis_error *err)
{
    if (atomic_load(&device->lost)) {
        return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_DEVICE_LOST,
                               "a stream of device '%s' was abandoned with work that did not end; "
                               "end the process",
                               device->ops->name);
    }
    return AEGIS_OK;
}

aegis_status aegis_stream_create(aegis_device *device,
                                 const aegis_stream_config *config,
                                 aegis_stream **ret_stream,
                                 aegis_error *err)
{
    if (device == NULL || config == NULL || ret_stream == NULL) {
        return invalid(err, "device, config or ret_stream is NULL");
    }
    aegis_stream_config full = *config;
    full.name = config->name != NULL ? config->name : "aegis-stream";
    full.depth = config->depth != 0 ? config->depth : DEFAULT_DEPTH;
    aegis_status status = check_config(aegis_device_get_capabilities(device), &full, err);
    if (status == AEGIS_OK) {
        status = check_not_lost(device, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_stream *stream = aegis_allocate_zeroed(&device->allocator, 1, sizeof *stream);
    if (stream == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for a stream");
    }
    status = device->ops->stream_create(device->self, &full, &stream->self, err);
    if (status != AEGIS_OK) {
        aegis_deallocate(&device->allocator, stream, 1, sizeof *stream);
        return status;
    }
    stream->device = device;
    stream->width = config->width;
    atomic_fetch_add(&device->children, 1);
    *ret_stream = stream;
    return AEGIS_OK;
}

void aegis_stream_destroy(aegis_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    aegis_device *device = stream->device;
    device->ops->stream_destroy(stream->self);
    aegis_deallocate(&device->allocator, stream, 1, sizeof *stream);
    atomic_fetch_sub(&device->children, 1);
}

aegis_status aegis_stream_call(aegis_stream *stream,
                               aegis_stream_function function,
                               void *argument,
                               aegis_error *err)
{
    if (stream == NULL || function == NULL) {
        return invalid(err, "stream or function is NULL");
    }
    return stream->device->ops->stream_call(stream->self, function, argument, err);
}

aegis_status aegis_stream_notify(aegis_stream *stream,
                                 aegis_stream_function function,
                                 void *argument,
                                 aegis_error *err)
{
    if (stream == NULL || function == NULL) {
        return invalid(err, "stream or function is NULL");
    }
    return stream->device->ops->stream_notify(stream->self, function, argument, err);
}

aegis_status aegis_stream_copy(aegis_stream *stream,
                               void *destination,
                               const void *source,
                               size_t size_bytes,
                               aegis_error *err)
{
    if (stream == NULL) {
        return invalid(err, "stream is NULL");
    }
    aegis_status status =
        aegis_device_check_copy(stream->device, destination, source, size_bytes, err);
    if (status != AEGIS_OK || size_bytes == 0) {
        return status;
    }
    return stream->device->ops->stream_copy(stream->self, destination, source, size_bytes, err);
}

aegis_status aegis_stream_synchronize(aegis_stream *stream, aegis_error *err)
{
    if (stream == NULL) {
        return invalid(err, "stream is NULL");
    }
    return stream->device->ops->stream_synchronize(stream->self, err);
}

aegis_status aegis_stream_query(aegis_stream *stream, aegis_error *err)
{
    if (stream == NULL) {
        return invalid(err, "stream is NULL");
    }
    return stream->device->ops->stream_query(stream->self, err);
}

aegis_status aegis_stream_take_failure(aegis_stream *stream, aegis_error *err)
{
    if (stream == NULL) {
        return invalid(err, "stream is NULL");
    }
    const aegis_device_ops *newer = stream->device->newer;
    return newer->stream_take_failure == NULL ? AEGIS_OK
                                              : newer->stream_take_failure(stream->self, err);
}

static aegis_status cannot(const aegis_stream *stream, const char *what, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_UNSUPPORTED,
                           "device '%s' cannot %s", stream->device->ops->name, what);
}

aegis_status
aegis_stream_synchronize_until(aegis_stream *stream, uint64_t until_ns, aegis_error *err)
{
    if (stream == NULL) {
        return invalid(err, "stream is NULL");
    }
    const aegis_device_ops *newer = stream->device->newer;
    if (newer->stream_synchronize_until == NULL) {
        return cannot(stream, "wait for a stream up to an instant", err);
    }
    return newer->stream_synchronize_until(stream->self, until_ns, err);
}

aegis_status aegis_stream_abandon(aegis_stream *stream, aegis_error *err)
{
    if (stream == NULL) {
        return invalid(err, "stream is NULL");
    }
    aegis_device *device = stream->device;
    if (device->newer->stream_abandon == NULL) {
        return cannot(stream, "leave a stream behind", err);
    }
    bool ended = device->newer->stream_abandon(stream->self);
    if (!ended) {
        atomic_store(&device->lost, true);
    }
    aegis_deallocate(&device->allocator, stream, 1, sizeof *stream);
    atomic_fetch_sub(&device->children, 1);
    if (ended) {
        return AEGIS_OK;
    }
    return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_DEVICE_LOST,
                           "work of a stream of device '%s' does not end; its thread and the "
                           "device's memory are left behind: end the process",
                           device->ops->name);
}

/* ---- from the stream's own thread ---- */

static aegis_status cannot_enqueue(const aegis_stream *stream, aegis_error *err)
{
    return cannot(stream, "enqueue work from within a stream function", err);
}

static aegis_status check_own_thread(const aegis_stream *stream, aegis_error *err)
{
    if (!stream->device->newer->stream_is_own_thread(stream->self)) {
        return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_STATE,
                               "work is enqueued from another thread than the stream's own; use "
                               "aegis_stream_copy, aegis_event_record or aegis_stream_wait_event");
    }
    return AEGIS_OK;
}

void aegis_stream_expect(aegis_stream *stream, uint64_t least_ns)
{
    if (stream->device->newer->stream_expect != NULL) {
        stream->device->newer->stream_expect(stream->self, least_ns);
    }
}

aegis_status aegis_stream_enqueue_copy(aegis_stream *stream,
                                       void *destination,
                                       const void *source,
                                       size_t size_bytes,
                                       aegis_error *err)
{
    if (stream == NULL) {
        return invalid(err, "stream is NULL");
    }
    const aegis_device_ops *newer = stream->device->newer;
    aegis_status status =
        aegis_device_check_copy(stream->device, destination, source, size_bytes, err);
    if (status == AEGIS_OK && newer->enqueue_copy == NULL) {
        return cannot_enqueue(stream, err);
    }
    if (status == AEGIS_OK) {
        status = check_own_thread(stream, err);
    }
    if (status != AEGIS_OK || size_bytes == 0) {
        return status;
    }
    return newer->enqueue_copy(stream->self, destination, source, size_bytes, err);
}

aegis_status aegis_stream_ahead_begin(aegis_stream *stream, aegis_error *err)
{
    const aegis_device_ops *ops = stream->device->ahead;
    if (ops->ahead_begin == NULL) {
        return cannot(stream, "put work behind a gate", err);
    }
    aegis_status status = check_own_thread(stream, err);
    return status != AEGIS_OK ? status : ops->ahead_begin(stream->self, err);
}

aegis_status aegis_stream_ahead_end(aegis_stream *stream, aegis_error *err)
{
    return stream->device->ahead->ahead_end(stream->self, err);
}

void aegis_stream_ahead_open(aegis_stream *stream)
{
    stream->device->ahead->ahead_open(stream->self);
}

void aegis_stream_ahead_take(aegis_stream *stream)
{
    stream->device->ahead->ahead_take(stream->self);
}

void aegis_stream_ahead_discard(aegis_stream *stream)
{
    if (stream->device->ahead->ahead_discard != NULL) {
        stream->device->ahead->ahead_discard(stream->self);
    }
}

bool aegis_stream_set_meanwhile(aegis_stream *stream,
                                aegis_stream_function function,
                                void *argument)
{
    if (stream->device->meanwhile->set_meanwhile == NULL) {
        return false;
    }
    stream->device->meanwhile->set_meanwhile(stream->self, function, argument);
    return true;
}

void aegis_stream_ask_meanwhile(aegis_stream *stream)
{
    if (stream->device->meanwhile->ask_meanwhile != NULL) {
        stream->device->meanwhile->ask_meanwhile(stream->self);
    }
}

int aegis_stream_width(const aegis_stream *stream)
{
    return stream->width;
}

aegis_device *aegis_stream_device(const aegis_stream *stream)
{
    return stream->device;
}

void *aegis_stream_self(aegis_stream *stream)
{
    return stream->self;
}

aegis_status
aegis_cuda_stream_handle(aegis_stream *stream, struct CUstream_st **ret_handle, aegis_error *err)
{
    if (stream == NULL || ret_handle == NULL) {
        return invalid(err, "stream or ret_handle is NULL");
    }
    const aegis_device *device = stream->device;
    if (aegis_device_get_capabilities(device)->kind != AEGIS_DEVICE_CUDA ||
        device->ops->stream_native == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_UNSUPPORTED,
                               "a stream of device '%s' has no CUDA stream", device->ops->name);
    }
    *ret_handle = device->ops->stream_native(stream->self);
    return AEGIS_OK;
}

/* ---- events ---- */

aegis_status aegis_event_create(aegis_device *device, aegis_event **ret_event, aegis_error *err)
{
    if (device == NULL || ret_event == NULL) {
        return invalid(err, "device or ret_event is NULL");
    }
    aegis_event *event = aegis_allocate_zeroed(&device->allocator, 1, sizeof *event);
    if (event == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for an event");
    }
    aegis_status status = device->ops->event_create(device->self, &event->self, err);
    if (status != AEGIS_OK) {
        aegis_deallocate(&device->allocator, event, 1, sizeof *event);
        return status;
    }
    event->device = device;
    atomic_fetch_add(&device->children, 1);
    *ret_event = event;
    return AEGIS_OK;
}

void aegis_event_destroy(aegis_event *event)
{
    if (event == NULL) {
        return;
    }
    aegis_device *device = event->device;
    device->ops->event_destroy(event->self);
    aegis_deallocate(&device->allocator, event, 1, sizeof *event);
    atomic_fetch_sub(&device->children, 1);
}

static aegis_status
check_pair(const aegis_event *event, const aegis_stream *stream, aegis_error *err)
{
    if (event == NULL || stream == NULL) {
        return invalid(err, "event or stream is NULL");
    }
    if (event->device != stream->device) {
        return invalid(err, "event and stream are of different devices; copy through the host and "
                            "synchronise there");
    }
    return AEGIS_OK;
}

/* Two records waiting in two streams could complete in either order, and a wait for the first would
 * be let go by the second. */
static aegis_status check_record(aegis_event *event, const aegis_stream *stream, aegis_error *err)
{
    aegis_status status = check_pair(event, stream, err);
    if (status == AEGIS_OK && atomic_load(&event->recorded_in) != stream &&
        event->device->ops->event_query(event->self, NULL) == AEGIS_ERROR_BUSY) {
        return aegis_error_set(err, AEGIS_HERE("device.stream"), AEGIS_ERROR_BUSY,
                               "the event's record still waits in another stream: wait for it, or "
                               "use one event per stream");
    }
    return status;
}

aegis_status aegis_event_record(aegis_event *event, aegis_stream *stream, aegis_error *err)
{
    aegis_status status = check_record(event, stream, err);
    if (status == AEGIS_OK) {
        status = event->device->ops->event_record(event->self, stream->self, err);
    }
    if (status == AEGIS_OK) {
        atomic_store(&event->recorded_in, stream);
    }
    return status;
}

aegis_status aegis_stream_enqueue_record(aegis_stream *stream, aegis_event *event, aegis_error *err)
{
    aegis_status status = check_record(event, stream, err);
    if (status != AEGIS_OK) {
        return status;
    }
    const aegis_device_ops *newer = stream->device->newer;
    if (newer->enqueue_record == NULL) {
        return cannot_enqueue(stream, err);
    }
    status = check_own_thread(stream, err);
    if (status == AEGIS_OK) {
        status = newer->enqueue_record(stream->self, event->self, err);
    }
    if (status == AEGIS_OK) {
        atomic_store(&event->recorded_in, stream);
    }
    return status;
}

aegis_status aegis_stream_enqueue_wait(aegis_stream *stream, aegis_event *event, aegis_error *err)
{
    aegis_status status = check_pair(event, stream, err);
    if (status != AEGIS_OK) {
        return status;
    }
    const aegis_device_ops *newer = stream->device->newer;
    if (newer->enqueue_wait == NULL) {
        return cannot_enqueue(stream, err);
    }
    status = check_own_thread(stream, err);
    return status != AEGIS_OK ? status : newer->enqueue_wait(stream->self, event->self, err);
}

aegis_status aegis_stream_wait_event(aegis_stream *stream, aegis_event *event, aegis_error *err)
{
    aegis_status status = check_pair(event, stream, err);
    if (status != AEGIS_OK) {
        return status;
    }
    return stream->device->ops->stream_wait_event(stream->self, event->self, err);
}

aegis_status aegis_event_query(aegis_event *event, aegis_error *err)
{
    if (event == NULL) {
        return invalid(err, "event is NULL");
    }
    return event->device->ops->event_query(event->self, err);
}

aegis_status aegis_event_synchronize(aegis_event *event, aegis_error *err)
{
    if (event == NULL) {
        return invalid(err, "event is NULL");
    }
    return event->device->ops->event_synchronize(event->self, err);
}

aegis_status aegis_event_elapsed_ns(aegis_event *start,
                                    aegis_event *end,
                                    int64_t *ret_elapsed_ns,
                                    aegis_error *err)
{
    if (start == NULL || end == NULL || ret_elapsed_ns == NULL) {
        return invalid(err, "start, end or ret_elapsed_ns is NULL");
    }
    if (start->device != end->device) {
        return invalid(err, "the events are of different devices, whose clocks differ");
    }
    return start->device->ops->event_elapsed_ns(start->self, end->self, ret_elapsed_ns, err);
}

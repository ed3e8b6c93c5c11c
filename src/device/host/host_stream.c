/* SPDX-License-Identifier: Apache-2.0 */
/* A host stream is its worker thread, and an event is two counters: how many records were put into
 * streams, and which of them has completed last. Waits name the record they mean. */
#include "device/host/host_device.h"

#include "device/counter.h"
#include "device/worker.h"

#include <aegisrt/clock.h>

#include <string.h>

/* How long the end of a stream is waited for that is about to be left behind. */
#define ABANDON_NS UINT64_C(100000000)

typedef struct host_stream {
    aegis_allocator allocator;
    aegis_worker *worker;
} host_stream;

typedef struct host_event {
    aegis_allocator allocator;
    _Atomic uint32_t issued;
    aegis_counter completed;
    _Atomic uint64_t time_ns; /* of the record that completed last */
    _Atomic uint32_t users;   /* the owner and every command that waits in a ring */
} host_event;

static void release_event(host_event *event)
{
    if (atomic_fetch_sub(&event->users, 1) == 1) {
        aegis_allocator allocator = event->allocator;
        aegis_deallocate(&allocator, event, 1, sizeof *event);
    }
}

static void complete(host_event *event, uint32_t generation)
{
    aegis_clock clock = aegis_clock_monotonic();
    atomic_store(&event->time_ns, aegis_clock_now_ns(&clock));
    aegis_counter_set(&event->completed, generation);
}

static void execute(void *self, const aegis_command *command)
{
    (void)self;
    switch (command->kind) {
    case AEGIS_COMMAND_CALL:
    case AEGIS_COMMAND_NOTIFY: /* on the host all before it has completed */
        command->of.call.function(command->of.call.argument);
        break;
    case AEGIS_COMMAND_COPY:
        memmove(command->of.copy.destination, command->of.copy.source, command->of.copy.size_bytes);
        break;
    case AEGIS_COMMAND_RECORD: {
        host_event *event = command->of.event;
        complete(event, command->generation);
        release_event(event);
        break;
    }
    case AEGIS_COMMAND_WAIT: {
        host_event *event = command->of.event;
        aegis_counter_wait(&event->completed, command->generation);
        release_event(event);
        break;
    }
    }
}

static const aegis_worker_ops worker_ops = {.execute = execute};

aegis_status aegis_host_stream_create(void *self,
                                      const aegis_stream_config *config,
                                      void **ret_stream,
                                      aegis_error *err)
{
    const aegis_host_device *host = self;
    host_stream *stream = aegis_allocate_zeroed(&host->allocator, 1, sizeof *stream);
    if (stream == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.host"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for stream '%s'", config->name);
    }
    stream->allocator = host->allocator;
    aegis_status status =
        aegis_worker_create(config, &worker_ops, stream, &host->allocator, &stream->worker, err);
    if (status != AEGIS_OK) {
        aegis_deallocate(&host->allocator, stream, 1, sizeof *stream);
        return status;
    }
    *ret_stream = stream;
    return AEGIS_OK;
}

void aegis_host_stream_destroy(void *self)
{
    host_stream *stream = self;
    aegis_allocator allocator = stream->allocator;
    aegis_worker_destroy(stream->worker);
    aegis_deallocate(&allocator, stream, 1, sizeof *stream);
}

static aegis_status push_call(host_stream *stream,
                              aegis_command_kind kind,
                              aegis_stream_function function,
                              void *argument,
                              aegis_error *err)
{
    aegis_command command = {.kind = kind, .of.call = {function, argument}};
    return aegis_worker_push(stream->worker, &command, err);
}

aegis_status aegis_host_stream_call(void *stream,
                                    aegis_stream_function function,
                                    void *argument,
                                    aegis_error *err)
{
    return push_call(stream, AEGIS_COMMAND_CALL, function, argument, err);
}

aegis_status aegis_host_stream_notify(void *stream,
                                      aegis_stream_function function,
                                      void *argument,
                                      aegis_error *err)
{
    return push_call(stream, AEGIS_COMMAND_NOTIFY, function, argument, err);
}

aegis_status aegis_host_stream_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err)
{
    aegis_command command = {.kind = AEGIS_COMMAND_COPY,
                             .of.copy = {destination, source, size_bytes}};
    return aegis_worker_push(((host_stream *)stream)->worker, &command, err);
}

aegis_status aegis_host_stream_synchronize(void *stream, aegis_error *err)
{
    return aegis_worker_synchronize(((host_stream *)stream)->worker, err);
}

aegis_status aegis_host_stream_synchronize_until(void *stream, uint64_t until_ns, aegis_error *err)
{
    return aegis_worker_synchronize_until(((host_stream *)stream)->worker, until_ns, err);
}

bool aegis_host_stream_abandon(void *self)
{
    host_stream *stream = self;
    aegis_allocator allocator = stream->allocator;
    if (!aegis_worker_abandon(stream->worker, aegis_counter_now_ns() + ABANDON_NS)) {
        return false;
    }
    aegis_deallocate(&allocator, stream, 1, sizeof *stream);
    return true;
}

bool aegis_host_stream_is_own_thread(void *stream)
{
    return aegis_worker_is_own_thread(((host_stream *)stream)->worker);
}

aegis_status aegis_host_stream_query(void *stream, aegis_error *err)
{
    if (aegis_worker_idle(((host_stream *)stream)->worker)) {
        return AEGIS_OK;
    }
    return aegis_error_set(err, AEGIS_HERE("device.host"), AEGIS_ERROR_BUSY,
                           "work is left in the stream");
}

/* ---- events ---- */

aegis_status aegis_host_event_create(void *self, void **ret_event, aegis_error *err)
{
    const aegis_host_device *host = self;
    host_event *event = aegis_allocate_zeroed(&host->allocator, 1, sizeof *event);
    if (event == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.host"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for an event");
    }
    event->allocator = host->allocator;
    atomic_store(&event->users, 1);
    *ret_event = event;
    return AEGIS_OK;
}

void aegis_host_event_destroy(void *event)
{
    release_event(event);
}

/* The count of users rises before the push: the worker may release at once. */
static aegis_status push_event(host_stream *stream,
                               aegis_command_kind kind,
                               host_event *event,
                               uint32_t generation,
                               aegis_error *err)
{
    aegis_command command = {.kind = kind, .generation = generation, .of.event = event};
    atomic_fetch_add(&event->users, 1);
    aegis_status status = aegis_worker_push(stream->worker, &command, err);
    if (status != AEGIS_OK) {
        release_event(event);
    }
    return status;
}

aegis_status aegis_host_event_record(void *self, void *stream, aegis_error *err)
{
    host_event *event = self;
    uint32_t generation = atomic_load(&event->issued) + 1;
    aegis_status status = push_event(stream, AEGIS_COMMAND_RECORD, event, generation, err);
    if (status == AEGIS_OK) {
        atomic_store(&event->issued, generation);
    }
    return status;
}

aegis_status aegis_host_stream_wait_event(void *stream, void *self, aegis_error *err)
{
    host_event *event = self;
    return push_event(stream, AEGIS_COMMAND_WAIT, event, atomic_load(&event->issued), err);
}

/* ---- on the stream's own thread ---- */

aegis_status aegis_host_enqueue_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err)
{
    (void)stream;
    (void)err;
    memmove(destination, source, size_bytes);
    return AEGIS_OK;
}

aegis_status aegis_host_enqueue_record(void *stream, void *self, aegis_error *err)
{
    host_event *event = self;
    uint32_t issued = atomic_load(&event->issued);
    (void)stream;
    if (!aegis_counter_reached(&event->completed, issued)) {
        return aegis_error_set(err, AEGIS_HERE("device.host"), AEGIS_ERROR_BUSY,
                               "a record of the event still waits in the stream");
    }
    atomic_store(&event->issued, issued + 1);
    complete(event, issued + 1);
    return AEGIS_OK;
}

aegis_status aegis_host_enqueue_wait(void *stream, void *self, aegis_error *err)
{
    host_event *event = self;
    (void)stream;
    (void)err;
    aegis_counter_wait(&event->completed, atomic_load(&event->issued));
    return AEGIS_OK;
}

aegis_status aegis_host_event_query(void *self, aegis_error *err)
{
    host_event *event = self;
    if (aegis_counter_reached(&event->completed, atomic_load(&event->issued))) {
        return AEGIS_OK;
    }
    return aegis_error_set(err, AEGIS_HERE("device.host"), AEGIS_ERROR_BUSY,
                           "the event has not completed");
}

aegis_status aegis_host_event_synchronize(void *self, aegis_error *err)
{
    host_event *event = self;
    (void)err;
    aegis_counter_wait(&event->completed, atomic_load(&event->issued));
    return AEGIS_OK;
}

static bool has_time(host_event *event)
{
    return atomic_load(&event->time_ns) != 0 &&
           aegis_counter_reached(&event->completed, atomic_load(&event->issued));
}

aegis_status
aegis_host_event_elapsed_ns(void *start, void *end, int64_t *ret_elapsed_ns, aegis_error *err)
{
    host_event *first = start, *second = end;
    if (!has_time(first) || !has_time(second)) {
        return aegis_error_set(err, AEGIS_HERE("device.host"), AEGIS_ERROR_STATE,
                               "both events must have been recorded and completed");
    }
    *ret_elapsed_ns = (int64_t)(atomic_load(&second->time_ns) - atomic_load(&first->time_ns));
    return AEGIS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/scripted_device.h"

#include <aegisrt/ext/clock_ops.h>
#include <aegisrt/ext/device_ops.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAXIMUM_ARENA_BYTES (UINT64_C(1) << 40)
#define PLACE AEGIS_HERE("sim.scripted_device")

typedef enum command_kind {
    CALL,
    NOTIFY,
    COPY,
    RECORD,
    WAIT
} command_kind;

typedef struct scripted_event {
    aegis_scripted_device *script;
    uint32_t issued, completed;
    uint32_t users; /* the owner and the commands that wait */
    bool has_time;
    uint64_t time_ns; /* of the record that completed last */
} scripted_event;

typedef struct command {
    command_kind kind;
    uint64_t put_ns; /* it cannot start before */
    aegis_stream_function function;
    void *argument;
    void *destination;
    const void *source;
    size_t size_bytes;
    scripted_event *event;
    uint32_t generation;
} command;

typedef struct scripted_stream {
    aegis_scripted_device *script;
    struct scripted_stream *next; /* in order of creation */
    command *ring;
    size_t depth, first, count;
    uint64_t ready_ns; /* when the command that ran last ends */
    uint64_t call_ns;
    bool running; /* inside a function */
    aegis_status failure;
} scripted_stream;

/* Counts down to an injected failure. */
typedef struct injection {
    uint64_t left;
    aegis_status status;
} injection;

struct aegis_scripted_device {
    aegis_allocator allocator;
    aegis_device_capabilities capabilities;
    void *base;
    uint64_t size, copy_bytes_per_second;
    scripted_stream *streams;
    uint64_t now_ns;
    uint64_t spent_ns; /* by the function that runs */
    injection operation, work;
};

static aegis_status inject(injection *which)
{
    if (which->left == 0 || --which->left > 0) {
        return AEGIS_OK;
    }
    return which->status;
}

static aegis_status refuse(aegis_scripted_device *script, const char *what, aegis_error *err)
{
    aegis_status status = inject(&script->operation);
    return status == AEGIS_OK
               ? AEGIS_OK
               : aegis_error_set(err, PLACE, status, "%s refused as the script says", what);
}

static void release_event(scripted_event *event)
{
    if (--event->users == 0) {
        aegis_deallocate(&event->script->allocator, event, 1, sizeof *event);
    }
}

/* ---- steps ---- */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* When the stream's next step can happen: the start of its first command, or the end of its last.
 */
static bool next_of(const scripted_stream *stream, uint64_t now_ns, uint64_t *ret_when_ns)
{
    if (stream->count == 0) {
        *ret_when_ns = stream->ready_ns;
        return stream->ready_ns > now_ns;
    }
    const command *head = &stream->ring[stream->first];
    uint64_t when = later(later(stream->ready_ns, head->put_ns), now_ns);
    if (head->kind == WAIT && head->generation != 0) {
        if ((int32_t)(head->event->completed - head->generation) < 0) {
            return false;
        }
        when = later(when, head->event->time_ns);
    }
    *ret_when_ns = when;
    return true;
}

static scripted_stream *choose(const aegis_scripted_device *script, uint64_t *ret_when_ns)
{
    scripted_stream *chosen = NULL;
    uint64_t earliest = UINT64_MAX, when;
    for (scripted_stream *stream = script->streams; stream != NULL; stream = stream->next) {
        /* A stream whose function makes steps itself has its next command after that one. */
        if (!stream->running && next_of(stream, script->now_ns, &when) && when < earliest) {
            chosen = stream;
            earliest = when;
        }
    }
    *ret_when_ns = earliest;
    return chosen;
}

static uint64_t copy_ns(const aegis_scripted_device *script, size_t size_bytes)
{
    uint64_t rate = script->copy_bytes_per_second;
    return rate == 0 ? 0 : (uint64_t)((double)size_bytes * 1e9 / (double)rate);
}

/* Returns what the function spends. It may make steps of other streams itself. */
static uint64_t run_function(scripted_stream *stream, const command *one)
{
    aegis_scripted_device *script = stream->script;
    uint64_t outer_ns = script->spent_ns;
    script->spent_ns = 0;
    stream->running = true;
    one->function(one->argument);
    stream->running = false;
    uint64_t spent_ns = script->spent_ns;
    script->spent_ns = outer_ns;
    return spent_ns;
}

/* Runs a command that starts now; returns how long it takes. */
static uint64_t run_command(scripted_stream *stream, const command *one)
{
    aegis_scripted_device *script = stream->script;
    switch (one->kind) {
    case CALL:
        return stream->call_ns + run_function(stream, one);
    case NOTIFY:
        return run_function(stream, one);
    case COPY:
        memmove(one->destination, one->source, one->size_bytes);
        return copy_ns(script, one->size_bytes);
    case RECORD:
        one->event->time_ns = script->now_ns;
        one->event->has_time = true;
        one->event->completed = one->generation;
        release_event(one->event);
        return 0;
    case WAIT:
        release_event(one->event);
        return 0;
    }
    return 0;
}

bool aegis_scripted_device_step(aegis_scripted_device *script)
{
    uint64_t when;
    scripted_stream *stream = choose(script, &when);
    if (stream == NULL) {
        return false;
    }
    script->now_ns = when;
    if (stream->count == 0) {
        return true; /* its last work has ended now */
    }
    command one = stream->ring[stream->first];
    stream->first = (stream->first + 1) % stream->depth;
    stream->count--;
    uint64_t duration = run_command(stream, &one);
    stream->ready_ns = when + duration;
    aegis_status failure = inject(&script->work);
    if (stream->failure == AEGIS_OK) {
        stream->failure = failure;
    }
    return true;
}

bool aegis_scripted_device_next_ns(const aegis_scripted_device *script, uint64_t *ret_when_ns)
{
    uint64_t when;
    if (choose(script, &when) == NULL) {
        return false;
    }
    *ret_when_ns = when;
    return true;
}

size_t aegis_scripted_device_advance(aegis_scripted_device *script, uint64_t until_ns)
{
    uint64_t when;
    size_t steps = 0;
    while (aegis_scripted_device_next_ns(script, &when) && when <= until_ns) {
        aegis_scripted_device_step(script);
        steps++;
    }
    script->now_ns = later(script->now_ns, until_ns);
    return steps;
}

static uint64_t clock_now(void *self)
{
    return ((const aegis_scripted_device *)self)->now_ns;
}

static aegis_status clock_wait_until(void *self, uint64_t when_ns, aegis_error *err)
{
    (void)err;
    aegis_scripted_device_advance(self, when_ns);
    return AEGIS_OK;
}

static const aegis_clock_ops clock_ops = {.version = AEGIS_CLOCK_OPS_VERSION,
                                          .name = "scripted",
                                          .now_ns = clock_now,
                                          .wait_until = clock_wait_until};

aegis_clock aegis_scripted_device_clock(aegis_scripted_device *script)
{
    return (aegis_clock){.ops = &clock_ops, .self = script};
}

void aegis_scripted_stream_set_cost(aegis_stream *stream, uint64_t call_ns)
{
    ((scripted_stream *)aegis_stream_self(stream))->call_ns = call_ns;
}

void aegis_scripted_device_spend(aegis_scripted_device *script, uint64_t duration_ns)
{
    script->spent_ns += duration_ns;
}

void aegis_scripted_device_fail_operation(aegis_scripted_device *script,
                                          uint64_t nth,
                                          aegis_status status)
{
    script->operation = (injection){nth, status};
}

void aegis_scripted_device_fail_work(aegis_scripted_device *script,
                                     uint64_t nth,
                                     aegis_status status)
{
    script->work = (injection){nth, status};
}

/* ---- streams ---- */

static aegis_status
stream_create(void *self, const aegis_stream_config *config, void **ret_stream, aegis_error *err)
{
    aegis_scripted_device *script = self;
    aegis_status status = refuse(script, "a stream", err);
    if (status != AEGIS_OK) {
        return status;
    }
    scripted_stream *stream = aegis_allocate_zeroed(&script->allocator, 1, sizeof *stream);
    command *ring = aegis_allocate_zeroed(&script->allocator, config->depth, sizeof *ring);
    if (stream == NULL || ring == NULL) {
        aegis_deallocate(&script->allocator, ring, config->depth, sizeof *ring);
        aegis_deallocate(&script->allocator, stream, 1, sizeof *stream);
        return aegis_error_set(err, PLACE, AEGIS_ERROR_NO_MEMORY, "no host memory for a stream");
    }
    *stream = (scripted_stream){.script = script, .ring = ring, .depth = config->depth};
    scripted_stream **link = &script->streams;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = stream;
    *ret_stream = stream;
    return AEGIS_OK;
}

static bool is_idle(const scripted_stream *stream)
{
    return !stream->running && stream->count == 0 && stream->ready_ns <= stream->script->now_ns;
}

static aegis_status stream_synchronize(void *self, aegis_error *err)
{
    scripted_stream *stream = self;
    if (stream->running) {
        return aegis_error_set(err, PLACE, AEGIS_ERROR_STATE,
                               "a stream is synchronised from its own function");
    }
    while (!is_idle(stream)) {
        if (!aegis_scripted_device_step(stream->script)) {
            return aegis_error_set(err, PLACE, AEGIS_ERROR_STATE,
                                   "the stream waits for an event that no step can complete");
        }
    }
    aegis_status failure = stream->failure;
    if (failure == AEGIS_OK) {
        return AEGIS_OK;
    }
    if (aegis_status_category(failure) != AEGIS_CATEGORY_FATAL) {
        stream->failure = AEGIS_OK;
    }
    return aegis_error_set(err, PLACE, failure, "work failed as the script says");
}

static void stream_destroy(void *self)
{
    scripted_stream *stream = self;
    aegis_scripted_device *script = stream->script;
    stream_synchronize(stream, NULL);
    scripted_stream **link = &script->streams;
    while (*link != stream) {
        link = &(*link)->next;
    }
    *link = stream->next;
    aegis_deallocate(&script->allocator, stream->ring, stream->depth, sizeof *stream->ring);
    aegis_deallocate(&script->allocator, stream, 1, sizeof *stream);
}

static aegis_status push(scripted_stream *stream, command one, aegis_error *err)
{
    aegis_status status = refuse(stream->script, "a command", err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (stream->count == stream->depth) {
        return aegis_error_set(err, PLACE, AEGIS_ERROR_QUEUE_FULL,
                               "the stream is full: %zu commands wait", stream->count);
    }
    one.put_ns = stream->script->now_ns;
    stream->ring[(stream->first + stream->count) % stream->depth] = one;
    stream->count++;
    return AEGIS_OK;
}

static aegis_status
stream_call(void *stream, aegis_stream_function function, void *argument, aegis_error *err)
{
    return push(stream, (command){.kind = CALL, .function = function, .argument = argument}, err);
}

/* A call that costs nothing: everything before it has ended when it starts. */
static aegis_status
stream_notify(void *stream, aegis_stream_function function, void *argument, aegis_error *err)
{
    return push(stream, (command){.kind = NOTIFY, .function = function, .argument = argument}, err);
}

static aegis_status stream_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err)
{
    command one = {
        .kind = COPY, .destination = destination, .source = source, .size_bytes = size_bytes};
    return push(stream, one, err);
}

static aegis_status stream_query(void *self, aegis_error *err)
{
    const scripted_stream *stream = self;
    if (stream->failure != AEGIS_OK) {
        return aegis_error_set(err, PLACE, stream->failure, "work failed as the script says");
    }
    return is_idle(stream)
               ? AEGIS_OK
               : aegis_error_set(err, PLACE, AEGIS_ERROR_BUSY, "work is left in the stream");
}

/* ---- events ---- */

static aegis_status event_create(void *self, void **ret_event, aegis_error *err)
{
    aegis_scripted_device *script = self;
    aegis_status status = refuse(script, "an event", err);
    if (status != AEGIS_OK) {
        return status;
    }
    scripted_event *event = aegis_allocate_zeroed(&script->allocator, 1, sizeof *event);
    if (event == NULL) {
        return aegis_error_set(err, PLACE, AEGIS_ERROR_NO_MEMORY, "no host memory for an event");
    }
    event->script = script;
    event->users = 1;
    *ret_event = event;
    return AEGIS_OK;
}

static void event_destroy(void *event)
{
    release_event(event);
}

static aegis_status push_event(scripted_stream *stream,
                               command_kind kind,
                               scripted_event *event,
                               uint32_t generation,
                               aegis_error *err)
{
    aegis_status status =
        push(stream, (command){.kind = kind, .event = event, .generation = generation}, err);
    if (status == AEGIS_OK) {
        event->users++;
    }
    return status;
}

static aegis_status event_record(void *self, void *stream, aegis_error *err)
{
    scripted_event *event = self;
    aegis_status status = push_event(stream, RECORD, event, event->issued + 1, err);
    if (status == AEGIS_OK) {
        event->issued++;
    }
    return status;
}

static aegis_status stream_wait_event(void *stream, void *self, aegis_error *err)
{
    scripted_event *event = self;
    return push_event(stream, WAIT, event, event->issued, err);
}

static aegis_status event_query(void *self, aegis_error *err)
{
    const scripted_event *event = self;
    return event->completed == event->issued
               ? AEGIS_OK
               : aegis_error_set(err, PLACE, AEGIS_ERROR_BUSY, "the event has not completed");
}

static aegis_status event_synchronize(void *self, aegis_error *err)
{
    scripted_event *event = self;
    while (event->completed != event->issued) {
        if (!aegis_scripted_device_step(event->script)) {
            return aegis_error_set(err, PLACE, AEGIS_ERROR_STATE, "no step can complete the event");
        }
    }
    return AEGIS_OK;
}

static aegis_status
event_elapsed_ns(void *start, void *end, int64_t *ret_elapsed_ns, aegis_error *err)
{
    const scripted_event *first = start, *second = end;
    if (!first->has_time || !second->has_time || first->completed != first->issued ||
        second->completed != second->issued) {
        return aegis_error_set(err, PLACE, AEGIS_ERROR_STATE,
                               "both events must have been recorded and completed");
    }
    *ret_elapsed_ns = (int64_t)(second->time_ns - first->time_ns);
    return AEGIS_OK;
}

/* ---- device ---- */

static void destroy(void *self)
{
    aegis_scripted_device *script = self;
    aegis_allocator allocator = script->allocator;
    aegis_deallocate(&allocator, script->base, (size_t)script->size, 1);
    aegis_deallocate(&allocator, script, 1, sizeof *script);
}

static const aegis_device_capabilities *capabilities(void *self)
{
    return &((aegis_scripted_device *)self)->capabilities;
}

static bool host_addressable(void *self)
{
    (void)self;
    return true;
}

static void arena(void *self, void **ret_base, uint64_t *ret_size_bytes)
{
    const aegis_scripted_device *script = self;
    *ret_base = script->base;
    *ret_size_bytes = script->size;
}

static aegis_status
copy(void *self, void *destination, const void *source, size_t size_bytes, aegis_error *err)
{
    aegis_status status = refuse(self, "a copy", err);
    if (status == AEGIS_OK) {
        memmove(destination, source, size_bytes);
    }
    return status;
}

static const aegis_device_ops scripted_ops = {
    .version = AEGIS_DEVICE_OPS_VERSION,
    .name = "scripted",
    .destroy = destroy,
    .capabilities = capabilities,
    .host_addressable = host_addressable,
    .arena = arena,
    .copy = copy,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_call = stream_call,
    .stream_notify = stream_notify,
    .stream_copy = stream_copy,
    .stream_synchronize = stream_synchronize,
    .stream_query = stream_query,
    .stream_wait_event = stream_wait_event,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_query = event_query,
    .event_synchronize = event_synchronize,
    .event_elapsed_ns = event_elapsed_ns,
};

static aegis_device_capabilities describe(const aegis_scripted_device_config *config)
{
    aegis_device_capabilities is = {
        .kind = AEGIS_DEVICE_HOST,
        .multiprocessor_count = INT16_MAX, /* width is the test's business */
        .total_memory_bytes = config->arena_bytes,
        .free_memory_bytes = 0,
        .integrated = true,
        .stream_priorities = config->stream_priorities > 0 ? config->stream_priorities : 1,
    };
    snprintf(is.name, sizeof is.name, "scripted");
    return is;
}

aegis_status aegis_scripted_device_create(const aegis_scripted_device_config *config,
                                          const aegis_allocator *allocator,
                                          aegis_device **ret_device,
                                          aegis_scripted_device **ret_script,
                                          aegis_error *err)
{
    if (config == NULL || allocator == NULL || ret_device == NULL || ret_script == NULL ||
        config->arena_bytes == 0) {
        return aegis_error_set(err, PLACE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "an argument is NULL or arena_bytes is 0");
    }
    aegis_scripted_device *script = aegis_allocate_zeroed(allocator, 1, sizeof *script);
    if (script == NULL || config->arena_bytes > MAXIMUM_ARENA_BYTES) {
        goto fail;
    }
    script->base = aegis_allocate_zeroed(allocator, (size_t)config->arena_bytes, 1);
    if (script->base == NULL) {
        goto fail;
    }
    script->allocator = *allocator;
    script->capabilities = describe(config);
    script->size = config->arena_bytes;
    script->copy_bytes_per_second = config->copy_bytes_per_second;
    aegis_status status = aegis_device_wrap(&scripted_ops, script, allocator, ret_device, err);
    if (status == AEGIS_OK) {
        *ret_script = script;
    }
    return status;
fail:
    aegis_deallocate(allocator, script, 1, sizeof *script);
    return aegis_error_set(err, PLACE, AEGIS_ERROR_NO_MEMORY,
                           "no host memory for an arena of %" PRIu64 " bytes", config->arena_bytes);
}

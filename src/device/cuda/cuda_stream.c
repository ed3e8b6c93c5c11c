/* SPDX-License-Identifier: Apache-2.0 */
/* A CUDA stream has a worker thread that enqueues: calls run there as soon as they are reached,
 * copies and events go to the device, a notification waits there for the device.
 *
 * An event that was put into the ring is not yet known to CUDA: `enqueued` counts the records that
 * the worker has handed over, and who asks about a record waits for that first. A record waits only
 * for commands that were put in before it, so these waits form no cycle. */
#include "device/cuda/cuda_device.h"

#include "device/counter.h"
#include "device/cuda/cuda_error.h"
#include "device/cuda/cuda_gate.h"
#include "device/cuda/cuda_rehearsal.h"
#include "device/worker.h"

#include <math.h>

/* How long the end of a stream is waited for that is about to be left behind. */
#define ABANDON_NS UINT64_C(100000000)

typedef struct cuda_stream {
    aegis_allocator allocator;
    aegis_cuda_device *device;
    aegis_worker *worker;
    int priority, multiprocessors;
    aegis_cuda_part part;
    aegis_completion completion;
    cudaStream_t handle;
    cudaEvent_t fence;    /* notifications; worker only */
    aegis_cuda_gate gate; /* worker only, but for its opening */
    aegis_cuda_end end;   /* of what the next notification waits for, when `marked` */
    bool marked, ahead;   /* ahead: what is enqueued goes behind the gate */
    bool wants_ahead;
    aegis_cuda_meanwhile meanwhile;
    uint64_t expected_ns;   /* not before this instant will the work complete; worker only */
    cudaEvent_t drain;      /* synchronize */
    _Atomic int first_code; /* first failure of the work since it was last reported */
} cuda_stream;

typedef struct cuda_event {
    aegis_allocator allocator;
    cudaEvent_t handle;
    _Atomic uint32_t issued; /* records put into a ring */
    aegis_counter enqueued;  /* records handed to CUDA */
    _Atomic uint32_t users;  /* the owner and every command that waits in a ring */
} cuda_event;

/* Where the stream's own thread enqueues. */
static cudaStream_t current(const cuda_stream *stream)
{
    return stream->ahead ? stream->gate.handle : stream->handle;
}

static void note(cuda_stream *stream, cudaError_t code)
{
    int none = cudaSuccess;
    if (code != cudaSuccess) {
        (void)cudaGetLastError();
        atomic_compare_exchange_strong(&stream->first_code, &none, (int)code);
    }
}

static void release_event(cuda_event *event)
{
    if (atomic_fetch_sub(&event->users, 1) != 1) {
        return;
    }
    aegis_allocator allocator = event->allocator;
    (void)cudaEventDestroy(event->handle); /* CUDA keeps it until the device is done with it */
    aegis_deallocate(&allocator, event, 1, sizeof *event);
}

/* ---- on the worker thread ---- */

/* A second stream on the same multiprocessors, for what waits for a decision. */
static aegis_status make_gate(cuda_stream *stream, aegis_error *err)
{
    cudaStream_t beside = NULL;
    int priority = stream->device->lowest_priority - stream->priority;
    aegis_cuda_gate_init(&stream->gate, stream->handle);
    if (!stream->wants_ahead || !aegis_cuda_gate_reserve(&stream->gate, &stream->device->gates)) {
        return AEGIS_OK;
    }
    cudaError_t code = stream->part.context == NULL
                           ? cudaStreamCreateWithPriority(&beside, cudaStreamNonBlocking, priority)
                           : aegis_cuda_partition_stream(stream->device->partitions, &stream->part,
                                                         priority, &beside);
    if (code == cudaSuccess) {
        code = aegis_cuda_gate_take_stream(&stream->gate, beside);
    }
    if (code == cudaSuccess && atomic_load(&stream->device->gates) == 1) {
        code = aegis_cuda_rehearse(&stream->gate); /* once for a device is enough */
    }
    return aegis_cuda_check(code, "a stream for what waits for a decision",
                            AEGIS_HERE("device.cuda"), err);
}

static aegis_status make_handle(cuda_stream *stream, aegis_error *err)
{
    int priority = stream->device->lowest_priority - stream->priority;
    if (stream->multiprocessors > 0) {
        return aegis_cuda_partition_take(stream->device->partitions, stream->multiprocessors,
                                         priority, &stream->part, &stream->handle, err);
    }
    return aegis_cuda_check(
        cudaStreamCreateWithPriority(&stream->handle, cudaStreamNonBlocking, priority),
        "cudaStreamCreateWithPriority", AEGIS_HERE("device.cuda"), err);
}

static aegis_status begin(void *self, aegis_error *err)
{
    cuda_stream *stream = self;
    aegis_status status = aegis_cuda_check(cudaSetDevice(stream->device->index), "cudaSetDevice",
                                           AEGIS_HERE("device.cuda"), err);
    if (status == AEGIS_OK) {
        status = make_handle(stream, err);
    }
    unsigned flags = cudaEventBlockingSync | cudaEventDisableTiming;
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaEventCreateWithFlags(&stream->fence, flags),
                                  "cudaEventCreateWithFlags", AEGIS_HERE("device.cuda"), err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaEventCreateWithFlags(&stream->drain, flags),
                                  "cudaEventCreateWithFlags", AEGIS_HERE("device.cuda"), err);
    }
    if (status == AEGIS_OK && stream->completion != AEGIS_COMPLETION_BLOCK) {
        status = make_gate(stream, err);
    }
    return status;
}

/* The notification that comes next waits for what the stream holds now. */
static cudaError_t mark(cuda_stream *stream)
{
    bool has_word = stream->gate.words != NULL && stream->completion != AEGIS_COMPLETION_BLOCK;
    stream->marked = true;
    stream->end = (aegis_cuda_end){.handle = stream->handle};
    cudaError_t code =
        has_word ? aegis_cuda_gate_tell(&stream->gate, stream->handle, &stream->end) : cudaSuccess;
    if (code == cudaSuccess && (!has_word || stream->completion != AEGIS_COMPLETION_POLL)) {
        stream->end.event = stream->fence;
        code = cudaEventRecord(stream->fence, stream->handle);
    }
    return code;
}

static void notify(cuda_stream *stream, const aegis_command *command)
{
    cudaError_t code = stream->marked ? cudaSuccess : mark(stream);
    stream->end.meanwhile = &stream->meanwhile;
    aegis_cuda_meanwhile_expect(&stream->meanwhile, stream->expected_ns);
    note(stream, code == cudaSuccess
                     ? aegis_cuda_end_wait(&stream->end, stream->completion, stream->expected_ns)
                     : code);
    stream->expected_ns = 0;
    stream->marked = false;
    command->of.call.function(command->of.call.argument);
}

static cudaError_t put_record(cuda_stream *stream, cuda_event *event, uint32_t generation)
{
    cudaError_t code = cudaEventRecord(event->handle, current(stream));
    aegis_counter_set(&event->enqueued, generation);
    return code;
}

static cudaError_t put_wait(cuda_stream *stream, cuda_event *event, uint32_t generation)
{
    aegis_counter_wait(&event->enqueued, generation);
    return cudaStreamWaitEvent(current(stream), event->handle, 0);
}

static void execute(void *self, const aegis_command *command)
{
    cuda_stream *stream = self;
    switch (command->kind) {
    case AEGIS_COMMAND_CALL:
        command->of.call.function(command->of.call.argument);
        break;
    case AEGIS_COMMAND_NOTIFY:
        notify(stream, command);
        break;
    case AEGIS_COMMAND_COPY:
        note(stream,
             cudaMemcpyAsync(command->of.copy.destination, command->of.copy.source,
                             command->of.copy.size_bytes, cudaMemcpyDefault, stream->handle));
        break;
    case AEGIS_COMMAND_RECORD:
        note(stream, put_record(stream, command->of.event, command->generation));
        release_event(command->of.event);
        break;
    case AEGIS_COMMAND_WAIT:
        note(stream, put_wait(stream, command->of.event, command->generation));
        release_event(command->of.event);
        break;
    }
}

/* What comes behind a notification is decided upon in its function: worth waiting for. */
static const aegis_worker_ops worker_ops = {
    .begin = begin, .execute = execute, .spin_ns = AEGIS_CUDA_POLL_NS};

/* ---- streams ---- */

static void release_stream(cuda_stream *stream)
{
    aegis_allocator allocator = stream->allocator;
    if (stream->handle != NULL) {
        (void)cudaStreamSynchronize(stream->handle);
        (void)cudaStreamDestroy(stream->handle);
    }
    aegis_cuda_gate_finish(&stream->gate);
    if (stream->fence != NULL) {
        (void)cudaEventDestroy(stream->fence);
    }
    if (stream->drain != NULL) {
        (void)cudaEventDestroy(stream->drain);
    }
    if (stream->part.context != NULL) {
        aegis_cuda_partition_give(stream->device->partitions, &stream->part);
    }
    aegis_deallocate(&allocator, stream, 1, sizeof *stream);
}

aegis_status aegis_cuda_stream_create(void *self,
                                      const aegis_stream_config *config,
                                      void **ret_stream,
                                      aegis_error *err)
{
    aegis_cuda_device *device = self;
    cuda_stream *stream = aegis_allocate_zeroed(&device->allocator, 1, sizeof *stream);
    if (stream == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for stream '%s'", config->name);
    }
    stream->allocator = device->allocator;
    stream->device = device;
    stream->priority = config->priority;
    stream->completion = config->completion;
    stream->wants_ahead = config->ahead;
    stream->multiprocessors = config->multiprocessors;
    aegis_status status =
        aegis_worker_create(config, &worker_ops, stream, &device->allocator, &stream->worker, err);
    if (status != AEGIS_OK) {
        release_stream(stream);
        return status;
    }
    *ret_stream = stream;
    return AEGIS_OK;
}

void aegis_cuda_stream_destroy(void *self)
{
    cuda_stream *stream = self;
    aegis_worker_destroy(stream->worker);
    release_stream(stream);
}

static aegis_status push_call(cuda_stream *stream,
                              aegis_command_kind kind,
                              aegis_stream_function function,
                              void *argument,
                              aegis_error *err)
{
    aegis_command command = {.kind = kind, .of.call = {function, argument}};
    return aegis_worker_push(stream->worker, &command, err);
}

aegis_status aegis_cuda_stream_call(void *stream,
                                    aegis_stream_function function,
                                    void *argument,
                                    aegis_error *err)
{
    return push_call(stream, AEGIS_COMMAND_CALL, function, argument, err);
}

aegis_status aegis_cuda_stream_notify(void *stream,
                                      aegis_stream_function function,
                                      void *argument,
                                      aegis_error *err)
{
    return push_call(stream, AEGIS_COMMAND_NOTIFY, function, argument, err);
}

aegis_status aegis_cuda_stream_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err)
{
    aegis_command command = {.kind = AEGIS_COMMAND_COPY,
                             .of.copy = {destination, source, size_bytes}};
    return aegis_worker_push(((cuda_stream *)stream)->worker, &command, err);
}

static aegis_status report(cudaError_t code, aegis_error *err)
{
    return aegis_cuda_check(code, "work of the stream", AEGIS_HERE("device.cuda"), err);
}

aegis_status aegis_cuda_stream_synchronize(void *self, aegis_error *err)
{
    cuda_stream *stream = self;
    aegis_status status = aegis_worker_synchronize(stream->worker, err);
    if (status != AEGIS_OK) {
        return status;
    }
    cudaError_t code = cudaEventRecord(stream->drain, stream->handle);
    const aegis_cuda_end end = {.event = stream->drain};
    note(stream,
         code == cudaSuccess ? aegis_cuda_end_wait(&end, AEGIS_COMPLETION_ADAPTIVE, 0) : code);
    return aegis_cuda_stream_take_failure(stream, err);
}

aegis_status aegis_cuda_stream_synchronize_until(void *self, uint64_t until_ns, aegis_error *err)
{
    cuda_stream *stream = self;
    aegis_status status = aegis_worker_synchronize_until(stream->worker, until_ns, err);
    if (status != AEGIS_OK) {
        return status;
    }
    cudaError_t code = cudaEventRecord(stream->drain, stream->handle);
    code = code == cudaSuccess
               ? aegis_cuda_end_wait_until(&(aegis_cuda_end){.event = stream->drain}, until_ns)
               : code;
    if (code == cudaErrorNotReady) {
        return aegis_error_set(
            err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_TIMEOUT,
            "the device has not finished the work of the stream; wait longer, or "
            "call aegis_stream_abandon when it cannot end any more");
    }
    note(stream, code);
    return aegis_cuda_stream_take_failure(stream, err);
}

aegis_status aegis_cuda_stream_take_failure(void *self, aegis_error *err)
{
    cuda_stream *stream = self;
    int first = atomic_load(&stream->first_code);
    /* A fatal one stays; another is forgotten once it has been told. */
    if (aegis_status_category(aegis_cuda_status((cudaError_t)first)) != AEGIS_CATEGORY_FATAL) {
        atomic_compare_exchange_strong(&stream->first_code, &first, cudaSuccess);
    }
    return report((cudaError_t)first, err);
}

bool aegis_cuda_stream_abandon(void *self)
{
    cuda_stream *stream = self;
    uint64_t until = aegis_counter_now_ns() + ABANDON_NS;
    if (!aegis_worker_abandon(stream->worker, until)) {
        return false;
    }
    if (cudaEventRecord(stream->drain, stream->handle) == cudaSuccess &&
        aegis_cuda_end_wait_until(&(aegis_cuda_end){.event = stream->drain}, until) ==
            cudaErrorNotReady) {
        return false;
    }
    release_stream(stream);
    return true;
}

bool aegis_cuda_stream_is_own_thread(void *stream)
{
    return aegis_worker_is_own_thread(((cuda_stream *)stream)->worker);
}

static aegis_status still_busy(const char *what, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_BUSY, "%s", what);
}

aegis_status aegis_cuda_stream_query(void *self, aegis_error *err)
{
    cuda_stream *stream = self;
    int first = atomic_load(&stream->first_code);
    if (first != cudaSuccess) {
        return report((cudaError_t)first, err);
    }
    if (!aegis_worker_idle(stream->worker)) {
        return still_busy("work is left in the stream", err);
    }
    cudaError_t code = cudaStreamQuery(stream->handle);
    if (code == cudaErrorNotReady) {
        (void)cudaGetLastError();
        return still_busy("the device has not finished the work of the stream", err);
    }
    note(stream, code);
    return report(code, err);
}

void aegis_cuda_stream_expect(void *self, uint64_t least_ns)
{
    cuda_stream *stream = self;
    stream->expected_ns = aegis_counter_now_ns() + least_ns;
}

/* ---- on the stream's own thread: work that waits for a decision ---- */

aegis_status aegis_cuda_ahead_begin(void *self, aegis_error *err)
{
    cuda_stream *stream = self;
    if (stream->gate.handle == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_UNSUPPORTED,
                               "nothing of this stream can stand behind a gate: ahead is off, or "
                               "device or driver cannot wait for a word in memory");
    }
    if (aegis_cuda_gate_is_taken(&stream->gate)) {
        return still_busy("something stands behind the gate of the stream", err);
    }
    cudaError_t code = stream->marked ? cudaSuccess : mark(stream);
    if (code == cudaSuccess) {
        code = aegis_cuda_gate_begin(&stream->gate);
    }
    stream->ahead = code == cudaSuccess;
    return aegis_cuda_check(code, "cuStreamWaitValue32", AEGIS_HERE("device.cuda"), err);
}

aegis_status aegis_cuda_ahead_end(void *self, aegis_error *err)
{
    cuda_stream *stream = self;
    stream->ahead = false;
    return aegis_cuda_check(
        aegis_cuda_gate_end(&stream->gate, stream->completion != AEGIS_COMPLETION_POLL),
        "cuStreamWriteValue32", AEGIS_HERE("device.cuda"), err);
}

void aegis_cuda_ahead_open(void *self)
{
    aegis_cuda_gate_open(&((cuda_stream *)self)->gate);
}

void aegis_cuda_ahead_take(void *self)
{
    cuda_stream *stream = self;
    aegis_cuda_gate_open(&stream->gate);
    stream->end = aegis_cuda_gate_last(&stream->gate, stream->completion != AEGIS_COMPLETION_POLL);
    stream->marked = true;
}

void aegis_cuda_ahead_discard(void *self)
{
    cuda_stream *stream = self;
    if (stream->gate.handle != NULL && aegis_cuda_gate_is_taken(&stream->gate)) {
        aegis_cuda_gate_open(&stream->gate);
        const aegis_cuda_end end = aegis_cuda_gate_last(&stream->gate, false);
        note(stream, aegis_cuda_end_wait(&end, AEGIS_COMPLETION_POLL, 0));
    }
}

aegis_cuda_meanwhile *aegis_cuda_stream_meanwhile(void *stream)
{
    return &((cuda_stream *)stream)->meanwhile;
}

/* ---- on the stream's own thread: past the commands that wait in its ring ---- */

aegis_status aegis_cuda_enqueue_copy(
    void *stream, void *destination, const void *source, size_t size_bytes, aegis_error *err)
{
    return aegis_cuda_check(
        cudaMemcpyAsync(destination, source, size_bytes, cudaMemcpyDefault, current(stream)),
        "cudaMemcpyAsync", AEGIS_HERE("device.cuda"), err);
}

aegis_status aegis_cuda_enqueue_record(void *stream, void *self, aegis_error *err)
{
    cuda_event *event = self;
    uint32_t issued = atomic_load(&event->issued);
    if (!aegis_counter_reached(&event->enqueued, issued)) {
        return still_busy("a record of the event still waits in the stream", err);
    }
    atomic_store(&event->issued, issued + 1);
    return aegis_cuda_check(put_record(stream, event, issued + 1), "cudaEventRecord",
                            AEGIS_HERE("device.cuda"), err);
}

aegis_status aegis_cuda_enqueue_wait(void *stream, void *self, aegis_error *err)
{
    cuda_event *event = self;
    return aegis_cuda_check(put_wait(stream, event, atomic_load(&event->issued)),
                            "cudaStreamWaitEvent", AEGIS_HERE("device.cuda"), err);
}

void *aegis_cuda_stream_native(void *stream)
{
    return current(stream);
}

/* ---- events ---- */

aegis_status aegis_cuda_event_create(void *self, void **ret_event, aegis_error *err)
{
    const aegis_cuda_device *device = self;
    cuda_event *event = aegis_allocate_zeroed(&device->allocator, 1, sizeof *event);
    if (event == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for an event");
    }
    event->allocator = device->allocator;
    atomic_store(&event->users, 1);
    int previous = 0;
    cudaError_t code = aegis_cuda_enter(device->index, &previous);
    if (code == cudaSuccess) {
        code = cudaEventCreateWithFlags(&event->handle, cudaEventBlockingSync);
        aegis_cuda_leave(previous);
    }
    aegis_status status =
        aegis_cuda_check(code, "cudaEventCreateWithFlags", AEGIS_HERE("device.cuda"), err);
    if (status != AEGIS_OK) {
        aegis_deallocate(&device->allocator, event, 1, sizeof *event);
        return status;
    }
    *ret_event = event;
    return AEGIS_OK;
}

void aegis_cuda_event_destroy(void *event)
{
    release_event(event);
}

/* The count of users rises before the push: the worker may release at once. */
static aegis_status push_event(cuda_stream *stream,
                               aegis_command_kind kind,
                               cuda_event *event,
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

aegis_status aegis_cuda_event_record(void *self, void *stream, aegis_error *err)
{
    cuda_event *event = self;
    uint32_t generation = atomic_load(&event->issued) + 1;
    aegis_status status = push_event(stream, AEGIS_COMMAND_RECORD, event, generation, err);
    if (status == AEGIS_OK) {
        atomic_store(&event->issued, generation);
    }
    return status;
}

aegis_status aegis_cuda_stream_wait_event(void *stream, void *self, aegis_error *err)
{
    cuda_event *event = self;
    return push_event(stream, AEGIS_COMMAND_WAIT, event, atomic_load(&event->issued), err);
}

aegis_status aegis_cuda_event_query(void *self, aegis_error *err)
{
    cuda_event *event = self;
    if (!aegis_counter_reached(&event->enqueued, atomic_load(&event->issued))) {
        return still_busy("the event waits in its stream", err);
    }
    cudaError_t code = cudaEventQuery(event->handle);
    if (code == cudaErrorNotReady) {
        (void)cudaGetLastError();
        return still_busy("the event has not completed on the device", err);
    }
    return aegis_cuda_check(code, "cudaEventQuery", AEGIS_HERE("device.cuda"), err);
}

aegis_status aegis_cuda_event_synchronize(void *self, aegis_error *err)
{
    cuda_event *event = self;
    aegis_counter_wait(&event->enqueued, atomic_load(&event->issued));
    const aegis_cuda_end end = {.event = event->handle};
    return aegis_cuda_check(aegis_cuda_end_wait(&end, AEGIS_COMPLETION_ADAPTIVE, 0),
                            "cudaEventSynchronize", AEGIS_HERE("device.cuda"), err);
}

aegis_status
aegis_cuda_event_elapsed_ns(void *start, void *end, int64_t *ret_elapsed_ns, aegis_error *err)
{
    cuda_event *events[] = {start, end};
    for (int i = 0; i < 2; i++) {
        aegis_status status = atomic_load(&events[i]->issued) == 0
                                  ? AEGIS_ERROR_BUSY
                                  : aegis_cuda_event_query(events[i], err);
        if (status == AEGIS_ERROR_BUSY) {
            return aegis_error_set(err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_STATE,
                                   "both events must have been recorded and completed");
        }
        if (status != AEGIS_OK) {
            return status;
        }
    }
    float milliseconds = 0;
    aegis_status status =
        aegis_cuda_check(cudaEventElapsedTime(&milliseconds, events[0]->handle, events[1]->handle),
                         "cudaEventElapsedTime", AEGIS_HERE("device.cuda"), err);
    if (status == AEGIS_OK) {
        *ret_elapsed_ns = (int64_t)llround((double)milliseconds * 1e6);
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/stream.h"

#include "base/base.h"

#include <aegisrt/clock.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>

#define HERE AEGIS_HERE("transformer.stream")
#define STACK_BYTES ((size_t)128 << 10)
#define MOST_THREADS 16
#define SPIN_NS 20000

typedef struct slot {
    uint32_t pending; /* reads in flight */
    bool issued;      /* all reads of the group have been begun */
    aegis_status status;
    aegis_error error;
    _Atomic uint64_t ready; /* number of the group that is in the buffer, plus one */
} slot;

/* One read. */
typedef struct order {
    uint32_t file;
    uint64_t offset, bytes;
    uint8_t *to;
    slot *slot;
    uint64_t number;
} order;

struct aegis_weight_stream {
    aegis_allocator allocator;
    const aegis_weight_reader *reader;
    const aegis_partition *partition;
    uint64_t read_bytes;
    uint8_t *buffers;
    uint64_t buffers_bytes;
    bool owns_buffers;
    slot *slots;
    pthread_t threads[MOST_THREADS];
    uint32_t thread_count;

    /* What the consumer writes and readers look at: it takes no lock for that. */
    _Atomic uint32_t passes[AEGIS_WEIGHT_STREAM_MAX_PASSES]; /* groups of pass p at p modulo the
                                                                length */
    _Atomic uint64_t announced;                              /* passes */
    _Atomic uint64_t released; /* number of the next group to acquire */
    sem_t work;                /* something became readable, or the end has come */

    pthread_mutex_t mutex; /* of the readers: guards what follows */
    pthread_cond_t done;
    bool stop, paused;
    uint32_t in_flight;
    /* Next read: groups are numbered through all passes. */
    uint64_t pass, number;
    uint32_t group, extent;
    uint64_t at; /* in the extent */
    uint64_t busy_since_ns;
    aegis_weight_stream_counters counters; /* stall_ns: the consumer's */
    void (*wake)(void *self);
    void *wake_self;

    /* The consumer's alone. */
    uint64_t finished; /* passes */
    uint32_t consumed; /* groups of the first unfinished pass */
    bool held;
};

static uint64_t now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

static bool can_order(const aegis_weight_stream *stream)
{
    return !stream->paused && !stream->stop && stream->pass < atomic_load(&stream->announced) &&
           stream->number < atomic_load(&stream->released) + stream->partition->buffers;
}

/* The next read; moves on. The buffer of group n is n modulo their number: it is free, because the
 * groups before released + buffers have been given back. */
static order take_order(aegis_weight_stream *stream)
{
    const aegis_partition *plan = stream->partition;
    const aegis_partition_group *group = &plan->groups[stream->group];
    const aegis_partition_extent *extent = &plan->extents[group->first_extent + stream->extent];
    const uint64_t index = stream->number % plan->buffers;
    slot *to = &stream->slots[index];
    if (stream->extent == 0 && stream->at == 0) {
        to->issued = false;
        to->status = AEGIS_OK;
    }
    const uint64_t left = extent->bytes - stream->at;
    order made = {.file = extent->file,
                  .offset = extent->file_offset + stream->at,
                  .bytes = left < stream->read_bytes ? left : stream->read_bytes,
                  .to = stream->buffers + index * plan->buffer_bytes + extent->buffer_offset +
                        stream->at,
                  .slot = to,
                  .number = stream->number};
    to->pending++;
    stream->at += made.bytes;
    if (stream->at == extent->bytes) {
        stream->at = 0;
        stream->extent++;
    }
    if (stream->extent == group->extent_count) {
        to->issued = true;
        stream->extent = 0;
        stream->number++;
        stream->group++;
        if (stream->group ==
            atomic_load(&stream->passes[stream->pass % AEGIS_WEIGHT_STREAM_MAX_PASSES])) {
            stream->group = 0;
            stream->pass++;
        }
    }
    return made;
}

static void finish_order(aegis_weight_stream *stream,
                         const order *done,
                         aegis_status status,
                         const aegis_error *error)
{
    slot *to = done->slot;
    if (status != AEGIS_OK && to->status == AEGIS_OK) {
        to->status = status;
        to->error = *error;
    }
    stream->counters.read_bytes += status == AEGIS_OK ? done->bytes : 0;
    stream->in_flight--;
    if (stream->in_flight == 0) {
        stream->counters.busy_ns += now_ns() - stream->busy_since_ns;
    }
    to->pending--;
    if (to->pending == 0 && to->issued) {
        atomic_store_explicit(&to->ready, done->number + 1, memory_order_release);
        if (stream->wake != NULL) {
            stream->wake(stream->wake_self);
        }
    }
    pthread_cond_broadcast(&stream->done);
}

static void *read_orders(void *argument)
{
    aegis_weight_stream *stream = argument;
    pthread_mutex_lock(&stream->mutex);
    while (!stream->stop) {
        if (!can_order(stream)) {
            pthread_mutex_unlock(&stream->mutex);
            while (sem_wait(&stream->work) != 0 && errno == EINTR) {
            }
            while (sem_trywait(&stream->work) == 0) { /* one look answers all of them */
            }
            pthread_mutex_lock(&stream->mutex);
            continue;
        }
        order next = take_order(stream);
        if (can_order(stream)) {
            sem_post(&stream->work); /* for one more reader; a post too many is looked into */
        }
        if (stream->in_flight == 0) {
            stream->busy_since_ns = now_ns();
        }
        stream->in_flight++;
        pthread_mutex_unlock(&stream->mutex);
        aegis_error error = {0};
        aegis_status status =
            aegis_weight_read(stream->reader, next.file, next.offset, next.bytes, next.to, &error);
        pthread_mutex_lock(&stream->mutex);
        finish_order(stream, &next, status, &error);
    }
    sem_post(&stream->work); /* the next one hears of the end */
    pthread_mutex_unlock(&stream->mutex);
    return NULL;
}

/* Reads take what cores have left, and a failure to say so costs others time, not results. */
void aegis_weight_stream_be_idle(aegis_weight_stream *stream)
{
    const struct sched_param none = {0};
    for (uint32_t i = 0; i < stream->thread_count; i++) {
        (void)pthread_setschedparam(stream->threads[i], SCHED_IDLE, &none);
    }
}

void aegis_weight_stream_move(aegis_weight_stream *stream, void *buffers)
{
    aegis_weight_stream_rewind(stream);
    if (stream->owns_buffers) {
        aegis_pages_unmap(stream->buffers, stream->buffers_bytes);
    }
    stream->owns_buffers = false;
    stream->buffers = buffers;
}

const void *aegis_weight_stream_buffers(const aegis_weight_stream *stream, uint64_t *ret_bytes)
{
    *ret_bytes = stream->buffers_bytes;
    return stream->buffers;
}

void aegis_weight_stream_watch(aegis_weight_stream *stream, void (*wake)(void *self), void *self)
{
    pthread_mutex_lock(&stream->mutex);
    stream->wake = wake;
    stream->wake_self = self;
    pthread_mutex_unlock(&stream->mutex);
}

static aegis_status start_threads(aegis_weight_stream *stream, uint32_t threads, aegis_error *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int code = 0;
    while (code == 0 && stream->thread_count < threads) {
        code = pthread_create(&stream->threads[stream->thread_count], &attributes, read_orders,
                              stream);
        stream->thread_count += code == 0;
    }
    pthread_attr_destroy(&attributes);
    if (stream->thread_count == 0) {
        return aegis_error_set_native(err, HERE, AEGIS_ERROR_NO_MEMORY, code,
                                      "no thread can be created for reading weights");
    }
    return AEGIS_OK;
}

aegis_status aegis_weight_stream_create(const aegis_weight_reader *reader,
                                        const aegis_partition *partition,
                                        uint32_t threads,
                                        uint64_t read_bytes,
                                        const aegis_allocator *allocator,
                                        aegis_weight_stream **ret_stream,
                                        aegis_error *err)
{
    if (partition->group_count == 0 || threads == 0 || threads > MOST_THREADS || read_bytes == 0 ||
        read_bytes % AEGIS_READ_BLOCK != 0) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "a stream of %u groups with %u threads; both are at least 1, and "
                               "threads at most %d",
                               partition->group_count, threads, MOST_THREADS);
    }
    aegis_weight_stream *stream = aegis_allocate_zeroed(allocator, 1, sizeof *stream);
    if (stream == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a stream");
    }
    stream->allocator = *allocator;
    stream->reader = reader;
    stream->partition = partition;
    stream->read_bytes = read_bytes;
    pthread_mutex_init(&stream->mutex, NULL);
    sem_init(&stream->work, 0, 0);
    pthread_cond_init(&stream->done, NULL);
    stream->slots = aegis_allocate_zeroed(allocator, partition->buffers, sizeof *stream->slots);
    stream->buffers_bytes = partition->buffers * partition->buffer_bytes;
    stream->buffers = aegis_pages_map(stream->buffers_bytes);
    stream->owns_buffers = true;
    aegis_status status = AEGIS_OK;
    if (stream->slots == NULL || stream->buffers == NULL) {
        status = aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                                 "no memory for %u buffers of %llu bytes", partition->buffers,
                                 (unsigned long long)partition->buffer_bytes);
    }
    if (status == AEGIS_OK) {
        status = start_threads(stream, threads, err);
    }
    if (status != AEGIS_OK) {
        aegis_weight_stream_destroy(stream);
        return status;
    }
    *ret_stream = stream;
    return AEGIS_OK;
}

void aegis_weight_stream_destroy(aegis_weight_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    pthread_mutex_lock(&stream->mutex);
    stream->stop = true;
    sem_post(&stream->work);
    pthread_mutex_unlock(&stream->mutex);
    for (uint32_t i = 0; i < stream->thread_count; i++) {
        pthread_join(stream->threads[i], NULL);
    }
    pthread_cond_destroy(&stream->done);
    sem_destroy(&stream->work);
    pthread_mutex_destroy(&stream->mutex);
    if (stream->owns_buffers) {
        aegis_pages_unmap(stream->buffers, stream->buffers_bytes);
    }
    const aegis_allocator allocator = stream->allocator;
    aegis_deallocate(&allocator, stream->slots, stream->partition->buffers, sizeof *stream->slots);
    aegis_deallocate(&allocator, stream, 1, sizeof *stream);
}

bool aegis_weight_stream_announce(aegis_weight_stream *stream, uint32_t groups)
{
    const uint64_t announced = atomic_load(&stream->announced);
    const bool room = announced - stream->finished < AEGIS_WEIGHT_STREAM_MAX_PASSES;
    if (room) {
        atomic_store(&stream->passes[announced % AEGIS_WEIGHT_STREAM_MAX_PASSES], groups);
        atomic_store(&stream->announced, announced + 1);
        sem_post(&stream->work);
    }
    return room;
}

/* Groups of the first unfinished pass, which is announced. */
static uint32_t pass_groups(const aegis_weight_stream *stream)
{
    return atomic_load(&stream->passes[stream->finished % AEGIS_WEIGHT_STREAM_MAX_PASSES]);
}

uint32_t aegis_weight_stream_announced(const aegis_weight_stream *stream)
{
    return stream->finished < atomic_load(&stream->announced) ? pass_groups(stream) : 0;
}

uint32_t aegis_weight_stream_position(const aegis_weight_stream *stream)
{
    return stream->consumed;
}

static slot *slot_of(const aegis_weight_stream *stream, uint64_t number)
{
    return &stream->slots[number % stream->partition->buffers];
}

bool aegis_weight_stream_has(const aegis_weight_stream *stream, uint32_t groups)
{
    const uint64_t first = atomic_load(&stream->released);
    for (uint64_t number = first; number < first + groups; number++) {
        if (atomic_load_explicit(&slot_of(stream, number)->ready, memory_order_acquire) !=
            number + 1) {
            return false;
        }
    }
    return true;
}

bool aegis_weight_stream_is_ready(const aegis_weight_stream *stream)
{
    return aegis_weight_stream_has(stream, 1);
}

/* A moment of looking, then sleep. */
static void await_group(aegis_weight_stream *stream)
{
    const uint64_t begin = now_ns();
    while (!aegis_weight_stream_is_ready(stream) && now_ns() - begin < SPIN_NS) {
    }
    pthread_mutex_lock(&stream->mutex);
    while (!aegis_weight_stream_is_ready(stream)) {
        pthread_cond_wait(&stream->done, &stream->mutex);
    }
    stream->counters.stall_ns += now_ns() - begin;
    pthread_mutex_unlock(&stream->mutex);
}

aegis_status aegis_weight_stream_acquire(aegis_weight_stream *stream,
                                         const uint8_t **ret_bytes,
                                         aegis_error *err)
{
    if (stream->held || aegis_weight_stream_announced(stream) == 0) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_STATE,
                               stream->held ? "a group is held already; release it first"
                                            : "no pass is announced");
    }
    if (!aegis_weight_stream_is_ready(stream)) {
        await_group(stream);
    }
    const uint64_t number = atomic_load(&stream->released);
    const slot *from = slot_of(stream, number);
    if (from->status != AEGIS_OK) {
        if (err != NULL) {
            *err = from->error;
        }
        return from->status;
    }
    stream->held = true;
    *ret_bytes =
        stream->buffers + (number % stream->partition->buffers) * stream->partition->buffer_bytes;
    return AEGIS_OK;
}

void aegis_weight_stream_release(aegis_weight_stream *stream)
{
    stream->held = false;
    stream->consumed++;
    if (stream->consumed == pass_groups(stream)) {
        stream->consumed = 0;
        stream->finished++;
    }
    atomic_fetch_add(&stream->released, 1);
    sem_post(&stream->work);
}

void aegis_weight_stream_put_back(aegis_weight_stream *stream)
{
    stream->held = false;
}

void aegis_weight_stream_rewind(aegis_weight_stream *stream)
{
    pthread_mutex_lock(&stream->mutex);
    stream->paused = true;
    while (stream->in_flight > 0) {
        pthread_cond_wait(&stream->done, &stream->mutex);
    }
    for (uint32_t i = 0; i < stream->partition->buffers; i++) {
        stream->slots[i].pending = 0;
        stream->slots[i].issued = false;
        stream->slots[i].status = AEGIS_OK;
        atomic_store_explicit(&stream->slots[i].ready, 0, memory_order_relaxed);
    }
    stream->finished = stream->pass = stream->number = stream->at = 0;
    atomic_store(&stream->announced, 0);
    atomic_store(&stream->released, 0);
    stream->group = stream->extent = stream->consumed = 0;
    stream->held = false;
    stream->paused = false;
    pthread_mutex_unlock(&stream->mutex);
}

void aegis_weight_stream_count(const aegis_weight_stream *stream,
                               aegis_weight_stream_counters *ret_counters)
{
    aegis_weight_stream *self =
        (aegis_weight_stream *)stream; /* the lock is no part of its value */
    pthread_mutex_lock(&self->mutex);
    *ret_counters = stream->counters;
    if (stream->in_flight > 0) {
        ret_counters->busy_ns += now_ns() - stream->busy_since_ns;
    }
    pthread_mutex_unlock(&self->mutex);
}

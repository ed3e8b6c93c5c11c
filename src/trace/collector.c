/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "trace/file.h"
#include "trace/kept.h"
#include "trace/ring.h"
#include "trace/writer.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define DEFAULT_RING_RECORDS 65536
#define MOST_RING_RECORDS ((size_t)1 << 30)
#define MOST_RINGS 1024
#define DEFAULT_DRAIN_INTERVAL_NS (20 * AEGIS_NS_PER_MS)
#define MOST_NAME_BYTES 255

/* Lock order: own_lock and drain_lock are never held together. */
struct aegis_trace_collector {
    aegis_allocator allocator;
    aegis_clock clock;
    size_t ring_records;
    uint64_t drain_interval_ns;

    /* Entries below ring_count are constant: readers need no lock. */
    aegis_trace_ring *rings[MOST_RINGS];
    _Atomic uint32_t ring_count;
    _Atomic uint64_t lost; /* records that the file did not take */

    pthread_mutex_t own_lock; /* makes ring 0 a ring of one writer at a time */
    bool is_closed;           /* under own_lock: ring 0 takes no more */

    pthread_mutex_t drain_lock; /* all below: one reader of the rings at a time */
    pthread_cond_t wake;
    pthread_t thread;
    bool is_running, stop, is_finished;
    char *header;
    trace_writer writer;
    uint32_t names_written; /* rings that the file knows */
    trace_kept kept;
};

#define ERROR(err, status, ...) \
    aegis_error_set((err), AEGIS_HERE("trace.collector"), (status), __VA_ARGS__)

/* ---- draining (under drain_lock) ---- */

static void drain_ring(aegis_trace_collector *collector, uint32_t index)
{
    aegis_trace_ring *ring = collector->rings[index];
    trace_span span = aegis_trace_ring_peek(ring);
    size_t count = span.counts[0] + span.counts[1];
    if (count == 0) {
        return;
    }
    if (!aegis_trace_writer_records(&collector->writer, index, &span)) {
        atomic_fetch_add_explicit(&collector->lost, count, memory_order_relaxed);
    }
    aegis_trace_kept_add(&collector->kept, span.records[0], span.counts[0]);
    aegis_trace_kept_add(&collector->kept, span.records[1], span.counts[1]);
    aegis_trace_ring_consume(ring, count);
}

static uint32_t ring_count(const aegis_trace_collector *collector)
{
    return atomic_load_explicit(&collector->ring_count, memory_order_acquire);
}

static void write_names(aegis_trace_collector *collector)
{
    for (; collector->names_written < ring_count(collector); collector->names_written++) {
        uint32_t index = collector->names_written;
        const char *name = aegis_trace_ring_name(collector->rings[index]);
        aegis_trace_writer_name(&collector->writer, index, name);
    }
}

static void drain(aegis_trace_collector *collector)
{
    write_names(collector);
    for (uint32_t i = 0; i < collector->names_written; i++) {
        drain_ring(collector, i);
    }
}

static struct timespec later(uint64_t interval_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ns = (uint64_t)now.tv_nsec + interval_ns % AEGIS_NS_PER_S;
    return (struct timespec){.tv_sec = now.tv_sec +
                                       (time_t)(interval_ns / AEGIS_NS_PER_S + ns / AEGIS_NS_PER_S),
                             .tv_nsec = (long)(ns % AEGIS_NS_PER_S)};
}

static void *drain_until_stopped(void *argument)
{
    aegis_trace_collector *collector = argument;
    pthread_mutex_lock(&collector->drain_lock);
    while (!collector->stop) {
        struct timespec when = later(collector->drain_interval_ns);
        pthread_cond_timedwait(&collector->wake, &collector->drain_lock, &when);
        drain(collector);
    }
    pthread_mutex_unlock(&collector->drain_lock);
    return NULL;
}

/* ---- create and destroy ---- */

/* Ordinary priority and no signals, whatever the creating thread has. */
static int start_thread(aegis_trace_collector *collector)
{
    pthread_attr_t attributes;
    int code = pthread_attr_init(&attributes);
    if (code != 0) {
        return code;
    }
    sigset_t all, before;
    sigfillset(&all);
    struct sched_param ordinary = {.sched_priority = 0};
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_OTHER);
    pthread_attr_setschedparam(&attributes, &ordinary);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&collector->thread, &attributes, drain_until_stopped, collector);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    collector->is_running = code == 0;
    return code;
}

static void stop_thread(aegis_trace_collector *collector)
{
    if (!collector->is_running) {
        return;
    }
    pthread_mutex_lock(&collector->drain_lock);
    collector->stop = true;
    pthread_cond_signal(&collector->wake);
    pthread_mutex_unlock(&collector->drain_lock);
    pthread_join(collector->thread, NULL);
    collector->is_running = false;
}

static size_t round_up_to_power_of_two(size_t value)
{
    size_t power = 1;
    while (power < value) {
        power *= 2;
    }
    return power;
}

static aegis_status
check_config(const aegis_trace_config *config, const aegis_clock *clock, aegis_error *err)
{
    if (config == NULL || clock == NULL || clock->ops == NULL) {
        return ERROR(err, AEGIS_ERROR_INVALID_ARGUMENT,
                     "a trace needs a configuration and a clock");
    }
    if (config->ring_records > MOST_RING_RECORDS) {
        return ERROR(err, AEGIS_ERROR_INVALID_ARGUMENT, "ring_records %zu is above %zu",
                     config->ring_records, MOST_RING_RECORDS);
    }
    return AEGIS_OK;
}

static aegis_status check_header(const char *header, aegis_error *err)
{
    size_t size = strlen(header);
    if (size > UINT32_MAX) {
        return ERROR(err, AEGIS_ERROR_INVALID_ARGUMENT,
                     "a trace header of %zu bytes is above the format's 4 GiB", size);
    }
    json_t *json;
    aegis_status status = aegis_trace_header_parse(header, size, &json, err);
    if (status == AEGIS_OK) {
        json_decref(json);
    }
    return status;
}

static void init_locks(aegis_trace_collector *collector)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&collector->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&collector->own_lock, NULL);
    pthread_mutex_init(&collector->drain_lock, NULL);
}

static aegis_status out_of_memory(aegis_error *err, const char *what)
{
    return ERROR(err, AEGIS_ERROR_NO_MEMORY, "no memory for %s", what);
}

static aegis_status
set_up(aegis_trace_collector *collector, const aegis_trace_config *config, aegis_error *err)
{
    size_t records = config->ring_records == 0 ? DEFAULT_RING_RECORDS : config->ring_records;
    collector->ring_records = round_up_to_power_of_two(records);
    collector->drain_interval_ns =
        config->drain_interval_ns == 0 ? DEFAULT_DRAIN_INTERVAL_NS : config->drain_interval_ns;
    if (!aegis_trace_kept_init(&collector->kept, &collector->allocator, config->memory_records)) {
        return out_of_memory(err, "the trace records kept in memory");
    }
    aegis_trace_ring *own;
    aegis_status status = aegis_trace_ring_create(collector, "collector", &own, err);
    if (status == AEGIS_OK) {
        status = aegis_trace_writer_open(&collector->writer, config->path, err);
    }
    if (status == AEGIS_OK) {
        const char *header = config->header_json == NULL ? "{}" : config->header_json;
        status = aegis_trace_collector_set_header(collector, header, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    int code = start_thread(collector);
    if (code != 0) {
        return aegis_error_set_native(err, AEGIS_HERE("trace.collector"), AEGIS_ERROR_NO_MEMORY,
                                      code, "cannot start the trace's drain thread: errno %d",
                                      code);
    }
    return AEGIS_OK;
}

aegis_status aegis_trace_collector_create(const aegis_trace_config *config,
                                          const aegis_clock *clock,
                                          const aegis_allocator *allocator,
                                          aegis_trace_collector **ret_collector,
                                          aegis_error *err)
{
    aegis_status status = check_config(config, clock, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_trace_collector *collector = aegis_allocate_zeroed(allocator, 1, sizeof *collector);
    if (collector == NULL) {
        return out_of_memory(err, "a trace collector");
    }
    collector->allocator = *allocator;
    collector->clock = *clock;
    collector->writer.fd = -1;
    init_locks(collector);
    status = set_up(collector, config, err);
    if (status != AEGIS_OK) {
        aegis_trace_collector_destroy(collector);
        return status;
    }
    *ret_collector = collector;
    return AEGIS_OK;
}

void aegis_trace_collector_destroy(aegis_trace_collector *collector)
{
    if (collector == NULL) {
        return;
    }
    if (collector->is_running) {
        aegis_trace_collector_finish(collector, NULL);
    }
    aegis_trace_writer_close(&collector->writer, NULL);
    aegis_allocator allocator = collector->allocator;
    for (uint32_t i = 0; i < ring_count(collector); i++) {
        aegis_trace_ring_free(&allocator, collector->rings[i]);
    }
    aegis_trace_kept_finish(&collector->kept, &allocator);
    aegis_free_text(&allocator, collector->header);
    pthread_cond_destroy(&collector->wake);
    pthread_mutex_destroy(&collector->own_lock);
    pthread_mutex_destroy(&collector->drain_lock);
    aegis_deallocate(&allocator, collector, 1, sizeof *collector);
}

/* ---- header, rings, records ---- */

static aegis_status replace_header(aegis_trace_collector *collector, char *copy, aegis_error *err)
{
    if (collector->is_finished) {
        return ERROR(err, AEGIS_ERROR_STATE, "the trace is finished: its header is final");
    }
    if (!aegis_trace_writer_header(&collector->writer, copy)) {
        return aegis_trace_writer_status(&collector->writer, err);
    }
    aegis_free_text(&collector->allocator, collector->header);
    collector->header = copy;
    return AEGIS_OK;
}

aegis_status aegis_trace_collector_set_header(aegis_trace_collector *collector,
                                              const char *header_json,
                                              aegis_error *err)
{
    aegis_status status = check_header(header_json, err);
    if (status != AEGIS_OK) {
        return status;
    }
    char *copy = aegis_copy_text(&collector->allocator, header_json);
    if (copy == NULL) {
        return out_of_memory(err, "the trace's header");
    }
    pthread_mutex_lock(&collector->drain_lock);
    status = replace_header(collector, copy, err);
    pthread_mutex_unlock(&collector->drain_lock);
    if (status != AEGIS_OK) {
        aegis_free_text(&collector->allocator, copy);
    }
    return status;
}

static aegis_status
check_ring_name(const aegis_trace_collector *collector, const char *name, aegis_error *err)
{
    json_t *text = name == NULL ? NULL : json_string(name);
    bool is_text = text != NULL;
    json_decref(text);
    if (!is_text || name[0] == '\0' || strlen(name) > MOST_NAME_BYTES) {
        return ERROR(err, AEGIS_ERROR_INVALID_ARGUMENT,
                     "the name of a trace ring must be 1 to %d bytes of UTF-8", MOST_NAME_BYTES);
    }
    for (uint32_t i = 0; i < ring_count(collector); i++) {
        if (strcmp(aegis_trace_ring_name(collector->rings[i]), name) == 0) {
            return ERROR(err, AEGIS_ERROR_EXISTS, "a trace ring named %s exists", name);
        }
    }
    return AEGIS_OK;
}

static aegis_status add_ring(aegis_trace_collector *collector,
                             const char *name,
                             aegis_trace_ring **ret_ring,
                             aegis_error *err)
{
    uint32_t index = ring_count(collector);
    if (collector->is_finished || index == MOST_RINGS) {
        return ERROR(err, AEGIS_ERROR_STATE,
                     "no ring %s: the trace is finished or has its %d rings", name, MOST_RINGS);
    }
    aegis_status status = check_ring_name(collector, name, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_trace_ring *ring = aegis_trace_ring_new(&collector->allocator, &collector->clock, name,
                                                  (uint16_t)index, collector->ring_records);
    if (ring == NULL) {
        return ERROR(err, AEGIS_ERROR_NO_MEMORY, "no memory for the trace ring %s of %zu records",
                     name, collector->ring_records);
    }
    collector->rings[index] = ring;
    atomic_store_explicit(&collector->ring_count, index + 1, memory_order_release);
    *ret_ring = ring;
    return AEGIS_OK;
}

aegis_status aegis_trace_ring_create(aegis_trace_collector *collector,
                                     const char *name,
                                     aegis_trace_ring **ret_ring,
                                     aegis_error *err)
{
    pthread_mutex_lock(&collector->drain_lock);
    aegis_status status = add_ring(collector, name, ret_ring, err);
    pthread_mutex_unlock(&collector->drain_lock);
    return status;
}

void aegis_trace_collector_record(aegis_trace_collector *collector,
                                  const aegis_trace_record *record)
{
    if (collector == NULL) {
        return;
    }
    pthread_mutex_lock(&collector->own_lock);
    if (collector->is_closed) {
        aegis_trace_ring_count_drop(collector->rings[0]);
    } else {
        aegis_trace_record_write(collector->rings[0], record);
    }
    pthread_mutex_unlock(&collector->own_lock);
}

void aegis_trace_collector_totals(const aegis_trace_collector *collector,
                                  uint64_t *ret_written,
                                  uint64_t *ret_dropped)
{
    uint64_t written = 0, dropped = 0;
    uint64_t lost = atomic_load_explicit(&collector->lost, memory_order_relaxed);
    for (uint32_t i = 0; i < ring_count(collector); i++) {
        written += aegis_trace_ring_written(collector->rings[i]);
        dropped += aegis_trace_ring_dropped(collector->rings[i]);
    }
    *ret_written = written > lost ? written - lost : 0;
    *ret_dropped = dropped + lost;
}

static void write_totals(aegis_trace_collector *collector)
{
    trace_totals totals[MOST_RINGS];
    uint32_t count = ring_count(collector);
    for (uint32_t i = 0; i < count; i++) {
        totals[i] = (trace_totals){.written = aegis_trace_ring_written(collector->rings[i]),
                                   .dropped = aegis_trace_ring_dropped(collector->rings[i])};
    }
    aegis_trace_writer_totals(&collector->writer, totals, count);
}

aegis_status aegis_trace_collector_finish(aegis_trace_collector *collector, aegis_error *err)
{
    stop_thread(collector);
    pthread_mutex_lock(&collector->own_lock);
    collector->is_closed = true;
    pthread_mutex_unlock(&collector->own_lock);
    pthread_mutex_lock(&collector->drain_lock);
    if (!collector->is_finished) {
        drain(collector);
        write_totals(collector);
        collector->is_finished = true;
    }
    aegis_status status = aegis_trace_writer_close(&collector->writer, err);
    pthread_mutex_unlock(&collector->drain_lock);
    return status;
}

/* ---- what is kept in memory ---- */

static aegis_status check_kept(const aegis_trace_collector *collector, aegis_error *err)
{
    if (collector->kept.capacity == 0) {
        return ERROR(err, AEGIS_ERROR_STATE,
                     "this trace keeps no records in memory: set memory_records above 0");
    }
    return AEGIS_OK;
}

aegis_status aegis_trace_collector_query(aegis_trace_collector *collector,
                                         const aegis_trace_query *query,
                                         aegis_trace_record *records,
                                         size_t capacity,
                                         size_t *ret_count,
                                         aegis_error *err)
{
    if (query == NULL || (records == NULL && capacity > 0)) {
        return ERROR(err, AEGIS_ERROR_INVALID_ARGUMENT,
                     "a query needs an interval and room for its records");
    }
    aegis_status status = check_kept(collector, err);
    if (status != AEGIS_OK) {
        return status;
    }
    pthread_mutex_lock(&collector->drain_lock);
    drain(collector);
    status = aegis_trace_kept_query(&collector->kept, &collector->allocator, query, records,
                                    capacity, ret_count, err);
    pthread_mutex_unlock(&collector->drain_lock);
    return status;
}

static aegis_status
copy_kept(const aegis_trace_collector *collector, aegis_trace_file *file, aegis_error *err)
{
    size_t counts[MOST_RINGS] = {0};
    aegis_trace_kept_count(&collector->kept, counts);
    for (uint32_t i = 0; i < collector->names_written; i++) {
        const char *name = aegis_trace_ring_name(collector->rings[i]);
        aegis_status status = aegis_trace_file_add_ring(file, name, strlen(name), counts[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
        file->rings[i].dropped = aegis_trace_ring_dropped(collector->rings[i]);
        file->dropped += file->rings[i].dropped;
    }
    aegis_trace_kept_copy(&collector->kept, file);
    file->complete = collector->is_finished;
    return aegis_trace_file_seal(file, err);
}

static aegis_status
take_snapshot(const aegis_trace_collector *collector, aegis_trace_file **ret_file, aegis_error *err)
{
    aegis_trace_file *file;
    aegis_status status =
        aegis_trace_file_new(&collector->allocator, collector->header, strlen(collector->header),
                             collector->names_written, collector->kept.count, &file, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = copy_kept(collector, file, err);
    if (status != AEGIS_OK) {
        aegis_trace_file_close(file);
        return status;
    }
    *ret_file = file;
    return AEGIS_OK;
}

aegis_status aegis_trace_collector_snapshot(aegis_trace_collector *collector,
                                            aegis_trace_file **ret_file,
                                            aegis_error *err)
{
    aegis_status status = check_kept(collector, err);
    if (status != AEGIS_OK) {
        return status;
    }
    pthread_mutex_lock(&collector->drain_lock);
    drain(collector);
    status = take_snapshot(collector, ret_file, err);
    pthread_mutex_unlock(&collector->drain_lock);
    return status;
}

static aegis_status
export_kept(aegis_trace_collector *collector,
            aegis_status (*export)(const aegis_trace_file *, const char *, aegis_error *),
            const char *path,
            aegis_error *err)
{
    aegis_trace_file *file;
    aegis_status status = aegis_trace_collector_snapshot(collector, &file, err);
    if (status == AEGIS_OK) {
        status = export(file, path, err);
        aegis_trace_file_close(file);
    }
    return status;
}

aegis_status aegis_trace_collector_export_json(aegis_trace_collector *collector,
                                               const char *path,
                                               aegis_error *err)
{
    return export_kept(collector, aegis_trace_export_json, path, err);
}

aegis_status aegis_trace_collector_export_perfetto(aegis_trace_collector *collector,
                                                   const char *path,
                                                   aegis_error *err)
{
    return export_kept(collector, aegis_trace_export_perfetto, path, err);
}

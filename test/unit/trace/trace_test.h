/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_TEST_H
#define TRACE_TEST_H

/* An allocator that counts and fails on demand, a clock that is set, and a sample trace. */

#include <aegisrt/ext/clock_ops.h>
#include <aegisrt/trace.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct test_heap {
    long calls, fail_at; /* the call that fails, counted from 1; 0: none */
    long live_blocks;
    size_t live_bytes;
} test_heap;

static inline void *heap_alloc(void *self, size_t size)
{
    test_heap *heap = self;
    if (++heap->calls == heap->fail_at) {
        return NULL;
    }
    heap->live_blocks++;
    heap->live_bytes += size;
    return malloc(size);
}

static inline void heap_free(void *self, void *pointer, size_t size)
{
    test_heap *heap = self;
    if (pointer != NULL) {
        heap->live_blocks--;
        heap->live_bytes -= size; /* a size that differs from the one asked for shows at the end */
        free(pointer);
    }
}

static inline aegis_allocator test_allocator(test_heap *heap)
{
    return (aegis_allocator){.alloc = heap_alloc, .free = heap_free, .self = heap};
}

static inline void assert_nothing_leaked(const test_heap *heap)
{
    assert_int_equal(heap->live_blocks, 0);
    assert_int_equal(heap->live_bytes, 0);
}

typedef struct test_clock {
    _Atomic uint64_t now_ns;
} test_clock;

static inline uint64_t test_clock_now(void *self)
{
    return atomic_load(&((test_clock *)self)->now_ns);
}

static const aegis_clock_ops test_clock_ops = {
    .version = AEGIS_CLOCK_OPS_VERSION, .name = "test", .now_ns = test_clock_now};

static inline aegis_clock test_clock_of(test_clock *clock)
{
    return (aegis_clock){.ops = &test_clock_ops, .self = clock};
}

/* A path in the build folder (or /tmp) that no other test uses. */
static inline const char *test_path(const char *name, char *buffer, size_t size)
{
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    snprintf(buffer, size, "%s/trace_test_%ld_%s", folder == NULL ? "/tmp" : folder, (long)getpid(),
             name);
    return buffer;
}

static inline unsigned char *test_read_file(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    unsigned char *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
    bytes[size] = 0;
    fclose(file);
    *ret_size = (size_t)size;
    return bytes;
}

static const char test_header[] = "{\"models\":[{\"name\":\"text-detector\"},{\"name\":\"vad\"},{"
                                  "\"name\":\"say \\\"hi\\\"\\n\"}],"
                                  "\"lanes\":2}";

#define MS(n) (INT64_C(1000000) * (n))
#define NO_MODEL .model = AEGIS_TRACE_NONE
#define NO_LANE .lane = AEGIS_TRACE_NONE

/* A run of two lanes and three models: overlapping jobs, a miss, an abort, an overrun, a rejection,
 * segments, back-to-back and zero-length executions, counters. Record i belongs to ring 1
 * ("orchestration"), or 2 + lane for EXECUTE. */
static const aegis_trace_record test_records[] = {
    {.time_ns = 1, .kind = AEGIS_TRACE_MARK, NO_MODEL, NO_LANE, .a = 0},
    {.time_ns = 2,
     .kind = AEGIS_TRACE_EVENT_MODEL_ADD,
     .model = 0,
     .lane = 0,
     .a = MS(20),
     .b = MS(20),
     .c = 1},
    {.time_ns = 3,
     .kind = AEGIS_TRACE_PLAN,
     NO_MODEL,
     NO_LANE,
     .a = 4096,
     .b = 4096,
     .c = 1 << 20,
     .d = 3},
    {.time_ns = 4,
     .kind = AEGIS_TRACE_COUNTER,
     NO_MODEL,
     NO_LANE,
     .a = AEGIS_COUNTER_MEMORY_BYTES,
     .b = 4096},
    {.time_ns = 5,
     .kind = AEGIS_TRACE_COUNTER,
     NO_MODEL,
     NO_LANE,
     .a = AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES,
     .b = 45125},
    /* job 1 of model 0: two segments, in time */
    {.time_ns = MS(10),
     .kind = AEGIS_TRACE_EVENT_SUBMIT,
     .model = 0,
     .job = 1,
     NO_LANE,
     .a = MS(10),
     .b = MS(30)},
    {.time_ns = MS(10),
     .kind = AEGIS_TRACE_EVENT_SUBMIT,
     .model = 1,
     .job = 2,
     NO_LANE,
     .a = MS(10),
     .b = MS(14)},
    {.time_ns = MS(10),
     .kind = AEGIS_TRACE_COUNTER,
     .model = 0,
     NO_LANE,
     .a = AEGIS_COUNTER_QUEUE_DEPTH,
     .b = 1},
    {.time_ns = MS(10),
     .kind = AEGIS_TRACE_DISPATCH,
     .rationale = AEGIS_WHY_SMALLER_KEY,
     .model = 0,
     .job = 1,
     .lane = 0,
     .a = 0,
     .b = 1400000000,
     .c = 1432000000,
     .d = 1},
    {.time_ns = MS(10),
     .kind = AEGIS_TRACE_DISPATCH,
     .rationale = AEGIS_WHY_ONLY_READY,
     .model = 1,
     .job = 2,
     .lane = 1,
     .a = 0,
     .b = 5,
     .c = 0,
     .d = -1},
    {.time_ns = MS(12),
     .kind = AEGIS_TRACE_EXECUTE,
     .model = 0,
     .job = 1,
     .lane = 0,
     .a = 0,
     .b = MS(10),
     .c = MS(12),
     .d = 0},
    {.time_ns = MS(12),
     .kind = AEGIS_TRACE_DISPATCH,
     .rationale = AEGIS_WHY_NEXT_SEGMENT,
     .model = 0,
     .job = 1,
     .lane = 0,
     .a = 1,
     .b = 1400000000,
     .c = 0,
     .d = -1},
    {.time_ns = MS(13),
     .kind = AEGIS_TRACE_EVENT_SUBMIT,
     .model = 0,
     .job = 3,
     NO_LANE,
     .a = MS(13),
     .b = MS(33)},
    {.time_ns = MS(15),
     .kind = AEGIS_TRACE_EXECUTE,
     .model = 0,
     .job = 1,
     .lane = 0,
     .a = 1,
     .b = MS(12),
     .c = MS(15),
     .d = 0},
    {.time_ns = MS(15),
     .kind = AEGIS_TRACE_COMPLETE,
     .rationale = AEGIS_WHY_IN_TIME,
     .model = 0,
     .job = 1,
     .lane = 0,
     .a = MS(10),
     .b = MS(30),
     .c = MS(15),
     .d = MS(5)},
    {.time_ns = MS(15),
     .kind = AEGIS_TRACE_DISPATCH,
     .rationale = AEGIS_WHY_ONLY_READY,
     .model = 0,
     .job = 3,
     .lane = 0,
     .d = -1},
    /* job 2 of model 1 overruns and misses */
    {.time_ns = MS(14),
     .kind = AEGIS_TRACE_OVERRUN,
     .model = 1,
     .job = 2,
     .lane = 1,
     .a = MS(3),
     .b = MS(4),
     .c = 0},
    {.time_ns = MS(16),
     .kind = AEGIS_TRACE_EXECUTE,
     .model = 1,
     .job = 2,
     .lane = 1,
     .a = 0,
     .b = MS(10),
     .c = MS(16),
     .d = 0},
    {.time_ns = MS(16),
     .kind = AEGIS_TRACE_MISS,
     .rationale = AEGIS_WHY_EXCUSED_OVERRUN,
     .model = 1,
     .job = 2,
     .lane = 1,
     .a = MS(10),
     .b = MS(14),
     .c = MS(16),
     .d = MS(6)},
    {.time_ns = MS(16), .kind = AEGIS_TRACE_LANE_WHOLE, NO_MODEL, .lane = 1, .a = MS(16)},
    /* job 3 is aborted; job 4 rejected; job 5 skipped; job 6 runs in no time */
    {.time_ns = MS(18),
     .kind = AEGIS_TRACE_EXECUTE,
     .model = 0,
     .job = 3,
     .lane = 0,
     .a = 0,
     .b = MS(15),
     .c = MS(18),
     .d = AEGIS_ERROR_TERMINATED},
    {.time_ns = MS(18),
     .kind = AEGIS_TRACE_ABORT,
     .rationale = AEGIS_WHY_OVERRUN,
     .model = 0,
     .job = 3,
     .lane = 0,
     .a = MS(13),
     .b = MS(33),
     .c = MS(18),
     .d = AEGIS_ERROR_TERMINATED},
    {.time_ns = MS(19),
     .kind = AEGIS_TRACE_EVENT_SUBMIT,
     .model = 2,
     .job = 4,
     NO_LANE,
     .a = MS(19),
     .b = MS(29)},
    {.time_ns = MS(19),
     .kind = AEGIS_TRACE_REJECT,
     .rationale = AEGIS_WHY_QUEUE_FULL,
     .model = 2,
     .job = 4,
     NO_LANE,
     .a = MS(19)},
    {.time_ns = MS(20),
     .kind = AEGIS_TRACE_EVENT_SUBMIT,
     .model = 2,
     .job = 5,
     NO_LANE,
     .a = MS(20),
     .b = MS(30)},
    {.time_ns = MS(20),
     .kind = AEGIS_TRACE_SKIP,
     .rationale = AEGIS_WHY_AFTER_OVERRUN,
     .model = 2,
     .job = 5,
     NO_LANE,
     .a = MS(20)},
    {.time_ns = MS(21),
     .kind = AEGIS_TRACE_EVENT_SUBMIT,
     .model = 7,
     .job = 6,
     NO_LANE,
     .a = MS(21),
     .b = MS(31)},
    {.time_ns = MS(21),
     .kind = AEGIS_TRACE_DISPATCH,
     .rationale = AEGIS_WHY_ONLY_READY,
     .model = 7,
     .job = 6,
     .lane = 0,
     .d = -1},
    {.time_ns = MS(22),
     .kind = AEGIS_TRACE_EXECUTE,
     .model = 7,
     .job = 6,
     .lane = 0,
     .a = 0,
     .b = MS(22),
     .c = MS(22),
     .d = 0},
    {.time_ns = MS(22),
     .kind = AEGIS_TRACE_COMPLETE,
     .rationale = AEGIS_WHY_IN_TIME,
     .model = 7,
     .job = 6,
     .lane = 0,
     .a = MS(21),
     .b = MS(31),
     .c = MS(22),
     .d = MS(1)},
    {.time_ns = MS(23),
     .kind = AEGIS_TRACE_REFUSED,
     .rationale = AEGIS_WHY_MEMORY,
     .model = 2,
     NO_LANE,
     .a = 2 << 20,
     .b = 1 << 20,
     .c = 4 << 20},
    {.time_ns = MS(30), .kind = AEGIS_TRACE_MARK, NO_MODEL, NO_LANE, .a = 1},
};
#define TEST_RECORDS (sizeof test_records / sizeof *test_records)

/* Writes the sample through a collector, which it leaves unfinished. */
static inline aegis_trace_collector *test_collect(const char *path,
                                                  size_t memory_records,
                                                  const aegis_clock *clock,
                                                  const aegis_allocator *allocator)
{
    aegis_trace_config config = {.ring_records = 64,
                                 .memory_records = memory_records,
                                 .path = path,
                                 .header_json = test_header,
                                 .drain_interval_ns = UINT64_C(3600) * 1000000000};
    static const char *const names[] = {"orchestration", "lane 0", "lane 1"};
    aegis_trace_collector *collector;
    aegis_trace_ring *rings[3];
    assert_int_equal(aegis_trace_collector_create(&config, clock, allocator, &collector, NULL),
                     AEGIS_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(aegis_trace_ring_create(collector, names[i], &rings[i], NULL), AEGIS_OK);
    }
    for (size_t i = 0; i < TEST_RECORDS; i++) {
        bool is_lane = test_records[i].kind == AEGIS_TRACE_EXECUTE;
        aegis_trace_record_write(rings[is_lane ? 1 + test_records[i].lane : 0], &test_records[i]);
    }
    return collector;
}

#endif

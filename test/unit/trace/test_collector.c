/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_test.h"

#include "base/base.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static test_clock now = {.now_ns = 5};

#define NEVER (UINT64_C(3600) * AEGIS_NS_PER_S)

static aegis_trace_collector *create(const aegis_trace_config *config,
                                     const aegis_allocator *allocator)
{
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_collector *collector = NULL;
    aegis_error err = {0};
    aegis_status status = aegis_trace_collector_create(config, &clock, allocator, &collector, &err);
    if (status != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    return collector;
}

static void file_holds_what_was_written(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    char path[512];
    test_path("whole", path, sizeof path);
    aegis_trace_collector *collector = test_collect(path, 0, &clock, &allocator);
    uint64_t written, dropped;
    aegis_trace_collector_totals(collector, &written, &dropped);
    assert_int_equal(written, TEST_RECORDS);
    assert_int_equal(dropped, 0);
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);
    aegis_trace_collector_destroy(collector);

    aegis_trace_file *file;
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, NULL), AEGIS_OK);
    assert_true(aegis_trace_file_complete(file));
    assert_string_equal(aegis_trace_file_header(file), test_header);
    assert_int_equal(aegis_trace_file_dropped(file), 0);
    assert_int_equal(aegis_trace_file_ring_count(file), 4);
    assert_string_equal(aegis_trace_file_ring_name(file, 0), "collector");
    assert_string_equal(aegis_trace_file_ring_name(file, 3), "lane 1");
    assert_string_equal(aegis_trace_file_ring_name(file, 4), "");
    assert_int_equal(aegis_trace_file_model_count(file), 3);

    size_t count, ring = 99;
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    assert_int_equal(count, TEST_RECORDS);
    for (size_t i = 1; i < count; i++) {
        const aegis_trace_record *a = &records[i - 1], *b = &records[i];
        bool is_ordered =
            a->time_ns < b->time_ns ||
            (a->time_ns == b->time_ns &&
             (a->ring < b->ring || (a->ring == b->ring && a->sequence < b->sequence)));
        assert_true(is_ordered);
    }
    /* One ring keeps its written order, though one of its records (the overrun) is out of time. */
    assert_false(aegis_trace_file_ring_find(file, "nowhere", &ring));
    assert_int_equal(ring, 99);
    assert_true(aegis_trace_file_ring_find(file, "orchestration", &ring));
    assert_int_equal(ring, 1);
    const aegis_trace_record *ordered = aegis_trace_file_ring_records(file, ring, &count);
    size_t at = 0;
    bool is_time_sorted = true;
    for (size_t i = 0; i < TEST_RECORDS; i++) {
        if (test_records[i].kind != AEGIS_TRACE_EXECUTE) {
            aegis_trace_record expected = test_records[i];
            expected.ring = 1;
            expected.sequence = (uint32_t)at;
            assert_memory_equal(&ordered[at], &expected, sizeof expected);
            is_time_sorted &= at == 0 || ordered[at - 1].time_ns <= ordered[at].time_ns;
            at++;
        }
    }
    assert_int_equal(count, at);
    assert_false(is_time_sorted);
    assert_null(aegis_trace_file_ring_records(file, 4, &count));
    assert_int_equal(count, 0);
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
    unlink(path);
}

static void query_selects_by_time_and_kind_in_time_order(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_collector *collector = test_collect(NULL, 100, &clock, &allocator);
    aegis_trace_record found[TEST_RECORDS];
    size_t count;

    aegis_trace_query all = {0};
    assert_int_equal(
        aegis_trace_collector_query(collector, &all, found, TEST_RECORDS, &count, NULL), AEGIS_OK);
    assert_int_equal(count, TEST_RECORDS);
    for (size_t i = 1; i < count; i++) {
        assert_true(found[i - 1].time_ns <= found[i].time_ns);
    }
    aegis_trace_query some = {
        .start_ns = (uint64_t)MS(12), .end_ns = (uint64_t)MS(18), .kind = AEGIS_TRACE_EXECUTE};
    assert_int_equal(aegis_trace_collector_query(collector, &some, found, 2, &count, NULL),
                     AEGIS_OK);
    assert_int_equal(count, 3); /* the one at 18 ms is outside */
    assert_int_equal(found[0].time_ns, MS(12));
    assert_int_equal(found[1].time_ns, MS(15));
    assert_int_equal(aegis_trace_collector_query(collector, &some, NULL, 0, &count, NULL),
                     AEGIS_OK);
    assert_int_equal(count, 3);
    assert_int_equal(aegis_trace_collector_query(collector, &some, NULL, 1, &count, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_trace_collector_destroy(collector);
    assert_nothing_leaked(&heap);
}

static void memory_keeps_the_newest(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_trace_collector *collector = create(
        &(aegis_trace_config){.ring_records = 4, .memory_records = 5, .drain_interval_ns = NEVER},
        &allocator);
    aegis_trace_ring *ring;
    assert_int_equal(aegis_trace_ring_create(collector, "r", &ring, NULL), AEGIS_OK);
    aegis_trace_record found[8];
    size_t count;
    aegis_trace_query all = {0};
    for (uint64_t i = 1; i <= 12; i++) {
        aegis_trace_record_write(ring,
                                 &(aegis_trace_record){.time_ns = i, .kind = AEGIS_TRACE_MARK});
        assert_int_equal(aegis_trace_collector_query(collector, &all, found, 8, &count, NULL),
                         AEGIS_OK);
        assert_int_equal(count, i < 5 ? i : 5);
        assert_int_equal(found[count - 1].time_ns, i);
        assert_int_equal(found[0].time_ns, i < 5 ? 1 : i - 4);
    }
    aegis_trace_file *file;
    assert_int_equal(aegis_trace_collector_snapshot(collector, &file, NULL), AEGIS_OK);
    assert_false(aegis_trace_file_complete(file));
    const aegis_trace_record *records = aegis_trace_file_ring_records(file, 1, &count);
    assert_int_equal(count, 5);
    assert_int_equal(records[0].time_ns, 8);
    assert_int_equal(records[4].sequence, 11);
    aegis_trace_file_close(file);
    aegis_trace_collector_destroy(collector);
    assert_nothing_leaked(&heap);
}

static void without_memory_a_query_is_refused(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_collector *collector = create(&(aegis_trace_config){.ring_records = 2}, &allocator);
    aegis_trace_query all = {0};
    size_t count;
    aegis_trace_file *file;
    assert_int_equal(aegis_trace_collector_query(collector, &all, NULL, 0, &count, NULL),
                     AEGIS_ERROR_STATE);
    assert_int_equal(aegis_trace_collector_snapshot(collector, &file, NULL), AEGIS_ERROR_STATE);
    aegis_trace_collector_destroy(collector);
    aegis_trace_collector_destroy(NULL);
    aegis_trace_collector_record(NULL, &(aegis_trace_record){0});
}

static void drops_are_counted_in_the_totals_and_the_file(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    char path[512];
    test_path("drops", path, sizeof path);
    aegis_trace_collector *collector =
        create(&(aegis_trace_config){.ring_records = 3, .path = path, .drain_interval_ns = NEVER},
               &allocator);
    aegis_trace_ring *ring;
    assert_int_equal(aegis_trace_ring_create(collector, "small", &ring, NULL), AEGIS_OK);
    for (uint64_t i = 1; i <= 10; i++) {
        aegis_trace_record_write(ring,
                                 &(aegis_trace_record){.time_ns = i, .kind = AEGIS_TRACE_MARK});
    }
    uint64_t written, dropped;
    aegis_trace_collector_totals(collector, &written, &dropped);
    assert_int_equal(written, 4); /* 3 is rounded up */
    assert_int_equal(dropped, 6);
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);
    aegis_trace_collector_record(collector, &(aegis_trace_record){.time_ns = 1});
    aegis_trace_collector_totals(collector, &written, &dropped);
    assert_int_equal(dropped, 7);
    assert_int_equal(aegis_trace_ring_create(collector, "late", &ring, NULL), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_trace_collector_set_header(collector, "{}", NULL), AEGIS_ERROR_STATE);
    aegis_trace_collector_destroy(collector);
    aegis_trace_file *file;
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_file_dropped(file), 6);
    assert_int_equal(aegis_trace_file_ring_dropped(file, 1), 6);
    assert_int_equal(aegis_trace_file_ring_dropped(file, 0), 0);
    assert_int_equal(aegis_trace_file_ring_dropped(file, 2), 0);
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
    unlink(path);
}

static void records_past_the_end_of_a_ring_keep_their_order(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    char path[512];
    test_path("around", path, sizeof path);
    aegis_trace_collector *collector = create(
        &(aegis_trace_config){
            .ring_records = 4, .memory_records = 8, .path = path, .drain_interval_ns = NEVER},
        &allocator);
    aegis_trace_ring *ring;
    aegis_trace_query all = {0};
    size_t count;
    assert_int_equal(aegis_trace_ring_create(collector, "around", &ring, NULL), AEGIS_OK);
    for (uint64_t i = 1; i <= 7; i++) {
        if (i == 4) { /* drains three, so that the next four lie at both ends */
            assert_int_equal(aegis_trace_collector_query(collector, &all, NULL, 0, &count, NULL),
                             AEGIS_OK);
        }
        aegis_trace_record_write(ring,
                                 &(aegis_trace_record){.time_ns = i, .kind = AEGIS_TRACE_MARK});
    }
    aegis_trace_collector_destroy(collector);
    aegis_trace_file *file;
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_file_dropped(file), 0);
    const aegis_trace_record *records = aegis_trace_file_ring_records(file, 1, &count);
    assert_int_equal(count, 7);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(records[i].time_ns, i + 1);
    }
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
    unlink(path);
}

static void last_header_counts_though_records_were_drained(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    char path[512];
    test_path("header", path, sizeof path);
    aegis_trace_collector *collector = create(
        &(aegis_trace_config){
            .ring_records = 4, .memory_records = 4, .path = path, .drain_interval_ns = NEVER},
        &allocator);
    aegis_trace_collector_record(collector,
                                 &(aegis_trace_record){.time_ns = 1, .kind = AEGIS_TRACE_MARK});
    aegis_trace_query all = {0};
    size_t count;
    assert_int_equal(aegis_trace_collector_query(collector, &all, NULL, 0, &count, NULL), AEGIS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(aegis_trace_collector_set_header(collector, "{\"a\":1}", NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_collector_set_header(collector, "[1]", NULL), AEGIS_ERROR_PARSE);
    assert_int_equal(aegis_trace_collector_set_header(collector, "{", NULL), AEGIS_ERROR_PARSE);
    assert_int_equal(aegis_trace_collector_set_header(collector, test_header, NULL), AEGIS_OK);
    aegis_trace_collector_destroy(collector); /* finishes */
    aegis_trace_file *file;
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, NULL), AEGIS_OK);
    assert_true(aegis_trace_file_complete(file));
    assert_string_equal(aegis_trace_file_header(file), test_header);
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
    unlink(path);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now), no_clock = {0};
    aegis_trace_collector *collector = NULL;
    aegis_error err = {0};
    aegis_trace_config config = {0};
    assert_int_equal(aegis_trace_collector_create(NULL, &clock, &allocator, &collector, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_trace_collector_create(&config, &no_clock, &allocator, &collector, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    config.ring_records = SIZE_MAX;
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    config.ring_records = 2;
    config.header_json = "nonsense";
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_ERROR_PARSE);
    config.header_json = NULL;
    config.path = "/nonexistent/folder/trace";
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, &err),
                     AEGIS_ERROR_IO);
    assert_non_null(strstr(err.message, config.path));
    config.path = "/dev/full";
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, &err),
                     AEGIS_ERROR_IO);
    assert_null(collector);
    assert_nothing_leaked(&heap);

    config.path = NULL;
    collector = create(&config, &allocator);
    aegis_trace_ring *ring = NULL;
    char long_name[300];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(aegis_trace_ring_create(collector, "collector", &ring, NULL),
                     AEGIS_ERROR_EXISTS);
    assert_int_equal(aegis_trace_ring_create(collector, "", &ring, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_trace_ring_create(collector, "\xff", &ring, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_trace_ring_create(collector, long_name, &ring, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_trace_ring_create(collector, NULL, &ring, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(ring);
    aegis_trace_collector_destroy(collector);
    assert_nothing_leaked(&heap);
}

/* A file that may not grow stands for a full disk. */
static void full_disk_is_reported_and_leaves_a_readable_prefix(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    char path[512];
    test_path("full", path, sizeof path);
    aegis_trace_collector *collector = create(
        &(aegis_trace_config){
            .ring_records = 64, .memory_records = 64, .path = path, .drain_interval_ns = NEVER},
        &allocator);
    aegis_trace_query all = {0};
    size_t count;
    for (uint64_t i = 1; i <= 3; i++) {
        aegis_trace_collector_record(collector,
                                     &(aegis_trace_record){.time_ns = i, .kind = AEGIS_TRACE_MARK});
    }
    assert_int_equal(aegis_trace_collector_query(collector, &all, NULL, 0, &count, NULL), AEGIS_OK);

    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur =
        32 + 34 + 41 + 32 + 3 * 64 + 100; /* head, header, name, block, part of the next */
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (uint64_t i = 4; i <= 8; i++) {
        aegis_trace_collector_record(collector,
                                     &(aegis_trace_record){.time_ns = i, .kind = AEGIS_TRACE_MARK});
    }
    aegis_error err = {0};
    aegis_status query = aegis_trace_collector_query(collector, &all, NULL, 0, &count, NULL);
    aegis_status header = aegis_trace_collector_set_header(collector, test_header, NULL);
    aegis_status finish = aegis_trace_collector_finish(collector, &err);
    aegis_status again = aegis_trace_collector_finish(collector, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);

    assert_int_equal(query, AEGIS_OK); /* memory has them */
    assert_int_equal(count, 8);
    assert_int_equal(header, AEGIS_ERROR_IO);
    assert_int_equal(finish, AEGIS_ERROR_IO);
    assert_int_equal(again, AEGIS_ERROR_IO);
    assert_int_not_equal(err.native_code, 0);
    uint64_t written, dropped;
    aegis_trace_collector_totals(collector, &written, &dropped);
    assert_int_equal(written, 3);
    assert_int_equal(dropped, 5);
    aegis_trace_collector_destroy(collector);
    aegis_trace_file *file;
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, &err), AEGIS_OK);
    assert_false(aegis_trace_file_complete(file));
    aegis_trace_file_records(file, &count);
    assert_int_equal(count, 3);
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
    unlink(path);
}

#define WRITERS 4
#define EACH 20000

typedef struct writer_job {
    aegis_trace_collector *collector;
    aegis_trace_ring *ring;
} writer_job;

static void *write_many(void *argument)
{
    writer_job *job = argument;
    for (int64_t i = 0; i < EACH; i++) {
        aegis_trace_record_write(job->ring,
                                 &(aegis_trace_record){.kind = AEGIS_TRACE_MARK, .a = i, .d = ~i});
        if (i % 100 == 0) {
            aegis_trace_collector_record(
                job->collector, &(aegis_trace_record){.kind = AEGIS_TRACE_MARK, .a = i, .d = ~i});
        }
    }
    return NULL;
}

/* Four writers, the drain thread, and a caller that queries, reads totals and replaces the header:
 * every record is in the file or counted as dropped, whole and in its ring's order. */
static void many_threads_lose_nothing_uncounted(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = aegis_clock_monotonic();
    char path[512];
    test_path("threads", path, sizeof path);
    aegis_trace_config config = {
        .ring_records = 1024, .memory_records = 100, .path = path, .drain_interval_ns = 50000};
    aegis_trace_collector *collector;
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_OK);
    pthread_t threads[WRITERS];
    writer_job jobs[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "writer %d", i);
        jobs[i].collector = collector;
        assert_int_equal(aegis_trace_ring_create(collector, name, &jobs[i].ring, NULL), AEGIS_OK);
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &jobs[i]), 0);
    }
    uint64_t written, dropped;
    aegis_trace_record found[100];
    aegis_trace_query all = {0};
    size_t count;
    for (int i = 0; i < 50; i++) {
        aegis_trace_collector_totals(collector, &written, &dropped);
        assert_int_equal(aegis_trace_collector_query(collector, &all, found, 100, &count, NULL),
                         AEGIS_OK);
        assert_true(count <= 100);
        assert_int_equal(aegis_trace_collector_set_header(collector, "{}", NULL), AEGIS_OK);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);
    aegis_trace_collector_totals(collector, &written, &dropped);
    assert_int_equal(written + dropped, WRITERS * EACH + WRITERS * EACH / 100);
    aegis_trace_collector_destroy(collector);

    aegis_trace_file *file;
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, NULL), AEGIS_OK);
    aegis_trace_file_records(file, &count);
    assert_int_equal(count, written);
    assert_int_equal(aegis_trace_file_dropped(file), dropped);
    for (size_t ring = 1; ring <= WRITERS; ring++) {
        const aegis_trace_record *records = aegis_trace_file_ring_records(file, ring, &count);
        for (size_t i = 0; i < count; i++) {
            assert_true(records[i].d == ~records[i].a && records[i].sequence == records[i].a);
            assert_true(i == 0 || records[i].a > records[i - 1].a);
            assert_true(i == 0 || records[i].time_ns >= records[i - 1].time_ns);
        }
    }
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
    unlink(path);
}

static aegis_status scenario(const char *path, const aegis_allocator *allocator, aegis_error *err)
{
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_config config = {
        .ring_records = 4, .memory_records = 4, .path = path, .drain_interval_ns = NEVER};
    aegis_trace_collector *collector;
    aegis_trace_file *file;
    aegis_trace_ring *ring;
    aegis_trace_query all = {0};
    size_t count = 77;
    aegis_status status = aegis_trace_collector_create(&config, &clock, allocator, &collector, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_trace_ring_create(collector, "r", &ring, err);
    if (status == AEGIS_OK) {
        aegis_trace_record_write(ring, &(aegis_trace_record){.kind = AEGIS_TRACE_MARK});
        status = aegis_trace_collector_set_header(collector, test_header, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_trace_collector_query(collector, &all, NULL, 0, &count, err);
        assert_int_equal(count, status == AEGIS_OK ? 1 : 77);
    }
    if (status == AEGIS_OK &&
        (status = aegis_trace_collector_snapshot(collector, &file, err)) == AEGIS_OK) {
        aegis_trace_file_close(file);
    }
    /* Still usable: what follows allocates nothing. */
    aegis_trace_collector_record(collector, &(aegis_trace_record){.kind = AEGIS_TRACE_MARK});
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);
    aegis_trace_collector_destroy(collector);
    if (status == AEGIS_OK &&
        (status = aegis_trace_file_open(path, allocator, &file, err)) == AEGIS_OK) {
        aegis_trace_file_records(file, &count);
        assert_int_equal(count, 2);
        aegis_trace_file_close(file);
    }
    return status;
}

static void collector_survives_each_failing_allocation(void **state)
{
    (void)state;
    char path[512];
    test_path("nth", path, sizeof path);
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    for (long fail_at = 1; fail_at < 200 && status != AEGIS_OK; fail_at++) {
        test_heap heap = {.fail_at = fail_at};
        aegis_allocator allocator = test_allocator(&heap);
        aegis_error err = {0};
        status = scenario(path, &allocator, &err);
        assert_nothing_leaked(&heap);
        if (status != AEGIS_OK) {
            assert_int_equal(status, AEGIS_ERROR_NO_MEMORY);
            assert_int_equal(err.status, AEGIS_ERROR_NO_MEMORY);
        } else {
            assert_true(heap.calls < fail_at);
            assert_true(fail_at > 20);
        }
    }
    assert_int_equal(status, AEGIS_OK);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_holds_what_was_written),
        cmocka_unit_test(query_selects_by_time_and_kind_in_time_order),
        cmocka_unit_test(memory_keeps_the_newest),
        cmocka_unit_test(without_memory_a_query_is_refused),
        cmocka_unit_test(drops_are_counted_in_the_totals_and_the_file),
        cmocka_unit_test(records_past_the_end_of_a_ring_keep_their_order),
        cmocka_unit_test(last_header_counts_though_records_were_drained),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(full_disk_is_reported_and_leaves_a_readable_prefix),
        cmocka_unit_test(many_threads_lose_nothing_uncounted),
        cmocka_unit_test(collector_survives_each_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_test.h"

#include "trace/ring.h"

#include <pthread.h>

static aegis_trace_record record_of(int64_t a)
{
    return (aegis_trace_record){.time_ns = 1, .kind = AEGIS_TRACE_MARK, .a = a};
}

static void ring_keeps_order_over_its_end(void **state)
{
    (void)state;
    test_heap heap = {0};
    test_clock now = {.now_ns = 7};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_ring *ring = aegis_trace_ring_new(&allocator, &clock, "r", 3, 8);
    assert_non_null(ring);
    int64_t next_in = 0, next_out = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 1 + round % 8; i++) {
            aegis_trace_record record = record_of(next_in++);
            aegis_trace_record_write(ring, &record);
        }
        trace_span span = aegis_trace_ring_peek(ring);
        for (int piece = 0; piece < 2; piece++) {
            for (size_t i = 0; i < span.counts[piece]; i++) {
                assert_int_equal(span.records[piece][i].a, next_out);
                assert_int_equal(span.records[piece][i].sequence, next_out);
                assert_int_equal(span.records[piece][i].ring, 3);
                next_out++;
            }
        }
        aegis_trace_ring_consume(ring, span.counts[0] + span.counts[1]);
    }
    assert_int_equal(next_in, next_out);
    assert_int_equal(aegis_trace_ring_written(ring), next_in);
    assert_int_equal(aegis_trace_ring_dropped(ring), 0);
    aegis_trace_ring_free(&allocator, ring);
    assert_nothing_leaked(&heap);
}

static void full_ring_counts_drops_and_leaves_a_gap(void **state)
{
    (void)state;
    test_heap heap = {0};
    test_clock now = {.now_ns = 7};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_ring *ring = aegis_trace_ring_new(&allocator, &clock, "r", 0, 4);
    for (int64_t i = 0; i < 7; i++) {
        aegis_trace_record record = record_of(i);
        aegis_trace_record_write(ring, &record);
    }
    assert_int_equal(aegis_trace_ring_written(ring), 4);
    assert_int_equal(aegis_trace_ring_dropped(ring), 3);
    aegis_trace_ring_consume(ring, 4);
    aegis_trace_record late = record_of(7);
    aegis_trace_record_write(ring, &late);
    trace_span span = aegis_trace_ring_peek(ring);
    assert_int_equal(span.counts[0] + span.counts[1], 1);
    assert_int_equal(span.records[0]->a, 7);
    assert_int_equal(span.records[0]->sequence, 7);
    aegis_trace_ring_free(&allocator, ring);
    assert_nothing_leaked(&heap);
}

static void time_is_filled_in_only_when_zero(void **state)
{
    (void)state;
    test_heap heap = {0};
    test_clock now = {.now_ns = 99};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_ring *ring = aegis_trace_ring_new(&allocator, &clock, "r", 0, 4);
    long calls = heap.calls;
    aegis_trace_record record = record_of(0);
    aegis_trace_record_write(ring, &record);
    record.time_ns = 0;
    record.reserved = 5;
    aegis_trace_record_write(ring, &record);
    aegis_trace_record_write(NULL, &record);
    assert_int_equal(heap.calls, calls);
    trace_span span = aegis_trace_ring_peek(ring);
    assert_int_equal(span.records[0][0].time_ns, 1);
    assert_int_equal(span.records[0][1].time_ns, 99);
    assert_int_equal(span.records[0][1].reserved, 0);
    aegis_trace_ring_free(&allocator, ring);
    assert_nothing_leaked(&heap);
}

#define PRODUCED 200000

static void *produce(void *argument)
{
    for (int64_t i = 0; i < PRODUCED; i++) {
        aegis_trace_record record = {.time_ns = 1, .a = i, .b = -i, .c = i ^ 0x55, .d = ~i};
        aegis_trace_record_write(argument, &record);
    }
    return NULL;
}

/* A reader beside a writer sees whole records in order, and every record is read or dropped. */
static void reader_beside_writer_sees_whole_records(void **state)
{
    (void)state;
    test_heap heap = {0};
    test_clock now = {.now_ns = 7};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_ring *ring = aegis_trace_ring_new(&allocator, &clock, "r", 0, 64);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, produce, ring), 0);
    uint64_t read = 0;
    int64_t last = -1;
    bool is_sound = true;
    for (bool more = true; more;) {
        more = aegis_trace_ring_written(ring) + aegis_trace_ring_dropped(ring) < PRODUCED;
        trace_span span = aegis_trace_ring_peek(ring);
        for (int piece = 0; piece < 2; piece++) {
            for (size_t i = 0; i < span.counts[piece]; i++) {
                const aegis_trace_record *r = &span.records[piece][i];
                is_sound &= r->a > last && r->b == -r->a && r->c == (r->a ^ 0x55) && r->d == ~r->a;
                is_sound &= r->sequence == (uint32_t)r->a;
                last = r->a;
                read++;
            }
        }
        aegis_trace_ring_consume(ring, span.counts[0] + span.counts[1]);
    }
    pthread_join(writer, NULL);
    trace_span rest = aegis_trace_ring_peek(ring);
    read += rest.counts[0] + rest.counts[1];
    assert_true(is_sound);
    assert_int_equal(read, aegis_trace_ring_written(ring));
    assert_int_equal(read + aegis_trace_ring_dropped(ring), PRODUCED);
    aegis_trace_ring_free(&allocator, ring);
    assert_nothing_leaked(&heap);
}

static void ring_survives_each_failing_allocation(void **state)
{
    (void)state;
    test_clock now = {.now_ns = 7};
    aegis_clock clock = test_clock_of(&now);
    for (long fail_at = 1; fail_at < 20; fail_at++) {
        test_heap heap = {.fail_at = fail_at};
        aegis_allocator allocator = test_allocator(&heap);
        aegis_trace_ring *ring = aegis_trace_ring_new(&allocator, &clock, "r", 0, 4);
        bool has_failed = ring == NULL;
        aegis_trace_ring_free(&allocator, ring);
        assert_nothing_leaked(&heap);
        assert_int_equal(has_failed, fail_at <= heap.calls);
        if (!has_failed) {
            return;
        }
    }
    fail_msg("never succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_keeps_order_over_its_end),
        cmocka_unit_test(full_ring_counts_drops_and_leaves_a_gap),
        cmocka_unit_test(time_is_filled_in_only_when_zero),
        cmocka_unit_test(reader_beside_writer_sees_whole_records),
        cmocka_unit_test(ring_survives_each_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

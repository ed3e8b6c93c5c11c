/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts of the real driver: histogram, submission queue, job table, release heap, turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "schedule/driver/internal.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void histogram_is_within_its_step(void **state)
{
    (void)state;
    static uint64_t times[10000];
    aegis_histogram *histogram = calloc(1, sizeof *histogram);
    uint64_t seed = 7;
    double sum = 0;
    for (size_t i = 0; i < 10000; i++) {
        times[i] = aegis_random_next(&seed) >> (24 + aegis_random_next(&seed) % 36);
        sum += (double)times[i];
        aegis_histogram_add(histogram, times[i]);
    }
    qsort(times, 10000, sizeof *times, compare);
    aegis_distribution d;
    aegis_histogram_summarise(histogram, &d);
    assert_int_equal(d.count, 10000);
    assert_int_equal(d.max, times[9999]);
    assert_true(d.mean > 0.999 * sum / 10000 && d.mean < 1.001 * sum / 10000);
    const uint64_t exact[] = {times[4999], times[9899], times[9989]};
    const uint64_t found[] = {d.p50, d.p99, d.p999};
    for (size_t i = 0; i < 3; i++) {
        assert_true(found[i] >= exact[i]);
        assert_true(found[i] <= exact[i] + exact[i] / 64 + 1);
    }
    free(histogram);
}

static void histogram_takes_the_largest_time(void **state)
{
    (void)state;
    aegis_histogram *histogram = calloc(1, sizeof *histogram);
    aegis_distribution d;
    aegis_histogram_summarise(histogram, &d);
    assert_int_equal(d.count, 0);
    aegis_histogram_add(histogram, 0);
    aegis_histogram_add(histogram, UINT64_MAX);
    aegis_histogram_summarise(histogram, &d);
    assert_int_equal(d.max, UINT64_MAX);
    assert_int_equal(d.p50, 0);
    free(histogram);
}

/* Times of 1 ms that differ by parts of a percent, as a GPU's do. */
static void histogram_tells_the_spread_of_steady_times(void **state)
{
    (void)state;
    aegis_distribution d;
    aegis_histogram *histogram = calloc(1, sizeof *histogram);
    assert_non_null(histogram);
    for (uint64_t i = 0; i < 1000; i++) {
        aegis_histogram_add(histogram, 1000500 + (i % 2 == 0 ? 5000 : -5000ull));
    }
    aegis_histogram_summarise(histogram, &d);
    assert_true(d.cv > 0.0049 && d.cv < 0.0051);
    free(histogram);
}

#define PRODUCERS 4u
#define ITEMS 20000u

typedef struct producer {
    aegis_submit_queue *queue;
    uint32_t number;
} producer;

static void *produce(void *argument)
{
    producer *self = argument;
    for (uint32_t i = 0; i < ITEMS;) {
        aegis_submit_item item = {.job = i, .record = self->number};
        if (aegis_submit_queue_put(self->queue, &item)) {
            i++;
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static void queue_keeps_each_producers_order(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_submit_queue queue;
    pthread_t threads[PRODUCERS];
    producer producers[PRODUCERS];
    uint64_t next[PRODUCERS] = {0};
    assert_int_equal(aegis_submit_queue_init(&queue, 64, &allocator, NULL), AEGIS_OK);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (producer){&queue, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (uint32_t taken = 0; taken < PRODUCERS * ITEMS;) {
        aegis_submit_item item;
        if (aegis_submit_queue_take(&queue, &item)) {
            assert_int_equal(item.job, next[item.record]);
            next[item.record]++;
            taken++;
        } else {
            sched_yield();
        }
    }
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
    }
    aegis_submit_queue_finish(&queue, &allocator);
}

static void queue_refuses_when_full(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_submit_queue queue;
    aegis_submit_item item = {.job = 1}, taken;
    assert_int_equal(aegis_submit_queue_init(&queue, 4, &allocator, NULL), AEGIS_OK);
    assert_false(aegis_submit_queue_take(&queue, &taken));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            assert_true(aegis_submit_queue_put(&queue, &item));
        }
        assert_false(aegis_submit_queue_put(&queue, &item));
        for (int i = 0; i < 4; i++) {
            assert_true(aegis_submit_queue_take(&queue, &taken));
        }
    }
    aegis_submit_queue_finish(&queue, &allocator);
}

/* Random puts and removes against a plain list. */
static void job_table_finds_what_is_in_it(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_job_table table = {0};
    uint64_t jobs[64] = {0}, seed = 3, next = 1;
    assert_int_equal(aegis_job_table_init(&table, 64, &allocator, NULL), AEGIS_OK);
    for (int round = 0; round < 50000; round++) {
        size_t at = aegis_random_next(&seed) % 64;
        if (jobs[at] == 0) {
            jobs[at] = next;
            next += 1 + aegis_random_next(&seed) % 128;
            aegis_job_table_put(&table, jobs[at], (uint32_t)at);
        } else {
            aegis_job_table_remove(&table, jobs[at]);
            assert_int_equal(aegis_job_table_find(&table, jobs[at]), AEGIS_NO_RECORD);
            jobs[at] = 0;
        }
        size_t look = aegis_random_next(&seed) % 64;
        if (jobs[look] != 0) {
            assert_int_equal(aegis_job_table_find(&table, jobs[look]), look);
        }
    }
    aegis_job_table_remove(&table, next + 1);
    aegis_job_table_finish(&table, &allocator);
}

static void release_heap_gives_the_earliest(void **state)
{
    (void)state;
    aegis_scheduler *scheduler = calloc(1, sizeof *scheduler);
    static aegis_entry entries[32];
    static _Atomic(aegis_entry *) pointers[32];
    static uint32_t heap[32];
    uint64_t seed = 11, last = 0;
    scheduler->entries = pointers;
    scheduler->heap = heap;
    for (uint32_t i = 0; i < 32; i++) {
        pointers[i] = &entries[i];
        entries[i].next_release_ns = aegis_random_next(&seed) % 50;
        aegis_release_heap_push(scheduler, i);
    }
    for (uint32_t i = 0; i < 32; i += 5) {
        aegis_release_heap_remove(scheduler, i);
    }
    for (int step = 0; step < 1000; step++) {
        uint32_t top = aegis_release_heap_top(scheduler);
        assert_true(top % 5 != 0);
        for (uint32_t i = 0; i < 32; i++) {
            if (i % 5 != 0) {
                assert_true(
                    entries[top].next_release_ns < entries[i].next_release_ns ||
                    (entries[top].next_release_ns == entries[i].next_release_ns && top <= i));
            }
        }
        assert_true(entries[top].next_release_ns >= last);
        last = entries[top].next_release_ns;
        entries[top].next_release_ns += 1 + aegis_random_next(&seed) % 20;
        aegis_release_heap_sink(scheduler);
    }
    free(scheduler);
}

#define TAKERS 3
#define ROUNDS 20000

typedef struct taker {
    aegis_turn *turn;
    uint64_t *shared; /* plain: torn or lost when two have the turn */
    uint64_t taken;
    bool waits; /* as the orchestration thread may; lanes only try */
} taker;

static void *take_turns(void *argument)
{
    taker *self = argument;
    for (int i = 0; i < ROUNDS; i++) {
        if (self->waits) {
            aegis_turn_take(self->turn);
        } else if (!aegis_turn_try(self->turn)) {
            continue;
        }
        self->taken++;
        self->shared[0]++;
        self->shared[1] = self->shared[0];
        aegis_turn_give(self->turn);
    }
    return NULL;
}

static void the_turn_is_one_threads_at_a_time(void **state)
{
    (void)state;
    aegis_turn turn = {0};
    uint64_t shared[2] = {0}, sum = 0;
    taker takers[TAKERS];
    pthread_t threads[TAKERS];
    aegis_turn_take(&turn);
    assert_false(aegis_turn_try(&turn));
    for (size_t i = 0; i < TAKERS; i++) {
        takers[i] = (taker){.turn = &turn, .shared = shared, .waits = i == 0};
        assert_int_equal(pthread_create(&threads[i], NULL, take_turns, &takers[i]), 0);
    }
    aegis_turn_give(&turn);
    for (size_t i = 0; i < TAKERS; i++) {
        pthread_join(threads[i], NULL);
        sum += takers[i].taken;
    }
    assert_int_equal(takers[0].taken, ROUNDS); /* who waits gets every one */
    assert_int_equal(shared[0], sum);
    assert_int_equal(shared[1], sum);
    assert_true(aegis_turn_try(&turn));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_is_within_its_step),
        cmocka_unit_test(histogram_takes_the_largest_time),
        cmocka_unit_test(histogram_tells_the_spread_of_steady_times),
        cmocka_unit_test(queue_keeps_each_producers_order),
        cmocka_unit_test(queue_refuses_when_full),
        cmocka_unit_test(job_table_finds_what_is_in_it),
        cmocka_unit_test(release_heap_gives_the_earliest),
        cmocka_unit_test(the_turn_is_one_threads_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

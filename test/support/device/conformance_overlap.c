/* SPDX-License-Identifier: Apache-2.0 */
/* Copies beside execution, work put in from a stream's own thread, and waits that end. */
#include "support/device/conformance.h"

#include <aegisrt/clock.h>

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PART_BYTES (UINT64_C(4) << 20)

static uint64_t now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

/* ---- the copy stream ---- */

typedef struct double_buffer {
    aegis_stream *copies, *lane;
    aegis_event *arrived, *computed;
    aegis_buffer in, out, arena;
} double_buffer;

/* Pinned where the device has such memory, else the arena: it may be copied from all the same. */
static bool take_host(conformance_case *test, aegis_buffer *ret_buffer)
{
    return (test->target->pinned_bytes > 0
                ? aegis_device_pinned_alloc(test->device, PART_BYTES, 0, ret_buffer, NULL)
                : aegis_device_alloc(test->device, PART_BYTES, 0, ret_buffer, NULL)) == AEGIS_OK;
}

static bool set_up(conformance_case *test, double_buffer *all)
{
    *all =
        (double_buffer){.copies = conformance_stream(test, 0), .lane = conformance_stream(test, 0)};
    return CHECK(test, all->copies != NULL && all->lane != NULL) &&
           CHECK(test, aegis_event_create(test->device, &all->arrived, NULL) == AEGIS_OK) &&
           CHECK(test, aegis_event_create(test->device, &all->computed, NULL) == AEGIS_OK) &&
           CHECK(test, take_host(test, &all->in) && take_host(test, &all->out)) &&
           CHECK(test,
                 aegis_device_alloc(test->device, PART_BYTES, 0, &all->arena, NULL) == AEGIS_OK);
}

static void tear_down(double_buffer *all)
{
    aegis_stream_destroy(all->lane);
    aegis_stream_destroy(all->copies);
    aegis_event_destroy(all->arrived);
    aegis_event_destroy(all->computed);
}

/* While a lane executes, the next input arrives on the copy stream; the output leaves on it only
 * after the lane has written it. */
static void copies_overlap_execution_in_order(conformance_case *test)
{
    double_buffer all;
    conformance_gate gate;
    if (!set_up(test, &all)) {
        tear_down(&all);
        return;
    }
    memset(all.in.pointer, 7, PART_BYTES);
    memset(all.out.pointer, 0, PART_BYTES);
    REQUIRE(test, conformance_hold(test, &gate, all.lane)); /* the lane executes */
    CHECK(test, aegis_stream_copy(all.copies, all.arena.pointer, all.in.pointer, PART_BYTES,
                                  NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(all.arrived, all.copies, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_synchronize(all.arrived, NULL) == AEGIS_OK); /* overlapped */
    if (!test->target->manual) {
        CHECK(test, aegis_stream_query(all.lane, NULL) == AEGIS_ERROR_BUSY);
    }
    CHECK(test, aegis_stream_wait_event(all.lane, all.arrived, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(all.computed, all.lane, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_wait_event(all.copies, all.computed, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_copy(all.copies, all.out.pointer, all.arena.pointer, PART_BYTES,
                                  NULL) == AEGIS_OK);
    if (!test->target->manual) {
        CHECK(test, aegis_stream_query(all.copies, NULL) == AEGIS_ERROR_BUSY);
        if (aegis_device_host_addressable(test->device) || test->target->pinned_bytes > 0) {
            CHECK(test, ((volatile unsigned char *)all.out.pointer)[PART_BYTES - 1] == 0);
        }
    }
    conformance_let_go(&gate);
    CHECK(test, aegis_stream_synchronize(all.copies, NULL) == AEGIS_OK);
    CHECK(test, ((unsigned char *)all.out.pointer)[0] == 7);
    CHECK(test, ((unsigned char *)all.out.pointer)[PART_BYTES - 1] == 7);
    tear_down(&all);
}

/* ---- from the stream's own thread ---- */

typedef struct inside_work {
    double_buffer *all;
    aegis_status copy_in, copy_out, record, wait, bad_range;
} inside_work;

static void work_inside(void *argument)
{
    inside_work *self = argument;
    double_buffer *all = self->all;
    self->wait = aegis_stream_enqueue_wait(all->lane, all->arrived, NULL);
    self->copy_in =
        aegis_stream_enqueue_copy(all->lane, all->arena.pointer, all->in.pointer, PART_BYTES, NULL);
    self->copy_out = aegis_stream_enqueue_copy(all->lane, all->out.pointer, all->arena.pointer,
                                               PART_BYTES, NULL);
    self->record = aegis_stream_enqueue_record(all->lane, all->computed, NULL);
    self->bad_range = aegis_stream_enqueue_copy(all->lane, all->arena.pointer, all->in.pointer,
                                                SIZE_MAX / 2, NULL);
}

static void own_thread_puts_work_past_the_ring(conformance_case *test)
{
    double_buffer all;
    if (!set_up(test, &all)) {
        tear_down(&all);
        return;
    }
    inside_work work = {.all = &all};
    memset(all.in.pointer, 9, PART_BYTES);
    memset(all.out.pointer, 0, PART_BYTES);
    aegis_status outside =
        aegis_stream_enqueue_copy(all.lane, all.arena.pointer, all.in.pointer, PART_BYTES, NULL);
    bool unsupported = outside == AEGIS_ERROR_UNSUPPORTED;
    CHECK(test, unsupported || outside == AEGIS_ERROR_STATE);
    CHECK(test, aegis_event_record(all.arrived, all.copies, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_call(all.lane, work_inside, &work, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_synchronize(all.lane, NULL) == AEGIS_OK);
    if (unsupported) {
        CHECK(test, work.copy_in == outside && work.record == outside && work.wait == outside);
    } else {
        CHECK(test, work.wait == AEGIS_OK && work.copy_in == AEGIS_OK);
        CHECK(test, work.copy_out == AEGIS_OK && work.record == AEGIS_OK);
        CHECK(test, aegis_event_query(all.computed, NULL) == AEGIS_OK);
        CHECK(test, ((unsigned char *)all.out.pointer)[PART_BYTES - 1] == 9);
    }
    CHECK(test, work.bad_range == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_take_failure(all.lane, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_enqueue_copy(NULL, all.in.pointer, all.out.pointer, 1, NULL) ==
                    AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_enqueue_record(all.lane, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_enqueue_wait(NULL, all.arrived, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    tear_down(&all);
}

/* ---- waits ---- */

static void count_up(void *argument)
{
    atomic_fetch_add((atomic_int *)argument, 1);
}

static void every_completion_mode_works(conformance_case *test)
{
    static const aegis_completion modes[] = {AEGIS_COMPLETION_ADAPTIVE, AEGIS_COMPLETION_POLL,
                                             AEGIS_COMPLETION_BLOCK};
    void *base;
    char bytes[64] = {0};
    aegis_device_get_arena(test->device, &base, NULL);
    for (size_t i = 0; i < 3; i++) {
        atomic_int runs = 0;
        aegis_stream *stream = NULL;
        aegis_stream_config config = aegis_stream_config_default("mode");
        config.completion = modes[i];
        REQUIRE(test, aegis_stream_create(test->device, &config, &stream, NULL) == AEGIS_OK);
        for (int k = 0; k < 20; k++) {
            CHECK(test, aegis_stream_call(stream, count_up, &runs, NULL) == AEGIS_OK);
            CHECK(test, aegis_stream_copy(stream, base, bytes, sizeof bytes, NULL) == AEGIS_OK);
            CHECK(test, aegis_stream_notify(stream, count_up, &runs, NULL) == AEGIS_OK);
            CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
        }
        CHECK(test, runs == 40);
        aegis_stream_destroy(stream);
    }
    aegis_stream_config bad = aegis_stream_config_default("mode");
    aegis_stream *stream = NULL;
    bad.completion = (aegis_completion)3;
    CHECK(test,
          aegis_stream_create(test->device, &bad, &stream, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
}

static void bounded_wait_gives_up_and_can_go_on(conformance_case *test)
{
    atomic_int runs = 0;
    conformance_gate gate;
    aegis_error err;
    aegis_error_clear(&err);
    aegis_stream *stream = conformance_stream(test, 0);
    REQUIRE(test, stream != NULL);
    aegis_status idle = aegis_stream_synchronize_until(stream, now_ns(), NULL);
    CHECK(test, idle == AEGIS_OK || idle == AEGIS_ERROR_UNSUPPORTED);
    if (idle == AEGIS_ERROR_UNSUPPORTED) {
        CHECK(test, aegis_stream_abandon(stream, NULL) == AEGIS_ERROR_UNSUPPORTED);
        aegis_stream_destroy(stream);
        return;
    }
    REQUIRE(test, conformance_hold(test, &gate, stream));
    CHECK(test, aegis_stream_call(stream, count_up, &runs, NULL) == AEGIS_OK);
    CHECK(test,
          aegis_stream_synchronize_until(stream, now_ns() + 2000000, &err) == AEGIS_ERROR_TIMEOUT);
    CHECK(test, err.category == AEGIS_CATEGORY_TRANSIENT && runs == 0);
    conformance_let_go(&gate);
    CHECK(test, aegis_stream_synchronize_until(stream, now_ns() + UINT64_C(10000000000), NULL) ==
                    AEGIS_OK);
    CHECK(test, runs == 1);
    /* Nothing is left to wait for, so nothing is left behind. */
    CHECK(test, aegis_stream_abandon(stream, NULL) == AEGIS_OK);
    stream = conformance_stream(test, 0);
    CHECK(test, stream != NULL);
    aegis_stream_destroy(stream);
}

static void multiprocessors_are_given_or_refused(conformance_case *test)
{
    const aegis_device_capabilities *is = aegis_device_get_capabilities(test->device);
    aegis_stream_config config = aegis_stream_config_default("part");
    aegis_stream *first = NULL, *second = NULL;
    aegis_error err;
    aegis_error_clear(&err);
    config.multiprocessors = 1;
    aegis_status status = aegis_stream_create(test->device, &config, &first, &err);
    if (is->partition_granularity == 0) {
        CHECK(test, status == AEGIS_ERROR_UNSUPPORTED && first == NULL);
        CHECK(test, strstr(err.message, "green contexts") != NULL);
        return;
    }
    if (!CHECK(test, status == AEGIS_OK)) {
        fprintf(test->out, "    %s\n", err.message);
        return;
    }
    atomic_int runs = 0;
    void *base;
    char byte = 5;
    aegis_device_get_arena(test->device, &base, NULL);
    CHECK(test, aegis_stream_copy(first, base, &byte, 1, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_notify(first, count_up, &runs, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_synchronize(first, NULL) == AEGIS_OK && runs == 1);
    config.multiprocessors = is->multiprocessor_count; /* the first stream has some of them */
    CHECK(test, aegis_stream_create(test->device, &config, &second, &err) == AEGIS_ERROR_NO_MEMORY);
    config.multiprocessors = is->multiprocessor_count + 1;
    CHECK(test, aegis_stream_create(test->device, &config, &second, NULL) ==
                    AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_stream_destroy(first);
}

const conformance_entry conformance_overlap_cases[] = {
    {"copies_overlap_execution_in_order", copies_overlap_execution_in_order},
    {"own_thread_puts_work_past_the_ring", own_thread_puts_work_past_the_ring},
    {"every_completion_mode_works", every_completion_mode_works},
    {"bounded_wait_gives_up_and_can_go_on", bounded_wait_gives_up_and_can_go_on},
    {"multiprocessors_are_given_or_refused", multiprocessors_are_given_or_refused},
    {NULL, NULL},
};

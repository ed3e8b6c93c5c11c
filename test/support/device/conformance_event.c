/* SPDX-License-Identifier: Apache-2.0 */
#include "support/device/conformance.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

typedef struct ticket {
    atomic_int *next;
    int drawn;
} ticket;

static void draw(void *argument)
{
    ticket *self = argument;
    self->drawn = atomic_fetch_add(self->next, 1);
}

static aegis_event *new_event(conformance_case *test)
{
    aegis_event *event = NULL;
    CHECK(test, aegis_event_create(test->device, &event, NULL) == AEGIS_OK);
    return event;
}

static void event_not_recorded_counts_as_complete(conformance_case *test)
{
    atomic_int next = 0;
    ticket first = {&next, -1};
    aegis_event *event = new_event(test);
    aegis_stream *stream = conformance_stream(test, 0);
    int64_t elapsed = 42;
    REQUIRE(test, event != NULL && stream != NULL);
    CHECK(test, aegis_event_query(event, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_synchronize(event, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_wait_event(stream, event, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_call(stream, draw, &first, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK && first.drawn == 0);
    CHECK(test, aegis_event_elapsed_ns(event, event, &elapsed, NULL) == AEGIS_ERROR_STATE);
    CHECK(test, elapsed == 42);
    aegis_stream_destroy(stream);
    aegis_event_destroy(event);
    aegis_event_destroy(NULL);
}

static void event_completes_after_the_work_before_it(conformance_case *test)
{
    atomic_int next = 0;
    ticket work = {&next, -1};
    conformance_gate gate;
    aegis_event *event = new_event(test);
    aegis_stream *stream = conformance_stream(test, 0);
    REQUIRE(test, event != NULL && stream != NULL && conformance_hold(test, &gate, stream));
    CHECK(test, aegis_stream_call(stream, draw, &work, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(event, stream, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_query(event, NULL) == AEGIS_ERROR_BUSY);
    conformance_let_go(&gate);
    CHECK(test, aegis_event_synchronize(event, NULL) == AEGIS_OK);
    CHECK(test, work.drawn == 0);
    CHECK(test, aegis_event_query(event, NULL) == AEGIS_OK);
    aegis_stream_destroy(stream);
    aegis_event_destroy(event);
}

static void elapsed_is_ordered(conformance_case *test)
{
    aegis_event *first = new_event(test), *second = new_event(test);
    aegis_stream *stream = conformance_stream(test, 0);
    aegis_buffer buffer;
    int64_t forward = -1, backward = 1, self = 1;
    REQUIRE(test, first != NULL && second != NULL && stream != NULL);
    REQUIRE(test, aegis_device_alloc(test->device, CONFORMANCE_ARENA_BYTES, 1, &buffer, NULL) ==
                      AEGIS_OK);
    size_t half = CONFORMANCE_ARENA_BYTES / 2;
    CHECK(test, aegis_event_record(first, stream, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_copy(stream, buffer.pointer, (char *)buffer.pointer + half, half,
                                  NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(second, stream, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_synchronize(second, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_elapsed_ns(first, second, &forward, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_elapsed_ns(second, first, &backward, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_elapsed_ns(first, first, &self, NULL) == AEGIS_OK);
    CHECK(test, forward >= 0 && backward == -forward && self == 0);
    fprintf(test->out, "    a copy of %zu bytes inside the arena took %lld ns\n", half,
            (long long)forward);
    aegis_stream_destroy(stream);
    aegis_event_destroy(first);
    aegis_event_destroy(second);
}

static void wait_orders_work_across_streams(conformance_case *test)
{
    atomic_int next = 0;
    ticket before = {&next, -1}, after = {&next, -1}, free_running = {&next, -1};
    conformance_gate gate;
    aegis_event *event = new_event(test);
    aegis_stream *first = conformance_stream(test, 0), *second = conformance_stream(test, 0);
    REQUIRE(test, event != NULL && first != NULL && second != NULL);
    REQUIRE(test, conformance_hold(test, &gate, first));
    CHECK(test, aegis_stream_call(first, draw, &before, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(event, first, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_call(second, draw, &free_running, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_synchronize(second, NULL) == AEGIS_OK);
    CHECK(test, free_running.drawn >= 0); /* not held by the first stream */
    CHECK(test, aegis_stream_wait_event(second, event, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_notify(second, draw, &after, NULL) == AEGIS_OK);
    if (!test->target->manual) {
        CHECK(test, aegis_stream_query(second, NULL) == AEGIS_ERROR_BUSY);
    }
    conformance_let_go(&gate);
    CHECK(test, aegis_stream_synchronize(second, NULL) == AEGIS_OK);
    CHECK(test, before.drawn >= 0 && after.drawn > before.drawn);
    aegis_stream_destroy(second);
    aegis_stream_destroy(first);
    aegis_event_destroy(event);
}

/* Bytes travel through a ring of streams, each handing over to the next by an event. */
static void data_passes_through_many_streams(conformance_case *test)
{
    enum {
        STREAMS = 8,
        ROUNDS = 20,
        BYTES = 4096
    };
    aegis_stream *streams[STREAMS];
    aegis_event *events[STREAMS];
    aegis_buffer buffers[STREAMS];
    unsigned char out[BYTES], in[BYTES];
    for (int s = 0; s < STREAMS; s++) {
        streams[s] = conformance_stream(test, 0);
        events[s] = new_event(test);
        REQUIRE(test, streams[s] != NULL && events[s] != NULL);
        REQUIRE(test, aegis_device_alloc(test->device, BYTES, 0, &buffers[s], NULL) == AEGIS_OK);
    }
    for (int round = 0; round < ROUNDS; round++) {
        memset(out, round + 1, sizeof out);
        memset(in, 0, sizeof in);
        CHECK(test,
              aegis_device_copy(test->device, buffers[0].pointer, out, BYTES, NULL) == AEGIS_OK);
        for (int s = 1; s < STREAMS; s++) {
            CHECK(test, aegis_stream_wait_event(streams[s], events[s - 1], NULL) == AEGIS_OK);
            CHECK(test, aegis_stream_copy(streams[s], buffers[s].pointer, buffers[s - 1].pointer,
                                          BYTES, NULL) == AEGIS_OK);
            CHECK(test, aegis_event_record(events[s], streams[s], NULL) == AEGIS_OK);
        }
        CHECK(test, aegis_stream_wait_event(streams[0], events[STREAMS - 1], NULL) == AEGIS_OK);
        CHECK(test, aegis_stream_copy(streams[0], in, buffers[STREAMS - 1].pointer, BYTES, NULL) ==
                        AEGIS_OK);
        CHECK(test, aegis_stream_synchronize(streams[0], NULL) == AEGIS_OK);
        CHECK(test, memcmp(in, out, sizeof in) == 0);
    }
    for (int s = 0; s < STREAMS; s++) {
        aegis_stream_destroy(streams[s]);
        aegis_event_destroy(events[s]);
    }
}

static void record_waiting_elsewhere_is_busy(conformance_case *test)
{
    conformance_gate gate;
    aegis_error err;
    aegis_error_clear(&err);
    aegis_event *event = new_event(test);
    aegis_stream *first = conformance_stream(test, 0), *second = conformance_stream(test, 0);
    REQUIRE(test, event != NULL && first != NULL && second != NULL);
    REQUIRE(test, conformance_hold(test, &gate, first));
    CHECK(test, aegis_event_record(event, first, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(event, first, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(event, second, &err) == AEGIS_ERROR_BUSY);
    CHECK(test, err.category == AEGIS_CATEGORY_TRANSIENT);
    conformance_let_go(&gate);
    CHECK(test, aegis_event_synchronize(event, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(event, second, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_synchronize(event, NULL) == AEGIS_OK);
    aegis_stream_destroy(second);
    aegis_stream_destroy(first);
    aegis_event_destroy(event);
}

static void refused_record_leaves_the_event_as_it_was(conformance_case *test)
{
    atomic_int next = 0;
    ticket filler = {&next, -1};
    conformance_gate gate;
    aegis_event *event = new_event(test);
    aegis_stream *stream = conformance_stream(test, 1);
    REQUIRE(test, event != NULL && stream != NULL && conformance_hold(test, &gate, stream));
    CHECK(test, aegis_stream_call(stream, draw, &filler, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(event, stream, NULL) == AEGIS_ERROR_QUEUE_FULL);
    CHECK(test, aegis_stream_wait_event(stream, event, NULL) == AEGIS_ERROR_QUEUE_FULL);
    CHECK(test, aegis_event_query(event, NULL) == AEGIS_OK);
    conformance_let_go(&gate);
    CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    aegis_stream_destroy(stream);
    aegis_event_destroy(event);
}

static void event_may_be_destroyed_while_commands_use_it(conformance_case *test)
{
    atomic_int next = 0;
    ticket last = {&next, -1};
    conformance_gate gate;
    aegis_event *event = new_event(test);
    aegis_stream *first = conformance_stream(test, 0), *second = conformance_stream(test, 0);
    REQUIRE(test, event != NULL && first != NULL && second != NULL);
    REQUIRE(test, conformance_hold(test, &gate, first));
    CHECK(test, aegis_event_record(event, first, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_wait_event(second, event, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_notify(second, draw, &last, NULL) == AEGIS_OK);
    aegis_event_destroy(event);
    conformance_let_go(&gate);
    CHECK(test, aegis_stream_synchronize(second, NULL) == AEGIS_OK);
    CHECK(test, last.drawn == 0);
    aegis_stream_destroy(second);
    aegis_stream_destroy(first);
}

static void bad_event_arguments_are_refused(conformance_case *test)
{
    aegis_allocator allocator = conformance_allocator(&test->heap);
    aegis_event *event = new_event(test), *foreign = NULL;
    aegis_stream *stream = conformance_stream(test, 0);
    aegis_device *other = NULL;
    int64_t elapsed;
    REQUIRE(test, event != NULL && stream != NULL);
    CHECK(test, aegis_event_create(NULL, &event, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_event_create(test->device, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_event_record(NULL, stream, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_event_record(event, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_event_query(NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_event_synchronize(NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_wait_event(stream, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_wait_event(NULL, event, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_event_elapsed_ns(event, NULL, &elapsed, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_event_elapsed_ns(event, event, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    REQUIRE(test,
            test->target->create(test->target->self, 4096, &allocator, &other, NULL) == AEGIS_OK);
    REQUIRE(test, aegis_event_create(other, &foreign, NULL) == AEGIS_OK);
    CHECK(test, aegis_event_record(foreign, stream, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_wait_event(stream, foreign, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_event_elapsed_ns(event, foreign, &elapsed, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_event_destroy(foreign);
    aegis_device_destroy(other);
    aegis_stream_destroy(stream);
    aegis_event_destroy(event);
}

const conformance_entry conformance_event_cases[] = {
    {"event_not_recorded_counts_as_complete", event_not_recorded_counts_as_complete},
    {"event_completes_after_the_work_before_it", event_completes_after_the_work_before_it},
    {"elapsed_is_ordered", elapsed_is_ordered},
    {"wait_orders_work_across_streams", wait_orders_work_across_streams},
    {"data_passes_through_many_streams", data_passes_through_many_streams},
    {"record_waiting_elsewhere_is_busy", record_waiting_elsewhere_is_busy},
    {"refused_record_leaves_the_event_as_it_was", refused_record_leaves_the_event_as_it_was},
    {"event_may_be_destroyed_while_commands_use_it", event_may_be_destroyed_while_commands_use_it},
    {"bad_event_arguments_are_refused", bad_event_arguments_are_refused},
    {NULL, NULL},
};

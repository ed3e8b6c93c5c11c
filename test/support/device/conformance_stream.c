/* SPDX-License-Identifier: Apache-2.0 */
#include "support/device/conformance.h"

#include <aegisrt/ext/cuda.h>

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Functions append their number here; the order is what is tested. Appended by one thread at a
 * time, read after synchronising. */
typedef struct journal {
    int numbers[4096];
    int count;
} journal;

typedef struct entry {
    journal *into;
    int number;
} entry;

static void write_entry(void *argument)
{
    entry *self = argument;
    self->into->numbers[self->into->count++] = self->number;
}

static void count_up(void *argument)
{
    atomic_fetch_add((atomic_int *)argument, 1);
}

/* Puts the call in, waiting for room as often as needed: no more often than there are calls. */
static bool call_patiently(aegis_stream *stream, aegis_stream_function function, void *argument)
{
    aegis_status status = aegis_stream_call(stream, function, argument, NULL);
    if (status == AEGIS_ERROR_QUEUE_FULL) {
        if (aegis_stream_synchronize(stream, NULL) != AEGIS_OK) {
            return false;
        }
        status = aegis_stream_call(stream, function, argument, NULL);
    }
    return status == AEGIS_OK;
}

static void calls_run_in_order(conformance_case *test)
{
    enum {
        CALLS = 4096
    };
    static const size_t depths[] = {1, 3, 64};
    entry *entries = calloc(CALLS, sizeof *entries);
    journal *all = calloc(1, sizeof *all);
    for (size_t d = 0; d < 3 && CHECK(test, entries != NULL && all != NULL); d++) {
        aegis_stream *stream = conformance_stream(test, depths[d]);
        all->count = 0;
        for (int i = 0; stream != NULL && i < CALLS; i++) {
            entries[i] = (entry){all, i};
            if (!CHECK(test, call_patiently(stream, write_entry, &entries[i]))) {
                break;
            }
        }
        CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
        CHECK(test, all->count == CALLS);
        bool ordered = true;
        for (int i = 0; i < all->count; i++) {
            ordered = ordered && all->numbers[i] == i;
        }
        CHECK(test, ordered);
        aegis_stream_destroy(stream);
    }
    free(entries);
    free(all);
}

static void queue_refuses_beyond_its_depth(conformance_case *test)
{
    enum {
        DEPTH = 5
    };
    atomic_int runs = 0;
    conformance_gate gate;
    aegis_error err;
    aegis_error_clear(&err);
    aegis_stream *stream = conformance_stream(test, DEPTH);
    REQUIRE(test, stream != NULL && conformance_hold(test, &gate, stream));
    for (int i = 0; i < DEPTH; i++) {
        CHECK(test, aegis_stream_call(stream, count_up, &runs, NULL) == AEGIS_OK);
    }
    CHECK(test, aegis_stream_call(stream, count_up, &runs, &err) == AEGIS_ERROR_QUEUE_FULL);
    CHECK(test, err.category == AEGIS_CATEGORY_TRANSIENT);
    CHECK(test, aegis_stream_notify(stream, count_up, &runs, NULL) == AEGIS_ERROR_QUEUE_FULL);
    void *base;
    aegis_device_get_arena(test->device, &base, NULL);
    CHECK(test,
          aegis_stream_copy(stream, base, (char *)base + 64, 64, NULL) == AEGIS_ERROR_QUEUE_FULL);
    conformance_let_go(&gate);
    CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    CHECK(test, runs == DEPTH);
    CHECK(test, aegis_stream_call(stream, count_up, &runs, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    CHECK(test, runs == DEPTH + 1);
    aegis_stream_destroy(stream);
}

static void query_tells_busy_from_idle(conformance_case *test)
{
    atomic_int runs = 0;
    conformance_gate gate;
    aegis_stream *stream = conformance_stream(test, 0);
    REQUIRE(test, stream != NULL);
    CHECK(test, aegis_stream_query(stream, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    REQUIRE(test, conformance_hold(test, &gate, stream));
    CHECK(test, aegis_stream_call(stream, count_up, &runs, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_query(stream, NULL) == AEGIS_ERROR_BUSY);
    conformance_let_go(&gate);
    CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_query(stream, NULL) == AEGIS_OK);
    CHECK(test, runs == 1);
    aegis_stream_destroy(stream);
}

typedef struct inside {
    aegis_stream *stream;
    aegis_status synchronize, query;
} inside;

static void ask_from_inside(void *argument)
{
    inside *self = argument;
    self->synchronize = aegis_stream_synchronize(self->stream, NULL);
    self->query = aegis_stream_query(self->stream, NULL);
}

static void own_thread_may_query_but_not_wait(conformance_case *test)
{
    aegis_stream *stream = conformance_stream(test, 0);
    REQUIRE(test, stream != NULL);
    inside call = {.stream = stream}, notify = {.stream = stream};
    CHECK(test, aegis_stream_call(stream, ask_from_inside, &call, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_notify(stream, ask_from_inside, &notify, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    CHECK(test, call.synchronize == AEGIS_ERROR_STATE && call.query == AEGIS_ERROR_BUSY);
    CHECK(test, notify.synchronize == AEGIS_ERROR_STATE && notify.query == AEGIS_ERROR_BUSY);
    aegis_stream_destroy(stream);
}

typedef struct arrival {
    const unsigned char *bytes;
    size_t size;
    unsigned char expected;
    bool complete;
} arrival;

/* Looks at the far end first: the copy must have ended, not only begun. */
static void look_at_arrival(void *argument)
{
    arrival *self = argument;
    self->complete = self->bytes[self->size - 1] == self->expected;
    for (size_t i = 0; i < self->size; i += 4097) {
        self->complete = self->complete && self->bytes[i] == self->expected;
    }
}

static void notify_runs_after_copies_completed(conformance_case *test)
{
    size_t size = CONFORMANCE_ARENA_BYTES / 2;
    unsigned char *host = malloc(size);
    aegis_stream *stream = conformance_stream(test, 0);
    aegis_buffer first, second;
    if (CHECK(test, host != NULL && stream != NULL) &&
        CHECK(test, aegis_device_alloc(test->device, size, 1, &first, NULL) == AEGIS_OK) &&
        CHECK(test, aegis_device_alloc(test->device, size, 1, &second, NULL) == AEGIS_OK)) {
        for (int round = 1; round <= 5; round++) {
            arrival seen = {.bytes = host, .size = size, .expected = (unsigned char)round};
            memset(host, round, size);
            CHECK(test, aegis_stream_copy(stream, first.pointer, host, size, NULL) == AEGIS_OK);
            CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
            memset(host, 0, size);
            CHECK(test,
                  aegis_stream_copy(stream, second.pointer, first.pointer, size, NULL) == AEGIS_OK);
            CHECK(test, aegis_stream_copy(stream, host, second.pointer, size, NULL) == AEGIS_OK);
            CHECK(test, aegis_stream_notify(stream, look_at_arrival, &seen, NULL) == AEGIS_OK);
            CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
            CHECK(test, seen.complete);
        }
    }
    aegis_stream_destroy(stream);
    free(host);
}

static void destroy_lets_pending_work_run(conformance_case *test)
{
    enum {
        CALLS = 40
    };
    atomic_int runs = 0;
    conformance_gate gate;
    aegis_stream *stream = conformance_stream(test, 0);
    REQUIRE(test, stream != NULL && conformance_hold(test, &gate, stream));
    for (int i = 0; i < CALLS; i++) {
        CHECK(test, aegis_stream_call(stream, count_up, &runs, NULL) == AEGIS_OK);
    }
    conformance_let_go(&gate);
    aegis_stream_destroy(stream);
    CHECK(test, runs == CALLS);
    aegis_stream_destroy(NULL);
}

static void many_streams_keep_their_own_order(conformance_case *test)
{
    enum {
        STREAMS = 16,
        CALLS = 200
    };
    aegis_stream *streams[STREAMS] = {0};
    journal *journals = calloc(STREAMS, sizeof *journals);
    entry *entries = calloc(STREAMS * CALLS, sizeof *entries);
    bool ready = CHECK(test, journals != NULL && entries != NULL);
    for (int s = 0; ready && s < STREAMS; s++) {
        ready = (streams[s] = conformance_stream(test, 16)) != NULL;
    }
    for (int i = 0; ready && i < CALLS; i++) {
        for (int s = 0; s < STREAMS; s++) {
            entry *one = &entries[s * CALLS + i];
            *one = (entry){&journals[s], i};
            CHECK(test, call_patiently(streams[s], write_entry, one));
        }
    }
    for (int s = 0; ready && s < STREAMS; s++) {
        CHECK(test, aegis_stream_synchronize(streams[s], NULL) == AEGIS_OK);
        bool ordered = journals[s].count == CALLS;
        for (int i = 0; i < journals[s].count; i++) {
            ordered = ordered && journals[s].numbers[i] == i;
        }
        CHECK(test, ordered);
    }
    for (int s = 0; s < STREAMS; s++) {
        aegis_stream_destroy(streams[s]);
    }
    free(journals);
    free(entries);
}

static void every_priority_works_and_no_other(conformance_case *test)
{
    int priorities = aegis_device_get_capabilities(test->device)->stream_priorities;
    aegis_stream_config config = aegis_stream_config_default(NULL);
    aegis_stream *stream = NULL;
    for (int p = 0; p < priorities; p++) {
        atomic_int runs = 0;
        config.priority = p;
        REQUIRE(test, aegis_stream_create(test->device, &config, &stream, NULL) == AEGIS_OK);
        CHECK(test, aegis_stream_call(stream, count_up, &runs, NULL) == AEGIS_OK);
        CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK && runs == 1);
        aegis_stream_destroy(stream);
    }
    stream = NULL;
    config.priority = priorities;
    CHECK(test, aegis_stream_create(test->device, &config, &stream, NULL) ==
                    AEGIS_ERROR_INVALID_ARGUMENT);
    config.priority = -1;
    CHECK(test, aegis_stream_create(test->device, &config, &stream, NULL) ==
                    AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, stream == NULL);
}

static void bad_stream_configurations_are_refused(conformance_case *test)
{
    aegis_stream_config good = aegis_stream_config_default("bad"), bad[6];
    for (int i = 0; i < 6; i++) {
        bad[i] = good;
    }
    bad[0].width = 0;
    bad[1].cpu = -2;
    bad[2].fifo_priority = 100;
    bad[3].fifo_priority = -1;
    bad[4].depth = SIZE_MAX;
    bad[5].width = INT32_MAX;
    aegis_stream *stream = NULL;
    for (int i = 0; i < 6; i++) {
        CHECK(test, aegis_stream_create(test->device, &bad[i], &stream, NULL) ==
                        AEGIS_ERROR_INVALID_ARGUMENT);
    }
    CHECK(test, aegis_stream_create(NULL, &good, &stream, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_stream_create(test->device, NULL, &stream, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_stream_create(test->device, &good, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, stream == NULL);
}

static void bad_commands_are_refused(conformance_case *test)
{
    void *base;
    uint64_t size;
    char byte = 0;
    aegis_device_get_arena(test->device, &base, &size);
    aegis_stream *stream = conformance_stream(test, 0);
    REQUIRE(test, stream != NULL);
    CHECK(test, aegis_stream_call(NULL, count_up, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_call(stream, NULL, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_notify(NULL, count_up, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_notify(stream, NULL, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_copy(NULL, base, &byte, 1, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_copy(stream, NULL, &byte, 1, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_stream_copy(stream, base, base, size + 1, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_copy(stream, base, &byte, 0, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_synchronize(NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_query(NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_stream_query(stream, NULL) == AEGIS_OK);
    CHECK(test, aegis_stream_width(stream) == 1);
    CHECK(test, aegis_stream_device(stream) == test->device);
    aegis_stream_destroy(stream);
}

static void dispatch_allocates_nothing(conformance_case *test)
{
    atomic_int runs = 0;
    aegis_stream *stream = conformance_stream(test, 0);
    aegis_event *event = NULL;
    void *base;
    char bytes[64] = {0};
    aegis_device_get_arena(test->device, &base, NULL);
    REQUIRE(test, stream != NULL && aegis_event_create(test->device, &event, NULL) == AEGIS_OK);
    long before = test->heap.calls;
    for (int i = 0; i < 100; i++) {
        CHECK(test, aegis_stream_call(stream, count_up, &runs, NULL) == AEGIS_OK);
        CHECK(test, aegis_stream_copy(stream, base, bytes, sizeof bytes, NULL) == AEGIS_OK);
        CHECK(test, aegis_event_record(event, stream, NULL) == AEGIS_OK);
        CHECK(test, aegis_stream_wait_event(stream, event, NULL) == AEGIS_OK);
        CHECK(test, aegis_stream_notify(stream, count_up, &runs, NULL) == AEGIS_OK);
        CHECK(test, aegis_stream_synchronize(stream, NULL) == AEGIS_OK);
    }
    CHECK(test, test->heap.calls == before && runs == 200);
    aegis_event_destroy(event);
    aegis_stream_destroy(stream);
}

static void cuda_handle_is_for_cuda_only(conformance_case *test)
{
    struct CUstream_st *handle = NULL;
    aegis_stream *stream = conformance_stream(test, 0);
    REQUIRE(test, stream != NULL);
    bool cuda = aegis_device_get_capabilities(test->device)->kind == AEGIS_DEVICE_CUDA;
    aegis_status status = aegis_cuda_stream_handle(stream, &handle, NULL);
    CHECK(test, cuda ? status == AEGIS_OK && handle != NULL
                     : status == AEGIS_ERROR_UNSUPPORTED && handle == NULL);
    CHECK(test, aegis_cuda_stream_handle(NULL, &handle, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_stream_destroy(stream);
}

const conformance_entry conformance_stream_cases[] = {
    {"calls_run_in_order", calls_run_in_order},
    {"queue_refuses_beyond_its_depth", queue_refuses_beyond_its_depth},
    {"query_tells_busy_from_idle", query_tells_busy_from_idle},
    {"own_thread_may_query_but_not_wait", own_thread_may_query_but_not_wait},
    {"notify_runs_after_copies_completed", notify_runs_after_copies_completed},
    {"destroy_lets_pending_work_run", destroy_lets_pending_work_run},
    {"many_streams_keep_their_own_order", many_streams_keep_their_own_order},
    {"every_priority_works_and_no_other", every_priority_works_and_no_other},
    {"bad_stream_configurations_are_refused", bad_stream_configurations_are_refused},
    {"bad_commands_are_refused", bad_commands_are_refused},
    {"dispatch_allocates_nothing", dispatch_allocates_nothing},
    {"cuda_handle_is_for_cuda_only", cuda_handle_is_for_cuda_only},
    {NULL, NULL},
};

/* SPDX-License-Identifier: Apache-2.0 */
#include "device/counter.h"
#include "device/worker.h"

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <cmocka.h>

/* What the worker hands to execute, checked on its thread. */
typedef struct sink {
    uint32_t expected;
    uint32_t wrong;
    sem_t entered, open;
    aegis_worker *worker;
    aegis_status inner;
    char name[16];
} sink;

static void execute(void *self, const aegis_command *command)
{
    sink *into = self;
    if (command->kind == AEGIS_COMMAND_NOTIFY) {
        sem_post(&into->entered);
        while (sem_wait(&into->open) != 0) {
            /* EINTR */
        }
    } else if (command->kind == AEGIS_COMMAND_CALL) {
        pthread_getname_np(pthread_self(), into->name, sizeof into->name);
        into->inner = aegis_worker_synchronize(into->worker, NULL);
    } else {
        into->wrong += command->generation != into->expected;
        into->expected++;
    }
}

static aegis_status refuse_to_begin(void *self, aegis_error *err)
{
    (void)self;
    return aegis_error_set(err, AEGIS_HERE("test"), AEGIS_ERROR_DEVICE, "no");
}

static const aegis_worker_ops ops = {.execute = execute};

static aegis_worker *create_spinning(sink *into, size_t depth, uint64_t spin_ns)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_stream_config config = aegis_stream_config_default("a-name-longer-than-15");
    aegis_worker *worker = NULL;
    config.depth = depth;
    config.spin_ns = spin_ns;
    memset(into, 0, sizeof *into);
    sem_init(&into->entered, 0, 0);
    sem_init(&into->open, 0, 0);
    assert_int_equal(aegis_worker_create(&config, &ops, into, &allocator, &worker, NULL), AEGIS_OK);
    into->worker = worker;
    return worker;
}

static aegis_worker *create(sink *into, size_t depth)
{
    return create_spinning(into, depth, 0);
}

static void hold(sink *into)
{
    aegis_command command = {.kind = AEGIS_COMMAND_NOTIFY};
    assert_int_equal(aegis_worker_push(into->worker, &command, NULL), AEGIS_OK);
    while (sem_wait(&into->entered) != 0) {
        /* EINTR */
    }
}

/* Depths around powers of two, so that the ring wraps at slots that are not its depth. */
static void order_survives_many_wraps(void **state)
{
    (void)state;
    static const size_t depths[] = {1, 2, 3, 5, 64};
    for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
        enum {
            COMMANDS = 20000
        };
        sink into;
        aegis_worker *worker = create(&into, depths[d]);
        for (uint32_t i = 0; i < COMMANDS; i++) {
            aegis_command command = {.kind = AEGIS_COMMAND_RECORD, .generation = i};
            aegis_status status = aegis_worker_push(worker, &command, NULL);
            if (status == AEGIS_ERROR_QUEUE_FULL) {
                assert_int_equal(aegis_worker_synchronize(worker, NULL), AEGIS_OK);
                status = aegis_worker_push(worker, &command, NULL);
            }
            assert_int_equal(status, AEGIS_OK);
        }
        aegis_worker_destroy(worker); /* runs what is left */
        assert_int_equal(into.expected, COMMANDS);
        assert_int_equal(into.wrong, 0);
    }
}

/* The worker parks between commands: a lost wake would hang here. */
static void every_push_wakes_a_parked_worker(void **state)
{
    (void)state;
    enum {
        ROUNDS = 3000
    };
    sink into;
    aegis_worker *worker = create(&into, 4);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        aegis_command command = {.kind = AEGIS_COMMAND_RECORD, .generation = i};
        assert_int_equal(aegis_worker_push(worker, &command, NULL), AEGIS_OK);
        assert_int_equal(aegis_worker_synchronize(worker, NULL), AEGIS_OK);
        assert_true(aegis_worker_idle(worker));
        if (i % 16 == 0) {
            sched_yield();
        }
    }
    aegis_worker_destroy(worker);
    assert_int_equal(into.expected, ROUNDS);
}

/* A worker that spins takes what comes while it does and what comes after, and ends at once. */
static void spinning_loses_nothing(void **state)
{
    (void)state;
    enum {
        ROUNDS = 2000
    };
    sink into;
    aegis_worker *worker = create_spinning(&into, 4, 20000);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        aegis_command command = {.kind = AEGIS_COMMAND_RECORD, .generation = i};
        assert_int_equal(aegis_worker_push(worker, &command, NULL), AEGIS_OK);
        assert_int_equal(aegis_worker_synchronize(worker, NULL), AEGIS_OK);
        for (unsigned yields = 0; yields < i % 8; yields++) {
            sched_yield(); /* some pushes meet it spinning, some parked */
        }
    }
    aegis_worker_destroy(worker);
    assert_int_equal(into.expected, ROUNDS);
    assert_int_equal(into.wrong, 0);
    /* The end is not waited for by the clock: an hour of spinning would show. */
    worker = create_spinning(&into, 4, UINT64_C(3600) * AEGIS_NS_PER_S);
    const aegis_command command = {.kind = AEGIS_COMMAND_RECORD};
    assert_int_equal(aegis_worker_push(worker, &command, NULL), AEGIS_OK);
    assert_int_equal(aegis_worker_synchronize(worker, NULL), AEGIS_OK);
    aegis_worker_destroy(worker);
}

/* ---- several threads put commands in ---- */

#define PRODUCERS 4u
#define EACH 20000u

typedef struct meeting {
    uint32_t seen[PRODUCERS], wrong;
} meeting;

typedef struct producer {
    aegis_worker *worker;
    uint32_t number;
} producer;

static void note(void *self, const aegis_command *command)
{
    meeting *all = self;
    uint32_t from = command->generation / EACH;
    all->wrong += from >= PRODUCERS || command->generation % EACH != all->seen[from % PRODUCERS];
    all->seen[from % PRODUCERS]++;
}

static void *produce(void *argument)
{
    const producer *self = argument;
    for (uint32_t i = 0; i < EACH; i++) {
        const aegis_command command = {.kind = AEGIS_COMMAND_COPY,
                                       .generation = self->number * EACH + i};
        while (aegis_worker_push(self->worker, &command, NULL) != AEGIS_OK) {
            sched_yield(); /* full */
        }
    }
    return NULL;
}

static void many_producers_keep_their_own_order(void **state)
{
    static const aegis_worker_ops noting = {.execute = note};
    (void)state;
    for (size_t depth = 1; depth <= 64; depth *= 8) {
        aegis_allocator allocator = aegis_allocator_default();
        aegis_stream_config config = aegis_stream_config_default("many");
        aegis_worker *worker = NULL;
        meeting all = {.wrong = 0};
        producer producers[PRODUCERS];
        pthread_t threads[PRODUCERS];
        config.depth = depth;
        assert_int_equal(aegis_worker_create(&config, &noting, &all, &allocator, &worker, NULL),
                         AEGIS_OK);
        for (uint32_t i = 0; i < PRODUCERS; i++) {
            producers[i] = (producer){.worker = worker, .number = i};
            assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
        }
        for (uint32_t i = 0; i < PRODUCERS; i++) {
            pthread_join(threads[i], NULL);
        }
        assert_int_equal(aegis_worker_synchronize(worker, NULL), AEGIS_OK);
        assert_int_equal(all.wrong, 0);
        for (uint32_t i = 0; i < PRODUCERS; i++) {
            assert_int_equal(all.seen[i], EACH);
        }
        aegis_worker_destroy(worker);
    }
}

static void full_ring_refuses_at_its_depth(void **state)
{
    (void)state;
    sink into;
    aegis_error err;
    aegis_worker *worker = create(&into, 3);
    aegis_command command = {.kind = AEGIS_COMMAND_RECORD};
    hold(&into);
    assert_false(aegis_worker_idle(worker));
    for (uint32_t i = 0; i < 3; i++) {
        command.generation = i;
        assert_int_equal(aegis_worker_push(worker, &command, NULL), AEGIS_OK);
    }
    assert_int_equal(aegis_worker_push(worker, &command, &err), AEGIS_ERROR_QUEUE_FULL);
    assert_non_null(strstr(err.message, "3 commands wait"));
    sem_post(&into.open);
    assert_int_equal(aegis_worker_synchronize(worker, NULL), AEGIS_OK);
    assert_int_equal(into.expected, 3);
    assert_int_equal(into.wrong, 0);
    aegis_worker_destroy(worker);
}

static void own_thread_has_the_name_and_may_not_wait(void **state)
{
    (void)state;
    sink into;
    aegis_worker *worker = create(&into, 3);
    aegis_command command = {.kind = AEGIS_COMMAND_CALL};
    assert_int_equal(aegis_worker_push(worker, &command, NULL), AEGIS_OK);
    assert_int_equal(aegis_worker_synchronize(worker, NULL), AEGIS_OK);
    assert_int_equal(into.inner, AEGIS_ERROR_STATE);
    assert_string_equal(into.name, "a-name-longer-t");
    aegis_worker_destroy(worker);
}

static void failure_to_begin_is_reported(void **state)
{
    (void)state;
    const aegis_worker_ops refusing = {.begin = refuse_to_begin, .execute = execute};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_stream_config config = aegis_stream_config_default("x");
    aegis_worker *worker = NULL;
    aegis_error err;
    config.depth = 1;
    assert_int_equal(aegis_worker_create(&config, &refusing, NULL, &allocator, &worker, &err),
                     AEGIS_ERROR_DEVICE);
    assert_string_equal(err.message, "no");
    assert_null(worker);
    aegis_worker_destroy(NULL);
}

/* ---- counter ---- */

typedef struct waiter {
    aegis_counter *counter;
    uint32_t target;
    pthread_t thread;
} waiter;

static void *wait_for_target(void *argument)
{
    waiter *self = argument;
    aegis_counter_wait(self->counter, self->target);
    return NULL;
}

static void counter_wakes_all_waiters_across_the_wrap(void **state)
{
    (void)state;
    aegis_counter counter = {0};
    uint32_t start = UINT32_MAX - 50;
    aegis_counter_set(&counter, start);
    waiter waiters[4];
    for (uint32_t i = 0; i < 4; i++) {
        waiters[i] = (waiter){.counter = &counter, .target = start + 30 * (i + 1)};
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_target, &waiters[i]), 0);
    }
    for (uint32_t i = 1; i <= 120; i++) {
        aegis_counter_set(&counter, start + i);
    }
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(waiters[i].thread, NULL);
    }
    assert_true(aegis_counter_reached(&counter, start + 120));
    assert_false(aegis_counter_reached(&counter, start + 121));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_survives_many_wraps),
        cmocka_unit_test(every_push_wakes_a_parked_worker),
        cmocka_unit_test(spinning_loses_nothing),
        cmocka_unit_test(many_producers_keep_their_own_order),
        cmocka_unit_test(full_ring_refuses_at_its_depth),
        cmocka_unit_test(own_thread_has_the_name_and_may_not_wait),
        cmocka_unit_test(failure_to_begin_is_reported),
        cmocka_unit_test(counter_wakes_all_waiters_across_the_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

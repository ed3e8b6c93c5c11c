/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_WORKER_H
#define AEGIS_DEVICE_WORKER_H

/* The thread behind a stream and its bounded ring of commands. Any thread puts commands in, without
 * a lock or an allocation; the worker takes them out in the order of their places and hands each to
 * `execute`. One that was stopped between taking a place and filling it holds up what is behind it.
 * When idle it spins as the completion mode of its configuration says, then sleeps on a futex. */

#include <aegisrt/device.h>

#include <stdbool.h>
#include <stdint.h>

typedef enum aegis_command_kind {
    AEGIS_COMMAND_CALL,
    AEGIS_COMMAND_NOTIFY,
    AEGIS_COMMAND_COPY,
    AEGIS_COMMAND_RECORD,
    AEGIS_COMMAND_WAIT
} aegis_command_kind;

typedef struct aegis_command {
    aegis_command_kind kind;
    uint32_t generation; /* RECORD, WAIT: which record of the event */
    union {
        struct {
            aegis_stream_function function;
            void *argument;
        } call; /* CALL, NOTIFY */
        struct {
            void *destination;
            const void *source;
            size_t size_bytes;
        } copy;
        void *event; /* RECORD, WAIT */
    } of;
} aegis_command;

typedef struct aegis_worker_ops {
    /* Runs once on the new thread; a failure makes aegis_worker_create fail. Optional. */
    aegis_status (*begin)(void *self, aegis_error *err);
    /* Runs one command on the worker thread. Required. */
    void (*execute)(void *self, const aegis_command *command);
    /* How long an adaptive worker spins for its next command before it sleeps; 0: about 2 us. */
    uint64_t spin_ns;
} aegis_worker_ops;

typedef struct aegis_worker aegis_worker;

/* Starts the thread with name, CPU and scheduling of `config`. `self` is handed to `ops`.
 * PERMISSION when pinning or SCHED_FIFO is refused, NO_MEMORY when memory or threads are short. */
aegis_status aegis_worker_create(const aegis_stream_config *config,
                                 const aegis_worker_ops *ops,
                                 void *self,
                                 const aegis_allocator *allocator,
                                 aegis_worker **ret_worker,
                                 aegis_error *err);
/* Lets the commands that are left run, then ends the thread. NULL is fine. */
void aegis_worker_destroy(aegis_worker *worker);

/* Copies the command into the ring. QUEUE_FULL. Any thread. */
aegis_status
aegis_worker_push(aegis_worker *worker, const aegis_command *command, aegis_error *err);
/* The two halves of it: a worker that sleeps sees what was put once it is woken. */
aegis_status aegis_worker_put(aegis_worker *worker, const aegis_command *command, aegis_error *err);
void aegis_worker_wake(aegis_worker *worker);

/* Waits until everything pushed before has run. STATE from the worker's own thread. */
aegis_status aegis_worker_synchronize(aegis_worker *worker, aegis_error *err);

/* As synchronize; TIMEOUT at CLOCK_MONOTONIC `until_ns`. */
aegis_status
aegis_worker_synchronize_until(aegis_worker *worker, uint64_t until_ns, aegis_error *err);

/* In place of destroy, for a worker whose command may never end: waits until CLOCK_MONOTONIC
 * `until_ns` for what is left. False: the thread is left behind with the worker and all it uses. */
bool aegis_worker_abandon(aegis_worker *worker, uint64_t until_ns);

bool aegis_worker_is_own_thread(const aegis_worker *worker);

/* True when everything pushed has run. */
bool aegis_worker_idle(aegis_worker *worker);

#endif

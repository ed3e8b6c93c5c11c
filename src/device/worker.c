/* SPDX-License-Identifier: Apache-2.0 */
#include "device/worker.h"

#include <aegisrt/clock.h>

#include "base/base.h"
#include "device/counter.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* About two microseconds: enough to catch a back-to-back producer, too little to count as load. */
#define SPIN_ROUNDS 64u
#define CACHE_LINE 64
#define THREAD_NAME_BYTES 16

/* A place in the ring; `sequence` is the command's position plus one once it is whole. */
typedef struct slot {
    aegis_command command;
    _Atomic uint32_t sequence;
} slot;

struct aegis_worker {
    /* Written at create only. */
    aegis_worker_ops ops;
    void *self;
    aegis_allocator allocator;
    slot *ring;
    uint32_t slots; /* a power of two >= depth, so that positions may wrap at 2^32 */
    uint32_t depth;
    int cpu, fifo_priority;
    aegis_completion completion;
    uint64_t spin_ns;
    char name[THREAD_NAME_BYTES];
    pthread_t thread;
    sem_t started;
    aegis_status start_status;
    aegis_error *start_error; /* valid until `started` is posted */

    /* Positions count commands modulo 2^32; tail - head wait in the ring, the last of them perhaps
     * not whole yet. Padding keeps the producers' line apart from the worker's (the allocator
     * aligns for ordinary types only). */
    char pad0[CACHE_LINE];
    _Atomic uint32_t tail; /* producers */
    char pad1[CACHE_LINE];
    _Atomic uint32_t head;   /* worker */
    _Atomic uint32_t parked; /* futex word: 1 while the worker sleeps */
    _Atomic bool stopping;
    aegis_counter done; /* commands that have run */
    char pad2[CACHE_LINE];
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static aegis_status pin_thread(const aegis_worker *worker, aegis_error *err)
{
    if (worker->cpu < 0) {
        return AEGIS_OK;
    }
    cpu_set_t *set = CPU_ALLOC((size_t)worker->cpu + 1);
    if (set == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.worker"), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the CPU set of thread '%s'", worker->name);
    }
    size_t bytes = CPU_ALLOC_SIZE((size_t)worker->cpu + 1);
    CPU_ZERO_S(bytes, set);
    CPU_SET_S((size_t)worker->cpu, bytes, set);
    int rc = pthread_setaffinity_np(pthread_self(), bytes, set);
    CPU_FREE(set);
    if (rc != 0) {
        return aegis_error_set_native(
            err, AEGIS_HERE("device.worker"), AEGIS_ERROR_PERMISSION, rc,
            "thread '%s' cannot be pinned to CPU %d (errno %d): it is offline, outside this "
            "process's cpuset, or does not exist; choose one of Cpus_allowed_list in "
            "/proc/self/status, or cpu = -1",
            worker->name, worker->cpu, rc);
    }
    return AEGIS_OK;
}

static aegis_status make_real_time(const aegis_worker *worker, aegis_error *err)
{
    if (worker->fifo_priority == 0) {
        return AEGIS_OK;
    }
    struct sched_param parameters = {.sched_priority = worker->fifo_priority};
    int rc = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters);
    if (rc != 0) {
        return aegis_error_set_native(
            err, AEGIS_HERE("device.worker"), AEGIS_ERROR_PERMISSION, rc,
            "SCHED_FIFO priority %d is refused for thread '%s' (errno %d): raise the limit "
            "(ulimit -r %d; '* - rtprio %d' in /etc/security/limits.conf), or setcap "
            "cap_sys_nice+ep on the program, or fifo_priority = 0. Mind RT throttling: by default "
            "a busy FIFO thread is stopped for 50 ms of each second "
            "(/proc/sys/kernel/sched_rt_runtime_us)",
            worker->fifo_priority, worker->name, rc, worker->fifo_priority, worker->fifo_priority);
    }
    return AEGIS_OK;
}

static aegis_status begin(aegis_worker *worker, aegis_error *err)
{
    pthread_setname_np(pthread_self(), worker->name);
    aegis_status status = pin_thread(worker, err);
    if (status == AEGIS_OK) {
        status = make_real_time(worker, err);
    }
    if (status == AEGIS_OK && worker->ops.begin != NULL) {
        status = worker->ops.begin(worker->self, err);
    }
    return status;
}

static slot *slot_of(const aegis_worker *worker, uint32_t position)
{
    return &worker->ring[position & (worker->slots - 1)];
}

static bool has_command(aegis_worker *worker, uint32_t head)
{
    return atomic_load_explicit(&slot_of(worker, head)->sequence, memory_order_acquire) == head + 1;
}

static bool spin_rounds(aegis_worker *worker, uint32_t head)
{
    for (uint32_t i = 0; i < SPIN_ROUNDS; i++) {
        if (has_command(worker, head)) {
            return true;
        }
        relax();
    }
    return false;
}

/* True when a command came while it spun: after one has been done the next may be near. A polling
 * worker gives up only to end. */
static bool spin_for_command(aegis_worker *worker, uint32_t head)
{
    bool found = false;
    switch (worker->completion) {
    case AEGIS_COMPLETION_BLOCK:
        break;
    case AEGIS_COMPLETION_POLL:
        while (!found && !atomic_load(&worker->stopping)) {
            found = spin_rounds(worker, head);
        }
        break;
    case AEGIS_COMPLETION_ADAPTIVE: {
        uint64_t spin_ns = worker->spin_ns > 0 ? worker->spin_ns : worker->ops.spin_ns;
        uint64_t end = spin_ns > 0 && head > 0 ? aegis_counter_now_ns() + spin_ns : 0;
        do {
            found = spin_rounds(worker, head);
        } while (!found && !atomic_load_explicit(&worker->stopping, memory_order_relaxed) &&
                 end > 0 && aegis_counter_now_ns() < end);
        break;
    }
    }
    return found;
}

/* Returns false when the worker is to end and nothing is left. */
static bool wait_for_command(aegis_worker *worker, uint32_t head)
{
    if (spin_for_command(worker, head)) {
        return true;
    }
    for (;;) {
        /* parked before the sequence here, the sequence before parked in push, all sequentially
         * consistent: one of the two sides sees the other's store. `stopping` is read before the
         * last look, so that nothing pushed before the stop is left behind. */
        atomic_store(&worker->parked, 1);
        bool stopping = atomic_load(&worker->stopping);
        if (atomic_load(&slot_of(worker, head)->sequence) == head + 1) {
            atomic_store(&worker->parked, 0);
            return true;
        }
        if (stopping) {
            return false;
        }
        aegis_futex_wait(&worker->parked, 1);
    }
}

void aegis_worker_wake(aegis_worker *worker)
{
    if (atomic_load(&worker->parked) != 0 && atomic_exchange(&worker->parked, 0) != 0) {
        aegis_futex_wake(&worker->parked, 1);
    }
}

static void *run(void *argument)
{
    aegis_worker *worker = argument;
    aegis_status status = begin(worker, worker->start_error);
    worker->start_status = status;
    sem_post(&worker->started);
    if (status != AEGIS_OK) {
        return NULL;
    }
    uint32_t head = 0;
    while (has_command(worker, head) || wait_for_command(worker, head)) {
        aegis_command command = slot_of(worker, head)->command;
        head++;
        /* The slot is free while the command runs: depth counts those that wait. */
        atomic_store_explicit(&worker->head, head, memory_order_release);
        worker->ops.execute(worker->self, &command);
        aegis_counter_set(&worker->done, head);
    }
    return NULL;
}

/* Signals stay with the application's own threads. */
static int start_thread(aegis_worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static uint32_t slots_for(size_t depth)
{
    uint32_t slots = 1;
    while (slots < depth) {
        slots *= 2;
    }
    return slots;
}

static void release(aegis_worker *worker)
{
    aegis_allocator allocator = worker->allocator;
    sem_destroy(&worker->started);
    aegis_deallocate(&allocator, worker->ring, worker->slots, sizeof *worker->ring);
    aegis_deallocate(&allocator, worker, 1, sizeof *worker);
}

static aegis_worker *make(const aegis_stream_config *config,
                          const aegis_worker_ops *ops,
                          void *self,
                          const aegis_allocator *allocator)
{
    aegis_worker *worker = aegis_allocate_zeroed(allocator, 1, sizeof *worker);
    if (worker == NULL) {
        return NULL;
    }
    worker->allocator = *allocator;
    worker->ops = *ops;
    worker->self = self;
    worker->depth = (uint32_t)config->depth;
    worker->slots = slots_for(config->depth);
    worker->cpu = config->cpu;
    worker->fifo_priority = config->fifo_priority;
    worker->completion = config->completion;
    worker->spin_ns = config->spin_ns;
    snprintf(worker->name, sizeof worker->name, "%s", config->name);
    sem_init(&worker->started, 0, 0);
    worker->ring = aegis_allocate_zeroed(allocator, worker->slots, sizeof *worker->ring);
    if (worker->ring == NULL) {
        release(worker);
        return NULL;
    }
    return worker;
}

aegis_status aegis_worker_create(const aegis_stream_config *config,
                                 const aegis_worker_ops *ops,
                                 void *self,
                                 const aegis_allocator *allocator,
                                 aegis_worker **ret_worker,
                                 aegis_error *err)
{
    aegis_worker *worker = make(config, ops, self, allocator);
    if (worker == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.worker"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for stream '%s' with a ring of %zu commands",
                               config->name, config->depth);
    }
    aegis_status status;
    worker->start_error = err;
    int rc = start_thread(worker);
    if (rc != 0) {
        status = aegis_error_set_native(err, AEGIS_HERE("device.worker"), AEGIS_ERROR_NO_MEMORY, rc,
                                        "no thread for stream '%s' (errno %d): raise ulimit -u or "
                                        "pids.max of the control group",
                                        config->name, rc);
        goto fail;
    }
    while (sem_wait(&worker->started) != 0) {
        /* EINTR is the only failure of a valid semaphore. */
    }
    status = worker->start_status;
    if (status != AEGIS_OK) {
        pthread_join(worker->thread, NULL);
        goto fail;
    }
    *ret_worker = worker;
    return AEGIS_OK;
fail:
    release(worker);
    return status;
}

void aegis_worker_destroy(aegis_worker *worker)
{
    if (worker == NULL) {
        return;
    }
    atomic_store(&worker->stopping, true);
    aegis_worker_wake(worker);
    pthread_join(worker->thread, NULL);
    release(worker);
}

bool aegis_worker_abandon(aegis_worker *worker, uint64_t until_ns)
{
    atomic_store(&worker->stopping, true);
    aegis_worker_wake(worker);
    /* `done` reaches the last command just before the thread ends. */
    if (!aegis_counter_wait_until(
            &worker->done, atomic_load_explicit(&worker->tail, memory_order_acquire), until_ns)) {
        pthread_detach(worker->thread);
        return false;
    }
    pthread_join(worker->thread, NULL);
    release(worker);
    return true;
}

bool aegis_worker_is_own_thread(const aegis_worker *worker)
{
    return pthread_equal(pthread_self(), worker->thread) != 0;
}

aegis_status aegis_worker_put(aegis_worker *worker, const aegis_command *command, aegis_error *err)
{
    uint32_t head, tail;
    do { /* head first: it never passes a tail that is read behind it */
        head = atomic_load_explicit(&worker->head, memory_order_acquire);
        tail = atomic_load_explicit(&worker->tail, memory_order_acquire);
    } while (tail - head < worker->depth &&
             !atomic_compare_exchange_weak_explicit(&worker->tail, &tail, tail + 1,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (tail - head >= worker->depth) {
        return aegis_error_set(err, AEGIS_HERE("device.worker"), AEGIS_ERROR_QUEUE_FULL,
                               "stream '%s' is full: %u commands wait (its depth); retry when some "
                               "have run, or create it with a larger depth",
                               worker->name, worker->depth);
    }
    slot_of(worker, tail)->command = *command;
    atomic_store(&slot_of(worker, tail)->sequence, tail + 1);
    return AEGIS_OK;
}

aegis_status aegis_worker_push(aegis_worker *worker, const aegis_command *command, aegis_error *err)
{
    aegis_status status = aegis_worker_put(worker, command, err);
    if (status == AEGIS_OK) {
        aegis_worker_wake(worker);
    }
    return status;
}

static aegis_status check_may_wait(const aegis_worker *worker, aegis_error *err)
{
    if (aegis_worker_is_own_thread(worker)) {
        return aegis_error_set(err, AEGIS_HERE("device.worker"), AEGIS_ERROR_STATE,
                               "stream '%s' is synchronised from its own thread, which would wait "
                               "for itself; use another thread or aegis_stream_notify",
                               worker->name);
    }
    return AEGIS_OK;
}

aegis_status aegis_worker_synchronize(aegis_worker *worker, aegis_error *err)
{
    aegis_status status = check_may_wait(worker, err);
    if (status == AEGIS_OK) {
        aegis_counter_wait(&worker->done,
                           atomic_load_explicit(&worker->tail, memory_order_acquire));
    }
    return status;
}

aegis_status
aegis_worker_synchronize_until(aegis_worker *worker, uint64_t until_ns, aegis_error *err)
{
    aegis_status status = check_may_wait(worker, err);
    uint32_t tail = atomic_load_explicit(&worker->tail, memory_order_acquire);
    if (status == AEGIS_OK && !aegis_counter_wait_until(&worker->done, tail, until_ns)) {
        return aegis_error_set(err, AEGIS_HERE("device.worker"), AEGIS_ERROR_TIMEOUT,
                               "stream '%s' still has %u commands that have not run; wait longer, "
                               "or call aegis_stream_abandon when its work cannot end any more",
                               worker->name, tail - aegis_counter_get(&worker->done));
    }
    return status;
}

bool aegis_worker_idle(aegis_worker *worker)
{
    return aegis_counter_reached(&worker->done,
                                 atomic_load_explicit(&worker->tail, memory_order_acquire));
}

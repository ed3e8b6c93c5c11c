/* SPDX-License-Identifier: Apache-2.0 */
/* Life cycle. Admission is in admit.c, submission in submit.c, the thread in driver/loop.c. */
#include "schedule/driver/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMPONENT "schedule.scheduler"
#define DEFAULT_MODELS 64u
#define DEFAULT_JOBS 4096u
#define START_DELAY_NS (10 * AEGIS_NS_PER_MS)
#define TURN_NS (100 * AEGIS_NS_PER_US) /* the shortest that Linux takes */

static size_t words(uint32_t models)
{
    return (models + 63u) / 64u;
}

static aegis_status check_config(const aegis_scheduler_config *config, aegis_error *err)
{
    if (config->lanes == NULL || config->lane_count == 0 || config->lane_count > AEGIS_MAX_LANES ||
        config->policy.ops == NULL || config->clock.ops == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "a scheduler needs 1 to %u lanes, a policy and a clock",
                               AEGIS_MAX_LANES);
    }
    if (config->max_models > AEGIS_TRACE_NONE - 1u) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "max_models is %u; at most %u have numbers", config->max_models,
                               AEGIS_TRACE_NONE - 1u);
    }
    if (config->wait == AEGIS_WAIT_POLL) {
        const aegis_device_capabilities *device =
            aegis_device_get_capabilities(aegis_stream_device(config->lanes[0]));
        int used = 0;
        for (uint16_t i = 0; i < config->lane_count; i++) {
            used += aegis_stream_width(config->lanes[i]);
        }
        if (device->kind == AEGIS_DEVICE_HOST && used >= device->multiprocessor_count) {
            return aegis_error_set(
                err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                "a polling driver would take a core from a lane: lanes use %d of "
                "%d cores; use wait = \"sleep\" or fewer lanes",
                used, device->multiprocessor_count);
        }
    }
    return AEGIS_OK;
}

static aegis_status create_tables(aegis_scheduler *scheduler, aegis_error *err)
{
    const aegis_allocator *allocator = &scheduler->allocator;
    uint32_t models = scheduler->config.max_models;
    aegis_core_config core = {.lanes = scheduler->config.lane_count,
                              .max_models = models,
                              .max_jobs = scheduler->config.max_jobs,
                              .wake_bound_ns = scheduler->config.wake_bound_ns,
                              .launch_bound_ns = scheduler->config.overhead_bound_ns};
    aegis_status status =
        aegis_core_create(&core, &scheduler->config.policy, allocator, &scheduler->core, err);
    if (status != AEGIS_OK) {
        return status;
    }
    scheduler->max_actions = aegis_core_max_actions(scheduler->core);
    scheduler->actions =
        aegis_allocate_zeroed(allocator, scheduler->max_actions, sizeof *scheduler->actions);
    scheduler->entries = aegis_allocate_zeroed(allocator, models, sizeof *scheduler->entries);
    scheduler->heap = aegis_allocate_zeroed(allocator, models, sizeof *scheduler->heap);
    scheduler->streaming = aegis_allocate_zeroed(allocator, models, sizeof *scheduler->streaming);
    scheduler->copies = aegis_allocate_zeroed(allocator, models, sizeof(aegis_entry *));
    scheduler->submitted =
        aegis_allocate_zeroed(allocator, words(models), sizeof *scheduler->submitted);
    if (scheduler->actions == NULL || scheduler->entries == NULL || scheduler->heap == NULL ||
        scheduler->streaming == NULL || scheduler->copies == NULL || scheduler->submitted == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %u models", models);
    }
    return aegis_job_table_init(&scheduler->jobs, scheduler->config.max_jobs, allocator, err);
}

/* Both threads of the driver only run what is put into their rings. */
static void execute_call(void *self, const aegis_command *command)
{
    (void)self;
    command->of.call.function(command->of.call.argument);
}

/* Timers of these threads are not to be gathered with others: the default slack is 50 us. */
static aegis_status begin_thread(void *self, aegis_error *err)
{
    (void)self;
    if (prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL) != 0) {
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PERMISSION, errno,
                                      "the timer slack of the driver's thread cannot be set: %s",
                                      strerror(errno));
    }
    return AEGIS_OK;
}

/* The first form of the kernel's struct sched_attr, which every later one takes. */
typedef struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
} scheduling;

/* From Linux 6.12 on a thread that wakes goes before one whose turn is longer, instead of waiting
 * for the next tick, which may be 4 ms. Others take no notice, and where it is refused all is as it
 * was: how late this thread wakes is measured after it. */
static void shorten_turn(void)
{
    scheduling own = {.size = sizeof own};
    if (syscall(SYS_sched_getattr, 0, &own, sizeof own, 0) == 0 && own.policy == SCHED_OTHER) {
        own.size = sizeof own;
        own.runtime_ns = TURN_NS;
        (void)syscall(SYS_sched_setattr, 0, &own, 0);
    }
}

static aegis_status begin_orchestrator(void *self, aegis_error *err)
{
    shorten_turn();
    return begin_thread(self, err);
}

static const aegis_worker_ops orchestrator_ops = {.begin = begin_orchestrator,
                                                  .execute = execute_call};
static const aegis_worker_ops callback_ops = {.begin = begin_thread, .execute = execute_call};

static aegis_status create_threads(aegis_scheduler *scheduler, aegis_error *err)
{
    aegis_stream_config orchestrator = {.name = "aegis-sched",
                                        .cpu = scheduler->config.cpu,
                                        .fifo_priority = scheduler->config.fifo_priority,
                                        .width = 1,
                                        .depth = 4};
    aegis_stream_config callbacks = {
        .name = "aegis-callback", .cpu = -1, .width = 1, .depth = scheduler->config.max_jobs};
    aegis_status status = aegis_worker_create(&orchestrator, &orchestrator_ops, scheduler,
                                              &scheduler->allocator, &scheduler->orchestrator, err);
    if (status == AEGIS_OK) {
        status = aegis_worker_create(&callbacks, &callback_ops, scheduler, &scheduler->allocator,
                                     &scheduler->callbacks, err);
    }
    return status;
}

static aegis_status create_rings(aegis_scheduler *scheduler, aegis_error *err)
{
    aegis_trace_collector *collector = scheduler->config.collector;
    if (collector == NULL) {
        return AEGIS_OK;
    }
    aegis_status status = aegis_trace_ring_create(collector, "orchestrator", &scheduler->ring, err);
    for (uint16_t i = 0; i < scheduler->config.lane_count && status == AEGIS_OK; i++) {
        char name[24];
        snprintf(name, sizeof name, "lane-%u", i);
        status = aegis_trace_ring_create(collector, name, &scheduler->lanes[i].ring, err);
    }
    return status;
}

aegis_status aegis_scheduler_create(const aegis_scheduler_config *config,
                                    const aegis_allocator *allocator,
                                    aegis_scheduler **ret_scheduler,
                                    aegis_error *err)
{
    if (config == NULL || allocator == NULL || ret_scheduler == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "a scheduler needs a configuration and an allocator");
    }
    aegis_status status = check_config(config, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_scheduler *scheduler = aegis_allocate_zeroed(allocator, 1, sizeof *scheduler);
    if (scheduler == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for a scheduler");
    }
    scheduler->allocator = *allocator;
    scheduler->config = *config;
    if (config->max_models == 0) {
        scheduler->config.max_models = DEFAULT_MODELS;
    }
    if (config->max_jobs == 0) {
        scheduler->config.max_jobs = DEFAULT_JOBS;
    }
    pthread_mutex_init(&scheduler->admin, NULL);
    sem_init(&scheduler->entered, 0, 0);
    atomic_init(&scheduler->next_job, 1);
    for (uint16_t i = 0; i < config->lane_count; i++) {
        scheduler->lanes[i].scheduler = scheduler;
        scheduler->lanes[i].stream = config->lanes[i];
        scheduler->lanes[i].index = i;
    }
    status = create_threads(scheduler, err);
    if (status == AEGIS_OK) {
        status = aegis_driver_calibrate(scheduler, err);
    }
    if (status == AEGIS_OK) {
        status = create_tables(scheduler, err);
    }
    if (status == AEGIS_OK) {
        status = create_rings(scheduler, err);
    }
    if (status != AEGIS_OK) {
        aegis_scheduler_destroy(scheduler);
        return status;
    }
    *ret_scheduler = scheduler;
    return AEGIS_OK;
}

void aegis_scheduler_destroy(aegis_scheduler *scheduler)
{
    if (scheduler == NULL) {
        return;
    }
    const aegis_allocator allocator = scheduler->allocator;
    uint32_t models = scheduler->config.max_models;
    if (scheduler->started) {
        aegis_scheduler_stop(scheduler, NULL);
    }
    if (aegis_scheduler_hangs(scheduler)) {
        return;
    }
    aegis_worker_destroy(scheduler->orchestrator);
    aegis_worker_destroy(scheduler->callbacks);
    for (uint32_t i = 0; scheduler->entries != NULL && i < models; i++) {
        aegis_entry_destroy(scheduler->entries[i]);
    }
    aegis_lane_memory_finish(&scheduler->lane_memory);
    aegis_core_destroy(scheduler->core);
    aegis_job_table_finish(&scheduler->jobs, &allocator);
    aegis_deallocate(&allocator, scheduler->actions, scheduler->max_actions,
                     sizeof *scheduler->actions);
    aegis_deallocate(&allocator, scheduler->entries, models, sizeof *scheduler->entries);
    aegis_deallocate(&allocator, scheduler->heap, models, sizeof *scheduler->heap);
    aegis_deallocate(&allocator, scheduler->streaming, models, sizeof *scheduler->streaming);
    aegis_deallocate(&allocator, scheduler->copies, models, sizeof(aegis_entry *));
    aegis_deallocate(&allocator, scheduler->submitted, words(models), sizeof *scheduler->submitted);
    pthread_mutex_destroy(&scheduler->admin);
    sem_destroy(&scheduler->entered);
    aegis_deallocate(&allocator, scheduler, 1, sizeof *scheduler);
}

uint64_t aegis_scheduler_wake_bound_ns(const aegis_scheduler *scheduler)
{
    return scheduler->config.wake_bound_ns;
}

uint64_t aegis_scheduler_overhead_bound_ns(const aegis_scheduler *scheduler)
{
    return scheduler->config.overhead_bound_ns;
}

bool aegis_scheduler_hangs(const aegis_scheduler *scheduler)
{
    return scheduler != NULL && atomic_load(&scheduler->hung);
}

aegis_status aegis_scheduler_check(const aegis_scheduler *scheduler, aegis_error *err)
{
    if (!atomic_load_explicit(&scheduler->failed, memory_order_acquire)) {
        return AEGIS_OK;
    }
    if (err != NULL) {
        *err = scheduler->loop_error;
    }
    return scheduler->loop_status;
}

/* ---- start, stop and words to the running thread ---- */

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
        /* interrupted by a signal */
    }
}

/* The thread of a lane that ran last, or of the copies, may still be ringing a bell of the
 * scheduler. */
static void synchronize_lanes(aegis_scheduler *scheduler)
{
    for (uint16_t i = 0; i < scheduler->config.lane_count; i++) {
        if (!scheduler->lanes[i].hung) {
            aegis_ahead_stop(&scheduler->lanes[i]);
        }
    }
    if (scheduler->config.copy_stream != NULL && !scheduler->copies_hang) {
        aegis_stream_synchronize(scheduler->config.copy_stream, NULL);
    }
}

aegis_status aegis_scheduler_start(aegis_scheduler *scheduler, uint64_t start_ns, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&scheduler->admin);
    if (scheduler->started || scheduler->stopping) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                                 "the scheduler was started already");
        goto done;
    }
    for (uint32_t i = 0; i < scheduler->config.max_models; i++) {
        aegis_entry *entry = scheduler->entries[i];
        if (entry != NULL) {
            entry->model = aegis_context_model(entry->context);
        }
        if (entry != NULL && (entry->model == NULL || !aegis_model_is_placed(entry->model))) {
            status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                                     "%s is not placed in memory yet: call aegis_model_place first",
                                     aegis_context_name(entry->context));
            goto done;
        }
        status = entry != NULL ? aegis_driver_prepare(scheduler, entry, err) : AEGIS_OK;
        if (status != AEGIS_OK) {
            goto done;
        }
        if (entry != NULL) {
            atomic_store(&entry->active, true); /* means nothing before `accepting` */
        }
    }
    uint64_t now = aegis_clock_now_ns(&scheduler->config.clock);
    scheduler->start_ns = start_ns > now ? start_ns : now + START_DELAY_NS;
    for (uint16_t i = 0; i < scheduler->config.lane_count; i++) {
        aegis_ahead_start(&scheduler->lanes[i]); /* nobody asks before the loop runs */
    }
    aegis_command loop = {.kind = AEGIS_COMMAND_CALL,
                          .of.call = {.function = aegis_driver_loop, .argument = scheduler}};
    status = aegis_worker_push(scheduler->orchestrator, &loop, err);
    if (status != AEGIS_OK) {
        synchronize_lanes(scheduler);
    } else {
        /* Submissions may come from now on; they wait in their queues until the loop runs. */
        scheduler->started = true;
        atomic_store(&scheduler->accepting, true);
        wait_for(&scheduler->entered);
    }
done:
    if (status != AEGIS_OK && !scheduler->started) {
        aegis_streaming_unwatch_all(scheduler);
    }
    pthread_mutex_unlock(&scheduler->admin);
    return status;
}

/* Hands a command to the running orchestration thread and waits for its answer. `admin` is held. */
static aegis_status
tell(aegis_scheduler *scheduler, aegis_command_to_driver kind, aegis_entry *entry, aegis_error *err)
{
    aegis_driver_command command = {.kind = kind, .entry = entry};
    sem_init(&command.done, 0, 0);
    atomic_store(&scheduler->mailbox, &command);
    aegis_wake_ring(&scheduler->wake);
    wait_for(&command.done);
    sem_destroy(&command.done);
    if (command.status != AEGIS_OK && err != NULL) {
        *err = command.error;
    }
    return command.status;
}

/* Before a placed model joins: how it gets its weights and its inputs. */
aegis_status aegis_driver_prepare(aegis_scheduler *scheduler, aegis_entry *entry, aegis_error *err)
{
    aegis_status status = aegis_copies_check(entry, err);
    return status == AEGIS_OK ? aegis_streaming_watch(scheduler, entry, err) : status;
}

/* Submitters of jobs that will never run hear so. The orchestration thread has ended. */
static void reject_remaining(aegis_scheduler *scheduler)
{
    for (uint32_t i = 0; i < scheduler->config.max_models; i++) {
        aegis_entry *entry = scheduler->entries[i];
        for (uint32_t r = 0; entry != NULL && r < entry->record_count; r++) {
            aegis_call_record *record = &entry->records[r];
            bool is_free = atomic_load(&entry->record_bits[r / 64]) >> (r % 64) & 1;
            if (!is_free && record->callback != NULL) {
                record->result.end = AEGIS_JOB_REJECTED;
                record->result.rationale = AEGIS_WHY_STOPPING;
                record->callback(record->callback_self, &record->result);
            }
            if (!is_free) {
                aegis_entry_give_record(entry, record);
            }
        }
    }
}

aegis_status aegis_scheduler_stop(aegis_scheduler *scheduler, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&scheduler->admin);
    if (!scheduler->started) {
        pthread_mutex_unlock(&scheduler->admin);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "the scheduler is not running");
    }
    atomic_store(&scheduler->accepting, false);
    aegis_visitors_wait(&scheduler->visitors);
    tell(scheduler, AEGIS_DRIVER_STOP, NULL, NULL);
    aegis_worker_synchronize(scheduler->orchestrator, NULL);
    synchronize_lanes(scheduler);
    aegis_worker_synchronize(scheduler->callbacks, NULL);
    aegis_streaming_unwatch_all(scheduler);
    reject_remaining(scheduler);
    scheduler->started = false;
    if (scheduler->loop_status != AEGIS_OK) {
        status = scheduler->loop_status;
        if (err != NULL) {
            *err = scheduler->loop_error;
        }
    }
    pthread_mutex_unlock(&scheduler->admin);
    return status;
}

static aegis_status unknown_model(aegis_error *err, aegis_place place, uint32_t model)
{
    return aegis_error_set(err, place, AEGIS_ERROR_NOT_FOUND, "model %u is not admitted", model);
}

void aegis_scheduler_drop_entry(aegis_scheduler *scheduler, aegis_entry *entry)
{
    scheduler->entries[entry->id] = NULL;
    aegis_visitors_wait(&scheduler->visitors);
    aegis_entry_destroy(entry);
}

aegis_status aegis_scheduler_evict(aegis_scheduler *scheduler, uint32_t model, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&scheduler->admin);
    aegis_entry *entry = aegis_scheduler_entry(scheduler, model);
    if (entry == NULL) {
        status = unknown_model(err, AEGIS_HERE(COMPONENT), model);
    } else if (aegis_scheduler_hangs(scheduler)) {
        status = aegis_scheduler_check(scheduler, err); /* its lane may still be using it */
    } else if (scheduler->started) {
        /* What is in its queue then is all that will ever be. */
        atomic_store(&entry->active, false);
        aegis_visitors_wait(&scheduler->visitors);
        status = tell(scheduler, AEGIS_DRIVER_REMOVE, entry, err);
        /* Callbacks of its jobs may still run: they use its records. */
        aegis_worker_synchronize(scheduler->callbacks, NULL);
        aegis_streaming_unwatch(entry);
    }
    if (entry != NULL && status == AEGIS_OK) {
        aegis_trace_record record = {
            .kind = AEGIS_TRACE_EVICTED, .model = (uint16_t)model, .lane = entry->core.lane};
        if (scheduler->config.collector != NULL) {
            aegis_trace_collector_record(scheduler->config.collector, &record);
        }
        aegis_scheduler_drop_entry(scheduler, entry);
    }
    pthread_mutex_unlock(&scheduler->admin);
    return status;
}

aegis_status aegis_scheduler_pause_ahead(aegis_scheduler *scheduler, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&scheduler->admin);
    atomic_fetch_add(&scheduler->pauses, 1);
    if (aegis_scheduler_hangs(scheduler)) {
        status = aegis_scheduler_check(scheduler, err);
    } else if (scheduler->started) {
        status = tell(scheduler, AEGIS_DRIVER_PAUSE_AHEAD, NULL, err);
    }
    if (status != AEGIS_OK) {
        atomic_fetch_sub(&scheduler->pauses, 1);
    }
    pthread_mutex_unlock(&scheduler->admin);
    return status;
}

void aegis_scheduler_resume_ahead(aegis_scheduler *scheduler)
{
    atomic_fetch_sub(&scheduler->pauses, 1);
}

aegis_status
aegis_scheduler_clear_fault(aegis_scheduler *scheduler, uint32_t model, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pthread_mutex_lock(&scheduler->admin);
    aegis_entry *entry = aegis_scheduler_entry(scheduler, model);
    if (entry == NULL) {
        status = unknown_model(err, AEGIS_HERE(COMPONENT), model);
    } else {
        aegis_context_clear_error(entry->context);
        if (scheduler->started) {
            status = tell(scheduler, AEGIS_DRIVER_CLEAR_FAULT, entry, err);
        }
    }
    pthread_mutex_unlock(&scheduler->admin);
    return status;
}

/* Called by admission when a model joins a running scheduler; `admin` is held. */
aegis_status aegis_driver_add(aegis_scheduler *scheduler, aegis_entry *entry, aegis_error *err)
{
    return tell(scheduler, AEGIS_DRIVER_ADD, entry, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The orchestration thread. Each round: results of lanes, then inputs that came, then commands,
 * then submissions, then periodic releases, then timers, each as an event of the core; then it
 * waits. A lane whose segment ends while this thread sleeps takes the turn and does the part of a
 * round that is its own; so does the thread of the copies.
 */
#include "schedule/driver/internal.h"

#include <string.h>

static uint64_t now_ns(const aegis_scheduler *scheduler)
{
    return aegis_clock_now_ns(&scheduler->config.clock);
}

/* What is known of an execution, when the decision that follows it has been made. */
static void count_execution(aegis_entry *entry, const aegis_core_event *event, uint64_t waited_ns)
{
    uint64_t execution = event->end_ns - event->start_ns;
    aegis_histogram_add(&entry->start, waited_ns);
    atomic_fetch_add_explicit(&entry->busy_ns, execution, memory_order_relaxed);
    if (event->status == AEGIS_OK) {
        aegis_histogram_add(&entry->execution, execution);
        if (execution > entry->claimed_ns[event->segment]) {
            atomic_fetch_add_explicit(&entry->past_claim, 1, memory_order_relaxed);
        }
    }
}

static bool collect_lanes(aegis_scheduler *scheduler)
{
    bool any = false;
    for (uint16_t i = 0; i < scheduler->config.lane_count; i++) {
        aegis_lane *lane = &scheduler->lanes[i];
        if (!lane->running || !atomic_load_explicit(&lane->done, memory_order_acquire)) {
            continue;
        }
        any = true;
        lane->running = false;
        aegis_ahead_collect(lane);
        aegis_driver_keep_fatal(scheduler, lane);
        aegis_entry *entry = lane->entry;
        aegis_context_release_stream(entry->context);
        (void)aegis_context_charge_compute(entry->context, lane->end_ns,
                                           lane->end_ns - lane->start_ns); /* the core enforces */
        uint64_t waited = lane->start_ns - lane->dispatched_ns;
        const aegis_core_event event = {.kind = AEGIS_CORE_SEGMENT_DONE,
                                        .model = entry->id,
                                        .lane = lane->index,
                                        .segment = lane->segment,
                                        .job = lane->job,
                                        .start_ns = lane->start_ns,
                                        .end_ns = lane->end_ns,
                                        .status = lane->status};
        aegis_streaming_expect(entry, lane->segment + 1); /* unless the job ends now */
        aegis_driver_step(scheduler, &event);
        count_execution(entry, &event, waited);
    }
    return any;
}

/* Bytes that came while nothing of their models ran. */
static void release_streamed(aegis_scheduler *scheduler)
{
    aegis_entry *entry;
    while (!scheduler->stopping && (entry = aegis_streaming_take_ready(scheduler)) != NULL) {
        aegis_driver_step(scheduler, &(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_READY,
                                                         .model = entry->id,
                                                         .segment = entry->due_segment});
    }
}

static bool lane_runs(const aegis_scheduler *scheduler, const aegis_entry *entry)
{
    const aegis_lane *lane = &scheduler->lanes[entry->core.lane];
    return lane->running && lane->entry == entry;
}

static void reply(aegis_driver_command *command, aegis_status status, const aegis_error *error)
{
    command->status = status;
    if (status != AEGIS_OK) {
        command->error = *error;
    }
    sem_post(&command->done);
}

static void first_release(aegis_scheduler *scheduler, aegis_entry *entry, uint64_t from_ns)
{
    if (aegis_request_is_continuous(&entry->request)) {
        aegis_driver_want_job(scheduler, entry, from_ns + entry->request.offset_ns);
    } else if (entry->request.periodic) {
        entry->next_release_ns = from_ns + entry->request.offset_ns;
        aegis_release_heap_push(scheduler, entry->id);
    }
}

static aegis_status add_to_core(aegis_scheduler *scheduler, aegis_entry *entry)
{
    if (entry->core.copies_early) {
        entry->core.jitter_ns = atomic_load(&entry->copy_response_ns);
    }
    aegis_status status = aegis_driver_step(
        scheduler,
        &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .model = entry->id, .add = &entry->core});
    if (status == AEGIS_OK) {
        entry->in_core = true;
        atomic_store(&entry->never_ahead, !aegis_model_can_go_ahead(entry->model));
        entry->has_halves = aegis_model_ahead_has_halves(entry->model);
        aegis_streaming_add(scheduler, entry);
    }
    return status;
}

/* Submissions that are still in the queue of a model that goes end as rejected by the core. */
static void drain_submissions(aegis_scheduler *scheduler, aegis_entry *entry);

static void begin_removal(aegis_scheduler *scheduler, aegis_driver_command *command)
{
    aegis_entry *entry = command->entry;
    aegis_streaming_remove(scheduler, entry);
    if (entry->request.periodic) {
        aegis_release_heap_remove(scheduler, entry->id);
        entry->continuous_waits = false;
    }
    atomic_fetch_and(&scheduler->submitted[entry->id / 64], ~(UINT64_C(1) << (entry->id % 64)));
    drain_submissions(scheduler, entry);
    aegis_driver_step(scheduler,
                      &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = entry->id});
    scheduler->removing = command;
}

/* Also when a lane hangs: it may never take what stands there. */
static void finish_pause(aegis_scheduler *scheduler, aegis_driver_command *command)
{
    const bool hung = atomic_load_explicit(&scheduler->hung, memory_order_relaxed);
    if (hung || aegis_ahead_is_clear(scheduler, NULL)) {
        scheduler->removing = NULL;
        reply(command, hung ? scheduler->loop_status : AEGIS_OK, &scheduler->loop_error);
    }
}

static void finish_removal(aegis_scheduler *scheduler)
{
    aegis_driver_command *command = scheduler->removing;
    if (command != NULL && command->kind == AEGIS_DRIVER_PAUSE_AHEAD) {
        finish_pause(scheduler, command);
        return;
    }
    if (command == NULL || lane_runs(scheduler, command->entry)) {
        return;
    }
    const bool copies = command->entry->copy.under_way;
    if ((copies && !scheduler->copies_hang) || !aegis_ahead_is_clear(scheduler, command->entry)) {
        return;
    }
    scheduler->removing = NULL;
    command->entry->in_core = false;
    reply(command, copies ? scheduler->loop_status : AEGIS_OK, &scheduler->loop_error);
}

/* Before a model joins that makes inputs of others come later. */
static void tell_jitters(aegis_scheduler *scheduler)
{
    for (uint32_t i = 0; i < scheduler->config.max_models; i++) {
        aegis_entry *entry = scheduler->entries[i];
        const bool copies = entry != NULL && entry->in_core && entry->core.copies_early;
        const uint64_t jitter = copies ? atomic_load(&entry->copy_response_ns) : 0;
        if (copies && jitter != entry->core.jitter_ns) {
            entry->core.jitter_ns = jitter;
            aegis_driver_step(scheduler, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_JITTER,
                                                             .model = i,
                                                             .jitter_ns = jitter});
        }
    }
}

static void take_command(aegis_scheduler *scheduler)
{
    if (atomic_load_explicit(&scheduler->mailbox, memory_order_relaxed) == NULL) {
        return; /* looked at in every turn: a load is cheaper than an exchange */
    }
    aegis_driver_command *command = atomic_exchange(&scheduler->mailbox, NULL);
    aegis_status status = AEGIS_OK;
    switch (command->kind) {
    case AEGIS_DRIVER_ADD:
        tell_jitters(scheduler);
        status = add_to_core(scheduler, command->entry);
        if (status == AEGIS_OK) {
            atomic_store(&command->entry->active, true);
            first_release(scheduler, command->entry, now_ns(scheduler));
        }
        reply(command, status, &scheduler->loop_error);
        break;
    case AEGIS_DRIVER_REMOVE:
        begin_removal(scheduler, command);
        break;
    case AEGIS_DRIVER_PAUSE_AHEAD:
        scheduler->removing = command;
        break;
    case AEGIS_DRIVER_CLEAR_FAULT:
        status = aegis_driver_step(scheduler, &(aegis_core_event){.kind = AEGIS_CORE_CLEAR_FAULT,
                                                                  .model = command->entry->id});
        if (aegis_request_is_continuous(&command->entry->request)) {
            aegis_driver_want_job(scheduler, command->entry, now_ns(scheduler));
        }
        reply(command, status, &scheduler->loop_error);
        break;
    case AEGIS_DRIVER_STOP:
        scheduler->stopping = true;
        aegis_driver_step(scheduler, &(aegis_core_event){.kind = AEGIS_CORE_STOP});
        reply(command, AEGIS_OK, NULL);
        break;
    }
}

/* Submissions that are seen together; the last one waits until it is known whether another
 * follows. */
typedef struct arrivals {
    uint64_t seen_ns;
    aegis_entry *entry; /* NULL: none has been taken yet */
    aegis_submit_item item;
} arrivals;

static void hand_over(aegis_scheduler *scheduler, const arrivals *last, bool more)
{
    const aegis_submit_item *item = &last->item;
    if (last->entry == NULL) {
        return;
    }
    if (item->record != AEGIS_NO_RECORD) {
        aegis_job_table_put(&scheduler->jobs, item->job, item->record);
    }
    last->entry->promise.reordered = last->entry->promise.reordered || item->priority != 0;
    aegis_driver_step(scheduler, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT,
                                                     .model = last->entry->id,
                                                     .job = item->job,
                                                     .release_ns = item->release_ns,
                                                     .deadline_ns = item->deadline_ns,
                                                     .job_priority = item->priority,
                                                     .seen_ns = last->seen_ns,
                                                     .more = more});
}

/* As many as its queue holds, so that who submits without end holds up no decision: what comes
 * meanwhile is announced anew. False: that many came, and there may be more. */
static bool take_arrivals(aegis_scheduler *scheduler, aegis_entry *entry, arrivals *last)
{
    for (uint64_t taken = 0; taken <= entry->queue.mask; taken++) {
        aegis_submit_item item;
        if (!aegis_submit_queue_take(&entry->queue, &item)) {
            return true;
        }
        hand_over(scheduler, last, true);
        last->entry = entry;
        last->item = item;
    }
    return false;
}

static void drain_submissions(aegis_scheduler *scheduler, aegis_entry *entry)
{
    arrivals last = {.seen_ns = now_ns(scheduler)};
    while (!take_arrivals(scheduler, entry, &last)) {
        /* nobody adds to it any more */
    }
    hand_over(scheduler, &last, false);
}

static void collect_submissions(aegis_scheduler *scheduler)
{
    arrivals last = {0};
    for (uint32_t word = 0; word * 64 < scheduler->config.max_models; word++) {
        if (atomic_load_explicit(&scheduler->submitted[word], memory_order_relaxed) == 0) {
            continue;
        }
        last.seen_ns = last.seen_ns > 0 ? last.seen_ns : now_ns(scheduler);
        uint64_t bits = atomic_exchange(&scheduler->submitted[word], 0);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t model = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if (scheduler->entries[model] != NULL) {
                (void)take_arrivals(scheduler, scheduler->entries[model], &last);
            }
        }
    }
    hand_over(scheduler, &last, false);
}

/* The heap's top was released: where it stands now. */
static void advance_top(aegis_scheduler *scheduler, aegis_entry *entry, uint64_t now)
{
    if (aegis_request_is_continuous(&entry->request)) {
        aegis_release_heap_remove(scheduler, entry->id);
        entry->continuous_waits = false;
        entry->continuous_jobs++;
        return;
    }
    aegis_histogram_add(&scheduler->wakes, now - entry->next_release_ns);
    entry->next_release_ns += entry->request.period_ns;
    aegis_release_heap_sink(scheduler);
}

static bool release_is_due(const aegis_scheduler *scheduler, uint64_t now)
{
    return scheduler->heap_count > 0 &&
           scheduler->entries[aegis_release_heap_top(scheduler)]->next_release_ns <= now;
}

/* Releases carry their nominal instant, however late this thread woke. */
static void release_periodic(aegis_scheduler *scheduler)
{
    uint64_t now = now_ns(scheduler);
    while (release_is_due(scheduler, now) && !scheduler->stopping) {
        aegis_entry *entry = scheduler->entries[aegis_release_heap_top(scheduler)];
        uint64_t release = entry->next_release_ns;
        advance_top(scheduler, entry, now);
        uint32_t held = entry->continuous_jobs;
        aegis_driver_step(scheduler,
                          &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT,
                                              .model = entry->id,
                                              .job = atomic_fetch_add(&scheduler->next_job, 1),
                                              .release_ns = release,
                                              .deadline_ns = release + entry->request.deadline_ns,
                                              .seen_ns = now,
                                              .more = release_is_due(scheduler, now)});
        /* Accepted: perhaps there is room for one more. */
        if (aegis_request_is_continuous(&entry->request) && entry->continuous_jobs == held) {
            aegis_driver_want_job(scheduler, entry, release);
        }
    }
}

static void fire_timers(aegis_scheduler *scheduler)
{
    uint64_t now = now_ns(scheduler);
    if (aegis_core_next_timer(scheduler->core) <= now) {
        aegis_driver_step(scheduler, &(aegis_core_event){.kind = AEGIS_CORE_TIMER, .seen_ns = now});
    }
}

static uint64_t next_instant(const aegis_scheduler *scheduler)
{
    uint64_t next = aegis_core_next_timer(scheduler->core);
    if (scheduler->heap_count > 0 && !scheduler->stopping) {
        uint64_t release = scheduler->entries[aegis_release_heap_top(scheduler)]->next_release_ns;
        next = release < next ? release : next;
    }
    uint64_t hang = aegis_driver_next_hang(scheduler);
    next = hang < next ? hang : next;
    return next;
}

/* A lane runs, or inputs are on their way. */
static bool is_busy(const aegis_scheduler *scheduler)
{
    if (scheduler->copy_count > 0) {
        return true;
    }
    for (uint16_t i = 0; i < scheduler->config.lane_count; i++) {
        if (scheduler->lanes[i].running) {
            return true;
        }
    }
    return false;
}

static void record_core(aegis_scheduler *scheduler)
{
    aegis_core_config config = {.lanes = scheduler->config.lane_count,
                                .max_models = scheduler->config.max_models,
                                .max_jobs = scheduler->config.max_jobs,
                                .wake_bound_ns = scheduler->config.wake_bound_ns,
                                .launch_bound_ns = scheduler->config.overhead_bound_ns};
    aegis_trace_record record = aegis_core_config_to_record(&config, now_ns(scheduler));
    aegis_trace_record_write(scheduler->ring, &record);
}

static void enter_pool(aegis_scheduler *scheduler)
{
    record_core(scheduler);
    for (uint32_t i = 0; i < scheduler->config.max_models; i++) {
        aegis_entry *entry = scheduler->entries[i];
        if (entry != NULL && add_to_core(scheduler, entry) == AEGIS_OK) {
            first_release(scheduler, entry, scheduler->start_ns);
        }
    }
}

/* Gives the turn away for as long as nothing is to be done. */
static void sleep_until(aegis_scheduler *scheduler, uint32_t seen, uint64_t until_ns)
{
    scheduler->sleeps_until_ns = until_ns;
    aegis_turn_give(&scheduler->turn);
    aegis_wake_wait(&scheduler->wake, seen, until_ns);
    aegis_turn_take(&scheduler->turn);
}

/* What the thread of a lane or of the copies does not do itself: a removal or a stop that waited
 * for it, and instants before the one that is slept for. */
static bool needs_orchestrator(const aegis_scheduler *scheduler)
{
    return scheduler->stopping || scheduler->removing != NULL ||
           next_instant(scheduler) < scheduler->sleeps_until_ns;
}

void aegis_driver_segment_ended(aegis_scheduler *scheduler)
{
    bool ring = true;
    if (aegis_turn_try(&scheduler->turn)) {
        collect_lanes(scheduler);
        aegis_copies_collect(scheduler);
        release_streamed(scheduler);
        release_periodic(scheduler);
        atomic_fetch_add_explicit(&scheduler->lane_turns, 1, memory_order_relaxed);
        ring = needs_orchestrator(scheduler);
        aegis_turn_give(&scheduler->turn);
    }
    if (ring) { /* also when the turn is another's: it may be past this lane */
        aegis_wake_ring(&scheduler->wake);
    }
}

void aegis_driver_loop(void *argument)
{
    aegis_scheduler *scheduler = argument;
    aegis_turn_take(&scheduler->turn);
    enter_pool(scheduler);
    sem_post(&scheduler->entered);
    while (!scheduler->stopping || is_busy(scheduler)) {
        uint32_t seen = aegis_wake_count(&scheduler->wake);
        bool any = collect_lanes(scheduler);
        any = aegis_copies_collect(scheduler) || any;
        take_command(scheduler);
        finish_removal(scheduler); /* behind it: of the last model nothing else would wake us */
        release_streamed(scheduler);
        collect_submissions(scheduler);
        release_periodic(scheduler);
        fire_timers(scheduler);
        aegis_driver_find_hung(scheduler);
        bool over = scheduler->stopping && !is_busy(scheduler);
        if (any || over || scheduler->config.wait == AEGIS_WAIT_POLL) {
            continue; /* something may have come meanwhile; a poller never sleeps */
        }
        uint64_t until = next_instant(scheduler);
        if (until > now_ns(scheduler)) {
            sleep_until(scheduler, seen, until);
        }
    }
    finish_removal(scheduler);
    scheduler->stop_ns = now_ns(scheduler);
    aegis_turn_give(&scheduler->turn);
}

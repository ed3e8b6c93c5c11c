/* SPDX-License-Identifier: Apache-2.0 */
/* Finds jobs that show something when they are simulated: a miss, or the worst response of a task.
 */
#include "schedule/certificate/prover.h"

/* What is given for a response beside its proof, for sets that are not larger. */
#define DERIVED_TASKS 256u
#define REACH_STEPS UINT64_C(2000000)

static bool
add_job(aegis_certificate_witness *set, size_t task, aegis_i128 nominal, aegis_i128 ready)
{
    if (set->count == set->room || nominal > (aegis_i128)TICKS_MAX ||
        ready > (aegis_i128)TICKS_MAX) {
        return false;
    }
    set->jobs[set->count++] =
        (aegis_certificate_job){.task = task, .nominal = (int64_t)nominal, .ready = (int64_t)ready};
    return true;
}

/* The worst pattern: nominally at kT - J, ready at max(0, kT - J), from the start of the busy
 * period on; at most `most` jobs, ready by `until`. */
static bool
add_pattern(prover *p, aegis_certificate_witness *set, size_t i, aegis_i128 until, uint64_t most)
{
    const aegis_task *task = &p->c->tasks[i];
    for (uint64_t k = 0; k < most; k++) {
        aegis_i128 nominal = (aegis_i128)k * task->period - task->jitter;
        aegis_i128 ready = nominal > 0 ? nominal : 0;
        if (ready > until) {
            break;
        }
        if (!aegis_prover_step(p) || !add_job(set, i, nominal + set->start, ready + set->start)) {
            return false;
        }
    }
    return true;
}

/* A job of the blocker, SIZE_MAX: none, runs alone until its longest segment; all others come one
 * tick later. No nominal release is before 0. */
static bool begin_set(const prover *p, aegis_certificate_witness *set, size_t blocker)
{
    size_t segment = 0;
    aegis_i128 start = 0;
    for (size_t i = 0; i < p->c->count; i++) {
        start = p->c->tasks[i].jitter > start ? p->c->tasks[i].jitter : start;
    }
    set->count = 0;
    if (blocker == SIZE_MAX) {
        set->start = (int64_t)start;
        return true;
    }
    bool added = add_job(set, blocker, start, start);
    aegis_prover_longest(p, blocker, &segment);
    for (size_t s = 0; s < segment; s++) {
        start += p->c->tasks[blocker].segments[s];
    }
    set->start = (int64_t)(start + 1);
    return added && start < (aegis_i128)TICKS_MAX;
}

/* The lower task that blocks `i`, SIZE_MAX: none. */
static size_t lower_blocker(const prover *p, const level *l)
{
    size_t segment;
    for (size_t k = l->i + 1; k < p->c->count && l->blocking > 0; k++) {
        if (aegis_prover_longest(p, k, &segment) - 1 == l->blocking) {
            return k;
        }
    }
    return SIZE_MAX;
}

/* Fixed priorities: the first job of `i` that misses in the worst pattern. */
static bool find_level_miss(prover *p, size_t i)
{
    aegis_certificate *c = p->c;
    level l = aegis_prover_level(p, i);
    const aegis_task *task = &c->tasks[i];
    int64_t w = 0;
    uint64_t q = 0;
    for (;; q++) {
        if (!aegis_prover_solve_job(p, &l, q, &w)) {
            return false;
        }
        if ((aegis_i128)w + l.last + task->jitter - (aegis_i128)q * task->period > task->deadline) {
            break;
        }
    }
    bool added = begin_set(p, &c->miss, lower_blocker(p, &l));
    for (size_t j = 0; j < i && added; j++) {
        added = add_pattern(p, &c->miss, j, l.preemptive ? (aegis_i128)w - 1 : w, UINT64_MAX);
    }
    return added && add_pattern(p, &c->miss, i, TICKS_MAX, q + 1);
}

/* EDF: all jobs due by the instant at which the demand is too much. */
static bool find_demand_miss(prover *p)
{
    aegis_certificate *c = p->c;
    size_t blocker;
    const int64_t instant = p->result->violation_at;
    aegis_prover_blocking(p, instant, &blocker);
    bool added = begin_set(p, &c->miss, blocker);
    for (size_t i = 0; i < c->count && added; i++) {
        aegis_i128 after = (aegis_i128)instant - aegis_prover_first_deadline(&c->tasks[i]);
        uint64_t jobs = after < 0 ? 0 : (uint64_t)(after / c->tasks[i].period) + 1;
        added = add_pattern(p, &c->miss, i, TICKS_MAX, jobs);
    }
    return added && c->miss.count > 0;
}

/* The last `most` jobs of task `i` that end with one released at `release` and ready `late` ticks
 * after that. */
static bool add_until(prover *p,
                      aegis_certificate_witness *set,
                      size_t i,
                      aegis_i128 release,
                      int64_t late,
                      uint64_t most)
{
    bool added = most <= set->room;
    for (uint64_t m = most; m-- > 0 && added;) {
        aegis_i128 nominal = release - (aegis_i128)m * p->c->tasks[i].period;
        aegis_i128 ready = m == 0 ? release + late : nominal;
        ready = ready > 0 ? ready : 0;
        added = aegis_prover_step(p) && add_job(set, i, nominal + set->start, ready + set->start);
    }
    return added;
}

/* FIFO: all in the worst pattern, but task `i` such that a job of it arrives at the worst instant,
 * behind all others. */
static bool find_queue_miss(prover *p, size_t i)
{
    aegis_certificate *c = p->c;
    const aegis_task *task = &c->tasks[i];
    bool added = begin_set(p, &c->miss, SIZE_MAX);
    for (size_t j = 0; j < c->count && added; j++) {
        added = j == i || add_pattern(p, &c->miss, j, c->at, UINT64_MAX);
    }
    return added && add_until(p, &c->miss, i, (aegis_i128)c->at - task->jitter, task->jitter,
                              (uint64_t)(c->at / task->period) + 1);
}

bool aegis_prover_find_miss(prover *p, size_t i)
{
    switch (p->c->policy) {
    case AEGIS_ANALYSIS_NP_EDF:
    case AEGIS_ANALYSIS_EDF:
        return p->result->has_violation && find_demand_miss(p);
    case AEGIS_ANALYSIS_FIFO:
        return i != SIZE_MAX && find_queue_miss(p, i);
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_FPP:
        break;
    }
    return i != SIZE_MAX && find_level_miss(p, i);
}

/* ---- responses ---- */

/* The jobs of the derivation, in the worst pattern but for task `i`, whose last one is the worst.
 */
static bool
add_derived(prover *p, const aegis_derivation *d, size_t i, aegis_certificate_witness *set)
{
    int64_t late = p->c->policy == AEGIS_ANALYSIS_FIFO ? p->c->tasks[i].jitter : 0;
    bool added = begin_set(p, set, d->blocker);
    for (size_t j = 0; j < p->c->count && added; j++) {
        added = j == i || add_pattern(p, set, j, TICKS_MAX, d->jobs[j]);
    }
    return added && add_until(p, set, i, d->release, late, d->jobs[i]);
}

/* A job set that has the response of task `i`, if it is found and small enough; takes its size off
 * `left`. */
static aegis_status reach(prover *p, size_t i, uint64_t *left, aegis_error *err)
{
    aegis_certificate *c = p->c;
    aegis_derivation d;
    uint64_t total = 0;
    aegis_certificate_witness *set = &c->responses[i].reached;
    const aegis_admission_limits limits = {.steps = REACH_STEPS, .cancel = p->cancel};
    aegis_status status =
        aegis_admission_derive(c->policy, c->tasks, c->count, i, &limits, p->allocator, &d, err);
    if (status != AEGIS_OK) {
        return status == AEGIS_ERROR_NO_MEMORY ? status : AEGIS_OK;
    }
    for (size_t j = 0; d.found && j < c->count && total <= *left; j++) {
        total += d.jobs[j] < LARGEST_WITNESS ? d.jobs[j] : LARGEST_WITNESS + 1;
    }
    if (d.found && total > 0 && total <= *left) {
        set->room = (size_t)total + 1; /* and the blocker */
        set->jobs = aegis_allocate_zeroed(p->allocator, set->room, sizeof *set->jobs);
        status = set->jobs == NULL ? aegis_prover_out_of_memory(err) : AEGIS_OK;
    }
    if (set->jobs != NULL &&
        (!add_derived(p, &d, i, set) || !aegis_certificate_holds(c, i, p->allocator))) {
        set->count = 0;
    }
    *left -= set->count;
    aegis_derivation_finish(&d, p->allocator);
    return status;
}

aegis_status aegis_prover_reach(prover *p, aegis_error *err)
{
    uint64_t left = LARGEST_WITNESS;
    aegis_status status = AEGIS_OK;
    bool small = p->c->responses != NULL && p->c->count <= DERIVED_TASKS;
    for (size_t i = 0; i < p->c->count && small && status == AEGIS_OK; i++) {
        if (p->c->responses[i].response >= 0) {
            status = reach(p, i, &left, err);
        }
    }
    return status;
}

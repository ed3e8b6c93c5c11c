/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/admission/internal.h"

/* Response times under fixed priorities, tasks in priority order. Jobs of one task become ready in
 * the order of their nominal releases; the k-th job of the worst pattern is nominally released at
 * kT - J and ready at max(0, kT - J), 0 being the start of the busy period.
 *
 * Every fixed point is iterated from below over a monotone right-hand side, so the value found is
 * the least one. One iteration costs O(n) and one step. */

static bool add_all(const aegis_atask *tasks,
                    size_t count,
                    uint64_t w,
                    uint64_t (*jobs)(const aegis_atask *, uint64_t),
                    uint64_t *sum)
{
    for (size_t j = 0; j < count; j++) {
        if (!aegis_ticks_add(sum, jobs(&tasks[j], w), tasks[j].execution)) {
            return false;
        }
    }
    return true;
}

/* Least w >= start with w = base + sum of jobs(w) * C, start being no greater than that. */
static aegis_outcome fixed_point(aegis_analysis_run *run,
                                 size_t count,
                                 uint64_t base,
                                 uint64_t start,
                                 uint64_t (*jobs)(const aegis_atask *, uint64_t),
                                 uint64_t *ret_w)
{
    uint64_t w = start;
    while (w <= AEGIS_TICKS_MAX) {
        uint64_t next = base;
        if (!aegis_budget_take(&run->budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
        if (!add_all(run->tasks, count, w, jobs, &next)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        if (next <= w) {
            *ret_w = w;
            return AEGIS_OUTCOME_DONE;
        }
        w = next;
    }
    return AEGIS_OUTCOME_OVERFLOW;
}

aegis_outcome aegis_busy_period(
    aegis_analysis_run *run, size_t count, uint64_t blocking, uint64_t cap, uint64_t *ret_length)
{
    uint64_t length = 1, next = 0; /* from 1: L = 0 solves the equation without blocking or J */
    while (length < cap) {
        if (!aegis_budget_take(&run->budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
        next = blocking;
        if (!add_all(run->tasks, count, length, aegis_jobs_before, &next)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        if (next <= length) {
            break;
        }
        length = next;
    }
    *ret_length = length < cap ? length : cap;
    return AEGIS_OUTCOME_DONE;
}

/* At U = 1 a level-i busy period ends only where nothing delays its start: with blocking or jitter
 * B + sum (L+J)/T C > L for every L. */
aegis_outcome
aegis_busy_period_exists(const aegis_analysis_run *run, size_t count, uint64_t blocking)
{
    int sign = 0;
    aegis_outcome outcome =
        aegis_utilisation_compare(run->tasks, count, run->allocator, &sign, NULL);
    if (outcome != AEGIS_OUTCOME_DONE || sign < 0) {
        return outcome;
    }
    bool delayed = blocking > 0 || aegis_has_jitter(run->tasks, count);
    return sign > 0 || delayed ? AEGIS_OUTCOME_DIVERGES : AEGIS_OUTCOME_DONE;
}

/* base + factor * cost into 63 bits */
static bool base_of(uint64_t base, uint64_t factor, uint64_t cost, uint64_t *ret_base)
{
    *ret_base = base;
    return base <= AEGIS_TICKS_MAX && aegis_ticks_add(ret_base, factor, cost);
}

/* J + completion - qT; the completion of the q-th job of a busy period comes after its release. */
static bool response_of(const aegis_atask *task, uint64_t completion, uint64_t q, uint64_t *ret)
{
    aegis_i128 response =
        (aegis_i128)task->jitter + completion - (aegis_i128)q * (aegis_i128)task->period;
    if (response > (aegis_i128)AEGIS_TICKS_MAX) {
        return false;
    }
    if (response > (aegis_i128)*ret) {
        *ret = (uint64_t)response;
    }
    return true;
}

/* Davis, Burns, Bril, Lukkien, "Controller Area Network (CAN) schedulability analysis: refuted,
 * revisited and revised", 2007, with all q of the level-i busy period; and Bril, Lukkien, Verhaegh,
 * "Worst-case response time analysis of real-time tasks under fixed-priority scheduling with
 * deferred preemption", 2009, of which it is the case last = C:
 *   L = B + sum_hep ceil((L+J)/T) C,  Q = ceil((L+J_i)/T_i)
 *   s(q) = B + (q+1) C_i - last_i + sum_hp (floor((s+J)/T) + 1) C,  R = max_q(J_i + s + last_i -
 * qT_i) B = largest lower segment - 1: in integer ticks the blocker started one tick earlier.
 * Jitter is ours for deferred preemption; the property tests hold it against exhaustive search. */
static aegis_outcome deferred_response(aegis_analysis_run *run, size_t i, uint64_t *ret_response)
{
    const aegis_atask *task = &run->tasks[i];
    uint64_t blocking = aegis_blocking_of(run, i), length = 0;
    aegis_outcome outcome = aegis_busy_period_exists(run, i + 1, blocking);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = aegis_busy_period(run, i + 1, blocking, UINT64_MAX, &length);
    }
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    uint64_t jobs = aegis_jobs_before(task, length), s = 0, response = 0;
    for (uint64_t q = 0; q < jobs; q++) {
        uint64_t base;
        if (!base_of(blocking + (task->execution - task->last), q, task->execution, &base)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        /* s(q) >= s(q-1) + C: the interference does not shrink. */
        uint64_t start = q == 0 ? base : s + task->execution;
        outcome = fixed_point(run, i, base, start, aegis_jobs_until, &s);
        if (outcome != AEGIS_OUTCOME_DONE) {
            return outcome;
        }
        if (!response_of(task, s + task->last, q, &response)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        if (run->decide_only && response > task->deadline) {
            break;
        }
    }
    *ret_response = response;
    return AEGIS_OUTCOME_DONE;
}

/* Tindell, Burns, Wellings, "An extendible approach for analysing fixed priority hard real-time
 * tasks", 1994 (arbitrary deadlines after Lehoczky 1990):
 *   w(q) = (q+1) C_i + sum_hp ceil((w+J)/T) C,  R = max_q(J_i + w - qT_i),
 * up to the first q with w(q) + J_i <= (q+1) T_i. For D <= T and no miss that is q = 0 (Joseph &
 * Pandya 1986). */
static aegis_outcome preemptive_response(aegis_analysis_run *run, size_t i, uint64_t *ret_response)
{
    const aegis_atask *task = &run->tasks[i];
    aegis_outcome outcome = aegis_busy_period_exists(run, i + 1, 0);
    uint64_t w = 0, response = 0;
    for (uint64_t q = 0; outcome == AEGIS_OUTCOME_DONE; q++) {
        uint64_t base;
        if (!base_of(task->execution, q, task->execution, &base)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        outcome =
            fixed_point(run, i, base, q == 0 ? base : w + task->execution, aegis_jobs_before, &w);
        if (outcome != AEGIS_OUTCOME_DONE) {
            break;
        }
        if (!response_of(task, w, q, &response)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        if ((aegis_u128)w + task->jitter <= (aegis_u128)(q + 1) * task->period ||
            (run->decide_only && response > task->deadline)) {
            *ret_response = response;
            return AEGIS_OUTCOME_DONE;
        }
    }
    return outcome;
}

aegis_outcome
aegis_fixed_priority_response(aegis_analysis_run *run, size_t i, uint64_t *ret_response)
{
    return run->analysis == AEGIS_ANALYSIS_FP ? preemptive_response(run, i, ret_response)
                                              : deferred_response(run, i, ret_response);
}

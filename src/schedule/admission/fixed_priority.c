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

/* Below the least w = base + sum of jobs(w) * C: no task has fewer jobs than w U, so that
 * w >= base / (1 - U). Past 63 bits: 2^63. */
static uint64_t linear_start(aegis_u128 utilisation_low, uint64_t base)
{
    if (utilisation_low >= AEGIS_FIXED_ONE) {
        return base; /* U = 1: bounds nothing */
    }
    aegis_u128 start = ((aegis_u128)base << 64) / (AEGIS_FIXED_ONE - utilisation_low);
    return start > AEGIS_TICKS_MAX ? AEGIS_TICKS_MAX + 1 : (uint64_t)start;
}

aegis_outcome
aegis_busy_period(aegis_analysis_run *run, const aegis_busy_level *level, uint64_t *ret_length)
{
    /* from 1: L = 0 solves the equation without blocking or J */
    uint64_t length = level->from > 1 ? level->from : 1;
    while (length < level->cap) {
        uint64_t next = level->blocking;
        if (!aegis_budget_take(&run->budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
        if (!add_all(run->tasks, level->count, length, aegis_jobs_before, &next)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        if (next <= length) {
            break;
        }
        length = next;
    }
    *ret_length = length < level->cap ? length : level->cap;
    return AEGIS_OUTCOME_DONE;
}

void aegis_level_add(aegis_level *level, const aegis_atask *task)
{
    level->count++;
    level->jitter = level->jitter || task->jitter > 0;
    aegis_fixed_add(&level->utilisation, task->execution, task->period);
}

/* At U = 1 a level-i busy period ends only where nothing delays its start: with blocking or jitter
 * B + sum (L+J)/T C > L for every L. */
aegis_outcome
aegis_busy_period_exists(aegis_analysis_run *run, const aegis_level *level, uint64_t blocking)
{
    int sign = -1;
    if (level->utilisation.high >= AEGIS_FIXED_ONE) {
        aegis_outcome outcome = aegis_utilisation_compare(run, level->count, &sign);
        if (outcome != AEGIS_OUTCOME_DONE) {
            return outcome;
        }
    }
    bool delayed = blocking > 0 || level->jitter;
    return sign > 0 || (sign == 0 && delayed) ? AEGIS_OUTCOME_DIVERGES : AEGIS_OUTCOME_DONE;
}

/* A completion of the q-th job, and what runs before: `jobs` of each higher task, as of `w`. */
typedef struct fp_job {
    uint64_t q, w, completion;
    uint64_t (*jobs)(const aegis_atask *, uint64_t);
} fp_job;

static void note_worst(const aegis_analysis_run *run, const aegis_fp_level *at, const fp_job *job)
{
    const size_t i = at->higher.count;
    aegis_worst *worst = run->worst;
    if (worst == NULL) {
        return;
    }
    worst->found = true;
    worst->release =
        (aegis_i128)job->q * (aegis_i128)run->tasks[i].period - (aegis_i128)run->tasks[i].jitter;
    worst->completion = job->completion;
    worst->blocking = at->blocking;
    for (size_t j = 0; j < i; j++) {
        worst->jobs[j] = job->jobs(&run->tasks[j], job->w);
    }
    worst->jobs[i] = job->q + 1;
}

/* J + completion - qT; the completion of the q-th job of a busy period comes after its release. */
static bool take_response(const aegis_analysis_run *run,
                          const aegis_fp_level *at,
                          const fp_job *job,
                          uint64_t *response)
{
    const aegis_atask *task = &run->tasks[at->higher.count];
    aegis_i128 present =
        (aegis_i128)task->jitter + job->completion - (aegis_i128)job->q * (aegis_i128)task->period;
    if (present > (aegis_i128)AEGIS_TICKS_MAX) {
        return false;
    }
    if (present > (aegis_i128)*response) {
        *response = (uint64_t)present;
        note_worst(run, at, job);
    }
    return true;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A level above that was blocked no longer than this one. Its solutions are lower bounds: with f as
 * its right-hand side, that of this level at x is at least f(x) and the C of the task above, which
 * comes after that task's start; so this one's solution less that C is no less than the solution of
 * f (f(x) <= x from there on, for f is monotone). */
static aegis_fp_above above_of(const aegis_fp_level *at)
{
    if (at->above == NULL || at->above->blocking > at->blocking) {
        return (aegis_fp_above){0};
    }
    return *at->above;
}

static void keep_for_below(const aegis_fp_level *at, uint64_t length, uint64_t completion)
{
    if (at->above != NULL) {
        *at->above = (aegis_fp_above){at->blocking, length, completion};
    }
}

/* Davis, Burns, Bril, Lukkien, "Controller Area Network (CAN) schedulability analysis: refuted,
 * revisited and revised", 2007, with all q of the level-i busy period; and Bril, Lukkien, Verhaegh,
 * "Worst-case response time analysis of real-time tasks under fixed-priority scheduling with
 * deferred preemption", 2009, of which it is the case last = C:
 *   L = B + sum_hep ceil((L+J)/T) C,  Q = ceil((L+J_i)/T_i)
 *   s(q) = B + (q+1) C_i - last_i + sum_hp (floor((s+J)/T) + 1) C,  R = max_q(J_i + s + last_i -
 * qT_i) B = largest lower segment - 1: in integer ticks the blocker started one tick earlier.
 * Jitter is ours for deferred preemption; the property tests hold it against exhaustive search. */
static aegis_outcome
deferred_response(aegis_analysis_run *run, const aegis_fp_level *at, uint64_t *ret_response)
{
    const size_t i = at->higher.count;
    const aegis_atask *task = &run->tasks[i];
    aegis_level through = at->higher;
    aegis_level_add(&through, task);
    const aegis_fp_above above = above_of(at);
    aegis_known_task *known = aegis_known_of(run, i);
    uint64_t length = larger(linear_start(through.utilisation.low, at->blocking), above.length);
    length = known != NULL ? larger(known->length, length) : length;
    const aegis_busy_level busy = {
        .count = i + 1, .blocking = at->blocking, .from = length, .cap = UINT64_MAX};
    aegis_outcome outcome = aegis_busy_period_exists(run, &through, at->blocking);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = aegis_busy_period(run, &busy, &length);
    }
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    uint64_t jobs = aegis_jobs_before(task, length), s = 0, response = 0;
    uint64_t first = larger(above.completion, known == NULL ? 0 : known->start);
    for (uint64_t q = 0; q < jobs; q++) {
        /* B + (q+1) C is part of L: no overflow. */
        uint64_t base = at->blocking + (q + 1) * task->execution - task->last;
        /* s(q) >= s(q-1) + C: the interference does not shrink. */
        uint64_t start = linear_start(at->higher.utilisation.low, base);
        uint64_t least = q == 0 ? first : s + task->execution;
        outcome = fixed_point(run, i, base, larger(start, least), aegis_jobs_until, &s);
        if (outcome != AEGIS_OUTCOME_DONE) {
            return outcome;
        }
        if (q == 0) {
            keep_for_below(at, length, s + task->last);
        }
        const fp_job job = {q, s, s + task->last, aegis_jobs_until};
        if (!take_response(run, at, &job, &response)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        if (known != NULL && q == 0) {
            known->length = length;
            known->start = s;
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
static aegis_outcome
preemptive_response(aegis_analysis_run *run, const aegis_fp_level *at, uint64_t *ret_response)
{
    const size_t i = at->higher.count;
    const aegis_atask *task = &run->tasks[i];
    aegis_level through = at->higher;
    aegis_level_add(&through, task);
    aegis_known_task *known = aegis_known_of(run, i);
    aegis_outcome outcome = aegis_busy_period_exists(run, &through, 0);
    uint64_t w = 0, response = 0;
    uint64_t first =
        larger(above_of(at).completion + task->execution, known == NULL ? 0 : known->start);
    for (uint64_t q = 0; outcome == AEGIS_OUTCOME_DONE; q++) {
        uint64_t base = task->execution;
        if (!aegis_ticks_add(&base, q, task->execution)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        uint64_t start = linear_start(at->higher.utilisation.low, base);
        uint64_t least = q == 0 ? first : w + task->execution;
        outcome = fixed_point(run, i, base, larger(start, least), aegis_jobs_before, &w);
        if (outcome != AEGIS_OUTCOME_DONE) {
            break;
        }
        if (q == 0) {
            keep_for_below(at, 0, w);
        }
        const fp_job job = {q, w, w, aegis_jobs_before};
        if (!take_response(run, at, &job, &response)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        if (known != NULL && q == 0) {
            known->start = w;
        }
        if ((aegis_u128)w + task->jitter <= (aegis_u128)(q + 1) * task->period ||
            (run->decide_only && response > task->deadline)) {
            *ret_response = response;
            return AEGIS_OUTCOME_DONE;
        }
    }
    return outcome;
}

aegis_outcome aegis_fixed_priority_response(aegis_analysis_run *run,
                                            const aegis_fp_level *at,
                                            uint64_t *ret_response)
{
    return run->analysis == AEGIS_ANALYSIS_FP ? preemptive_response(run, at, ret_response)
                                              : deferred_response(run, at, ret_response);
}

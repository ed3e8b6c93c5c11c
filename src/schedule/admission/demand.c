/* SPDX-License-Identifier: Apache-2.0 */
/* Processor demand of EDF, preemptive and not.
 *
 * The worst pattern, 0 being the start of a busy period of jobs due by t: every task releases
 * nominally at kT - J and is ready at max(0, kT - J), so that
 *   h(t) = sum over D - J <= t of (floor((t + J - D) / T) + 1) C
 * is due by t. A job due later blocks if it started one tick before: b(t) = max{segment - 1 :
 * D - J > t}. With D - J <= t < D the job could block too, but then none of its task's h(t) >= C is
 * in the interval (its earlier jobs were ready before it), so that case is never the worst.
 * Schedulable iff U <= 1 and h(t) + b(t) <= t at every t = kT + D - J (George, Rivierre, Spuri
 * 1996, "Preemptive and non-preemptive real-time uniprocessor scheduling", with one segment a
 * task; with more it is sufficient). The preemptive test is the same with b = 0.
 *
 * Up to which t, says demand_limit.c. As far as F = max(D - J) the instants are enumerated (h + b
 * is not monotone). From there the quick processor-demand analysis of Zhang & Burns 2009 skips most
 * of them: [h(t), t) needs no look when h(t) <= t. */
#include "schedule/admission/internal.h"

/* Steps spent on finding the first violation once it is known that there is one. */
#define EARLIEST_STEPS 100000

uint64_t aegis_demand_jobs(const aegis_atask *task, int64_t t)
{
    int64_t first = aegis_first_deadline(task);
    return t < first ? 0 : ((uint64_t)t - (uint64_t)first) / task->period + 1;
}

uint64_t aegis_demand_blocking(const aegis_analysis_run *run, int64_t t, size_t *ret_task)
{
    uint64_t longest = 0;
    *ret_task = SIZE_MAX;
    for (size_t k = 0; run->analysis == AEGIS_ANALYSIS_NP_EDF && k < run->count; k++) {
        if (aegis_first_deadline(&run->tasks[k]) > t && run->tasks[k].largest - 1 > longest) {
            longest = run->tasks[k].largest - 1;
            *ret_task = k;
        }
    }
    return longest;
}

void aegis_demand_blocker_at(const aegis_analysis_run *run,
                             int64_t t,
                             aegis_demand_blocker *blocker)
{
    if (t >= blocker->until) {
        size_t task;
        blocker->blocking = aegis_demand_blocking(run, t, &task);
        blocker->until = task == SIZE_MAX ? INT64_MAX : aegis_first_deadline(&run->tasks[task]);
    }
}

static bool demand_at(const aegis_analysis_run *run, int64_t t, uint64_t *ret_demand)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < run->count; i++) {
        if (!aegis_ticks_add(&sum, aegis_demand_jobs(&run->tasks[i], t), run->tasks[i].execution)) {
            return false;
        }
    }
    *ret_demand = sum;
    return true;
}

/* First and last of the tasks' D - J. */
static void deadline_range(const aegis_analysis_run *run, int64_t *ret_first, int64_t *ret_last)
{
    *ret_first = INT64_MAX;
    *ret_last = INT64_MIN;
    for (size_t i = 0; i < run->count; i++) {
        int64_t first = aegis_first_deadline(&run->tasks[i]);
        *ret_first = first < *ret_first ? first : *ret_first;
        *ret_last = first > *ret_last ? first : *ret_last;
    }
}

/* h(t) of t >= F, and the latest deadline up to there. A quotient is the product with (2^64 - 1) /
 * T rounded down, or one more: dividing would take most of the time. */
static aegis_i128 demand_from_last(const aegis_analysis_run *run,
                                   const uint64_t *reciprocals,
                                   int64_t t,
                                   int64_t *ret_deadline)
{
    aegis_u128 sum = 0;
    uint64_t nearest = UINT64_MAX;
    for (size_t i = 0; i < run->count; i++) {
        const aegis_atask *task = &run->tasks[i];
        uint64_t since = (uint64_t)t - (uint64_t)aegis_first_deadline(task);
        uint64_t jobs = (uint64_t)(((aegis_u128)since * reciprocals[i]) >> 64) + 1;
        uint64_t rest = since - (jobs - 1) * task->period;
        bool more = rest >= task->period;
        rest -= more ? task->period : 0;
        nearest = rest < nearest ? rest : nearest;
        sum += (aegis_u128)(jobs + more) * task->execution;
    }
    *ret_deadline = t - (int64_t)nearest;
    return (aegis_i128)sum;
}

/* Downwards, as QPA goes (Zhang & Burns 2009): for d in [h(t) - room, t] is h(d) <= h(t), so that
 * h(d) - d <= room. */
aegis_outcome aegis_demand_first_above(aegis_analysis_run *run, aegis_above *above)
{
    aegis_i128 t = above->to;
    above->first = above->to + 1;
    for (; t > above->from && above->steps > 0; above->steps--) {
        int64_t deadline;
        if (!aegis_budget_take(&run->budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
        aegis_i128 demand = demand_from_last(run, above->reciprocals, (int64_t)t, &deadline);
        if (demand - t <= above->room) {
            t = demand - above->room - 1;
        } else {
            above->first = deadline > above->from ? deadline : above->first;
            t = (aegis_i128)deadline - 1;
        }
    }
    above->found = t <= above->from;
    return AEGIS_OUTCOME_DONE;
}

/* DIVERGES when the next instant is past `to`. */
static aegis_outcome scan_step(aegis_scan *scan, aegis_budget *budget, int64_t to, int64_t *ret_t)
{
    if (!aegis_budget_take(budget)) {
        return AEGIS_OUTCOME_LIMIT;
    }
    aegis_outcome outcome = aegis_scan_next(scan, ret_t);
    return outcome == AEGIS_OUTCOME_DONE && *ret_t > to ? AEGIS_OUTCOME_DIVERGES : outcome;
}

/* Every instant up to `to` in ascending order, to the first violation. */
static aegis_outcome scan_up(const aegis_analysis_run *run,
                             aegis_budget *budget,
                             int64_t to,
                             aegis_demand_result *result)
{
    aegis_scan scan;
    aegis_outcome outcome = aegis_scan_init(&scan, run, false);
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    int64_t t;
    aegis_demand_blocker blocker = AEGIS_DEMAND_BLOCKER_UNKNOWN;
    while ((outcome = scan_step(&scan, budget, to, &t)) == AEGIS_OUTCOME_DONE) {
        aegis_demand_blocker_at(run, t, &blocker);
        if ((aegis_i128)scan.demand + (aegis_i128)blocker.blocking > (aegis_i128)t) {
            result->violated = true;
            result->located = true;
            result->at = t;
            break;
        }
    }
    aegis_scan_finish(&scan);
    return outcome == AEGIS_OUTCOME_DIVERGES ? AEGIS_OUTCOME_DONE : outcome;
}

/* Zhang & Burns 2009, downwards from `from`; what is due by `floor` or earlier is known to fit. */
static aegis_outcome
quick_demand(aegis_analysis_run *run, int64_t from, int64_t floor, aegis_demand_result *result)
{
    int64_t t = aegis_demand_deadline_until(run, from);
    while (t > floor) {
        uint64_t demand;
        if (!aegis_budget_take(&run->budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
        if (!demand_at(run, t, &demand)) {
            return AEGIS_OUTCOME_OVERFLOW;
        }
        if ((int64_t)demand > t) {
            result->violated = true;
            result->located = true;
            result->at = t;
            return AEGIS_OUTCOME_DONE;
        }
        t = (int64_t)demand < t ? (int64_t)demand : aegis_demand_deadline_until(run, t - 1);
    }
    return AEGIS_OUTCOME_DONE;
}

/* Replaces the violation by the first one if that is near enough to find. */
static aegis_outcome settle_violation(const aegis_analysis_run *run, aegis_demand_result *result)
{
    aegis_budget budget = {.steps = EARLIEST_STEPS, .cancel = run->budget.cancel};
    aegis_outcome outcome = scan_up(run, &budget, result->located ? result->at : INT64_MAX, result);
    if (outcome == AEGIS_OUTCOME_NO_MEMORY || !result->located) {
        return outcome == AEGIS_OUTCOME_NO_MEMORY ? outcome : AEGIS_OUTCOME_DONE;
    }
    size_t blocker;
    uint64_t demand;
    if (!demand_at(run, result->at, &demand)) {
        result->located = false;
        return AEGIS_OUTCOME_DONE;
    }
    result->demand = demand + aegis_demand_blocking(run, result->at, &blocker);
    return AEGIS_OUTCOME_DONE;
}

static aegis_outcome look_for_violation(aegis_analysis_run *run, aegis_demand_result *result)
{
    int64_t first, last, limit = 0;
    deadline_range(run, &first, &last);
    aegis_outcome outcome = aegis_demand_limit(run, result->sign, last, &limit);
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    /* Without blocking the first deadline alone is looked at from below. */
    bool quick = run->analysis == AEGIS_ANALYSIS_EDF;
    int64_t enumerated = quick ? first : last;
    outcome = scan_up(run, &run->budget, enumerated < limit ? enumerated : limit, result);
    if (outcome != AEGIS_OUTCOME_DONE || result->violated || limit <= enumerated) {
        return outcome;
    }
    /* Without a bound on the instants no search from above proves anything. */
    return limit == INT64_MAX ? AEGIS_OUTCOME_LIMIT : quick_demand(run, limit, enumerated, result);
}

aegis_outcome aegis_demand_test(aegis_analysis_run *run, aegis_demand_result *ret_result)
{
    aegis_demand_result result = {.violated = false};
    aegis_outcome outcome = aegis_utilisation_compare(run, run->count, &result.sign);
    if (outcome == AEGIS_OUTCOME_DONE && result.sign > 0) {
        result.violated = true;
        result.located = aegis_demand_overload_instant(run, &result.at);
    } else if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = look_for_violation(run, &result);
    }
    if (outcome == AEGIS_OUTCOME_DONE && result.violated && !run->decide_only) {
        outcome = settle_violation(run, &result);
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        *ret_result = result;
    }
    return outcome;
}

/* Up to the last instant at which a violation can show up, or past the longest deadline at least.
 */
aegis_outcome aegis_demand_tightest(aegis_analysis_run *run)
{
    aegis_scan scan;
    aegis_worst *worst = run->worst;
    const aegis_atask *task = &run->tasks[worst->task];
    int sign = 0;
    int64_t first, last, limit = 0, t;
    deadline_range(run, &first, &last);
    aegis_outcome outcome = aegis_utilisation_compare(run, run->count, &sign);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = sign > 0 ? AEGIS_OUTCOME_DIVERGES : aegis_demand_limit(run, sign, last, &limit);
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = aegis_scan_init(&scan, run, false);
    }
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    limit = limit > last ? limit : last;
    while ((outcome = scan_step(&scan, &run->budget, limit, &t)) == AEGIS_OUTCOME_DONE) {
        int64_t from = aegis_first_deadline(task);
        bool due = t >= from && ((uint64_t)t - (uint64_t)from) % task->period == 0;
        aegis_i128 room = (aegis_i128)t - (aegis_i128)scan.demand;
        if (due && (!worst->found || room < worst->due - (aegis_i128)worst->completion)) {
            worst->found = true;
            worst->due = t;
            worst->release = (aegis_i128)t - (aegis_i128)task->deadline;
            worst->completion = scan.demand;
            for (size_t j = 0; j < scan.count; j++) {
                worst->jobs[j] = scan.jobs[j];
            }
        }
    }
    aegis_scan_finish(&scan);
    return outcome == AEGIS_OUTCOME_DIVERGES ? AEGIS_OUTCOME_DONE : outcome;
}

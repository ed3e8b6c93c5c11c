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
 * Which t must be looked at. With F = max(D - J):
 *  - from F on b = 0 and a violation, if any, shows up to L, the synchronous busy period;
 *  - U < 1: h(t) + b <= U t + sum max(0, T+J-D) U_i + b, hence t < (sum + b) / (1 - U); and from F
 *    on without max(0, .) and b;
 *  - U = 1 with jitter, where L does not exist: h(t + H) = h(t) + H from F on, H = lcm(T).
 * Up to F the instants are enumerated (h + b is not monotone). From there the quick
 * processor-demand analysis of Zhang & Burns 2009 skips most of them: [h(t), t) needs no look when
 * h(t) <= t. */
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

bool aegis_demand_blocker_at(const aegis_analysis_run *run,
                             int64_t t,
                             aegis_demand_blocker *blocker)
{
    if (t < blocker->until) {
        return false;
    }
    size_t task;
    uint64_t before = blocker->blocking;
    blocker->blocking = aegis_demand_blocking(run, t, &task);
    blocker->until = task == SIZE_MAX ? INT64_MAX : aegis_first_deadline(&run->tasks[task]);
    return blocker->blocking != before;
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

/* ceil(x * U_i) for x below 2^64 - 1 in size: the product stays below 2^127. */
static aegis_i128 scaled_up(aegis_i128 x, const aegis_atask *task)
{
    aegis_i128 product = x * (aegis_i128)task->execution, period = (aegis_i128)task->period;
    return product > 0 ? (product - 1) / period + 1 : product / period;
}

/* ceil(amount / (slack * 2^-64)), INT64_MAX when that or more; not negative. */
static int64_t divide_by_slack(aegis_i128 amount, aegis_u128 slack)
{
    if (amount <= 0) {
        return 0;
    }
    if (amount > INT64_MAX || slack == 0) {
        return INT64_MAX;
    }
    aegis_u128 quotient = (((aegis_u128)amount << 64) - 1) / slack + 1;
    return quotient > (aegis_u128)INT64_MAX ? INT64_MAX : (int64_t)quotient;
}

static aegis_fixed utilisation_of(const aegis_analysis_run *run)
{
    aegis_fixed sum = {0, 0};
    for (size_t i = 0; i < run->count; i++) {
        aegis_fixed_add(&sum, run->tasks[i].execution, run->tasks[i].period);
    }
    return sum;
}

aegis_demand_line aegis_demand_line_of(const aegis_analysis_run *run)
{
    aegis_fixed utilisation = utilisation_of(run);
    aegis_demand_line line = {.from = INT64_MIN};
    line.slack = utilisation.high < AEGIS_FIXED_ONE ? AEGIS_FIXED_ONE - utilisation.high : 0;
    for (size_t i = 0; i < run->count; i++) {
        const aegis_atask *task = &run->tasks[i];
        int64_t first = aegis_first_deadline(task);
        line.from = first > line.from ? first : line.from;
        line.offset += scaled_up((aegis_i128)task->period - first, task); /* C <= T: below 2^64 */
    }
    return line;
}

int64_t aegis_demand_line_below(const aegis_demand_line *line, int64_t room)
{
    int64_t at = divide_by_slack(line->offset - room, line->slack);
    return at > line->from ? at : line->from;
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

/* U <= 1: the smaller of the two linear bounds, INT64_MAX where they do not fit. At U = 1 there is
 * no slack, but where the sum is not positive (D >= T + J, no blocking) nothing is violated at all.
 */
static int64_t linear_limit(const aegis_analysis_run *run)
{
    const aegis_demand_line line = aegis_demand_line_of(run);
    aegis_i128 positive = 0;
    for (size_t i = 0; i < run->count; i++) {
        const aegis_atask *task = &run->tasks[i];
        aegis_i128 x = (aegis_i128)task->period - aegis_first_deadline(task);
        positive += x > 0 ? scaled_up(x, task) : 0;
    }
    size_t blocker;
    positive += aegis_demand_blocking(run, INT64_MIN, &blocker);
    int64_t everywhere = divide_by_slack(positive, line.slack);
    int64_t from_last = aegis_demand_line_below(&line, 0);
    return everywhere < from_last ? everywhere : from_last;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* U = 1 with jitter: last + lcm(T), INT64_MAX where that does not fit. */
static int64_t periodic_limit(const aegis_analysis_run *run, int64_t last)
{
    uint64_t multiple = 1;
    for (size_t i = 0; i < run->count; i++) {
        uint64_t period = run->tasks[i].period;
        aegis_u128 next = (aegis_u128)multiple * (period / gcd(multiple, period));
        if (next > (aegis_u128)INT64_MAX) {
            return INT64_MAX;
        }
        multiple = (uint64_t)next;
    }
    int64_t limit;
    return __builtin_add_overflow(last, (int64_t)multiple, &limit) ? INT64_MAX : limit;
}

/* Last instant to look at, for U <= 1; INT64_MAX when no bound fits. */
static aegis_outcome
last_instant(aegis_analysis_run *run, int sign, int64_t last, int64_t *ret_limit)
{
    uint64_t length = 0;
    int64_t linear = linear_limit(run);
    if (linear <= last) {
        *ret_limit = linear;
        return AEGIS_OUTCOME_DONE;
    }
    if (sign == 0 && aegis_has_jitter(run->tasks, run->count)) {
        *ret_limit = periodic_limit(run, last);
        return AEGIS_OUTCOME_DONE;
    }
    const aegis_busy_level level = {
        .count = run->count, .from = aegis_known_spans(run).length, .cap = (uint64_t)linear};
    aegis_outcome outcome = aegis_busy_period(run, &level, &length);
    *ret_limit = (int64_t)length > last ? (int64_t)length : last;
    return outcome;
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

/* Largest deadline not after t, given that there is one. */
static int64_t deadline_until(const aegis_analysis_run *run, int64_t t)
{
    int64_t best = INT64_MIN;
    for (size_t i = 0; i < run->count; i++) {
        int64_t first = aegis_first_deadline(&run->tasks[i]);
        if (first <= t) {
            uint64_t past = ((uint64_t)t - (uint64_t)first) % run->tasks[i].period;
            int64_t deadline = t - (int64_t)past;
            best = deadline > best ? deadline : best;
        }
    }
    return best;
}

/* Zhang & Burns 2009, downwards from `from`; what is due by `floor` or earlier is known to fit. */
static aegis_outcome
quick_demand(aegis_analysis_run *run, int64_t from, int64_t floor, aegis_demand_result *result)
{
    int64_t t = deadline_until(run, from);
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
        t = (int64_t)demand < t ? (int64_t)demand : deadline_until(run, t - 1);
    }
    return AEGIS_OUTCOME_DONE;
}

/* U > 1: an instant by which the demand has certainly passed the time: h(t) >= U t - sum (D-J) U_i,
 * as floor(x) + 1 > x. False when it does not fit. */
static bool overload_instant(const aegis_analysis_run *run, int64_t *ret_at)
{
    aegis_fixed utilisation = utilisation_of(run);
    aegis_u128 excess = utilisation.low > AEGIS_FIXED_ONE ? utilisation.low - AEGIS_FIXED_ONE : 0;
    aegis_i128 amount = 0;
    for (size_t i = 0; i < run->count; i++) {
        aegis_i128 term = scaled_up(aegis_first_deadline(&run->tasks[i]), &run->tasks[i]);
        if (__builtin_add_overflow(amount, term, &amount)) {
            return false;
        }
    }
    int64_t at = divide_by_slack(amount, excess);
    if (at == INT64_MAX) {
        return false;
    }
    /* There is a deadline by then: where all D - J are positive, `at` is no less than the least. */
    *ret_at = deadline_until(run, at + 1);
    return true;
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
    aegis_outcome outcome = last_instant(run, result->sign, last, &limit);
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
        result.located = overload_instant(run, &result.at);
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
        outcome = sign > 0 ? AEGIS_OUTCOME_DIVERGES : last_instant(run, sign, last, &limit);
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

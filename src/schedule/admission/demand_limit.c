/* SPDX-License-Identifier: Apache-2.0 */
/* Which t of the demand test (demand.c) must be looked at. With F = max(D - J):
 *  - from F on b = 0 and a violation, if any, shows up to L, the synchronous busy period;
 *  - U < 1: h(t) + b <= U t + sum max(0, T+J-D) U_i + b, hence t < (sum + b) / (1 - U); and from F
 *    on without max(0, .) and b;
 *  - U = 1 with jitter, where L does not exist: h(t + H) = h(t) + H from F on, H = lcm(T). */
#include "schedule/admission/internal.h"

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

aegis_outcome
aegis_demand_limit(aegis_analysis_run *run, int sign, int64_t last, int64_t *ret_limit)
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

int64_t aegis_demand_deadline_until(const aegis_analysis_run *run, int64_t t)
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

/* U > 1: an instant by which the demand has certainly passed the time: h(t) >= U t - sum (D-J) U_i,
 * as floor(x) + 1 > x. False when it does not fit. */
bool aegis_demand_overload_instant(const aegis_analysis_run *run, int64_t *ret_at)
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
    *ret_at = aegis_demand_deadline_until(run, at + 1);
    return true;
}

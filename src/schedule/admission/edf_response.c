/* SPDX-License-Identifier: Apache-2.0 */
/* Worst responses of non-preemptive EDF, after George, Rivierre, Spuri 1996, with jitter and
 * segments.
 *
 * A job of task i is nominally released a after the start 0 of the busy period of the jobs due by
 * d = a + D_i; a >= -J_i, for it is ready at 0 or later. Before its last segment starts at s, all
 * jobs due by d and ready by s have run, and at most one segment of a job due later, started one
 * tick before 0. Of task j those are at most
 *   min(floor((s + J_j) / T_j) + 1, N_j(d)),   N_j(d) = floor((d + J_j - D_j) / T_j) + 1 or 0,
 * both reached at once by releases at kT_j - J_j that become ready as early as they can. So
 *   s = b(d) + (N_i(d) - 1) C_i + C_i - last_i + sum_{j /= i} min(., .) C_j     (least solution)
 *   R_i = max over a of (s + last_i - a),   b(d) = max{segment - 1 : D_k - J_k > d}.
 * A k with D_k - J_k <= d < D_k could block as well, but then none of its earlier jobs is left in
 * the interval and its C_k is missing from the sum, which is less. With one segment a task all of
 * this is attained, jitter included; at J = 0 it is George's formula. R_i > D_i for some i exactly
 * when the demand test fails.
 *
 * Between the instants at which some N_j or b changes R falls with a, so the d in {kT_j + D_j -
 * J_j} suffice, the same ones for every task. A job whose busy period could be blocked (d < F =
 * max(D - J)) has a < L', the busy period with the longest blocking, the others a < L, without any.
 * Most pairs (d, i) are settled by s + last <= h(d) + b(d) without a fixed point. */
#include "schedule/admission/internal.h"

typedef struct edf_search {
    aegis_analysis_run *run;
    aegis_scan scan;
    uint64_t *starts; /* per task: a lower bound of s, valid while b stays */
    uint64_t *responses;
    uint64_t length, blocked_length; /* L and L' */
    int64_t last_deadline;           /* F */
    uint64_t latest;                 /* max D */
    int64_t deadline;                /* d */
    uint64_t blocking;               /* b(d) */
} edf_search;

/* One evaluation of the right-hand side. */
static bool
later_start(const edf_search *search, size_t i, uint64_t base, uint64_t s, uint64_t *ret)
{
    const aegis_scan *scan = &search->scan;
    uint64_t next = base;
    for (size_t j = 0; j < scan->count; j++) {
        if (j == i || scan->jobs[j] == 0) {
            continue;
        }
        uint64_t jobs = aegis_jobs_until(&scan->tasks[j], s);
        jobs = jobs < scan->jobs[j] ? jobs : scan->jobs[j];
        next += jobs * scan->tasks[j].execution; /* at most scan->demand + b */
    }
    *ret = next;
    return next > s;
}

/* Least start of the last segment of the job of `i` due at the present deadline. */
static aegis_outcome start_of(edf_search *search, size_t i, uint64_t *ret_start)
{
    const aegis_atask *task = &search->scan.tasks[i];
    uint64_t base = search->blocking + search->scan.jobs[i] * task->execution - task->last;
    uint64_t s = search->starts[i] > base ? search->starts[i] : base;
    do {
        if (!aegis_budget_take(&search->run->budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
    } while (later_start(search, i, base, s, &s));
    search->starts[i] = s;
    *ret_start = s;
    return AEGIS_OUTCOME_DONE;
}

/* Nominal release of the job of `i` due now, relative to the start of the busy period. */
static aegis_i128 release_of(const edf_search *search, size_t i)
{
    return (aegis_i128)search->deadline - (aegis_i128)search->scan.tasks[i].deadline;
}

static uint64_t longest_busy_period(const edf_search *search)
{
    return search->deadline < search->last_deadline ? search->blocked_length : search->length;
}

static aegis_outcome consider(edf_search *search, size_t i)
{
    const aegis_atask *task = &search->scan.tasks[i];
    aegis_i128 release = release_of(search, i);
    uint64_t longest = longest_busy_period(search);
    if (release >= (aegis_i128)longest) {
        return AEGIS_OUTCOME_DONE;
    }
    aegis_i128 most = (aegis_i128)search->scan.demand + search->blocking;
    most = most < (aegis_i128)longest ? most : (aegis_i128)longest;
    if (most - release <= (aegis_i128)search->responses[i]) {
        return AEGIS_OUTCOME_DONE;
    }
    uint64_t s;
    aegis_outcome outcome = start_of(search, i, &s);
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    aegis_i128 response = (aegis_i128)s + task->last - release;
    if (response > (aegis_i128)AEGIS_TICKS_MAX) {
        return AEGIS_OUTCOME_OVERFLOW;
    }
    if (response > (aegis_i128)search->responses[i]) {
        search->responses[i] = (uint64_t)response;
    }
    return AEGIS_OUTCOME_DONE;
}

/* b(d), where it changed; s does not shrink with d as long as b stays. */
static void update_blocking(edf_search *search)
{
    size_t blocker;
    uint64_t blocking = aegis_demand_blocking(search->run, search->deadline, &blocker);
    if (blocking != search->blocking) {
        search->blocking = blocking;
        for (size_t i = 0; i < search->scan.count; i++) {
            search->starts[i] = 0;
        }
    }
}

/* True when no job due at the present deadline or later is inside its longest busy period: not even
 * the one with the latest relative deadline, which is released first. */
static bool past_the_end(const edf_search *search)
{
    return (aegis_i128)search->deadline - (aegis_i128)search->latest >=
           (aegis_i128)longest_busy_period(search);
}

static aegis_outcome search_all(edf_search *search)
{
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    while (outcome == AEGIS_OUTCOME_DONE) {
        if (!aegis_budget_take(&search->run->budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
        outcome = aegis_scan_next(&search->scan, &search->deadline);
        if (outcome != AEGIS_OUTCOME_DONE || past_the_end(search)) {
            break;
        }
        update_blocking(search);
        for (size_t i = 0; i < search->scan.count && outcome == AEGIS_OUTCOME_DONE; i++) {
            if (search->scan.jobs[i] != 0) {
                outcome = consider(search, i);
            }
        }
    }
    return outcome == AEGIS_OUTCOME_DIVERGES ? AEGIS_OUTCOME_DONE : outcome;
}

/* L, L' and F. At U = 1 (without jitter) L' exists only without blocking, but the jobs that could
 * be blocked are finite in number anyway: those with d < F. */
static aegis_outcome prepare(edf_search *search, int sign)
{
    aegis_analysis_run *run = search->run;
    size_t blocker;
    uint64_t longest = aegis_demand_blocking(run, INT64_MIN, &blocker);
    search->last_deadline = INT64_MIN;
    search->blocking = UINT64_MAX;
    for (size_t i = 0; i < run->count; i++) {
        int64_t first = aegis_first_deadline(&run->tasks[i]);
        search->last_deadline = first > search->last_deadline ? first : search->last_deadline;
        uint64_t deadline = run->tasks[i].deadline;
        search->latest = deadline > search->latest ? deadline : search->latest;
    }
    aegis_outcome outcome = aegis_busy_period(run, run->count, 0, UINT64_MAX, &search->length);
    search->blocked_length = UINT64_MAX;
    if (outcome == AEGIS_OUTCOME_DONE && sign < 0) {
        outcome = aegis_busy_period(run, run->count, longest, UINT64_MAX, &search->blocked_length);
    }
    return outcome;
}

aegis_outcome aegis_np_edf_responses(aegis_analysis_run *run, int sign, uint64_t *ret_responses)
{
    edf_search search = {.run = run, .responses = ret_responses};
    aegis_outcome outcome = prepare(&search, sign);
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    search.starts = aegis_allocate_zeroed(run->allocator, run->count, sizeof *search.starts);
    if (search.starts == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    outcome = aegis_scan_init(&search.scan, run, false);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = search_all(&search);
        aegis_scan_finish(&search.scan);
    }
    aegis_deallocate(run->allocator, search.starts, run->count, sizeof *search.starts);
    return outcome;
}

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
 * All of these jobs are in the busy period of the jobs due by d behind b(d),
 *   L(d) = b(d) + sum_j min(ceil((L(d) + J_j) / T_j), N_j(d)) C_j,
 * so that a < L(d) and s + last <= L(d): RHS(L(d) - last) <= L(d) - last, as floor((x - last) / T)
 * + 1 <= ceil(x / T) for integers. That settles most pairs (d, i), and most d as a whole. For the
 * rest there is one pass over the releases for all tasks, not a fixed point each: with W(s) the
 * blocking and all the work due by d and ready by s (backlog.c), s is the first instant with all
 * N_i(d) jobs of i ready at which W(s) - s <= last_i; while one is missing, W(s) > s counts C_i too
 * little. Responses of a subset of the tasks are lower bounds and may be given to begin with. */
#include "schedule/admission/internal.h"

#define STEPS_OF_LOOK 32

typedef struct edf_search {
    aegis_analysis_run *run;
    aegis_scan scan;
    aegis_backlog backlog;
    size_t *late; /* tasks whose job due by d may respond later than any before */
    size_t late_count;
    uint64_t *starts; /* per task: a lower bound of s */
    uint64_t *responses;
    uint64_t length, blocked_length; /* L and L' */
    int64_t last_deadline;           /* F */
    uint64_t latest;                 /* max D */
    int64_t deadline;                /* d */
    uint64_t blocking;               /* b(d) */
    uint64_t busy;                   /* L(d), or a lower bound of it */
    aegis_demand_blocker blocker;
    bool behind;      /* jobs may have come since that are in L(d) */
    size_t started;   /* tasks with a job due by d, when last looked at */
    int64_t headroom; /* min(R_i - D_i) of those then */
    aegis_demand_line line;
    int64_t stop; /* behind it no response grows, once all tasks have started */
    uint64_t longest_period;
    int64_t reach;    /* how far to look ahead next */
    uint64_t pause;   /* deadlines until then */
    uint64_t setback; /* what a look that cost more than it spared makes of it */
} edf_search;

/* Nominal release of the job of `i` due now, relative to the start of the busy period. */
static aegis_i128 release_of(const edf_search *search, size_t i)
{
    return (aegis_i128)search->deadline - (aegis_i128)search->scan.tasks[i].deadline;
}

static uint64_t longest_busy_period(const edf_search *search)
{
    return search->deadline < search->last_deadline ? search->blocked_length : search->length;
}

/* The latest end of a job due now, whichever it is: L(d). */
static aegis_i128 latest_end(const edf_search *search)
{
    return search->busy;
}

static void note_worst(const edf_search *search, size_t i, uint64_t s)
{
    const aegis_scan *scan = &search->scan;
    aegis_worst *worst = search->run->worst;
    if (worst == NULL || worst->task != i) {
        return;
    }
    worst->found = true;
    worst->due = search->deadline;
    worst->release = release_of(search, i);
    worst->completion = s + scan->tasks[i].last;
    worst->blocking = search->blocking;
    for (size_t j = 0; j < scan->count; j++) {
        uint64_t jobs = aegis_jobs_until(&scan->tasks[j], s);
        worst->jobs[j] = j == i || jobs > scan->jobs[j] ? scan->jobs[j] : jobs;
    }
}

/* L(d) - a <= R_i settles the job of i, and one released in no busy period of these is none. */
static bool can_be_later(const edf_search *search, size_t i)
{
    aegis_i128 release = release_of(search, i);
    return search->scan.jobs[i] != 0 && release < latest_end(search) &&
           latest_end(search) - release > (aegis_i128)search->responses[i];
}

static aegis_outcome take_start(edf_search *search, size_t i, uint64_t s)
{
    aegis_i128 response = (aegis_i128)s + search->scan.tasks[i].last - release_of(search, i);
    if (response > (aegis_i128)AEGIS_TICKS_MAX) {
        return AEGIS_OUTCOME_OVERFLOW;
    }
    if (response > (aegis_i128)search->responses[i]) {
        note_worst(search, i, s);
        search->responses[i] = (uint64_t)response;
    }
    search->starts[i] = s;
    return AEGIS_OUTCOME_DONE;
}

/* When all jobs of i due by d are ready. */
static uint64_t ready_of(const edf_search *search, size_t i)
{
    return search->scan.last[i] > 0 ? (uint64_t)search->scan.last[i] : 0;
}

/* The first instant at which no more is left than the last segment of the job of i, all jobs of i
 * being ready, if no release comes before. */
static uint64_t start_in_stretch(const edf_search *search, size_t i)
{
    uint64_t ready = ready_of(search, i);
    uint64_t last = search->scan.tasks[i].last, work = search->backlog.work;
    return ready + last >= work ? ready : work - last;
}

/* Takes the starts of the present stretch and keeps the tasks that have none there. */
static aegis_outcome take_starts(edf_search *search)
{
    uint64_t until = aegis_backlog_until(&search->backlog);
    size_t kept = 0;
    for (size_t k = 0; k < search->late_count; k++) {
        size_t i = search->late[k];
        uint64_t s = start_in_stretch(search, i);
        if (s >= until) {
            search->late[kept++] = i;
            continue;
        }
        aegis_outcome outcome = take_start(search, i, s);
        if (outcome != AEGIS_OUTCOME_DONE) {
            return outcome;
        }
    }
    search->late_count = kept;
    return AEGIS_OUTCOME_DONE;
}

/* Goes through stretches, as many as there are tasks, which take about as long as a sum over these
 * and are a step. */
static aegis_outcome sweep(edf_search *search)
{
    if (!aegis_budget_take(&search->run->budget)) {
        return AEGIS_OUTCOME_LIMIT;
    }
    aegis_outcome outcome = take_starts(search);
    for (size_t k = 0; k < search->scan.count; k++) {
        if (outcome != AEGIS_OUTCOME_DONE || search->late_count == 0) {
            break;
        }
        aegis_backlog_advance(&search->backlog, &search->scan);
        outcome = take_starts(search);
    }
    return outcome;
}

/* What is known of the starts that are looked for: by those of d's before, and the work so far. */
static aegis_backlog_look look_for_starts(const edf_search *search)
{
    aegis_backlog_look look = {
        .blocking = search->blocking, .from = UINT64_MAX, .end = search->busy};
    for (size_t k = 0; k < search->late_count; k++) {
        size_t i = search->late[k];
        uint64_t from = start_in_stretch(search, i), last = search->scan.tasks[i].last;
        from = from > search->starts[i] ? from : search->starts[i];
        look.from = from < look.from ? from : look.from;
        look.longest_last = last > look.longest_last ? last : look.longest_last;
    }
    return look;
}

static aegis_outcome respond_all(edf_search *search)
{
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    search->backlog.work = 0;
    while (outcome == AEGIS_OUTCOME_DONE && search->late_count > 0) {
        const aegis_backlog_look look = look_for_starts(search);
        outcome = aegis_backlog_begin(&search->backlog, &search->scan, &look, &search->run->budget);
        if (outcome == AEGIS_OUTCOME_DONE) {
            outcome = sweep(search);
        }
    }
    return outcome;
}

/* One evaluation of b(d) + sum of min(ceil((w + J) / T), N(d)) C, likewise. */
static bool longer_busy(const edf_search *search, uint64_t w, uint64_t *ret)
{
    *ret = aegis_backlog_work_by(&search->backlog, &search->scan, search->blocking, w - 1);
    return *ret > w;
}

/* L(d) grows with d by the jobs due now that are released before its end. Where b falls it grows
 * too: what blocked is due then, all of it and not a segment less a tick, and ready at 0. The same
 * holds for W and the dip. */
static aegis_outcome update_busy(edf_search *search)
{
    const aegis_scan *scan = &search->scan;
    bool grows = search->busy == 0 || search->behind;
    for (size_t k = 0; k < scan->present_count && !grows; k++) {
        grows = release_of(search, scan->present[k]) < (aegis_i128)search->busy;
    }
    uint64_t w = search->busy == 0 ? 1 : search->busy;
    while (grows) {
        if (!aegis_budget_take(&search->run->budget)) {
            return AEGIS_OUTCOME_LIMIT;
        }
        grows = longer_busy(search, w, &w);
    }
    search->busy = w;
    search->behind = false;
    return AEGIS_OUTCOME_DONE;
}

/* No task can pass its response so far if all jobs due now end by `end`: end - (d - D_i) <= R_i for
 * all of them. */
static bool nobody_can_be_later(const edf_search *search, aegis_i128 end)
{
    return search->started == search->scan.started &&
           end - search->deadline <= (aegis_i128)search->headroom;
}

static void update_headroom(edf_search *search)
{
    search->started = search->scan.started;
    search->headroom = INT64_MAX;
    for (size_t i = 0; i < search->scan.count; i++) {
        int64_t room = (int64_t)search->responses[i] - (int64_t)search->scan.tasks[i].deadline;
        if (search->scan.jobs[i] != 0 && room < search->headroom) {
            search->headroom = room;
        }
    }
    search->stop = aegis_demand_line_below(&search->line, search->headroom);
}

static aegis_outcome consider_all(edf_search *search)
{
    search->late_count = 0;
    for (size_t i = 0; i < search->scan.count; i++) {
        if (can_be_later(search, i)) {
            search->late[search->late_count++] = i;
        }
    }
    aegis_outcome outcome = respond_all(search);
    update_headroom(search);
    return outcome;
}

/* True when no job due at the present deadline or later is inside its longest busy period, not even
 * the one with the latest relative deadline, which is released first; or when none can respond
 * later than what was found, as from F on L(d) <= h(d), and h(d) - d stays below min(R_i - D_i). */
static bool past_the_end(const edf_search *search)
{
    return (aegis_i128)search->deadline - (aegis_i128)search->latest >=
               (aegis_i128)longest_busy_period(search) ||
           (search->started == search->scan.count && search->deadline > search->stop);
}

/* The present deadline. L(d) <= b(d) + h(d), which the scan has summed up already, and on a lane
 * that is nearly full that settles nearly every d. Where L(d) is what it was, no job released
 * before it has come since: all starts before it are what they were, and later deadlines only make
 * the responses shorter. */
static aegis_outcome search_here(edf_search *search)
{
    aegis_demand_blocker_at(search->run, search->deadline, &search->blocker);
    search->blocking = search->blocker.blocking;
    uint64_t before = search->busy;
    if (nobody_can_be_later(search, (aegis_i128)search->blocking + search->scan.demand)) {
        search->behind = true;
        return AEGIS_OUTCOME_DONE;
    }
    aegis_outcome outcome = update_busy(search);
    bool settled = search->busy == before || nobody_can_be_later(search, latest_end(search));
    return outcome != AEGIS_OUTCOME_DONE || settled ? outcome : consider_all(search);
}

/* The end of the next look ahead; all sums up to a period behind it fit 63 bits. */
static int64_t end_of_look(const edf_search *search)
{
    aegis_i128 end = (aegis_i128)search->deadline + search->reach;
    aegis_i128 most = (aegis_i128)(AEGIS_TICKS_MAX / 2) - search->longest_period;
    aegis_i128 last = (aegis_i128)search->length + search->latest;
    end = end < most ? end : most;
    end = end < last ? end : last;
    return end < search->stop ? (int64_t)end : search->stop;
}

/* From F on, where nothing blocks, deadlines with h(d) - d <= min(R_i - D_i) are settled, and
 * downwards they are passed in strides (aegis_demand_first_above). That pays where the strides hold
 * many deadlines: looks are as long as takes some steps, and rarer where they spare little. */
static aegis_outcome look_ahead(edf_search *search)
{
    aegis_scan *scan = &search->scan;
    int64_t end = end_of_look(search);
    aegis_above above = {.from = search->deadline,
                         .to = end,
                         .steps = STEPS_OF_LOOK,
                         .reciprocals = search->backlog.reciprocals};
    above.room = search->headroom < INT64_MAX / 2 ? search->headroom : INT64_MAX / 2;
    if (end <= search->deadline) {
        return AEGIS_OUTCOME_DONE;
    }
    aegis_outcome outcome = aegis_demand_first_above(search->run, &above);
    if (outcome != AEGIS_OUTCOME_DONE) {
        return outcome;
    }
    uint64_t spared = above.found ? aegis_scan_skip(scan, above.first) : 0;
    search->behind = search->behind || spared > 0;
    search->reach = above.steps > STEPS_OF_LOOK / 2 ? 2 * (end - search->deadline)
                                                    : (end - search->deadline) / 2 + 1;
    search->setback = spared < scan->count ? 2 * search->setback + 1 : 0;
    search->pause = search->setback * scan->count;
    return AEGIS_OUTCOME_DONE;
}

static aegis_outcome pass_settled(edf_search *search)
{
    if (search->started < search->scan.count) {
        return AEGIS_OUTCOME_DONE; /* F is still to come */
    }
    if (search->pause > 0) {
        search->pause--;
        return AEGIS_OUTCOME_DONE;
    }
    return look_ahead(search);
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
        outcome = search_here(search);
        if (outcome == AEGIS_OUTCOME_DONE) {
            outcome = pass_settled(search);
        }
    }
    return outcome == AEGIS_OUTCOME_DIVERGES ? AEGIS_OUTCOME_DONE : outcome;
}

/* Whether the line ends the search about as early as the busy period would, which is some half of
 * sum C / (1 - U) long: to find its end takes as long as to look through it. */
static bool ends_by_line(const edf_search *search)
{
    const aegis_analysis_run *run = search->run;
    aegis_i128 work = 0;
    for (size_t i = 0; i < run->count; i++) {
        work += (aegis_i128)run->tasks[i].execution;
    }
    return 4 * search->line.offset < work &&
           aegis_demand_line_below(&search->line, -(int64_t)search->latest) < INT64_MAX;
}

/* L, L' and F. At U = 1 (without jitter) L' exists only without blocking, but the jobs that could
 * be blocked are finite in number anyway: those with d < F. */
static aegis_outcome prepare(edf_search *search, int sign)
{
    aegis_analysis_run *run = search->run;
    size_t blocker;
    uint64_t longest = aegis_demand_blocking(run, INT64_MIN, &blocker);
    search->last_deadline = INT64_MIN;
    search->blocker = AEGIS_DEMAND_BLOCKER_UNKNOWN;
    for (size_t i = 0; i < run->count; i++) {
        int64_t first = aegis_first_deadline(&run->tasks[i]);
        search->last_deadline = first > search->last_deadline ? first : search->last_deadline;
        uint64_t deadline = run->tasks[i].deadline;
        search->latest = deadline > search->latest ? deadline : search->latest;
        uint64_t period = run->tasks[i].period;
        search->longest_period = period > search->longest_period ? period : search->longest_period;
    }
    search->reach = (int64_t)search->latest;
    search->line = aegis_demand_line_of(run);
    search->length = search->blocked_length = UINT64_MAX;
    search->stop = INT64_MAX;
    if (ends_by_line(search)) {
        return AEGIS_OUTCOME_DONE;
    }
    const aegis_spans known = aegis_known_spans(run);
    aegis_busy_level level = {.count = run->count, .from = known.length, .cap = UINT64_MAX};
    aegis_outcome outcome = aegis_busy_period(run, &level, &search->length);
    if (outcome == AEGIS_OUTCOME_DONE && sign < 0) {
        level.blocking = longest;
        level.from = known.blocked_length;
        outcome = aegis_busy_period(run, &level, &search->blocked_length);
    }
    return outcome;
}

/* What was not looked for is as long as it was before, at least. */
static uint64_t known_span(uint64_t found, uint64_t before)
{
    return found == UINT64_MAX ? before : found;
}

/* For the next test, of a larger set. */
static void remember(const edf_search *search)
{
    aegis_known *known = search->run->known;
    if (known != NULL) {
        known->spans.length = known_span(search->length, known->spans.length);
        known->spans.blocked_length =
            known_span(search->blocked_length, known->spans.blocked_length);
        for (size_t i = 0; i < search->scan.count; i++) {
            known->tasks[i].response = search->responses[i];
        }
    }
}

static aegis_outcome search_with_memory(edf_search *search)
{
    aegis_outcome outcome = aegis_scan_init(&search->scan, search->run, false);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = search_all(search);
        if (outcome == AEGIS_OUTCOME_DONE) {
            remember(search);
        }
        aegis_scan_finish(&search->scan);
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
    search.late = aegis_allocate_zeroed(run->allocator, run->count, sizeof *search.late);
    search.starts = aegis_allocate_zeroed(run->allocator, run->count, sizeof *search.starts);
    outcome = search.late == NULL || search.starts == NULL
                  ? AEGIS_OUTCOME_NO_MEMORY
                  : aegis_backlog_init(&search.backlog, run);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = search_with_memory(&search);
        aegis_backlog_finish(&search.backlog);
    }
    aegis_deallocate(run->allocator, search.late, run->count, sizeof *search.late);
    aegis_deallocate(run->allocator, search.starts, run->count, sizeof *search.starts);
    return outcome;
}

bool aegis_np_edf_is_endless(const aegis_analysis_run *run, int sign)
{
    return sign == 0 && aegis_has_jitter(run->tasks, run->count);
}

aegis_outcome aegis_np_edf_outcome(aegis_analysis_run *run, int sign, uint64_t *ret_responses)
{
    if (sign > 0) {
        return AEGIS_OUTCOME_DIVERGES; /* demand grows faster than time, for every task */
    }
    return aegis_np_edf_is_endless(run, sign) ? AEGIS_OUTCOME_LIMIT
                                              : aegis_np_edf_responses(run, sign, ret_responses);
}

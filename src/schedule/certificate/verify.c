/* SPDX-License-Identifier: Apache-2.0 */
/* The checker. It trusts neither the certificate nor the analysis: what the certificate says is put
 * into the inequalities below, and every instant and job number is enumerated here. Sums are formed
 * in 128 bits and stick at PAST, which is larger than any claim, so that overflow refuses. */
#include "schedule/certificate/internal.h"

#include <stdarg.h>
#include <stdio.h>

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 uwide;
#define LARGEST ((wide)INT64_MAX)
#define PAST ((wide)1 << 64)

typedef struct track {                       /* of a task among the instants, or simulated */
    wide at;                                 /* its next instant */
    const aegis_certificate_job *next, *end; /* its jobs that are not done */
    size_t segment;
    int64_t left; /* of that segment */
} track;

typedef struct checker {
    const aegis_certificate *c;
    aegis_certificate_report *report;
    track *places;       /* one a task */
    uint64_t left;       /* steps */
    aegis_status status; /* when not OK no answer counts */
    bool edf, preemptive;
} checker;

AEGIS_PRINTF(2, 3) static bool refuse(checker *k, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(k->report->statement, sizeof k->report->statement, format, arguments);
    va_end(arguments);
    return false;
}

static bool spend(checker *k, size_t looks)
{
    if (k->left < looks) {
        k->status = AEGIS_ERROR_UNDECIDED;
        return refuse(k, "the steps allowed are used up");
    }
    k->left -= looks;
    return true;
}

static long long shown(wide value)
{
    return (long long)(value > LARGEST ? LARGEST : value);
}

/* sum + jobs * cost for jobs up to 2^64 - 1. */
static wide add(wide sum, wide jobs, int64_t cost)
{
    wide more = jobs * cost;
    return more > LARGEST || sum + more > LARGEST ? PAST : sum + more;
}

static size_t segments_of(const checker *k, size_t i)
{
    bool cuts = k->c->policy == AEGIS_ANALYSIS_FPP || k->c->policy == AEGIS_ANALYSIS_NP_EDF;
    return cuts && k->c->tasks[i].segments != NULL ? k->c->tasks[i].segment_count : 1;
}

static int64_t segment_of(const checker *k, size_t i, size_t s)
{
    return segments_of(k, i) > 1 ? k->c->tasks[i].segments[s] : k->c->tasks[i].execution;
}

/* Longest segment less one tick: the blocker has started before. */
static int64_t blocks(const checker *k, size_t i)
{
    int64_t longest = 1;
    for (size_t s = 0; s < segments_of(k, i) && !k->preemptive; s++) {
        longest = segment_of(k, i, s) > longest ? segment_of(k, i, s) : longest;
    }
    return longest - 1;
}

/* base + the work of the first `count` tasks that can be there in [0, w), or [0, w] if `closed`. */
static wide work(const checker *k, size_t count, wide w, bool closed, wide base)
{
    for (size_t j = 0; j < count && base < PAST; j++) {
        const aegis_task *task = &k->c->tasks[j];
        wide x = w + task->jitter + (closed ? task->period : task->period - 1);
        base = add(base, x / task->period, task->execution);
    }
    return base;
}

/* A busy period that begins with `blocking` ends by `length`. */
static bool ends(checker *k, size_t count, int64_t length, int64_t blocking)
{
    return (length >= 1 && work(k, count, length, false, blocking) <= length) ||
           refuse(k, "the first %zu tasks: no busy period ends by %lld", count, shown(length));
}

/* Least common multiple of the first periods; 0 when it passes 2^126. */
static uwide common_multiple(const checker *k, size_t count)
{
    uwide multiple = 1;
    for (size_t i = 0; i < count; i++) {
        uwide period = (uwide)k->c->tasks[i].period, a = multiple, b = period, rest;
        while ((rest = a % b) != 0) {
            a = b;
            b = rest;
        }
        if (multiple > ((uwide)1 << 126) / (period / b)) {
            return 0;
        }
        multiple *= period / b;
    }
    return multiple;
}

/* Sign of U - 1 over the first tasks: by U * 2^64 rounded down where that shows U > 1. */
static bool utilisation(checker *k, size_t count, int *ret_sign)
{
    uwide low = 0, sum = 0, one = (uwide)1 << 64, multiple = common_multiple(k, count);
    for (size_t i = 0; i < count && low <= one; i++) {
        uint64_t period = (uint64_t)k->c->tasks[i].period;
        low += ((uwide)k->c->tasks[i].execution << 64) / period;
        sum += multiple / period * (uint64_t)k->c->tasks[i].execution;
    }
    *ret_sign = low > one || sum > multiple ? 1 : sum < multiple ? -1 : 0;
    k->status = multiple == 0 && low <= one ? AEGIS_ERROR_UNDECIDED : AEGIS_OK;
    return k->status == AEGIS_OK || refuse(k, "U is near 1, the periods' lcm passes 126 bits");
}

static bool check_first_tasks(checker *k)
{
    int sign;
    bool jitter = work(k, k->c->task, 0, false, 0) > 0; /* ceil(J / T) jobs are there at 0 */
    return utilisation(k, k->c->task, &sign) &&
           ((k->c->kind == AEGIS_PROOF_OVERLOAD ? sign > 0 : sign == 0 && jitter) ||
            refuse(k, "the first %zu tasks: U - 1 has the sign %d", k->c->task, sign));
}

/* Some w with f(w) <= w: the one listed, or the one that iterating f leads to. */
static bool find_point(checker *k, size_t i, uint64_t q, wide base, wide *w)
{
    const aegis_level_proof *level = &k->c->levels[i];
    bool listed = q < level->point_count;
    *w = listed ? level->points[q] : *w > base ? *w : base;
    while (spend(k, i + 1)) {
        wide next = *w < 0 ? PAST : work(k, i, *w, !k->preemptive, base);
        if (next <= *w) {
            return true;
        }
        if (listed || next >= PAST) {
            return refuse(k, "task %zu: w = %lld, but f(w) = %lld", i, shown(*w), shown(next));
        }
        *w = next;
    }
    return false;
}

static bool check_level(checker *k, size_t i)
{
    const aegis_task *task = &k->c->tasks[i];
    const aegis_level_proof *level = &k->c->levels[i];
    int64_t last = k->preemptive ? 0 : segment_of(k, i, segments_of(k, i) - 1), blocking = 0;
    wide w = 0, jobs = ((wide)level->busy + task->jitter + task->period - 1) / task->period;
    uint64_t q = 0;
    for (size_t j = i + 1; j < k->c->count; j++) {
        blocking = blocks(k, j) > blocking ? blocks(k, j) : blocking;
    }
    if (level->blocking != blocking || level->response > task->deadline) {
        return refuse(k, "task %zu: B is %lld, or R > D", i, shown(blocking));
    }
    if (!k->preemptive && !ends(k, i + 1, level->busy, blocking)) {
        return false;
    }
    for (bool busy = true; k->preemptive ? busy : q < (uwide)jobs; q++) {
        wide release = (wide)q * task->period - task->jitter;
        if (!find_point(k, i, q, add((wide)blocking - last, (wide)q + 1, task->execution), &w)) {
            return false;
        }
        if (w + last - release > level->response) {
            return refuse(k, "task %zu, job %llu: w = %lld gives a response past R = %lld", i,
                          (unsigned long long)q, shown(w), shown(level->response));
        }
        k->report->points++;
        busy = w > release + task->period; /* the next job meets work of this one */
    }
    return level->point_count <= q || refuse(k, "task %zu: points for more jobs than there are", i);
}

static bool check_levels(checker *k)
{
    bool holds = true;
    for (size_t i = 0; i < k->c->count && holds; i++) {
        holds = check_level(k, i);
    }
    return holds;
}

static wide first_deadline(const checker *k, size_t i)
{
    return (wide)k->c->tasks[i].deadline - k->c->tasks[i].jitter;
}

/* The longest that a job due after t can block; under FIFO nothing blocks. */
static wide blocking_at(const checker *k, wide t)
{
    int64_t longest = 0;
    for (size_t i = 0; i < k->c->count && k->edf; i++) {
        longest = first_deadline(k, i) > t && blocks(k, i) > longest ? blocks(k, i) : longest;
    }
    return longest;
}

/* The last instant to look at: the horizon, at least every task's first deadline. */
static bool find_end(checker *k, wide *ret_end)
{
    wide last = -PAST, horizon = k->c->horizon, multiple;
    int sign = 1;
    for (size_t i = 0; i < k->c->count; i++) {
        last = first_deadline(k, i) > last ? first_deadline(k, i) : last;
    }
    *ret_end = k->edf && horizon < last ? last : horizon;
    if (k->c->rule == AEGIS_HORIZON_BUSY) {
        return ends(k, k->c->count, k->c->horizon, 0);
    }
    multiple = (wide)common_multiple(k, k->c->count);
    return utilisation(k, k->c->count, &sign) &&
           ((sign <= 0 && multiple > 0 && horizon >= last + multiple) ||
            refuse(k, "U > 1, or %lld < largest D - J + lcm of the periods", shown(horizon)));
}

/* The next instant of any task; the work of its events is added. */
static wide next_instant(checker *k, wide *sum)
{
    wide at = k->places[0].at;
    for (size_t i = 1; i < k->c->count; i++) {
        at = k->places[i].at < at ? k->places[i].at : at;
    }
    for (size_t i = 0; i < k->c->count; i++) {
        if (k->places[i].at == at) {
            *sum = add(*sum, 1, k->c->tasks[i].execution);
            k->places[i].at += k->c->tasks[i].period;
        }
    }
    return at;
}

/* EDF: demand and blocking fit at every deadline. FIFO: no arrival waits longer than `longest`; one
 * before 0 is seen at 0. */
static bool check_instants(checker *k)
{
    const aegis_certificate *c = k->c;
    wide end, at = 0, sum = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < c->count; i++) {
        k->places[i].at = k->edf ? first_deadline(k, i) : -(wide)c->tasks[i].jitter;
        if (!k->edf && c->longest > first_deadline(k, i)) {
            return refuse(k, "task %zu: J + %lld is past D", i, shown(c->longest));
        }
    }
    if (!find_end(k, &end)) {
        return false;
    }
    for (; spend(k, c->count) && (at = next_instant(k, &sum)) <= end; count++) {
        wide demand = sum + blocking_at(k, at), time = k->edf || at > 0 ? at : 0;
        if (demand - time > (k->edf ? 0 : c->longest)) {
            return refuse(k, "at %lld there is work for %lld", shown(at), shown(demand));
        }
        if (count < c->demand_count &&
            (c->demand[2 * count] != at || c->demand[2 * count + 1] != demand)) {
            return refuse(k, "listed wrongly: at %lld it is %lld", shown(at), shown(demand));
        }
    }
    k->report->points = count;
    return k->status == AEGIS_OK && ((count == (uint64_t)c->instants &&
                                      (c->demand_count == 0 || c->demand_count == count)) ||
                                     refuse(k, "there are %lld instants", (long long)count));
}

/* FIFO with jitter: what the test counts at one instant, although no behaviour may show it. */
static bool check_bound(checker *k)
{
    const aegis_task *task = &k->c->tasks[k->c->task];
    wide at = k->c->at, bound = at < 0 ? 0 : work(k, k->c->count, at, true, 0) + task->jitter - at;
    return (bound == k->c->bound && bound > task->deadline) ||
           refuse(k, "task %zu: the bound at %lld is %lld", k->c->task, shown(at), shown(bound));
}

/* The tasks permit the jobs: minimum distance, jitter, order; nothing is ready when one blocks. */
static bool check_jobs(checker *k)
{
    const aegis_certificate *c = k->c;
    wide total = c->blocked ? segment_of(k, c->blocker, c->segment) - 1 : 0;
    bool permitted = !(c->blocked && k->preemptive);
    for (const aegis_certificate_job *job = c->jobs; job < c->jobs + c->job_count; job++) {
        const aegis_task *task = &c->tasks[job->task];
        track *place = &k->places[job->task];
        wide late = (wide)job->ready - job->nominal, due = (wide)job->nominal + task->deadline;
        bool again = place->next != NULL, blocker = c->blocked && job->task == c->blocker;
        permitted = permitted && late >= 0 && late <= task->jitter && job->ready >= c->blocked &&
                    !blocker && !(k->edf && due > (wide)c->instant + c->blocked) &&
                    !(again && (job[-1].task != job->task || job->ready < job[-1].ready ||
                                job->nominal < (wide)job[-1].nominal + task->period));
        place->next = again ? place->next : job;
        place->end = job + 1;
        place->left = segment_of(k, job->task, 0);
        total = add(total, 1, task->execution);
    }
    return (permitted && (!k->edf || (total == c->total && total > c->instant))) ||
           refuse(k, "the tasks do not permit these jobs, or they sum to %lld", shown(total));
}

static wide key_of(const checker *k, size_t i)
{
    const aegis_certificate_job *job = k->places[i].next;
    wide queued = k->c->policy == AEGIS_ANALYSIS_FIFO ? job->ready : (int64_t)i;
    return k->edf ? (wide)job->nominal + k->c->tasks[i].deadline : queued;
}

/* The task to run now (the smaller key), and the next arrival. A tie goes against the task that
 * shall miss. */
static size_t choose(const checker *k, wide now, wide *ret_arrival)
{
    size_t best = SIZE_MAX, target = k->c->jobs[k->c->job].task;
    *ret_arrival = PAST;
    for (size_t i = 0; i < k->c->count; i++) {
        const track *place = &k->places[i];
        if (place->next != place->end && place->next->ready > now) {
            *ret_arrival = place->next->ready < *ret_arrival ? place->next->ready : *ret_arrival;
        } else if (place->next != place->end &&
                   (best == SIZE_MAX || key_of(k, i) < key_of(k, best) ||
                    (best == target && key_of(k, i) == key_of(k, best)))) {
            best = i;
        }
    }
    return best;
}

/* Simulates the jobs. Under EDF any late one will do, else it is the one that is named. */
static bool check_miss(checker *k)
{
    const aegis_certificate *c = k->c;
    wide now = c->blocked ? segment_of(k, c->blocker, c->segment) : 0, arrival;
    bool missed = false;
    for (bool permitted = check_jobs(k); permitted && !missed && spend(k, c->count);) {
        size_t i = choose(k, now, &arrival);
        track *place = &k->places[i == SIZE_MAX ? 0 : i];
        if (i == SIZE_MAX && arrival == PAST) {
            return refuse(k, "simulated, these jobs do not miss as the certificate says");
        }
        if (i == SIZE_MAX || (k->preemptive && now + place->left > arrival)) {
            place->left -= i == SIZE_MAX ? 0 : (int64_t)(arrival - now);
            now = arrival;
            continue;
        }
        now += place->left;
        place->segment = (place->segment + 1) % segments_of(k, i);
        place->left = segment_of(k, i, place->segment);
        bool late = place->segment == 0 && now > (wide)place->next->nominal + c->tasks[i].deadline;
        missed = late && (k->edf || (place->next == &c->jobs[c->job] && now == c->completion));
        place->next += place->segment == 0;
        k->report->points++;
    }
    return missed;
}

static bool (*const checks[])(checker *) = {
    [AEGIS_PROOF_RESPONSES] = check_levels,     [AEGIS_PROOF_DEMAND] = check_instants,
    [AEGIS_PROOF_QUEUE] = check_instants,       [AEGIS_PROOF_MISS] = check_miss,
    [AEGIS_PROOF_OVERLOAD] = check_first_tasks, [AEGIS_PROOF_NO_END] = check_first_tasks,
    [AEGIS_PROOF_BOUND] = check_bound};

aegis_status aegis_certificate_check(const aegis_certificate *certificate,
                                     uint64_t steps,
                                     const aegis_allocator *allocator,
                                     aegis_certificate_report *ret_report,
                                     aegis_error *err)
{
    const aegis_analysis policy = certificate->policy;
    aegis_certificate_report report = {.policy = policy, .statement = "no memory"};
    checker k = {.c = certificate,
                 .report = &report,
                 .left = steps,
                 .edf = policy == AEGIS_ANALYSIS_EDF || policy == AEGIS_ANALYSIS_NP_EDF,
                 .preemptive = policy == AEGIS_ANALYSIS_EDF || policy == AEGIS_ANALYSIS_FP};
    k.places = aegis_allocate_zeroed(allocator, certificate->count, sizeof *k.places);
    k.status = k.places == NULL ? AEGIS_ERROR_NO_MEMORY : AEGIS_OK;
    report.holds = k.places != NULL && checks[certificate->kind](&k);
    report.steps = steps - k.left;
    aegis_deallocate(allocator, k.places, certificate->count, sizeof *k.places);
    if (k.status != AEGIS_OK) {
        return aegis_error_set(err, AEGIS_HERE("schedule.verify"), k.status, "not settled: %s",
                               report.statement);
    }
    *ret_report = report;
    return AEGIS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The checker's argument. It trusts neither the certificate nor the analysis: what the certificate
 * says is put into the inequalities below, and every instant and job number is enumerated here.
 * Sums are formed in 128 bits and stick at PAST, which is larger than any claim, so that overflow
 * refuses.
 */
#include "schedule/certificate/checker.h"

#include <stdarg.h>
#include <stdio.h>

bool aegis_check_refuse(checker *k, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(k->report->statement, sizeof k->report->statement, format, arguments);
    va_end(arguments);
    return false;
}

bool aegis_check_spend(checker *k, size_t looks)
{
    if (k->left < looks) {
        k->status = AEGIS_ERROR_UNDECIDED;
        return aegis_check_refuse(k, "the steps allowed are used up");
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

size_t aegis_check_segments(const checker *k, size_t i)
{
    bool cuts = k->c->policy == AEGIS_ANALYSIS_FPP || k->c->policy == AEGIS_ANALYSIS_NP_EDF;
    return cuts && k->c->tasks[i].segments != NULL ? k->c->tasks[i].segment_count : 1;
}

int64_t aegis_check_segment(const checker *k, size_t i, size_t s)
{
    return aegis_check_segments(k, i) > 1 ? k->c->tasks[i].segments[s] : k->c->tasks[i].execution;
}

/* Longest segment less one tick: the blocker has started before. */
static int64_t blocks(const checker *k, size_t i)
{
    int64_t longest = 1;
    for (size_t s = 0; s < aegis_check_segments(k, i) && !k->preemptive; s++) {
        longest = aegis_check_segment(k, i, s) > longest ? aegis_check_segment(k, i, s) : longest;
    }
    return longest - 1;
}

/* base + the work of the first `count` tasks that can be there in [0, w), or [0, w] if `closed`;
 * with `due` of the jobs due now alone, and without that of task `i`. */
static wide work(const checker *k, size_t count, size_t i, bool due, wide w, bool closed, wide base)
{
    for (size_t j = 0; j < count && base < PAST; j++) {
        const aegis_task *task = &k->c->tasks[j];
        wide jobs = (w + task->jitter + (closed ? task->period : task->period - 1)) / task->period;
        jobs = due && k->places[j].jobs < jobs ? k->places[j].jobs : jobs;
        base = j == i ? base : add(base, jobs, task->execution);
    }
    return base;
}

/* The least w >= *w with f(w) <= w of that, reached from below. */
static bool settle(checker *k, size_t count, size_t i, bool due, bool closed, wide base, wide *w)
{
    while (aegis_check_spend(k, count + 1)) {
        wide next = *w < 0 ? PAST : work(k, count, i, due, *w, closed, base);
        if (next <= *w || next >= PAST) {
            return next <= *w || aegis_check_refuse(k, "task %zu: no w has f(w) <= w", i);
        }
        *w = next;
    }
    return false;
}

/* A busy period that begins with `blocking` ends by `length`. */
static bool ends(checker *k, size_t count, int64_t length, int64_t blocking)
{
    return (length >= 1 && work(k, count, SIZE_MAX, false, length, false, blocking) <= length) ||
           aegis_check_refuse(k, "the first %zu tasks: no busy period ends by %lld", count,
                              shown(length));
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
    return k->status == AEGIS_OK ||
           aegis_check_refuse(k, "U is near 1, the periods' lcm passes 126 bits");
}

static bool check_first_tasks(checker *k)
{
    int sign;
    bool jitter =
        work(k, k->c->task, SIZE_MAX, false, 0, false, 0) > 0; /* ceil(J / T) jobs are there at 0 */
    return utilisation(k, k->c->task, &sign) &&
           ((k->c->kind == AEGIS_PROOF_OVERLOAD ? sign > 0 : sign == 0 && jitter) ||
            aegis_check_refuse(k, "the first %zu tasks: U - 1 has the sign %d", k->c->task, sign));
}

/* Some w with f(w) <= w: the one listed, or the one that iterating f leads to. */
static bool find_point(checker *k, size_t i, uint64_t q, wide base, wide *w)
{
    const aegis_response_proof *level = &k->c->responses[i];
    bool listed = q < level->point_count;
    *w = listed ? level->points[q] : *w > base ? *w : base;
    wide point = *w;
    return settle(k, i, SIZE_MAX, false, !k->preemptive, base, w) &&
           (!listed || *w == point ||
            aegis_check_refuse(k, "task %zu: w = %lld, but f(w) = %lld", i, shown(point),
                               shown(*w)));
}

static bool check_level(checker *k, size_t i)
{
    const aegis_task *task = &k->c->tasks[i];
    const aegis_response_proof *level = &k->c->responses[i];
    int64_t last = k->preemptive ? 0 : aegis_check_segment(k, i, aegis_check_segments(k, i) - 1),
            blocking = 0;
    wide w = 0, jobs = ((wide)level->busy + task->jitter + task->period - 1) / task->period;
    uint64_t q = 0;
    for (size_t j = i + 1; j < k->c->count; j++) {
        blocking = blocks(k, j) > blocking ? blocks(k, j) : blocking;
    }
    if (level->blocking != blocking) {
        return aegis_check_refuse(k, "task %zu: B is %lld", i, shown(blocking));
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
            return aegis_check_refuse(k,
                                      "task %zu, job %llu: w = %lld gives a response past R = %lld",
                                      i, (unsigned long long)q, shown(w), shown(level->response));
        }
        k->report->points++;
        busy = w > release + task->period; /* the next job meets work of this one */
    }
    return level->point_count <= q ||
           aegis_check_refuse(k, "task %zu: points for more jobs than there are", i);
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

/* The instants are the verdict. */
static bool speaks(const aegis_certificate *c)
{
    return c->kind == AEGIS_PROOF_DEMAND || c->kind == AEGIS_PROOF_QUEUE;
}

/* The last instant to look at: the horizon, at least every task's first deadline; and for responses
 * the last deadline of a job released before the busy period of all ends, which b = 0 from F on. */
static bool find_end(checker *k, wide *ret_end)
{
    const aegis_certificate *c = k->c;
    wide last = -PAST, latest = 0, horizon = speaks(c) ? c->horizon : 0, multiple;
    int sign = 1;
    for (size_t i = 0; i < c->count; i++) {
        last = first_deadline(k, i) > last ? first_deadline(k, i) : last;
        latest = k->edf && c->tasks[i].deadline > latest ? c->tasks[i].deadline : latest;
    }
    *ret_end = k->edf && horizon < last ? last : horizon;
    if (c->responses != NULL && c->busy + latest > *ret_end) {
        *ret_end = c->busy + latest;
    }
    if (c->responses != NULL && !ends(k, c->count, c->busy, 0)) {
        return false;
    }
    if (!speaks(c) || c->rule == AEGIS_HORIZON_BUSY) {
        return !speaks(c) || ends(k, c->count, c->horizon, 0);
    }
    multiple = (wide)common_multiple(k, c->count);
    return utilisation(k, c->count, &sign) &&
           ((sign <= 0 && multiple > 0 && horizon >= last + multiple) ||
            aegis_check_refuse(k, "U > 1, or %lld < largest D - J + lcm of the periods",
                               shown(horizon)));
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
            k->places[i].jobs++;
        }
    }
    return at;
}

/* np-edf: no job due now ends later than its R allows. All of them end by L; where that does not
 * say enough, its last segment starts at the least s, when all that is due and there has run. */
static bool check_due(checker *k, wide now, wide blocking)
{
    for (size_t i = 0; i < k->c->count && blocking != k->blocked; i++) {
        k->places[i].start = k->busy = 0;
    }
    k->blocked = blocking;
    k->busy = k->busy > 1 ? k->busy : 1;
    if (!settle(k, k->c->count, SIZE_MAX, true, false, blocking, &k->busy)) {
        return false;
    }
    for (size_t i = 0; i < k->c->count; i++) {
        const int64_t response = k->c->responses[i].response, cost = k->c->tasks[i].execution;
        wide latest = now - k->c->tasks[i].deadline + response, *s = &k->places[i].start;
        wide last = aegis_check_segment(k, i, aegis_check_segments(k, i) - 1);
        wide base = add(blocking - last, k->places[i].jobs, cost);
        if (response < 0 || k->places[i].jobs == 0 || k->busy <= latest) {
            continue;
        }
        *s = *s > base ? *s : base;
        if (!settle(k, k->c->count, i, true, true, base, s)) {
            return false;
        }
        if (*s + last > latest) {
            return aegis_check_refuse(k, "task %zu: the job due at %lld responds later than %lld",
                                      i, shown(now), shown(response));
        }
    }
    return true;
}

/* EDF: demand and blocking fit at every deadline. FIFO: no arrival waits longer than allowed; one
 * before 0 is seen at 0. And the responses hold. */
static bool check_instants(checker *k)
{
    const aegis_certificate *c = k->c;
    wide end, at = 0, sum = 0, longest = speaks(c) ? k->edf ? 0 : c->longest : PAST;
    uint64_t count = 0;
    for (size_t i = 0; i < c->count; i++) {
        wide first = k->edf ? first_deadline(k, i) : -(wide)c->tasks[i].jitter, wait = PAST;
        k->places[i] = (track){.at = first};
        if (speaks(c) && !k->edf && longest > first_deadline(k, i)) {
            return aegis_check_refuse(k, "task %zu: J + %lld is past D", i, shown(longest));
        }
        if (!k->edf && c->responses != NULL && c->responses[i].response >= 0) {
            wait = first + c->responses[i].response;
        }
        longest = wait < longest ? wait : longest;
    }
    if (!find_end(k, &end)) {
        return false;
    }
    for (; aegis_check_spend(k, c->count) && (at = next_instant(k, &sum)) <= end; count++) {
        wide blocking = blocking_at(k, at), demand = sum + blocking;
        if (demand - (k->edf || at > 0 ? at : 0) > longest) {
            return aegis_check_refuse(k, "at %lld there is work for %lld", shown(at),
                                      shown(demand));
        }
        if (count < c->demand_count &&
            (c->demand[2 * count] != at || c->demand[2 * count + 1] != demand)) {
            return aegis_check_refuse(k, "listed wrongly: at %lld it is %lld", shown(at),
                                      shown(demand));
        }
        if (k->edf && c->responses != NULL && !check_due(k, at, blocking)) {
            return false;
        }
    }
    k->report->points += count;
    return k->status == AEGIS_OK &&
           (!speaks(c) ||
            (count == (uint64_t)c->instants &&
             (c->demand_count == 0 || c->demand_count == count)) ||
            aegis_check_refuse(k, "there are %lld instants", (long long)count));
}

/* FIFO with jitter: what the test counts at one instant, although no behaviour may show it. */
static bool check_bound(checker *k)
{
    const aegis_task *task = &k->c->tasks[k->c->task];
    wide at = k->c->at,
         bound =
             at < 0 ? 0 : work(k, k->c->count, SIZE_MAX, false, at, true, 0) + task->jitter - at;
    return (bound == k->c->bound && bound > task->deadline) ||
           aegis_check_refuse(k, "task %zu: the bound at %lld is %lld", k->c->task, shown(at),
                              shown(bound));
}

static bool check_miss(checker *k)
{
    const aegis_certificate *c = k->c;
    const aegis_certificate_job *job = &c->miss.jobs[c->miss.job];
    wide last, total, due = (wide)job->nominal + c->tasks[job->task].deadline;
    if (!aegis_check_jobs(k, &c->miss, &last, &total)) {
        return false;
    }
    if (k->edf
            ? total != c->total || total <= c->instant || last > (wide)c->instant + c->miss.blocked
            : c->completion <= due) {
        return aegis_check_refuse(k, "these jobs are in time, or they sum to %lld", shown(total));
    }
    return aegis_check_simulate(k, &c->miss, k->edf, c->completion);
}

/* What is said about the responses, which under fixed priorities may be the verdict: no job has a
 * larger one, and the jobs given have it. */
static bool check_responses(checker *k)
{
    const aegis_certificate *c = k->c;
    bool set = k->edf || c->policy == AEGIS_ANALYSIS_FIFO;
    bool holds = !set || speaks(c) || check_instants(k);
    wide last, total;
    for (size_t i = 0; i < c->count && holds; i++) {
        const aegis_response_proof *proof = &c->responses[i];
        const aegis_certificate_job *job = &proof->reached.jobs[proof->reached.job];
        bool said = proof->response >= 0;
        if (c->kind == AEGIS_PROOF_RESPONSES && (!said || proof->response > c->tasks[i].deadline)) {
            return aegis_check_refuse(k, "task %zu: R is %lld, past D", i, shown(proof->response));
        }
        holds = set || !said || check_level(k, i);
        k->report->responses += said;
        if (holds && proof->reached.count > 0) {
            holds =
                (job->task == i || aegis_check_refuse(k, "task %zu: the job is of another", i)) &&
                aegis_check_jobs(k, &proof->reached, &last, &total) &&
                aegis_check_simulate(k, &proof->reached, false,
                                     (wide)job->nominal + proof->response);
            k->report->reached += holds;
        }
    }
    return holds;
}

static bool (*const checks[])(checker *) = {
    [AEGIS_PROOF_RESPONSES] = check_responses,  [AEGIS_PROOF_DEMAND] = check_instants,
    [AEGIS_PROOF_QUEUE] = check_instants,       [AEGIS_PROOF_MISS] = check_miss,
    [AEGIS_PROOF_OVERLOAD] = check_first_tasks, [AEGIS_PROOF_NO_END] = check_first_tasks,
    [AEGIS_PROOF_BOUND] = check_bound};

bool aegis_check_argument(checker *k)
{
    bool more = k->c->responses != NULL && k->c->kind != AEGIS_PROOF_RESPONSES;
    return checks[k->c->kind](k) && (!more || check_responses(k));
}

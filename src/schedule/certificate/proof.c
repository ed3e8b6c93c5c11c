/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the numbers that prove a verdict. Nothing here is trusted: what is found goes through the
 * checker before anyone sees it, so that an error shows as a certificate that cannot be written. */
#include "schedule/certificate/prover.h"

#include <string.h>

#define LISTED_POINTS 100000u
#define LISTED_INSTANTS 10000u
#define DEFAULT_STEPS UINT64_C(200000000)

bool aegis_prover_step(prover *p)
{
    if (p->steps == 0 || (p->cancel != NULL && *p->cancel)) {
        return false;
    }
    p->steps--;
    return true;
}

static aegis_status give_up(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("schedule.certificate"), AEGIS_ERROR_UNDECIDED,
                           "the proof is too large to be written down: count time in larger ticks "
                           "or allow more steps");
}

aegis_status aegis_prover_out_of_memory(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("schedule.certificate"), AEGIS_ERROR_NO_MEMORY,
                           "no memory for the certificate");
}

/* ---- fixed points ---- */

/* base + work of the first tasks in [0, w), or [0, w] when closed; false past 63 bits. */
static bool
right_side(const prover *p, size_t count, int64_t w, bool closed, int64_t base, int64_t *ret_sum)
{
    aegis_u128 sum = (aegis_u128)base;
    for (size_t j = 0; j < count && sum <= TICKS_MAX; j++) {
        const aegis_task *task = &p->c->tasks[j];
        uint64_t x = (uint64_t)w + (uint64_t)task->jitter, period = (uint64_t)task->period;
        aegis_u128 jobs = closed ? x / period + 1 : x / period + (x % period != 0);
        sum += jobs * (uint64_t)task->execution;
    }
    *ret_sum = sum > TICKS_MAX ? INT64_MAX : (int64_t)sum;
    return sum <= TICKS_MAX;
}

/* Iterates *w from below to the least solution. */
static bool solve(prover *p, size_t count, bool closed, int64_t base, int64_t *w)
{
    int64_t next = *w;
    do {
        *w = next;
        if (!aegis_prover_step(p) || !right_side(p, count, *w, closed, base, &next)) {
            return false;
        }
    } while (next > *w);
    return true;
}

static bool solve_busy(prover *p, size_t count, int64_t blocking, int64_t *ret_length)
{
    *ret_length = 1;
    return solve(p, count, false, blocking, ret_length);
}

static bool cuts(const prover *p, size_t i)
{
    return (p->c->policy == AEGIS_ANALYSIS_FPP || p->c->policy == AEGIS_ANALYSIS_NP_EDF) &&
           p->c->tasks[i].segments != NULL;
}

/* Which segment of a task is the longest, and its length. */
int64_t aegis_prover_longest(const prover *p, size_t i, size_t *ret_segment)
{
    const aegis_task *task = &p->c->tasks[i];
    int64_t longest = cuts(p, i) ? 0 : task->execution;
    *ret_segment = 0;
    for (size_t s = 0; cuts(p, i) && s < task->segment_count; s++) {
        if (task->segments[s] > longest) {
            longest = task->segments[s];
            *ret_segment = s;
        }
    }
    return longest;
}

/* ---- fixed priorities ---- */

level aegis_prover_level(const prover *p, size_t i)
{
    const aegis_task *task = &p->c->tasks[i];
    level l = {.i = i, .preemptive = p->c->policy == AEGIS_ANALYSIS_FP};
    l.blocking = p->result->tasks[i].blocking;
    l.last = l.preemptive ? 0
             : cuts(p, i) ? task->segments[task->segment_count - 1]
                          : task->execution;
    return l;
}

/* w(q), from below w(q-1) + C. */
bool aegis_prover_solve_job(prover *p, const level *l, uint64_t q, int64_t *w)
{
    const aegis_task *task = &p->c->tasks[l->i];
    aegis_i128 base = (aegis_i128)l->blocking - l->last + (aegis_i128)(q + 1) * task->execution;
    if (base > (aegis_i128)TICKS_MAX || (q > 0 && *w > INT64_MAX - task->execution)) {
        return false;
    }
    *w = q == 0 ? (int64_t)base : *w + task->execution;
    return solve(p, l->i, !l->preemptive, (int64_t)base, w);
}

/* Doubles the room of an array when it is full. */
static bool make_room(const aegis_allocator *allocator, int64_t **array, size_t count, size_t *room)
{
    if (count < *room) {
        return true;
    }
    size_t wanted = *room == 0 ? 8 : 2 * *room;
    int64_t *grown = aegis_allocate_zeroed(allocator, wanted, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(grown, *array, count * sizeof *grown);
    }
    aegis_deallocate(allocator, *array, *room, sizeof *grown);
    *array = grown;
    *room = wanted;
    return true;
}

static uint64_t job_count(const aegis_task *task, int64_t busy)
{
    uint64_t x = (uint64_t)busy + (uint64_t)task->jitter, period = (uint64_t)task->period;
    return x / period + (x % period != 0);
}

static aegis_status list_points(prover *p, const level *l, aegis_error *err)
{
    aegis_response_proof *proof = &p->c->responses[l->i];
    uint64_t jobs = job_count(&p->c->tasks[l->i], proof->busy);
    int64_t w = 0;
    for (uint64_t q = 0; q < jobs; q++) {
        if (!aegis_prover_solve_job(p, l, q, &w)) {
            return give_up(err);
        }
        if (!make_room(p->allocator, &proof->points, proof->point_count, &proof->room)) {
            return aegis_prover_out_of_memory(err);
        }
        proof->points[proof->point_count++] = w;
    }
    return AEGIS_OK;
}

/* The ends of the busy periods; and the points unless they are many: the checker finds them too. */
static aegis_status prove_levels(prover *p, aegis_error *err)
{
    aegis_certificate *c = p->c;
    aegis_status status = AEGIS_OK;
    uint64_t total = 0;
    for (size_t i = 0; i < c->count; i++) {
        aegis_response_proof *proof = &c->responses[i];
        if (proof->response > 0) {
            if (!solve_busy(p, i + 1, p->result->tasks[i].blocking, &proof->busy)) {
                return give_up(err);
            }
            total += job_count(&c->tasks[i], proof->busy);
        }
    }
    if (total > (uint64_t)INT64_MAX) {
        return give_up(err);
    }
    c->fixed_points = (int64_t)total;
    for (size_t i = 0; i < c->count && total <= LISTED_POINTS && status == AEGIS_OK; i++) {
        level l = aegis_prover_level(p, i);
        status = c->responses[i].response > 0 ? list_points(p, &l, err) : AEGIS_OK;
    }
    return status;
}

/* ---- instants ---- */

int64_t aegis_prover_first_deadline(const aegis_task *task)
{
    return task->deadline - task->jitter;
}

static int64_t last_first_deadline(const prover *p)
{
    int64_t last = INT64_MIN;
    for (size_t i = 0; i < p->c->count; i++) {
        int64_t first = aegis_prover_first_deadline(&p->c->tasks[i]);
        last = first > last ? first : last;
    }
    return last;
}

/* Who blocks work due by t the longest, and how long; SIZE_MAX: nobody. */
int64_t aegis_prover_blocking(const prover *p, int64_t t, size_t *ret_task)
{
    int64_t longest = 0;
    size_t segment;
    *ret_task = SIZE_MAX;
    for (size_t i = 0; i < p->c->count && p->c->policy == AEGIS_ANALYSIS_NP_EDF; i++) {
        int64_t blocks = aegis_prover_longest(p, i, &segment) - 1;
        if (aegis_prover_first_deadline(&p->c->tasks[i]) > t && blocks > longest) {
            longest = blocks;
            *ret_task = i;
        }
    }
    return longest;
}

typedef struct instants {
    prover *p;
    aegis_i128 *next; /* per task */
    bool arrivals;
    aegis_i128 at, work; /* work of the events up to `at` */
    uint64_t count;
} instants;

static bool begin(instants *in)
{
    const aegis_certificate *c = in->p->c;
    in->next = aegis_allocate_zeroed(in->p->allocator, c->count, sizeof *in->next);
    for (size_t i = 0; in->next != NULL && i < c->count; i++) {
        in->next[i] = in->arrivals ? -(aegis_i128)c->tasks[i].jitter
                                   : (aegis_i128)aegis_prover_first_deadline(&c->tasks[i]);
    }
    return in->next != NULL;
}

/* False behind `end`. The sums stay below 2^127: 2^63 jobs of at most 2^63 ticks. */
static bool following(instants *in, aegis_i128 end)
{
    const aegis_certificate *c = in->p->c;
    in->at = in->next[0];
    for (size_t i = 1; i < c->count; i++) {
        in->at = in->next[i] < in->at ? in->next[i] : in->at;
    }
    for (size_t i = 0; i < c->count && in->at <= end; i++) {
        if (in->next[i] == in->at) {
            in->work += c->tasks[i].execution;
            in->next[i] += c->tasks[i].period;
        }
    }
    in->count += in->at <= end;
    return in->at <= end;
}

static void finish(instants *in)
{
    aegis_deallocate(in->p->allocator, in->next, in->p->c->count, sizeof *in->next);
}

/* Counts the instants up to `end`, and lists them when they are few. FIFO: finds the first one of
 * those with the longest wait. */
static aegis_status list_instants(prover *p, aegis_i128 end, aegis_error *err)
{
    aegis_certificate *c = p->c;
    instants in = {.p = p, .arrivals = c->policy == AEGIS_ANALYSIS_FIFO};
    aegis_i128 longest = -1;
    size_t task;
    c->demand = in.arrivals ? NULL
                            : aegis_allocate_zeroed(p->allocator, (size_t)2 * LISTED_INSTANTS,
                                                    sizeof *c->demand);
    c->demand_room = in.arrivals ? 0 : (size_t)2 * LISTED_INSTANTS;
    if ((c->demand == NULL && !in.arrivals) || !begin(&in)) {
        return aegis_prover_out_of_memory(err);
    }
    bool done = false;
    while (aegis_prover_step(p) && !(done = !following(&in, end))) {
        aegis_i128 time = in.at > 0 ? in.at : 0;
        if (in.arrivals && in.work - time > longest) {
            longest = in.work - time;
            c->at = (int64_t)time;
        }
        if (c->demand != NULL && in.count <= LISTED_INSTANTS) {
            c->demand[2 * (in.count - 1)] = (int64_t)in.at;
            c->demand[2 * (in.count - 1) + 1] =
                (int64_t)in.work + aegis_prover_blocking(p, (int64_t)in.at, &task);
        }
    }
    finish(&in);
    c->instants = (int64_t)in.count;
    c->demand_count = in.arrivals || in.count > LISTED_INSTANTS ? 0 : in.count;
    return done ? AEGIS_OK : give_up(err);
}

/* False when it passes 63 bits. */
static bool common_multiple(const prover *p, size_t count, int64_t *ret_multiple)
{
    aegis_u128 multiple = 1;
    for (size_t i = 0; i < count && multiple <= TICKS_MAX; i++) {
        uint64_t period = (uint64_t)p->c->tasks[i].period, a = (uint64_t)multiple, b = period, rest;
        while ((rest = a % b) != 0) {
            a = b;
            b = rest;
        }
        multiple *= period / b;
    }
    *ret_multiple = multiple > TICKS_MAX ? INT64_MAX : (int64_t)multiple;
    return multiple <= TICKS_MAX;
}

/* All periods divide the time, and U is no more than 1. */
static bool is_period(const prover *p, int64_t time)
{
    const aegis_certificate *c = p->c;
    aegis_u128 work = 0;
    bool whole = true;
    for (size_t i = 0; i < c->count; i++) {
        whole = whole && time % c->tasks[i].period == 0;
        work += (aegis_u128)(time / c->tasks[i].period) * (uint64_t)c->tasks[i].execution;
    }
    return whole && work <= (aegis_u128)time;
}

/* lcm(T) when U = 1 exactly and there is jitter: then no busy period ends. */
static bool has_no_busy_end(const prover *p, int64_t *ret_multiple)
{
    const aegis_certificate *c = p->c;
    aegis_u128 work = 0;
    bool jitter = false, found = common_multiple(p, c->count, ret_multiple);
    for (size_t i = 0; i < c->count && found; i++) {
        work += (aegis_u128)(*ret_multiple / c->tasks[i].period) * (uint64_t)c->tasks[i].execution;
        jitter = jitter || c->tasks[i].jitter > 0;
    }
    return found && jitter && work == (aegis_u128)*ret_multiple;
}

static aegis_status prove_instants(prover *p, aegis_error *err)
{
    aegis_certificate *c = p->c;
    bool fifo = c->policy == AEGIS_ANALYSIS_FIFO;
    c->kind = fifo ? AEGIS_PROOF_QUEUE : AEGIS_PROOF_DEMAND;
    if ((fifo || !has_no_busy_end(p, &c->horizon)) && !solve_busy(p, c->count, 0, &c->horizon)) {
        return give_up(err);
    }
    aegis_i128 end = c->horizon, last = last_first_deadline(p);
    if (!fifo) {
        end = is_period(p, c->horizon) ? last + end : last > end ? last : end;
    }
    return end > (aegis_i128)TICKS_MAX ? give_up(err) : list_instants(p, end, err);
}

/* ---- refusals ---- */

/* Whether the checker takes the candidate. */
static bool is_proof(const prover *p, aegis_proof_kind kind)
{
    p->c->kind = kind;
    aegis_certificate verdict = *p->c;
    verdict.responses = NULL;
    return aegis_certificate_holds(&verdict, SIZE_MAX, p->allocator);
}

/* A job set that misses if there is one, else the argument that is left. */
static aegis_status prove_refusal(prover *p, aegis_error *err)
{
    aegis_certificate *c = p->c;
    size_t finite = SIZE_MAX, open = SIZE_MAX;
    for (size_t i = c->count; i-- > 0;) {
        int64_t response = p->result->tasks[i].response;
        finite = response > c->tasks[i].deadline ? i : finite;
        open = response == AEGIS_RESPONSE_DIVERGES ? i : open;
    }
    c->miss.jobs = aegis_allocate_zeroed(p->allocator, LARGEST_WITNESS, sizeof *c->miss.jobs);
    if (c->miss.jobs == NULL) {
        return aegis_prover_out_of_memory(err);
    }
    c->miss.room = LARGEST_WITNESS;
    bool fifo = c->policy == AEGIS_ANALYSIS_FIFO;
    if (fifo && finite != SIZE_MAX) {
        aegis_status status = prove_instants(p, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    if (aegis_prover_find_miss(p, finite) && is_proof(p, AEGIS_PROOF_MISS)) {
        return AEGIS_OK;
    }
    if (fifo && finite != SIZE_MAX) {
        c->task = finite;
        c->bound = p->result->tasks[finite].response;
        if (is_proof(p, AEGIS_PROOF_BOUND)) {
            return AEGIS_OK;
        }
    }
    common_multiple(p, c->count, &c->multiple);
    if (is_proof(p, AEGIS_PROOF_OVERLOAD)) {
        return AEGIS_OK;
    }
    c->task = open == SIZE_MAX || fifo ? c->count : open + 1;
    common_multiple(p, c->task, &c->multiple);
    return is_proof(p, AEGIS_PROOF_NO_END) ? AEGIS_OK : give_up(err);
}

/* ---- responses ---- */

static bool analyses_sets(aegis_analysis policy)
{
    return policy == AEGIS_ANALYSIS_NP_EDF || policy == AEGIS_ANALYSIS_EDF ||
           policy == AEGIS_ANALYSIS_FIFO;
}

/* What the test says about each; nothing where it says nothing. */
static aegis_status claim_responses(prover *p, aegis_error *err)
{
    aegis_certificate *c = p->c;
    bool any = false;
    int64_t multiple;
    for (size_t i = 0; i < c->count; i++) {
        any = any || p->result->tasks[i].response >= 0;
    }
    if (!any || (c->policy == AEGIS_ANALYSIS_NP_EDF && has_no_busy_end(p, &multiple)) ||
        (analyses_sets(c->policy) && !solve_busy(p, c->count, 0, &c->busy))) {
        return AEGIS_OK; /* no busy period ends, or not by the steps */
    }
    c->responses = aegis_allocate_zeroed(p->allocator, c->count, sizeof *c->responses);
    for (size_t i = 0; i < c->count && c->responses != NULL; i++) {
        int64_t response = p->result->tasks[i].response;
        c->responses[i].response = response < 0 ? 0 : response;
    }
    return c->responses == NULL       ? aegis_prover_out_of_memory(err)
           : analyses_sets(c->policy) ? AEGIS_OK
                                      : prove_levels(p, err);
}

static aegis_status prove_verdict(prover *p, aegis_error *err)
{
    if (p->result->verdict == AEGIS_NOT_SCHEDULABLE) {
        return prove_refusal(p, err);
    }
    if (analyses_sets(p->c->policy)) {
        return prove_instants(p, err);
    }
    p->c->kind = AEGIS_PROOF_RESPONSES;
    return AEGIS_OK;
}

aegis_status aegis_certificate_prove(aegis_certificate *certificate,
                                     const aegis_admission_result *result,
                                     const aegis_admission_limits *limits,
                                     const aegis_allocator *allocator,
                                     aegis_error *err)
{
    prover p = {.c = certificate, .result = result, .allocator = allocator};
    p.steps = limits == NULL || limits->steps == 0 ? DEFAULT_STEPS : limits->steps;
    p.cancel = limits == NULL ? NULL : limits->cancel;
    if (result->verdict == AEGIS_ADMISSION_UNDECIDED) {
        return aegis_error_set(err, AEGIS_HERE("schedule.certificate"), AEGIS_ERROR_UNDECIDED,
                               "the verdict is undecided: there is nothing to prove");
    }
    aegis_status status = claim_responses(&p, err);
    if (status == AEGIS_OK) {
        status = prove_verdict(&p, err);
    }
    return status == AEGIS_OK ? aegis_prover_reach(&p, err) : status;
}

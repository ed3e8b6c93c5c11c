/* SPDX-License-Identifier: Apache-2.0 */
/* Checks what a certificate says besides a verdict: that the test gives no bound, though no job set
 * that misses is known, and the worst responses. As in verify.c, all is computed from the tasks. */
#include "schedule/certificate/checker.h"

#include <string.h>

/* U = 1 and jitter: ceil(J / T) jobs are there at 0, and no busy period ends. */
bool aegis_checker_no_end(checker *k)
{
    wide m = value(k, "multiple"), count = least(value(k, "tasks"), (wide)k->count);
    const demand all = {.count = (size_t)count};
    bool whole, full = aegis_checker_share(k, all.count, m, &whole) == m;
    return that(k,
                count == value(k, "tasks") && whole && full && aegis_checker_work(k, &all, 0) > 0,
                "U of the first %zu tasks is not 1, or none has jitter", all.count);
}

/* FIFO with jitter: what the test counts at one instant, although no behaviour may show it. */
bool aegis_checker_bound(checker *k)
{
    const demand all = {.count = k->count, .closed = true};
    wide at = largest(value(k, "at"), 0), i = value(k, "task");
    const task *t = &k->tasks[least(i, (wide)k->count - 1)];
    wide bound = aegis_checker_work(k, &all, at) + t->jitter - at;
    return that(k, i < (wide)k->count && bound == value(k, "bound") && bound > t->deadline,
                "the bound at %lld is %lld", shown(at), shown(bound));
}

/* The least w from *w on, reached from below, by which have ended: `base` and the jobs due now that
 * are there in [0, w], but those of task `skip`. Their number is bounded, so that w is too; at PAST
 * it stays. */
static bool settle_due(checker *k, size_t skip, wide base, wide *w)
{
    wide next = *w;
    do {
        *w = next;
        next = base;
        for (size_t j = 0; j < k->count; j++) {
            const task *t = &k->tasks[j];
            wide jobs = least((*w + t->jitter) / t->period + 1, t->jobs);
            next = j == skip ? next : add(next, jobs, t->cost);
        }
    } while (spend(k, k->count + 1) && next > *w);
    return k->status == AEGIS_OK;
}

/* np-edf: no job due now ends later than its R allows. All of them end by L; where that does not
 * say enough, its last segment starts at the least s, when all that is due and there has run. Both
 * only grow while the blocking is the same. */
static bool check_due(checker *k, wide now, wide b, wide *length)
{
    bool holds = settle_due(k, SIZE_MAX, b, length);
    for (size_t i = 0; i < k->count && holds; i++) {
        task *t = &k->tasks[i];
        wide latest = now - t->deadline + t->response;
        if (t->response > 0 && t->jobs > 0 && *length > latest) {
            wide base = add(b - t->last, t->jobs, t->cost);
            t->start = largest(t->start, base);
            holds = settle_due(k, i, base, &t->start) &&
                    that(k, t->start + t->last <= latest,
                         "task %zu: the job due at %lld responds later than %lld", i, shown(now),
                         shown(t->response));
        }
    }
    return holds;
}

/* np-edf: at each deadline up to the last one of a job released before the busy period ends. */
static bool check_deadlines(checker *k)
{
    wide end = 0, blocked = -1, length = 0;
    bool holds = true;
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        t->at = t->first;
        end = largest(end, value(k, "end") + t->deadline);
    }
    for (wide at = aegis_checker_next(k); holds && at <= end; at = aegis_checker_next(k)) {
        wide b = aegis_checker_blocking(k, 0, at);
        for (size_t i = 0; i < k->count && b != blocked; i++) {
            k->tasks[i].start = length = 0;
        }
        blocked = b;
        holds = check_due(k, at, b, &length) && spend(k, k->count);
        k->report->points++;
    }
    return holds;
}

/* FIFO: no arrival waits longer than R - J; one before 0 is seen at 0. */
static bool check_arrivals(checker *k)
{
    wide longest = PAST;
    bool holds = true;
    for (task *t = k->tasks; t < k->tasks + k->count; t++) {
        t->at = -(wide)t->jitter;
        longest = t->response > 0 ? least(longest, t->response - t->jitter) : longest;
    }
    for (wide at = aegis_checker_next(k); holds && at <= value(k, "end");
         at = aegis_checker_next(k)) {
        holds = that(k, k->work - largest(at, 0) <= longest,
                     "who arrives at %lld responds later than is said", shown(at)) &&
                spend(k, k->count);
        k->report->points++;
    }
    return holds;
}

static bool check_said(checker *k)
{
    if (list(k, "end") != NULL) {
        for (task *t = k->tasks; t < k->tasks + k->count; t++) {
            t->jobs = 0;
        }
        k->work = 0;
        return aegis_checker_ends(k, k->count, value(k, "end"), 0) &&
               (k->fifo ? check_arrivals(k) : check_deadlines(k));
    }
    return strcmp(k->report->kind, "responses") == 0 || list(k, "busy") == NULL ||
           aegis_checker_levels(k);
}

/* No job has a larger response, and the jobs that are given have it. */
bool aegis_checker_responses(checker *k)
{
    const json_t *reached = list(k, "reached");
    bool holds = check_said(k);
    for (size_t i = 0; i < k->count && holds; i++) {
        const json_t *set = json_array_get(reached, i);
        const task *t = &k->tasks[i];
        holds = json_array_size(set) == 0 ||
                (that(k, t->response > 0 && number(set, json_array_size(set) - 3) == (wide)i,
                      "task %zu: the job is of another, or no response is said", i) &&
                 aegis_checker_runs(k, set, t->response));
        k->report->responses += t->response > 0;
        k->report->reached += holds && json_array_size(set) > 0;
    }
    return holds;
}

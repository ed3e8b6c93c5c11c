/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_CERTIFICATE_CHECKER_H
#define AEGIS_SCHEDULE_CERTIFICATE_CHECKER_H

/* What the checker of a verdict (verify.c) shares with those of the form (verify_form.c) and of
 * what stands beside a verdict (verify_beside.c). */

#include "base/base.h"

#include <aegisrt/certificate.h>

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

typedef aegis_i128 wide;
#define LARGEST ((wide)INT64_MAX)
#define PAST ((wide)1 << 64)

typedef struct task {
    int64_t cost, period, deadline, jitter;
    wide first;                    /* D - J */
    const json_t *cut;             /* lengths of the segments, of which C is the sum */
    wide longest, last;            /* of them; 0 where nobody waits for their end */
    wide response;                 /* no job's is larger; 0: nothing is said */
    wide at, jobs, start;          /* among instants: its next one; jobs until now; s of this one */
    wide segment, left, next, end; /* simulated: what is left of a segment; jobs not done */
} task;

typedef struct checker {
    aegis_certificate_report *report;
    json_t *file;
    task *tasks;
    size_t count;
    uint64_t left;       /* steps */
    aegis_status status; /* when not OK no answer counts */
    bool edf, fifo, preemptive;
    wide work; /* of the jobs due, or of those that arrived, until the instant */
} checker;

/* f(w) = base + the work of the first `count` tasks that can be there in [0, w), or [0, w] if
 * `closed`. */
typedef struct demand {
    size_t count;
    bool closed;
    wide base;
} demand;

static inline wide least(wide a, wide b)
{
    return a < b ? a : b;
}

static inline wide largest(wide a, wide b)
{
    return a < b ? b : a;
}

static inline long long shown(wide value)
{
    return (long long)least(value, LARGEST);
}

static inline const json_t *list(const checker *k, const char *key)
{
    return json_object_get(k->file, key);
}

static inline const char *text(const checker *k, const char *key)
{
    const char *found = json_string_value(list(k, key));
    return found == NULL ? "" : found;
}

/* Both are 0 where there is none. */
static inline wide number(const json_t *list, wide n)
{
    return json_integer_value(json_array_get(list, (size_t)n));
}

static inline wide value(const checker *k, const char *key)
{
    return json_integer_value(list(k, key));
}

/* sum + jobs * cost for jobs up to 2^64 - 1. */
static inline wide add(wide sum, wide jobs, int64_t cost)
{
    wide more = jobs * cost;
    return more > LARGEST || sum + more > LARGEST ? PAST : sum + more;
}

/* A check ends with the first claim that does not hold, which it reports. */
AEGIS_PRINTF(3, 4) static inline bool that(checker *k, bool holds, const char *claim, ...)
{
    va_list arguments;
    va_start(arguments, claim);
    if (!holds) {
        vsnprintf(k->report->statement, sizeof k->report->statement, claim, arguments);
    }
    va_end(arguments);
    return holds;
}

static inline bool spend(checker *k, uint64_t looks)
{
    k->left -= k->left < looks ? k->left : looks;
    k->status = k->left == 0 ? AEGIS_ERROR_UNDECIDED : k->status;
    return that(k, k->left > 0, "the steps allowed are used up: allow more");
}

/* The longest segment of the tasks from `from` on that are not due by t, less one tick. */
wide aegis_checker_blocking(const checker *k, size_t from, wide t);
wide aegis_checker_work(const checker *k, const demand *f, wide w);
/* Some w with f(w) <= w, beyond which no solution is needed: *w if it is given as such, else the
 * least from *w on, reached from below. */
bool aegis_checker_settle(checker *k, const demand *f, bool given, wide *w);
/* A busy period that begins with `base` ends by `length`. */
bool aegis_checker_ends(checker *k, size_t count, wide length, wide base);
/* M C / T rounded down, summed over the first tasks: above M only if U > 1; exact if `ret_whole`,
 * that is if all periods divide M. */
wide aegis_checker_share(const checker *k, size_t count, wide m, bool *ret_whole);
/* No job responds later than is said; as a verdict, for each task, and by its deadline. */
bool aegis_checker_levels(checker *k);
/* Goes to the next instant, the least `at`, and counts its jobs and their work. */
wide aegis_checker_next(checker *k);
/* The tasks permit the jobs, and simulated, the last one has the response; PAST: some job ends
 * late. */
bool aegis_checker_runs(checker *k, const json_t *set, wide response);

/* verify_form.c: no key is missing, too much or of another form. It can only refuse. */
bool aegis_checker_form(checker *k);
/* verify_beside.c: what proves no verdict, but that the test gives no bound; and that the responses
 * that are said hold. */
bool aegis_checker_no_end(checker *k);
bool aegis_checker_bound(checker *k);
bool aegis_checker_responses(checker *k);

#endif

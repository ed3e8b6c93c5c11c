/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_ADMISSION_TASKS_H
#define AEGIS_TEST_ADMISSION_TASKS_H

/* Random task sets of small integers, shared by the property tests of the admission analysis. */

#include <aegisrt/admission.h>

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_TASKS 5
#define MAX_SEGMENTS 3

typedef struct small_set {
    int count;
    aegis_task tasks[MAX_TASKS];
    int64_t segments[MAX_TASKS][MAX_SEGMENTS];
} small_set;

typedef struct small_shape {
    int min_tasks, max_tasks;
    int min_period, max_period;
    int max_execution;
    int max_jitter;   /* 0: none */
    int extra;        /* D from C to T + extra; -1: D = T */
    bool same_jitter; /* one J for all, as on a lane */
    bool cut;         /* into segments */
} small_shape;

static inline int64_t pick(uint64_t *seed, int64_t low, int64_t high)
{
    return low + (int64_t)(aegis_random_next(seed) % (uint64_t)(high - low + 1));
}

static inline void cut_task(uint64_t *seed, aegis_task *task, int64_t *segments)
{
    int64_t left = task->execution;
    task->segments = segments;
    task->segment_count = 0;
    while (left > 0) {
        bool last = task->segment_count == MAX_SEGMENTS - 1;
        int64_t length = last ? left : pick(seed, 1, left);
        segments[task->segment_count++] = length;
        left -= length;
    }
}

/* Utilisation at most 1 (`full`) or below it; exact over the small product of the periods. */
static inline bool fits_processor(const small_set *set, bool full)
{
    int64_t product = 1, load = 0;
    for (int i = 0; i < set->count; i++) {
        product *= set->tasks[i].period;
    }
    for (int i = 0; i < set->count; i++) {
        load += product / set->tasks[i].period * set->tasks[i].execution;
    }
    return full ? load <= product : load < product;
}

static inline void draw_set(uint64_t *seed, const small_shape *shape, bool full, small_set *set)
{
    set->count = (int)pick(seed, shape->min_tasks, shape->max_tasks);
    do {
        int64_t common = pick(seed, 0, shape->max_jitter);
        for (int i = 0; i < set->count; i++) {
            aegis_task *task = &set->tasks[i];
            *task = (aegis_task){.period = pick(seed, shape->min_period, shape->max_period)};
            int64_t most =
                task->period < shape->max_execution ? task->period : shape->max_execution;
            task->execution = pick(seed, 1, most);
            task->deadline = shape->extra < 0
                                 ? task->period
                                 : pick(seed, task->execution, task->period + shape->extra);
            task->jitter = shape->same_jitter ? common : pick(seed, 0, shape->max_jitter);
            if (shape->cut) {
                cut_task(seed, task, set->segments[i]);
            }
        }
    } while (!fits_processor(set, full));
}

static inline void print_set(const char *what, uint64_t seed, const small_set *set)
{
    fprintf(stderr, "%s: seed 0x%llx, tasks (C,T,D,J):", what, (unsigned long long)seed);
    for (int i = 0; i < set->count; i++) {
        const aegis_task *task = &set->tasks[i];
        fprintf(stderr, " (%lld,%lld,%lld,%lld", (long long)task->execution,
                (long long)task->period, (long long)task->deadline, (long long)task->jitter);
        for (size_t k = 0; task->segments != NULL && k < task->segment_count; k++) {
            fprintf(stderr, "%s%lld", k == 0 ? ";" : "+", (long long)task->segments[k]);
        }
        fprintf(stderr, ")");
    }
    fprintf(stderr, "\n");
}

/* Number of cases, times AEGISRT_PROPERTY_SCALE. */
static inline int scaled(int cases)
{
    const char *scale = getenv("AEGISRT_PROPERTY_SCALE");
    double factor = scale == NULL ? 1.0 : strtod(scale, NULL);
    return factor > 0.0 ? (int)(cases * factor) + 1 : cases;
}

#endif

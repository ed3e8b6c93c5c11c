/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BENCH_TASKSETS_H
#define AEGIS_BENCH_TASKSETS_H

/* Random task sets: utilisations by UUniFast (Bini & Buttazzo 2005), periods log-uniform. */

#include <aegisrt/admission.h>

#include "base/base.h"

#include <math.h>

typedef struct bench_taskset_shape {
    size_t count;
    double utilisation;
    double least_period, largest_period; /* in ticks */
    double least_deadline;               /* as a share of T: D uniform from there to T; 1: D = T */
} bench_taskset_shape;

static inline double bench_random(uint64_t *seed)
{
    return ((double)(aegis_random_next(seed) >> 11) + 0.5) / 9007199254740992.0;
}

static inline void
bench_draw_taskset(uint64_t *seed, const bench_taskset_shape *shape, aegis_task *ret_tasks)
{
    double left = shape->utilisation;
    double ratio = log(shape->largest_period / shape->least_period);
    for (size_t i = 0; i < shape->count; i++) {
        size_t others = shape->count - 1 - i;
        double next = others == 0 ? 0 : left * pow(bench_random(seed), 1.0 / (double)others);
        double period = shape->least_period * exp(ratio * bench_random(seed));
        double share = shape->least_deadline + (1.0 - shape->least_deadline) * bench_random(seed);
        aegis_task task = {.period = (int64_t)period};
        /* Rounded down, so that U is not passed; a tick at least. */
        task.execution = (int64_t)((left - next) * (double)task.period);
        task.execution = task.execution < 1 ? 1 : task.execution;
        task.deadline =
            shape->least_deadline < 1.0 ? (int64_t)(share * (double)task.period) : task.period;
        task.deadline = task.deadline < task.execution ? task.execution : task.deadline;
        ret_tasks[i] = task;
        left = next;
    }
}

/* The tasks by an order, in `ret_tasks`. */
static inline void
bench_take_order(const aegis_task *tasks, const size_t *order, size_t count, aegis_task *ret_tasks)
{
    for (size_t i = 0; i < count; i++) {
        ret_tasks[i] = tasks[order[i]];
    }
}

#endif

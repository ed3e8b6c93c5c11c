/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What background models do to the proofs of their lane: one of their segments may have started a
 * tick before the foreground work that it then holds up, and no other follows it while foreground
 * work is ready. So the longest of them, E, is blocking of E - 1 for everyone, and nothing else.
 *
 * A share (core.h) only takes choices away from it, and so changes nothing of this.
 *
 * The tests know blocking by tasks alone, so this is put as one more task with a single job within
 * any horizon, T = 2^61 ticks:
 *  - fixed priorities: the lowest one. Its C = E is then the largest lower segment of every task,
 *    which is B_i = max(...) - 1 exactly; of the others nothing depends on its T and D.
 *  - EDF: a deadline X behind every instant that matters. For t < X it blocks with E - 1; from X on
 *    it would be demand of E, which is no less, so the test is sound whatever X is. X is chosen
 *    such that h(t) + E <= t for all t >= X when U < 1, and that every job of a busy period is due
 *    before: then no verdict and no response differs from pure blocking.
 *      h(t) <= U t + sum (T + J - D)+ C/T     and     L' <= (E + sum (1 + J/T) C) / (1 - U)
 *  - FIFO: C = E - 1, present at the start of the busy period, once.
 * Its own utilisation, C / 2^61, is below 2^-30 for segments of two seconds. Only a lane that the
 * foreground uses to the last tick notices: U = 1 becomes U > 1, and the set is refused, as it is
 * under fixed priorities with any blocking.
 */
#include "base/base.h"

#include <aegisrt/ext/policy_ops.h>

#define FAR_AWAY (INT64_MAX / 4)
#define PARTS INT64_C(1000000000)

/* ceil(x * factor / divisor), saturating. */
static aegis_u128 scaled(aegis_u128 x, uint64_t factor, uint64_t divisor)
{
    if (x > ((aegis_u128)1 << 62)) {
        x = (aegis_u128)1 << 62;
    }
    return (x * factor + divisor - 1) / divisor;
}

static int64_t behind_all(const aegis_task *tasks, size_t count, int64_t longest)
{
    aegis_u128 used = 0, work = (aegis_u128)longest, late = (aegis_u128)longest;
    int64_t latest = 0, jitter = 0;
    for (size_t i = 0; i < count; i++) {
        const aegis_task *task = &tasks[i];
        uint64_t cost = (uint64_t)task->execution, period = (uint64_t)task->period;
        aegis_i128 slip = (aegis_i128)task->period + task->jitter - task->deadline;
        used += scaled((aegis_u128)PARTS, cost, period);
        work += cost + scaled((aegis_u128)task->jitter, cost, period);
        late += slip > 0 ? scaled((aegis_u128)slip, cost, period) : 0;
        latest = task->deadline > latest ? task->deadline : latest;
        jitter = task->jitter > jitter ? task->jitter : jitter;
    }
    if (used >= (aegis_u128)PARTS) {
        return FAR_AWAY;
    }
    aegis_u128 behind = scaled(work + late, (uint64_t)PARTS, (uint64_t)((aegis_u128)PARTS - used));
    behind += (aegis_u128)latest + (aegis_u128)jitter + 1;
    return behind < (aegis_u128)FAR_AWAY ? (int64_t)behind : FAR_AWAY;
}

bool aegis_policy_background_task(aegis_analysis analysis,
                                  const aegis_task *tasks,
                                  size_t count,
                                  int64_t longest_segment,
                                  aegis_task *ret_task)
{
    aegis_task task = {.name = "background",
                       .execution = longest_segment,
                       .period = FAR_AWAY,
                       .deadline = FAR_AWAY};
    if (longest_segment < 1 || longest_segment > FAR_AWAY) {
        return false;
    }
    switch (analysis) {
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FPP:
        break;
    case AEGIS_ANALYSIS_NP_EDF:
        task.deadline = behind_all(tasks, count, longest_segment);
        break;
    case AEGIS_ANALYSIS_FIFO:
        /* A tick has blocked nobody; the task stays, so that indexes do not depend on it. */
        task.execution = longest_segment > 1 ? longest_segment - 1 : 1;
        break;
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_EDF:
        return false;
    }
    *ret_task = task;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Overruns, termination and broken proofs. */
#include "state.h"

void aegis_core_break_proof(
    aegis_core *core, uint32_t job, aegis_rationale why, uint64_t bound_ns, uint64_t measured_ns)
{
    core_lane *lane = &core->lanes[core->models[core->jobs[job].model].limits.lane];
    if (!lane->whole) {
        return; /* void already: the first cause stands */
    }
    lane->whole = false;
    lane->broken_why = why;
    aegis_core_action *action = aegis_core_emit(core, AEGIS_TRACE_OVERRUN, why, job);
    action->a = (int64_t)bound_ns;
    action->b = (int64_t)measured_ns;
    action->c = core->jobs[job].segment;
}

void aegis_core_overrun(aegis_core *core, uint16_t lane_number, uint64_t elapsed_ns)
{
    core_lane *lane = &core->lanes[lane_number];
    const core_job *job = &core->jobs[lane->running];
    core_model *model = &core->models[job->model];
    lane->overrun_at_ns = NEVER;
    aegis_core_count(&model->counters.overruns, 1);
    if (model->limits.overrun == AEGIS_OVERRUN_SKIP) {
        model->skip_next = true;
    }
    aegis_core_action *action =
        aegis_core_emit(core, AEGIS_TRACE_OVERRUN, AEGIS_WHY_OVERRUN, lane->running);
    action->a = (int64_t)model->limits.segment_bound_ns[job->segment];
    action->b = (int64_t)elapsed_ns;
    action->c = job->segment;
}

static void terminate(aegis_core *core, core_lane *lane, aegis_rationale why, uint64_t bound_ns)
{
    if (!lane->terminated) {
        lane->terminated = true;
        lane->terminated_why = why;
        aegis_core_emit(core, AEGIS_TRACE_TERMINATE, why, lane->running)->a = (int64_t)bound_ns;
    }
}

void aegis_core_enforce(aegis_core *core, uint16_t lane_number)
{
    core_lane *lane = &core->lanes[lane_number];
    if (lane->running == NO_JOB) {
        return;
    }
    const core_job *job = &core->jobs[lane->running];
    const aegis_core_model *limits = &core->models[job->model].limits;
    uint64_t now = core->now_ns, elapsed = now - lane->dispatched_ns;
    if (now >= lane->overrun_at_ns) {
        aegis_core_overrun(core, lane_number, elapsed);
        if (limits->overrun == AEGIS_OVERRUN_ABORT) {
            terminate(core, lane, AEGIS_WHY_OVERRUN, limits->segment_bound_ns[job->segment]);
        }
    }
    if (now >= lane->budget_at_ns) {
        lane->budget_at_ns = NEVER;
        terminate(core, lane, AEGIS_WHY_COMPUTE_BUDGET, limits->compute_budget_ns);
    }
    if (now >= lane->void_at_ns) {
        lane->void_at_ns = NEVER;
        aegis_core_break_proof(core, lane->running, AEGIS_WHY_EXCUSED_OVERRUN,
                               limits->segment_enforceable_ns[job->segment],
                               now - lane->held_from_ns);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/driver/promise.h"

#include "base/base.h"

const char *aegis_premise_name(aegis_premise premise)
{
    static const char *const names[] = {[AEGIS_PREMISE_NONE] = "none",
                                        [AEGIS_PREMISE_EXECUTION] = "execution",
                                        [AEGIS_PREMISE_OVERHEAD] = "overhead",
                                        [AEGIS_PREMISE_WAKE] = "wake",
                                        [AEGIS_PREMISE_ORDER] = "order"};
    return (size_t)premise < AEGIS_ARRAY_LENGTH(names) ? names[premise] : "unknown";
}

void aegis_promise_raise(aegis_promise *promise, int64_t response_ns)
{
    uint64_t proved = response_ns < 0 ? UINT64_MAX : (uint64_t)response_ns;
    if (proved > atomic_load(&promise->proved_ns)) {
        atomic_store(&promise->proved_ns, proved);
    }
}

static void see_break(aegis_promise_lane *lane, const aegis_core_action *action, uint64_t now_ns)
{
    bool ran_long = lane->overrun_job == action->job && lane->overrun_segment == action->c;
    lane->premise = action->rationale == AEGIS_WHY_EXCUSED_WAKE ? AEGIS_PREMISE_WAKE
                    : ran_long                                  ? AEGIS_PREMISE_EXECUTION
                                                                : AEGIS_PREMISE_OVERHEAD;
    lane->since_ns = now_ns;
    atomic_fetch_add_explicit(&lane->voided[lane->premise], 1, memory_order_relaxed);
    atomic_store_explicit(&lane->void_since_ns, now_ns, memory_order_relaxed);
    lane->model = action->model;
    lane->job = action->job;
    lane->allowed_ns = (uint64_t)action->a;
    lane->measured_ns = (uint64_t)action->b;
}

void aegis_promise_see(aegis_promise_lane *lane, const aegis_core_action *action, uint64_t now_ns)
{
    if (action->kind == AEGIS_TRACE_LANE_WHOLE) {
        lane->premise = AEGIS_PREMISE_NONE;
        atomic_store_explicit(&lane->void_since_ns, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&lane->void_ns, now_ns - lane->since_ns, memory_order_relaxed);
    } else if (action->kind == AEGIS_TRACE_OVERRUN && action->rationale == AEGIS_WHY_OVERRUN) {
        lane->overrun_job = action->job;
        lane->overrun_segment = action->c;
    } else if (action->kind == AEGIS_TRACE_OVERRUN) {
        see_break(lane, action, now_ns);
    }
}

void aegis_promise_judge(aegis_promise *promise,
                         const aegis_promise_lane *lane,
                         const aegis_core_action *action)
{
    uint64_t proved = atomic_load(&promise->proved_ns), response = (uint64_t)action->d;
    if (response <= proved) {
        return;
    }
    aegis_premise premise = lane->premise != AEGIS_PREMISE_NONE ? lane->premise
                            : promise->reordered                ? AEGIS_PREMISE_ORDER
                                                                : AEGIS_PREMISE_NONE;
    bool defect = premise == AEGIS_PREMISE_NONE, known = atomic_load(&promise->unexplained) > 0;
    atomic_fetch_add(&promise->jobs, 1);
    atomic_fetch_add(&promise->unexplained, defect);
    if (known) {
        return; /* the first that nothing explains is what to look at */
    }
    bool broke = lane->premise != AEGIS_PREMISE_NONE;
    atomic_store(&promise->job, action->job);
    atomic_store(&promise->response_ns, response);
    atomic_store(&promise->past_ns, proved);
    atomic_store(&promise->premise, (uint32_t)premise);
    atomic_store(&promise->lane, action->lane);
    atomic_store(&promise->cause_model, broke ? lane->model : action->model);
    atomic_store(&promise->cause_job, broke ? lane->job : action->job);
    atomic_store(&promise->allowed_ns, broke ? lane->allowed_ns : 0);
    atomic_store(&promise->measured_ns, broke ? lane->measured_ns : 0);
    atomic_store(&promise->since_ns, broke ? lane->since_ns : 0);
}

void aegis_promise_read(const aegis_promise *promise, aegis_past_proof *ret_past)
{
    *ret_past = (aegis_past_proof){.jobs = atomic_load(&promise->jobs),
                                   .unexplained = atomic_load(&promise->unexplained),
                                   .job = atomic_load(&promise->job),
                                   .response_ns = atomic_load(&promise->response_ns),
                                   .proved_ns = atomic_load(&promise->past_ns),
                                   .premise = (aegis_premise)atomic_load(&promise->premise),
                                   .lane = (uint16_t)atomic_load(&promise->lane),
                                   .cause_model = atomic_load(&promise->cause_model),
                                   .cause_job = atomic_load(&promise->cause_job),
                                   .allowed_ns = atomic_load(&promise->allowed_ns),
                                   .measured_ns = atomic_load(&promise->measured_ns),
                                   .since_ns = atomic_load(&promise->since_ns)};
}

void aegis_promise_read_lane(const aegis_promise_lane *lane,
                             uint64_t now_ns,
                             aegis_lane_proofs *ret_proofs)
{
    const uint64_t since = atomic_load(&lane->void_since_ns);
    *ret_proofs =
        (aegis_lane_proofs){.void_ns = atomic_load(&lane->void_ns) +
                                       (since > 0 && now_ns > since ? now_ns - since : 0)};
    for (size_t i = 0; i < AEGIS_PREMISE_COUNT; i++) {
        ret_proofs->voided[i] = atomic_load(&lane->voided[i]);
    }
}

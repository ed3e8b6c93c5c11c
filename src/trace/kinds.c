/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/kinds.h"

#include "base/base.h"

typedef struct kind_info {
    aegis_trace_kind kind;
    const char *name;
    trace_operand operands[TRACE_OPERANDS];
} kind_info;

#define NUMBER(name) {name, TRACE_OPERAND_NUMBER}
#define STATUS {"status", TRACE_OPERAND_STATUS}
#define FINISH_OPERANDS \
    NUMBER("release_ns"), NUMBER("deadline_ns"), NUMBER("finish_ns"), NUMBER("response_ns")
#define RUN_OPERANDS NUMBER("segment"), NUMBER("start_ns"), NUMBER("end_ns"), STATUS

/* clang-format off */
static const kind_info kinds[] = {
    {AEGIS_TRACE_INVALID, "invalid", {NUMBER("a"), NUMBER("b"), NUMBER("c"), NUMBER("d")}},
    {AEGIS_TRACE_EVENT_MODEL_ADD, "model-add",
     {NUMBER("period_ns"), NUMBER("deadline_ns"), NUMBER("segments")}},
    {AEGIS_TRACE_EVENT_MODEL_REMOVE, "model-remove", {{0}}},
    {AEGIS_TRACE_EVENT_SUBMIT, "submit",
     {NUMBER("release_ns"), NUMBER("deadline_ns"), NUMBER("priority")}},
    {AEGIS_TRACE_EVENT_TIMER, "timer", {{0}}},
    {AEGIS_TRACE_EVENT_SEGMENT_DONE, "segment-done", {RUN_OPERANDS}},
    {AEGIS_TRACE_EVENT_MODE, "mode", {NUMBER("mode")}},
    {AEGIS_TRACE_EVENT_CORE, "core",
     {NUMBER("lanes"), NUMBER("most_models"), NUMBER("most_jobs"), NUMBER("wake_bound_ns")}},
    {AEGIS_TRACE_EVENT_MODEL_LIMITS, "model-limits",
     {NUMBER("compute_ns"), NUMBER("priority"), NUMBER("queue_depth"), NUMBER("flags")}},
    {AEGIS_TRACE_EVENT_MODEL_SEGMENT, "model-segment",
     {NUMBER("segment"), NUMBER("bound_ns"), NUMBER("enforceable_ns"), NUMBER("awaited")}},
    {AEGIS_TRACE_EVENT_CLEAR_FAULT, "clear-fault", {{0}}},
    {AEGIS_TRACE_EVENT_STOP, "stop", {{0}}},
    {AEGIS_TRACE_EVENT_SEGMENT_READY, "segment-ready", {NUMBER("segment")}},
    {AEGIS_TRACE_EVENT_INPUTS_READY, "inputs-ready",
     {NUMBER("start_ns"), NUMBER("end_ns"), STATUS}},
    {AEGIS_TRACE_EVENT_MODEL_JITTER, "model-jitter", {NUMBER("jitter_ns")}},
    {AEGIS_TRACE_DISPATCH, "dispatch",
     {NUMBER("segment"), NUMBER("key"), {"runner_up_key", TRACE_OPERAND_RUNNER_UP},
      {"runner_up", TRACE_OPERAND_MODEL}}},
    {AEGIS_TRACE_ARM_TIMER, "arm-timer", {NUMBER("when_ns")}},
    {AEGIS_TRACE_COMPLETE, "complete", {FINISH_OPERANDS}},
    {AEGIS_TRACE_MISS, "miss", {FINISH_OPERANDS}},
    {AEGIS_TRACE_REJECT, "reject", {NUMBER("release_ns")}},
    {AEGIS_TRACE_ABORT, "abort",
     {NUMBER("release_ns"), NUMBER("deadline_ns"), NUMBER("when_ns"), STATUS}},
    {AEGIS_TRACE_OVERRUN, "overrun",
     {NUMBER("bound_ns"), NUMBER("elapsed_ns"), NUMBER("segment")}},
    {AEGIS_TRACE_TERMINATE, "terminate", {NUMBER("bound_ns")}},
    {AEGIS_TRACE_SKIP, "skip", {NUMBER("release_ns")}},
    {AEGIS_TRACE_LANE_WHOLE, "lane-whole", {NUMBER("since_ns")}},
    {AEGIS_TRACE_IDLE_UNTIL, "idle-until", {NUMBER("when_ns")}},
    {AEGIS_TRACE_COPY_IN, "copy-in", {NUMBER("release_ns")}},
    {AEGIS_TRACE_EXECUTE, "execute", {RUN_OPERANDS}},
    {AEGIS_TRACE_PAGE_IN, "page-in", {NUMBER("segment"), NUMBER("bytes")}},
    {AEGIS_TRACE_ADMISSION_STEP, "admission-step",
     {NUMBER("step"), STATUS, NUMBER("duration_ns")}},
    {AEGIS_TRACE_ADMITTED, "admitted",
     {NUMBER("bound_ns"), NUMBER("response_ns"), NUMBER("utilisation_ppm")}},
    {AEGIS_TRACE_REFUSED, "refused", {NUMBER("a"), NUMBER("b"), NUMBER("c"), NUMBER("d")}},
    {AEGIS_TRACE_EVICTED, "evicted", {{0}}},
    {AEGIS_TRACE_PLAN, "plan",
     {NUMBER("height_bytes"), NUMBER("lower_bound_bytes"), NUMBER("capacity_bytes"),
      NUMBER("buffers")}},
    {AEGIS_TRACE_BIND, "bind", {NUMBER("offset_bytes"), NUMBER("size_bytes"), NUMBER("class")}},
    {AEGIS_TRACE_ALLOCATION, "allocation",
     {NUMBER("index"), NUMBER("size_bytes"), NUMBER("offset_bytes")}},
    {AEGIS_TRACE_SPILL, "spill",
     {NUMBER("index"), NUMBER("size_bytes"), {"expected_bytes", TRACE_OPERAND_OPTIONAL}}},
    {AEGIS_TRACE_PRESSURE, "pressure", {NUMBER("policy"), NUMBER("freeable_bytes"), NUMBER("needed_bytes")}},
    {AEGIS_TRACE_SYNCHRONIZE, "synchronize", {NUMBER("waited_ns")}},
    {AEGIS_TRACE_FAULT, "fault",
     {STATUS, {"category", TRACE_OPERAND_CATEGORY}, NUMBER("native_code")}},
    {AEGIS_TRACE_COUNTER, "counter", {{"counter", TRACE_OPERAND_COUNTER}, NUMBER("value")}},
    {AEGIS_TRACE_MARK, "mark", {NUMBER("mark")}},
};

typedef struct refusal_info {
    aegis_rationale rationale;
    trace_operand operands[TRACE_OPERANDS];
} refusal_info;

static const refusal_info refusals[] = {
    {AEGIS_WHY_UTILISATION, {NUMBER("utilisation_ppm")}},
    {AEGIS_WHY_RESPONSE,
     {NUMBER("response_ns"), NUMBER("deadline_ns"), {"missing_model", TRACE_OPERAND_MODEL}}},
    {AEGIS_WHY_DEMAND,
     {NUMBER("instant_ns"), NUMBER("demand_ns"), {"blocking_model", TRACE_OPERAND_MODEL}}},
    {AEGIS_WHY_MEMORY, {NUMBER("needed_bytes"), NUMBER("free_bytes"), NUMBER("capacity_bytes")}},
    {AEGIS_WHY_MODEL_BUDGET, {NUMBER("needed_bytes"), NUMBER("limit_bytes")}},
    {AEGIS_WHY_LINK, {NUMBER("utilisation_ppm")}},
    {AEGIS_WHY_COMPUTE_LIMIT, {NUMBER("bound_ns"), NUMBER("limit_ns")}},
};
/* clang-format on */

static const kind_info *find(unsigned kind)
{
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(kinds); i++) {
        if ((unsigned)kinds[i].kind == kind) {
            return &kinds[i];
        }
    }
    return NULL;
}

const char *aegis_trace_kind_name(aegis_trace_kind kind)
{
    const kind_info *info = find((unsigned)kind);
    return info == NULL ? "unknown" : info->name;
}

const trace_operand *aegis_trace_operands(const aegis_trace_record *record)
{
    if (record->kind == AEGIS_TRACE_REFUSED) {
        for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(refusals); i++) {
            if ((unsigned)refusals[i].rationale == record->rationale) {
                return refusals[i].operands;
            }
        }
    }
    const kind_info *info = find(record->kind);
    return info == NULL ? kinds[0].operands : info->operands;
}

const char *aegis_trace_counter_name(int64_t counter)
{
    switch (counter) {
    case AEGIS_COUNTER_MEMORY_BYTES:
        return "memory";
    case AEGIS_COUNTER_QUEUE_DEPTH:
        return "queue-depth";
    case AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES:
        return "temperature";
    default:
        return "counter";
    }
}

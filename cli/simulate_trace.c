/* SPDX-License-Identifier: Apache-2.0 */
/* The native trace of a simulated run: what replay, explain and trace export read. */
#include "json.h"
#include "simulate.h"

#include <stdio.h>
#include <stdlib.h>

#define RING_RECORDS 65536
#define MOST_JOBS UINT64_C(4000000)

typedef struct tracer {
    aegis_trace_collector *collector;
    aegis_trace_ring *orchestrator, *lanes[AEGIS_CORE_MAX_LANES];
    size_t since_drain;
} tracer;

/* A query drains the rings first, so that a virtual hour does not overtake the drain thread. */
static void make_room(tracer *t)
{
    aegis_trace_record unused;
    size_t count;
    if (++t->since_drain >= RING_RECORDS / 2) {
        const aegis_trace_query nothing = {.kind = AEGIS_TRACE_EVENT_STOP};
        aegis_trace_collector_query(t->collector, &nothing, &unused, 0, &count, NULL);
        t->since_drain = 0;
    }
}

static void on_record(void *self, const aegis_trace_record *record)
{
    tracer *t = self;
    aegis_trace_record_write(t->orchestrator, record);
    if (record->kind == AEGIS_TRACE_EVENT_SEGMENT_DONE) {
        aegis_trace_record execution = *record; /* same operands, in the ring of the lane */
        execution.kind = AEGIS_TRACE_EXECUTE;
        aegis_trace_record_write(t->lanes[record->lane], &execution);
    }
    make_room(t);
}

static json_t *model_json(const sim_task *task)
{
    json_t *object = json_object();
    cli_json_text(object, "name", task->name);
    cli_json_bool(object, "admitted", !task->refused);
    cli_json_bool(object, "background", task->background);
    cli_json_unsigned(object, "lane", task->policy.lane);
    cli_json_unsigned(object, "period_ns", task->policy.period_ns);
    cli_json_response(object, "deadline_ns",
                      task->background ? -1 : (int64_t)task->policy.deadline_ns);
    cli_json_unsigned(object, "enforceable_ns", task->execution);
    cli_json_response(object, "response_ns", task->bound);
    return object;
}

static char *header_of(const sim_set *set, const sim_options *options)
{
    json_t *root = cli_json_object(), *models = json_array();
    cli_json_bool(root, "simulated", true);
    cli_json_text(root, "unit", set->ticks ? "tick" : "ns");
    cli_json_text(root, "input", options->input);
    cli_json_text(root, "policy", aegis_policy_name(&set->policy));
    cli_json_unsigned(root, "lanes", set->lanes);
    for (size_t i = 0; i < set->count; i++) {
        json_array_append_new(models, model_json(&set->tasks[i]));
    }
    cli_json_set(root, "models", models);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static aegis_status open_rings(tracer *t, const sim_set *set, aegis_error *err)
{
    aegis_status status =
        aegis_trace_ring_create(t->collector, "orchestrator", &t->orchestrator, err);
    for (uint16_t i = 0; i < set->lanes && status == AEGIS_OK; i++) {
        char name[24];
        snprintf(name, sizeof name, "lane-%u", i);
        status = aegis_trace_ring_create(t->collector, name, &t->lanes[i], err);
    }
    return status;
}

static int write_trace(tracer *t,
                       const sim_set *set,
                       const sim_options *options,
                       const cli_common *common,
                       const sim_outcome *outcome)
{
    aegis_error error = {0};
    if (open_rings(t, set, &error) != AEGIS_OK) {
        return cli_fail(common, &error);
    }
    uint64_t run = outcome->worst_task == SIZE_MAX ? 0 : outcome->tasks[outcome->worst_task].run;
    int code = sim_repeat(set, options, common, outcome, run, 0, on_record, t);
    if (code == CLI_EXIT_OK && aegis_trace_collector_finish(t->collector, &error) != AEGIS_OK) {
        code = cli_fail(common, &error);
    }
    return code;
}

int sim_trace(const sim_set *set,
              const sim_options *options,
              const cli_common *common,
              const sim_outcome *outcome)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_clock clock = aegis_simulator_clock();
    aegis_error error = {0};
    tracer t = {0};
    if (sim_total_jobs(set, outcome) / outcome->runs > MOST_JOBS) {
        return cli_usage("--trace: a run of more than 4 million jobs would make gigabytes; give "
                         "--duration or --jobs");
    }
    char *header = header_of(set, options);
    const aegis_trace_config config = {.ring_records = RING_RECORDS,
                                       .memory_records = 1,
                                       .path = options->trace,
                                       .header_json = header};
    aegis_status status =
        aegis_trace_collector_create(&config, &clock, &allocator, &t.collector, &error);
    int code = status == AEGIS_OK ? write_trace(&t, set, options, common, outcome)
                                  : cli_fail(common, &error);
    aegis_trace_collector_destroy(t.collector);
    free(header);
    return code;
}

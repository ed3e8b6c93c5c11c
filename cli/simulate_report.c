/* SPDX-License-Identifier: Apache-2.0 */
/* What `simulate` says: worst responses beside deadlines and proved bounds. */
#include "json.h"
#include "simulate.h"

#include <inttypes.h>
#include <stdio.h>

static const char *execution_name(sim_execution execution)
{
    static const char *const names[] = {
        [SIM_WORST] = "worst", [SIM_RANDOM] = "random", [SIM_PROFILE] = "profile"};
    return names[execution];
}

static uint64_t total_missed(const sim_set *set, const sim_outcome *outcome)
{
    uint64_t missed = 0;
    for (size_t i = 0; i < set->count; i++) {
        missed += outcome->tasks[i].counters.missed;
    }
    return missed;
}

static double rate(const sim_set *set, const sim_outcome *outcome)
{
    return outcome->seconds > 0 ? (double)sim_total_jobs(set, outcome) / outcome->seconds : 0;
}

/* ---- JSON ---- */

static json_t *task_json(const sim_set *set, const sim_outcome *outcome, size_t i)
{
    const sim_task *task = &set->tasks[i];
    const sim_worst *worst = &outcome->tasks[i];
    const aegis_core_counters *counters = &worst->counters;
    json_t *object = json_object();
    cli_json_text(object, "name", task->name);
    cli_json_unsigned(object, "lane", task->policy.lane);
    cli_json_bool(object, "background", task->background);
    cli_json_unsigned(object, "jobs", counters->jobs);
    cli_json_unsigned(object, "completed", counters->completed);
    cli_json_unsigned(object, "missed", counters->missed);
    cli_json_unsigned(object, "aborted", counters->aborted);
    cli_json_unsigned(object, "dropped", counters->dropped);
    cli_json_unsigned(object, "skipped", counters->skipped);
    cli_json_unsigned(object, "pending", counters->pending);
    cli_json_response(object, "max_response", worst->response == 0 ? -1 : (int64_t)worst->response);
    cli_json_response(object, "deadline",
                      task->background ? -1 : (int64_t)task->policy.deadline_ns);
    cli_json_response(object, "bound", task->bound);
    cli_json_unsigned(object, "run", worst->run);
    cli_json_unsigned(object, "release", worst->release);
    cli_json_unsigned(object, "executed", worst->executed);
    return object;
}

static json_t *
worst_json(const sim_set *set, const sim_options *options, const sim_outcome *outcome)
{
    if (outcome->worst_task == SIZE_MAX) {
        return json_null();
    }
    const sim_worst *worst = &outcome->tasks[outcome->worst_task];
    json_t *object = json_object();
    cli_json_text(object, "task", set->tasks[outcome->worst_task].name);
    cli_json_real(object, "response_over_deadline",
                  sim_severity(set, outcome, outcome->worst_task));
    cli_json_unsigned(object, "run", worst->run);
    cli_json_text(object, "kind", sim_run_name(set, options, worst->run));
    cli_json_unsigned(object, "release", worst->release);
    return object;
}

static int
print_json(const sim_set *set, const sim_options *options, const sim_outcome *outcome, cli_format f)
{
    json_t *root = cli_json_object(), *tasks = json_array();
    cli_json_text(root, "input", options->input);
    cli_json_text(root, "policy", set->policy_name);
    cli_json_text(root, "unit", set->ticks ? "tick" : "ns");
    cli_json_unsigned(root, "lanes", set->lanes);
    cli_json_text(root, "execution", execution_name(options->execution));
    cli_json_text(root, "arrivals", options->sporadic ? "sporadic" : "periodic");
    cli_json_unsigned(root, "seed", options->seed);
    cli_json_unsigned(root, "runs", outcome->runs);
    cli_json_unsigned(root, "duration", outcome->duration);
    cli_json_unsigned(root, "jobs", sim_total_jobs(set, outcome));
    cli_json_unsigned(root, "missed", total_missed(set, outcome));
    cli_json_real(root, "seconds", outcome->seconds);
    cli_json_real(root, "jobs_per_second", rate(set, outcome));
    cli_json_set(root, "schedulable",
                 set->schedulable < 0 ? json_null() : json_boolean(set->schedulable));
    for (size_t i = 0; i < set->count; i++) {
        json_array_append_new(tasks, task_json(set, outcome, i));
    }
    cli_json_set(root, "tasks", tasks);
    cli_json_set(root, "worst", worst_json(set, options, outcome));
    cli_json_text(root, "gantt", options->gantt);
    cli_json_text(root, "trace", options->trace);
    return cli_json_print(root, "tasks", f);
}

/* ---- table ---- */

static void time_cell(const sim_set *set, cli_table *table, int64_t time, cli_colour colour)
{
    char text[CLI_TEXT_BYTES];
    if (time < 0) {
        cli_table_cell(table, CLI_DIM, "-");
    } else {
        cli_table_cell(table, colour, "%s", sim_time(set, time, text));
    }
}

static void print_row(const sim_set *set, const sim_outcome *outcome, size_t i, cli_table *table)
{
    const sim_task *task = &set->tasks[i];
    const sim_worst *worst = &outcome->tasks[i];
    const aegis_core_counters *counters = &worst->counters;
    int64_t response = worst->response == 0 ? -1 : (int64_t)worst->response;
    int64_t deadline = task->background ? -1 : (int64_t)task->policy.deadline_ns;
    bool late = deadline >= 0 && response > deadline;
    cli_table_cell(table, CLI_PLAIN, "%s%s", task->name, task->refused ? " (refused)" : "");
    cli_table_cell(table, CLI_PLAIN, "%u", task->policy.lane);
    cli_table_cell(table, CLI_PLAIN, "%" PRIu64, counters->jobs);
    cli_table_cell(table, counters->missed > 0 ? CLI_RED : CLI_PLAIN, "%" PRIu64, counters->missed);
    cli_table_cell(table, counters->dropped + counters->aborted > 0 ? CLI_YELLOW : CLI_PLAIN,
                   "%" PRIu64, counters->dropped + counters->aborted + counters->skipped);
    time_cell(set, table, response, late ? CLI_RED : CLI_PLAIN);
    time_cell(set, table, task->bound,
              task->bound >= 0 && response > task->bound ? CLI_RED : CLI_PLAIN);
    time_cell(set, table, deadline, CLI_PLAIN);
    cli_table_cell(table, CLI_DIM, "%" PRIu64, worst->run);
}

static void print_worst(const sim_set *set, const sim_options *options, const sim_outcome *outcome)
{
    char response[CLI_TEXT_BYTES], deadline[CLI_TEXT_BYTES], release[CLI_TEXT_BYTES];
    if (outcome->worst_task == SIZE_MAX) {
        return;
    }
    const sim_worst *worst = &outcome->tasks[outcome->worst_task];
    const sim_task *task = &set->tasks[outcome->worst_task];
    printf("Nearest to its deadline, or past it: %s released at %s in run %" PRIu64
           " (%s) took %s of %s.\n",
           task->name, sim_time(set, (int64_t)worst->release, release), worst->run,
           sim_run_name(set, options, worst->run),
           sim_time(set, (int64_t)worst->response, response),
           sim_time(set, (int64_t)task->policy.deadline_ns, deadline));
}

static int print_table(const sim_set *set, const sim_options *options, const sim_outcome *outcome)
{
    char duration[CLI_TEXT_BYTES], took[CLI_TEXT_BYTES];
    cli_table *table = cli_table_create(
        "task|>lane|>jobs|>missed|>lost|>worst response|>proved|>deadline|>in run");
    for (size_t i = 0; i < set->count; i++) {
        print_row(set, outcome, i, table);
    }
    int code = cli_table_finish(table);
    uint64_t missed = total_missed(set, outcome);
    printf("\n%s on %u lane%s, %s executions, %s: %" PRIu64 " run%s of %s, %" PRIu64
           " jobs in %s (%.0f a second), %s%" PRIu64 " missed%s.\n",
           set->policy_name, set->lanes, set->lanes == 1 ? "" : "s",
           execution_name(options->execution), options->sporadic ? "sporadic" : "periodic",
           outcome->runs, outcome->runs == 1 ? "" : "s",
           sim_time(set, (int64_t)outcome->duration, duration), sim_total_jobs(set, outcome),
           cli_duration((int64_t)(1e9 * outcome->seconds), took), rate(set, outcome),
           cli_begin(missed > 0 ? CLI_RED : CLI_GREEN), missed, cli_end());
    print_worst(set, options, outcome);
    printf("%s\n", set->schedulable < 0   ? "There is no proof for this: what was not seen is not "
                                            "excluded."
                   : set->schedulable > 0 ? "Proved: no deadline is ever missed."
                                          : "The proof refuses the set: some behaviour misses.");
    return code;
}

int sim_report(const sim_set *set,
               const sim_options *options,
               const sim_outcome *outcome,
               cli_format format)
{
    return format == CLI_TABLE ? print_table(set, options, outcome)
                               : print_json(set, options, outcome, format);
}

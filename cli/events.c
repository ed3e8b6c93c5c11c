/* SPDX-License-Identifier: Apache-2.0 */
#include "events.h"

#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

bool cli_events_init(cli_events *events, const aegis_workload *workload)
{
    *events = (cli_events){.workload = workload};
    events->changes = calloc(workload->event_count + 1, sizeof *events->changes);
    return events->changes != NULL;
}

void cli_events_finish(cli_events *events)
{
    for (size_t i = 0; events->changes != NULL && i < events->workload->event_count; i++) {
        free(events->changes[i].left);
    }
    free(events->changes);
    events->changes = NULL;
}

uint64_t cli_events_wait_ns(const cli_events *events, uint64_t now_ns)
{
    if (events->next == events->workload->event_count) {
        return UINT64_MAX;
    }
    uint64_t at = events->workload->events[events->next].at_ns;
    return at > now_ns ? at - now_ns : 0;
}

/* ---- making them ---- */

/* Compaction sends out everybody, pressure whom it names, a removal the model alone. */
static void
note_leaving(cli_change *change, const aegis_workload_event *event, aegis_system *system)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(system, &count);
    change->left = calloc(count, sizeof *change->left);
    for (size_t i = 0; change->left != NULL && i < count; i++) {
        aegis_model_metrics metrics;
        bool leaves = event->change == AEGIS_CHANGE_COMPACT ||
                      event->change == AEGIS_CHANGE_PRESSURE ||
                      (event->change == AEGIS_CHANGE_REMOVE && i == event->model);
        if (leaves && models[i].admitted &&
            aegis_scheduler_model_metrics(aegis_system_scheduler(system), models[i].model, &metrics,
                                          NULL) == AEGIS_OK) {
            change->left[change->left_count++] =
                (cli_left){(uint32_t)i, metrics.counters, metrics.past_proof.unexplained};
        }
    }
}

/* Under pressure some may leave: who did? */
static void forget_who_stayed(cli_change *change, const aegis_system_model *models)
{
    size_t kept = 0;
    for (size_t i = 0; i < change->left_count; i++) {
        if (!models[change->left[i].model].admitted) {
            change->left[kept++] = change->left[i];
        }
    }
    change->left_count = kept;
}

static void make(cli_change *change, const aegis_workload_event *event, aegis_system *system)
{
    aegis_error error = {0};
    aegis_memory_totals totals;
    uint64_t peak;
    size_t count;
    note_leaving(change, event, system);
    change->status = aegis_system_apply(system, event, &error);
    change->made = true;
    const aegis_system_model *models = aegis_system_models(system, &count);
    if (event->change == AEGIS_CHANGE_PRESSURE) {
        forget_who_stayed(change, models);
    }
    if (change->status != AEGIS_OK) {
        bool newcomer = event->model != AEGIS_CHANGE_OF_NOBODY;
        bool refused = change->status == AEGIS_ERROR_NOT_ADMITTED && newcomer;
        snprintf(change->reason, sizeof change->reason, "%s",
                 refused ? models[event->model].reason : error.message);
        change->fits_after_moving =
            refused && models[event->model].memory_refusal.fits_after_moving;
    }
    aegis_system_memory(system, &totals, &peak);
    change->planned_bytes = totals.planned_bytes;
}

void cli_events_make(cli_events *events, aegis_system *system, uint64_t (*now_ns)(void *), void *of)
{
    while (cli_events_wait_ns(events, now_ns(of)) == 0) {
        cli_change *change = &events->changes[events->next];
        change->started_ns = now_ns(of);
        make(change, &events->workload->events[events->next], system);
        change->took_ns = now_ns(of) - change->started_ns;
        events->next++;
    }
}

/* ---- what came of them ---- */

static bool is_surprise(const aegis_workload_event *event, const cli_change *change)
{
    return change->made && (change->status != AEGIS_OK) != event->expect_refuse;
}

size_t cli_events_surprises(const cli_events *events)
{
    size_t surprises = 0;
    for (size_t i = 0; i < events->next; i++) {
        surprises += is_surprise(&events->workload->events[i], &events->changes[i]);
    }
    return surprises;
}

uint64_t cli_events_broken(const cli_events *events)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < events->next; i++) {
        for (size_t k = 0; k < events->changes[i].left_count; k++) {
            sum += events->changes[i].left[k].counters.unexcused +
                   events->changes[i].left[k].unexplained;
        }
    }
    return sum;
}

static const char *change_name(aegis_workload_change change)
{
    switch (change) {
    case AEGIS_CHANGE_ADD:
        return "add";
    case AEGIS_CHANGE_REMOVE:
        return "remove";
    case AEGIS_CHANGE_COMPACT:
        return "compact";
    case AEGIS_CHANGE_PRESSURE:
        return "pressure";
    }
    return "?";
}

static const char *outcome_name(const cli_change *change)
{
    return !change->made                                ? "not reached"
           : change->status == AEGIS_OK                 ? "done"
           : change->status == AEGIS_ERROR_NOT_ADMITTED ? "refused"
                                                        : "failed";
}

static const char *model_name(const cli_events *events, uint32_t model)
{
    return model == AEGIS_CHANGE_OF_NOBODY ? NULL : events->workload->models[model].name;
}

static void print_left(const cli_events *events, const cli_change *change)
{
    for (size_t i = 0; i < change->left_count; i++) {
        const aegis_core_counters *counters = &change->left[i].counters;
        printf("  until then %s: %" PRIu64 " jobs, %" PRIu64 " completed, %" PRIu64
               " late (%" PRIu64 " although every bound held), %" PRIu64 " aborted.\n",
               events->workload->models[change->left[i].model].name, counters->jobs,
               counters->completed, counters->missed, counters->unexcused, counters->aborted);
        if (change->left[i].unexplained > 0) {
            printf("  %" PRIu64 " OF THEM RESPONDED LATER THAN WAS PROVED, AND NO PREMISE BROKE: "
                   "THIS IS A DEFECT OF AEGISRT.\n",
                   change->left[i].unexplained);
        }
    }
}

int cli_events_print(const cli_events *events)
{
    if (events->workload->event_count == 0) {
        return CLI_EXIT_OK;
    }
    cli_table *table = cli_table_create(">at|change|model|outcome|>took|>planned after");
    for (size_t i = 0; i < events->workload->event_count; i++) {
        const aegis_workload_event *event = &events->workload->events[i];
        const cli_change *change = &events->changes[i];
        char a[CLI_TEXT_BYTES];
        const char *name = model_name(events, event->model);
        cli_table_cell(
            table, CLI_PLAIN, "%s",
            cli_duration((int64_t)(change->made ? change->started_ns : event->at_ns), a));
        cli_table_cell(table, CLI_PLAIN, "%s", change_name(event->change));
        cli_table_cell(table, CLI_PLAIN, "%s", name != NULL ? name : "-");
        cli_table_cell(table,
                       is_surprise(event, change)   ? CLI_RED
                       : change->status == AEGIS_OK ? CLI_GREEN
                                                    : CLI_YELLOW,
                       "%s%s", outcome_name(change),
                       change->made && event->expect_refuse && change->status != AEGIS_OK
                           ? " (as expected)"
                           : "");
        cli_table_cell(table, CLI_PLAIN, "%s",
                       change->made ? cli_duration((int64_t)change->took_ns, a) : "-");
        cli_table_cell(table, CLI_PLAIN, "%s",
                       change->made ? cli_size(change->planned_bytes, a) : "-");
    }
    int code = cli_table_finish(table);
    for (size_t i = 0; i < events->next; i++) {
        const aegis_workload_event *event = &events->workload->events[i];
        if (events->changes[i].status != AEGIS_OK) {
            const char *name = model_name(events, event->model);
            printf("%s %s: %s\n", change_name(event->change), name != NULL ? name : "",
                   events->changes[i].reason);
        }
        print_left(events, &events->changes[i]);
    }
    putchar('\n');
    return code;
}

static json_t *left_json(const cli_events *events, const cli_change *change)
{
    json_t *array = json_array();
    for (size_t i = 0; i < change->left_count; i++) {
        json_t *one = json_object();
        cli_json_text(one, "model", model_name(events, change->left[i].model));
        cli_json_counters(one, &change->left[i].counters);
        cli_json_unsigned(one, "unexplained", change->left[i].unexplained);
        json_array_append_new(array, one);
    }
    return array;
}

json_t *cli_events_json(const cli_events *events)
{
    json_t *array = json_array();
    for (size_t i = 0; i < events->workload->event_count; i++) {
        const aegis_workload_event *event = &events->workload->events[i];
        const cli_change *change = &events->changes[i];
        json_t *one = json_object();
        cli_json_unsigned(one, "at_ns", event->at_ns);
        cli_json_text(one, "change", change_name(event->change));
        cli_json_text(one, "model", model_name(events, event->model));
        cli_json_text(one, "outcome", outcome_name(change));
        cli_json_bool(one, "expected", !is_surprise(event, change));
        if (change->made) {
            cli_json_unsigned(one, "started_ns", change->started_ns);
            cli_json_unsigned(one, "took_ns", change->took_ns);
            cli_json_unsigned(one, "planned_bytes", change->planned_bytes);
            cli_json_text(one, "reason", change->reason);
            cli_json_bool(one, "fits_after_moving", change->fits_after_moving);
            cli_json_set(one, "left", left_json(events, change));
        }
        json_array_append_new(array, one);
    }
    return array;
}

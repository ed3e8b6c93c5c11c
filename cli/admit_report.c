/* SPDX-License-Identifier: Apache-2.0 */
/* What `admit` says about a task set, as tables and as JSON. */
#include "admit.h"

#include <inttypes.h>
#include <stdio.h>

#define JOBS_SHOWN 20

bool admit_has_priorities(aegis_analysis policy)
{
    return policy == AEGIS_ANALYSIS_NP_FP || policy == AEGIS_ANALYSIS_FPP ||
           policy == AEGIS_ANALYSIS_FP;
}

/* 0 is no value that fits. */
static json_t *json_of_part(int64_t value)
{
    return value > 0 ? json_integer((json_int_t)value) : json_null();
}

static json_t *json_of_fit(const aegis_fit *fit)
{
    json_t *object = json_object();
    cli_json_set(object, "smallest_period", json_of_part(fit->smallest_period));
    cli_json_set(object, "smallest_deadline", json_of_part(fit->smallest_deadline));
    cli_json_set(object, "largest_execution", json_of_part(fit->largest_execution));
    return object;
}

/* Neither its response nor the verdict says whether it meets its deadline. */
static bool is_open(const aegis_task_result *task)
{
    return task->response == AEGIS_RESPONSE_UNSETTLED && !task->meets;
}

static json_t *json_of_tasks(const admit_report *r)
{
    json_t *array = json_array();
    for (size_t i = 0; i < r->count; i++) {
        const aegis_task_result *task = &r->result->tasks[i];
        json_t *object = json_object();
        cli_json_text(object, "name", r->tasks[i].name);
        if (task->response != AEGIS_RESPONSE_OMITTED) {
            cli_json_response(object, "response", task->response);
        }
        cli_json_signed(object, "blocking", task->blocking);
        cli_json_set(object, "meets", is_open(task) ? json_null() : json_boolean(task->meets));
        if (r->explanation.derivations != NULL) {
            cli_json_set(object, "derivation", admit_explanation_json(&r->explanation, i));
        }
        if (r->fits != NULL) {
            cli_json_set(object, "fits", r->fit_known[i] ? json_of_fit(&r->fits[i]) : json_null());
        }
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *json_of_bounds(const aegis_simple_bounds *bounds)
{
    json_t *object = json_object();
    cli_json_bool(object, "liu_layland", bounds->liu_layland);
    cli_json_bool(object, "hyperbolic", bounds->hyperbolic);
    cli_json_bool(object, "density", bounds->density);
    return object;
}

static json_t *json_of_violation(const admit_report *r)
{
    json_t *object = json_object(), *jobs = json_array();
    for (size_t k = 0; k < r->result->witness_count; k++) {
        const aegis_witness_job *job = &r->result->witness[k];
        json_t *entry = json_object();
        cli_json_text(entry, "task", r->tasks[job->task].name);
        cli_json_signed(entry, "release", job->release);
        cli_json_signed(entry, "deadline", job->deadline);
        cli_json_signed(entry, "execution", job->execution);
        cli_json_bool(entry, "blocks", job->blocks);
        json_array_append_new(jobs, entry);
    }
    cli_json_signed(object, "t", r->result->violation_at);
    cli_json_set(object, "jobs", jobs);
    return object;
}

static json_t *json_of_names(const admit_report *r, size_t count)
{
    json_t *names = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(names, json_string(r->tasks[i].name));
    }
    return names;
}

/* The order found, or the level (1 is the highest) that none of the tasks left can take. */
static void json_put_assignment(const admit_report *r, json_t *root)
{
    if (r->assignment->verdict == AEGIS_SCHEDULABLE) {
        cli_json_set(root, "order", json_of_names(r, r->count));
        return;
    }
    json_t *object = json_object();
    cli_json_unsigned(object, "level", r->assignment->level + 1);
    cli_json_set(object, "tasks", json_of_names(r, r->assignment->level + 1));
    cli_json_set(root, "order", json_null());
    cli_json_set(root, "unassigned", object);
}

/* In one word, for programs. */
static const char *reason_unsettled(const admit_report *r)
{
    switch (r->result->unsettled) {
    case AEGIS_UNSETTLED_NONE:
        return "none";
    case AEGIS_UNSETTLED_LIMITS:
        break;
    case AEGIS_UNSETTLED_ENDLESS:
        return "endless";
    case AEGIS_UNSETTLED_OVERFLOW:
        return "overflow";
    }
    return r->timed_out ? "timeout" : "steps";
}

/* Which responses are null because they were not found, and why: others are because they diverge.
 */
static void json_put_unsettled(const admit_report *r, json_t *root)
{
    json_t *object = json_object(), *names = json_array();
    for (size_t i = 0; i < r->count; i++) {
        if (r->result->tasks[i].response == AEGIS_RESPONSE_UNSETTLED) {
            json_array_append_new(names, json_string(r->tasks[i].name));
        }
    }
    cli_json_text(object, "reason", reason_unsettled(r));
    cli_json_set(object, "tasks", names);
    cli_json_set(root, "unsettled", object);
}

static int print_json(const admit_report *r, cli_format format)
{
    const aegis_admission_result *result = r->result;
    json_t *root = cli_json_object();
    cli_json_set(root, "schedulable",
                 result->verdict == AEGIS_ADMISSION_UNDECIDED
                     ? json_null()
                     : json_boolean(result->verdict == AEGIS_SCHEDULABLE));
    cli_json_real(root, "utilisation", result->utilisation);
    if (r->assignment != NULL) {
        json_put_assignment(r, root);
    }
    cli_json_set(root, "tasks", json_of_tasks(r));
    if (result->unsettled != AEGIS_UNSETTLED_NONE) {
        json_put_unsettled(r, root);
    }
    cli_json_set(root, "bounds", json_of_bounds(&result->bounds));
    if (result->has_violation) {
        cli_json_set(root, "violation", json_of_violation(r));
    }
    return cli_json_print(root, "tasks", format);
}

static void response_cell(cli_table *table, const aegis_task_result *task)
{
    if (task->response >= 0) {
        cli_table_cell(table, CLI_PLAIN, "%" PRId64, task->response);
    } else {
        cli_table_cell(table, CLI_DIM, "%s",
                       task->response == AEGIS_RESPONSE_DIVERGES    ? "diverges"
                       : task->response == AEGIS_RESPONSE_UNSETTLED ? "unsettled"
                                                                    : "-");
    }
}

static int print_tasks(const admit_report *r)
{
    cli_table *table = cli_table_create("task|>C|>T|>D|>J|>segments|>response|>blocking|meets");
    for (size_t i = 0; i < r->count; i++) {
        const aegis_task *task = &r->tasks[i];
        const aegis_task_result *answer = &r->result->tasks[i];
        cli_table_cell(table, CLI_PLAIN, "%s", task->name);
        cli_table_cell(table, CLI_PLAIN, "%" PRId64, task->execution);
        cli_table_cell(table, CLI_PLAIN, "%" PRId64, task->period);
        cli_table_cell(table, CLI_PLAIN, "%" PRId64, task->deadline);
        cli_table_cell(table, CLI_PLAIN, "%" PRId64, task->jitter);
        cli_table_cell(table, CLI_PLAIN, "%zu", task->segments == NULL ? 1 : task->segment_count);
        response_cell(table, answer);
        cli_table_cell(table, CLI_PLAIN, "%" PRId64, answer->blocking);
        if (is_open(answer)) {
            cli_table_cell(table, CLI_YELLOW, "open");
        } else {
            cli_table_cell(table, answer->meets ? CLI_GREEN : CLI_RED, "%s",
                           answer->meets ? "yes" : "no");
        }
    }
    return cli_table_finish(table);
}

static void print_verdict(const admit_report *r)
{
    static const char *const verdicts[] = {[AEGIS_SCHEDULABLE] = "schedulable",
                                           [AEGIS_NOT_SCHEDULABLE] = "NOT schedulable",
                                           [AEGIS_ADMISSION_UNDECIDED] = "undecided"};
    static const cli_colour colours[] = {[AEGIS_SCHEDULABLE] = CLI_GREEN,
                                         [AEGIS_NOT_SCHEDULABLE] = CLI_RED,
                                         [AEGIS_ADMISSION_UNDECIDED] = CLI_YELLOW};
    const aegis_simple_bounds *bounds = &r->result->bounds;
    const char *refuses = "proves nothing";
    printf("\nPolicy %s, utilisation %.2f %%: %s%s%s.\n", aegis_analysis_name(r->policy),
           100.0 * r->result->utilisation, cli_begin(colours[r->result->verdict]),
           verdicts[r->result->verdict], cli_end());
    printf("Simple bounds: Liu & Layland %s, hyperbolic %s, density %s.\n",
           bounds->liu_layland ? "accepts" : refuses, bounds->hyperbolic ? "accepts" : refuses,
           bounds->density ? "accepts" : refuses);
}

static const char *why_unsettled(const admit_report *r)
{
    switch (r->result->unsettled) {
    case AEGIS_UNSETTLED_NONE:
        return "";
    case AEGIS_UNSETTLED_LIMITS:
        break;
    case AEGIS_UNSETTLED_ENDLESS:
        return "at utilisation 1 with jitter no busy period ends";
    case AEGIS_UNSETTLED_OVERFLOW:
        return "the busy period passes 2^63 - 1 ticks; use larger ticks";
    }
    return r->timed_out ? "--timeout ended the search; give it longer"
                        : "the steps of the search were used up, as its length grows with 1 / (1 - "
                          "U) and the number of tasks";
}

/* The table shows which they are. */
static void print_unsettled(const admit_report *r)
{
    size_t open = 0;
    for (size_t i = 0; i < r->count; i++) {
        open += r->result->tasks[i].response == AEGIS_RESPONSE_UNSETTLED;
    }
    printf("Worst responses of %zu of %zu tasks are not settled: %s.%s\n", open, r->count,
           why_unsettled(r),
           r->result->verdict == AEGIS_ADMISSION_UNDECIDED ? "" : " The verdict stands without.");
}

static void print_violation(const admit_report *r)
{
    const aegis_admission_result *result = r->result;
    printf("\nWithin %" PRId64 " of the start of a busy period up to %" PRId64
           " of work must be done:\n",
           result->violation_at, result->violation_demand);
    for (size_t k = 0; k < result->witness_count && k < JOBS_SHOWN; k++) {
        const aegis_witness_job *job = &result->witness[k];
        printf("  %s released at %" PRId64 ", due at %" PRId64 ", runs %" PRId64 "%s\n",
               r->tasks[job->task].name, job->release, job->deadline, job->execution,
               job->blocks ? " (blocks the others)" : "");
    }
    if (result->witness_total > JOBS_SHOWN) {
        printf("  and %" PRIu64 " more jobs\n", result->witness_total - JOBS_SHOWN);
    }
}

static void print_assignment(const admit_report *r)
{
    const aegis_priority_assignment *a = r->assignment;
    size_t count = a->verdict == AEGIS_SCHEDULABLE ? r->count : a->level + 1;
    if (a->verdict == AEGIS_SCHEDULABLE) {
        printf("\nPriorities found, highest first:");
    } else if (a->verdict == AEGIS_NOT_SCHEDULABLE) {
        printf("\nNo order exists: at level %zu of %zu each of these misses its deadline:",
               a->level + 1, r->count);
    } else {
        printf("\nThe limits ended the search for priorities at level %zu of %zu; left:",
               a->level + 1, r->count);
    }
    for (size_t i = 0; i < count; i++) {
        printf("%s %s", i == 0 ? "" : ",", r->tasks[i].name);
    }
    printf("\n");
}

/* Returns what stands before the next part. */
static const char *
print_part(const char *before, const char *key, const char *relation, int64_t value)
{
    if (value <= 0) {
        return before;
    }
    printf("%s %s %s %" PRId64, before, key, relation, value);
    return " or";
}

static void print_fits(const admit_report *r)
{
    printf("\nWhat would fit, one task changed and the others as they are:\n");
    for (size_t i = 0; i < r->count; i++) {
        printf("  %s:", r->tasks[i].name);
        if (!r->fit_known[i]) {
            printf(" not found within the limits\n");
            continue;
        }
        const aegis_fit *fit = &r->fits[i];
        const char *before = print_part("", "T", ">=", fit->smallest_period);
        before = print_part(before, "D", ">=", fit->smallest_deadline);
        before = print_part(before, "C", "<=", fit->largest_execution);
        puts(before[0] == '\0' ? " nothing of it alone" : "");
    }
}

/* What else could be tried with the same tasks. */
static void print_hints(const admit_report *r)
{
    bool cut = false;
    for (size_t i = 0; i < r->count; i++) {
        cut = cut || r->tasks[i].segment_count > 1;
    }
    if (r->assignment == NULL && admit_has_priorities(r->policy)) {
        printf("\nThe order of the list is the priority; --assign looks for one that fits.\n");
    }
    if (cut && r->policy == AEGIS_ANALYSIS_NP_FP) {
        printf("\nUnder np-fp tasks run whole: the policy fpp uses their segments.\n");
    }
}

static int print_table(const admit_report *r)
{
    int code = print_tasks(r);
    if (code != CLI_EXIT_OK) {
        return code;
    }
    print_verdict(r);
    if (r->result->unsettled != AEGIS_UNSETTLED_NONE) {
        print_unsettled(r);
    }
    if (r->assignment != NULL) {
        print_assignment(r);
    }
    if (r->result->has_violation) {
        print_violation(r);
    }
    if (r->explanation.derivations != NULL) {
        admit_explanation_print(&r->explanation, r->result);
    }
    if (r->fits != NULL) {
        print_fits(r);
    }
    if (r->result->verdict == AEGIS_NOT_SCHEDULABLE) {
        print_hints(r);
    }
    return CLI_EXIT_OK;
}

int admit_report_print(const admit_report *r, cli_format format)
{
    return format == CLI_TABLE ? print_table(r) : print_json(r, format);
}

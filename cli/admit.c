/* SPDX-License-Identifier: Apache-2.0 */
/* `admit`: the arithmetic of admission alone, over a task set file. */
#include "admit.h"
#include "commands.h"
#include "json.h"

#include <aegisrt/admission.h>
#include <aegisrt/certificate.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum {
    ADMIT_ASSIGN,
    ADMIT_EXPLAIN,
    ADMIT_TIMEOUT,
    ADMIT_CERTIFICATE
};

#define LARGEST_INPUT ((size_t)16 << 20)
#define JOBS_SHOWN 20
#define TASKS_FITTED 64 /* what would fit is searched for up to here without being asked */
#define NS_PER_US 1000
#define NS_PER_S 1000000000

typedef struct options {
    bool assign;
    bool explain;
    uint64_t timeout_ns; /* 0: none */
    const char *certificate;
} options;

static const cli_option list[] = {
    [ADMIT_ASSIGN] = {"assign", NULL,
                      "find priorities (np-fp, fp, fpp): the order of the list is not one"},
    [ADMIT_EXPLAIN] = {"explain", NULL,
                       "derive each response in numbers; what of each task would fit"},
    [ADMIT_TIMEOUT] = {"timeout", "SECONDS", "give up after this time, with exit code 6"},
    [ADMIT_CERTIFICATE] = {"certificate", "FILE", "write the proof there, for `aegisrt verify`"},
};

static const cli_command command = {
    .name = "admit",
    .operands = "TASKSET",
    .summary = "schedulability of a task set, arithmetic only",
    .about =
        "Reads {\"policy\": \"np-fp|np-edf|fp|edf|fpp|fifo\", \"tasks\": [{\"name\": \"a\", \"C\": "
        "4,\n"
        "\"T\": 15, \"D\": 12, \"J\": 0, \"segments\": [2, 2]}]} from a file, or from standard "
        "input\n"
        "for \"-\". All values are integers in one unit of time. D defaults to T and J to 0; for\n"
        "np-fp, fp and fpp the first task has the highest priority; segments sum to C.\n"
        "With --assign the order is found instead (Audsley: whenever there is one).\n"
        "Exits 0 when every deadline is always met, 3 when not, 6 when the time ended the "
        "analysis.",
    .examples = "  aegisrt admit tasks.json\n"
                "  aegisrt admit --assign --explain tasks.json\n"
                "  aegisrt admit --json --timeout 5 - < tasks.json\n"
                "  aegisrt admit --certificate proof.json tasks.json; aegisrt verify proof.json\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

static int take(void *self, size_t option, const char *argument)
{
    options *opts = self;
    if (option == ADMIT_ASSIGN) {
        opts->assign = true;
        return CLI_EXIT_OK;
    }
    if (option == ADMIT_EXPLAIN) {
        opts->explain = true;
        return CLI_EXIT_OK;
    }
    if (option == ADMIT_CERTIFICATE) {
        opts->certificate = argument;
        return CLI_EXIT_OK;
    }
    return cli_take_duration("timeout", argument, &opts->timeout_ns);
}

/* A signal handler reaches nothing else than a variable of the program. */
static volatile bool time_is_up;

static void on_alarm(int signal_number)
{
    (void)signal_number;
    time_is_up = true;
}

static void start_timeout(uint64_t timeout_ns)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval timer = {
        .it_value = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                     .tv_usec = (suseconds_t)(timeout_ns % NS_PER_S / NS_PER_US)}};
    if (timeout_ns < NS_PER_US) {
        timer.it_value.tv_usec = 1;
    }
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* ---- input ---- */

static aegis_status
read_standard_input(const aegis_allocator *allocator, aegis_taskset **ret_set, aegis_error *err)
{
    char *text = malloc(LARGEST_INPUT);
    if (text == NULL) {
        return aegis_error_set(err, AEGIS_HERE("cli.admit"), AEGIS_ERROR_NO_MEMORY,
                               "no memory to read standard input");
    }
    size_t size = fread(text, 1, LARGEST_INPUT, stdin);
    aegis_status status;
    if (ferror(stdin) != 0) {
        status = aegis_error_set(err, AEGIS_HERE("cli.admit"), AEGIS_ERROR_IO,
                                 "cannot read standard input: %s", strerror(errno));
    } else if (size == LARGEST_INPUT) {
        status = aegis_error_set(err, AEGIS_HERE("cli.admit"), AEGIS_ERROR_PARSE,
                                 "standard input: a task set has less than 16 MiB");
    } else {
        status = aegis_taskset_parse(text, size, "<stdin>", allocator, ret_set, err);
    }
    free(text);
    return status;
}

/* ---- output ---- */

typedef struct report {
    aegis_analysis policy;
    const aegis_task *tasks;
    size_t count;
    const aegis_admission_result *result;
    aegis_fit *fits; /* one a task, or NULL */
    bool *fit_known; /* as many */
    admit_explanation explanation;
    const aegis_priority_assignment *assignment; /* NULL: the order is the given one */
} report;

static json_t *json_of_fit(const aegis_fit *fit)
{
    json_t *object = json_object();
    cli_json_signed(object, "smallest_period", fit->smallest_period);
    cli_json_signed(object, "smallest_deadline", fit->smallest_deadline);
    cli_json_signed(object, "largest_execution", fit->largest_execution);
    return object;
}

static json_t *json_of_tasks(const report *r)
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
        cli_json_bool(object, "meets", task->meets);
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

static json_t *json_of_violation(const report *r)
{
    json_t *object = json_object(), *jobs = json_array();
    for (size_t k = 0; k < r->result->witness_count; k++) {
        const aegis_witness_job *job = &r->result->witness[k];
        json_t *entry = json_object();
        cli_json_text(entry, "task", r->tasks[job->task].name);
        cli_json_signed(entry, "release", job->release);
        cli_json_signed(entry, "deadline", job->deadline);
        cli_json_signed(entry, "execution", job->execution);
        json_array_append_new(jobs, entry);
    }
    cli_json_signed(object, "t", r->result->violation_at);
    cli_json_set(object, "jobs", jobs);
    return object;
}

static json_t *json_of_names(const report *r, size_t count)
{
    json_t *names = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(names, json_string(r->tasks[i].name));
    }
    return names;
}

/* The order found, or the level (1 is the highest) that none of the tasks left can take. */
static void json_put_assignment(const report *r, json_t *root)
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

static int print_json(const report *r, cli_format format)
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

static int print_tasks(const report *r)
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
        cli_table_cell(table, answer->meets ? CLI_GREEN : CLI_RED, "%s",
                       answer->meets ? "yes" : "no");
    }
    return cli_table_finish(table);
}

static void print_verdict(const report *r)
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

static void print_violation(const report *r)
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

static void print_assignment(const report *r)
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

static void print_part(const char *key, const char *relation, int64_t value)
{
    if (value > 0) {
        printf("%s %s %" PRId64, key, relation, value);
    } else {
        printf("%s: none", key);
    }
}

static void print_fits(const report *r)
{
    printf("\nWhat would fit, one task changed and the others as they are:\n");
    for (size_t i = 0; i < r->count; i++) {
        printf("  %s:", r->tasks[i].name);
        if (!r->fit_known[i]) {
            printf(" not found within the limits\n");
            continue;
        }
        print_part(" T", ">=", r->fits[i].smallest_period);
        print_part(", D", ">=", r->fits[i].smallest_deadline);
        print_part(", C", "<=", r->fits[i].largest_execution);
        printf("\n");
    }
}

static int print_table(const report *r)
{
    int code = print_tasks(r);
    if (code != CLI_EXIT_OK) {
        return code;
    }
    print_verdict(r);
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
    return CLI_EXIT_OK;
}

/* ---- the command ---- */

static int exit_code_of_verdict(aegis_admission_verdict verdict)
{
    switch (verdict) {
    case AEGIS_SCHEDULABLE:
        return CLI_EXIT_OK;
    case AEGIS_NOT_SCHEDULABLE:
        return CLI_EXIT_REFUSED;
    case AEGIS_ADMISSION_UNDECIDED:
        break;
    }
    return CLI_EXIT_UNDECIDED;
}

/* What would fit, task by task; unknown where the limits or the integers end the search. */
static void find_fits(report *r, const aegis_admission_limits *limits)
{
    aegis_allocator allocator = aegis_allocator_default();
    r->fits = calloc(r->count, sizeof *r->fits);
    r->fit_known = calloc(r->count, sizeof *r->fit_known);
    for (size_t i = 0; i < r->count && r->fits != NULL && r->fit_known != NULL && !*limits->cancel;
         i++) {
        r->fit_known[i] = aegis_admission_what_fits(r->policy, r->tasks, r->count, i, limits,
                                                    &allocator, &r->fits[i], NULL) == AEGIS_OK;
    }
    if (r->fit_known == NULL) {
        free(r->fits);
        r->fits = NULL;
    }
}

/* The verdict on the tasks as they stand in the report. */
static int test_and_print(report *r, const options *opts, const cli_common *common)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_limits limits = {.cancel = &time_is_up};
    aegis_admission_result result;
    aegis_error err = {0};
    if (aegis_admission_test(r->policy, r->tasks, r->count, &limits, &allocator, &result, &err) !=
        AEGIS_OK) {
        return cli_fail(common, &err);
    }
    if (r->assignment != NULL && r->assignment->verdict == AEGIS_ADMISSION_UNDECIDED) {
        result.verdict = AEGIS_ADMISSION_UNDECIDED; /* another order might do */
    }
    r->result = &result;
    bool refused = result.verdict == AEGIS_NOT_SCHEDULABLE;
    if (opts->explain) {
        r->explanation = admit_explain(r->policy, r->tasks, r->count, &limits);
    }
    if (opts->explain || (refused && common->format == CLI_TABLE && r->count <= TASKS_FITTED)) {
        find_fits(r, &limits);
    }
    int code = common->format == CLI_TABLE ? print_table(r) : print_json(r, common->format);
    if (code == CLI_EXIT_OK) {
        code = exit_code_of_verdict(result.verdict);
    }
    if (opts->certificate != NULL && result.verdict != AEGIS_ADMISSION_UNDECIDED &&
        aegis_certificate_save(opts->certificate, r->policy, r->tasks, r->count, &result, &limits,
                               &allocator, &err) != AEGIS_OK) {
        code = cli_fail(common, &err);
    }
    admit_explanation_finish(&r->explanation);
    free(r->fits);
    free(r->fit_known);
    aegis_admission_result_finish(&result, &allocator);
    return code;
}

/* The same on the tasks in the order found; `order` and `sorted` have room for them. */
static int assign_and_print(const report *given,
                            size_t *order,
                            aegis_task *sorted,
                            const options *opts,
                            const cli_common *common)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_limits limits = {.cancel = &time_is_up};
    aegis_priority_assignment assignment;
    aegis_error err = {0};
    if (aegis_admission_assign_priorities(given->policy, given->tasks, given->count, &limits,
                                          &allocator, order, &assignment, &err) != AEGIS_OK) {
        return cli_fail(common, &err);
    }
    for (size_t i = 0; i < given->count; i++) {
        sorted[i] = given->tasks[order[i]];
    }
    report r = *given;
    r.tasks = sorted;
    r.assignment = &assignment;
    return test_and_print(&r, opts, common);
}

static int assign(const report *given, const options *opts, const cli_common *common)
{
    size_t *order = calloc(given->count, sizeof *order);
    aegis_task *sorted = calloc(given->count, sizeof *sorted);
    int code;
    if (order != NULL && sorted != NULL) {
        code = assign_and_print(given, order, sorted, opts, common);
    } else {
        aegis_error err = {0};
        aegis_error_set(&err, AEGIS_HERE("cli.admit"), AEGIS_ERROR_NO_MEMORY,
                        "no memory to order %zu tasks", given->count);
        code = cli_fail(common, &err);
    }
    free(order);
    free(sorted);
    return code;
}

static int admit(const aegis_taskset *set, const options *opts, const cli_common *common)
{
    report r = {.policy = aegis_taskset_policy(set)};
    r.tasks = aegis_taskset_tasks(set, &r.count);
    bool assignable = r.policy == AEGIS_ANALYSIS_NP_FP || r.policy == AEGIS_ANALYSIS_FPP ||
                      r.policy == AEGIS_ANALYSIS_FP;
    if (opts->assign && !assignable) {
        return cli_usage("--assign: policy %s has no priorities to assign; use np-fp, fp or fpp",
                         aegis_analysis_name(r.policy));
    }
    return opts->assign ? assign(&r, opts, common) : test_and_print(&r, opts, common);
}

int aegisrt_command_admit(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_taskset *set = NULL;
    aegis_error err = {0};
    options opts = {.explain = false};
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 1, 1, take, &opts, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (opts.timeout_ns > 0) {
        start_timeout(opts.timeout_ns);
    }
    aegis_status status = strcmp(argv[first], "-") == 0
                              ? read_standard_input(&allocator, &set, &err)
                              : aegis_taskset_load(argv[first], &allocator, &set, &err);
    if (status != AEGIS_OK) {
        return cli_fail(&common, &err);
    }
    code = admit(set, &opts, &common);
    aegis_taskset_destroy(set);
    return code;
}

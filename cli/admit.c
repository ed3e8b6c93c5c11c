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
    .writes = " certificate ",
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
static void find_fits(admit_report *r, const aegis_admission_limits *limits)
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
static int test_and_print(admit_report *r, const options *opts, const cli_common *common)
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
    r->timed_out = time_is_up;
    bool refused = result.verdict == AEGIS_NOT_SCHEDULABLE;
    if (opts->explain) {
        r->explanation = admit_explain(r->policy, r->tasks, r->count, &limits);
    }
    if (opts->explain || (refused && common->format == CLI_TABLE && r->count <= TASKS_FITTED)) {
        find_fits(r, &limits);
    }
    int code = admit_report_print(r, common->format);
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
static int assign_and_print(const admit_report *given,
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
    admit_report r = *given;
    r.tasks = sorted;
    r.assignment = &assignment;
    return test_and_print(&r, opts, common);
}

static int assign(const admit_report *given, const options *opts, const cli_common *common)
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
    admit_report r = {.policy = aegis_taskset_policy(set)};
    r.tasks = aegis_taskset_tasks(set, &r.count);
    if (opts->assign && !admit_has_priorities(r.policy)) {
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

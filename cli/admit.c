/* SPDX-License-Identifier: Apache-2.0 */
/* aegisrt admit: the arithmetic of admission alone, over a task set file. */
#include "commands.h"

#include <aegisrt/admission.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define EXIT_USAGE 2
#define EXIT_REFUSED 3
#define EXIT_UNAVAILABLE 4
#define EXIT_INTERNAL 5
#define EXIT_UNDECIDED 6
#define LARGEST_INPUT ((size_t)16 << 20)
#define JOBS_SHOWN 20

static const char help[] =
    "Usage: aegisrt admit [OPTION]... FILE\n"
    "Decides whether the task set in FILE always meets its deadlines; \"-\" reads standard input.\n"
    "\n"
    "  --json             print one JSON object\n"
    "  -o, --output FORM  table (default) or json\n"
    "  --explain          say also what of each task would fit\n"
    "  --timeout SECONDS  give up after that time, with exit code 6\n"
    "  --quiet            print nothing, only exit\n"
    "  --help             this text\n"
    "\n"
    "FILE: {\"policy\": \"np-fp|np-edf|fp|edf|fpp|fifo\",\n"
    "       \"tasks\": [{\"name\": \"a\", \"C\": 4, \"T\": 15, \"D\": 12, \"J\": 0, \"segments\": "
    "[2, 2]}]}\n"
    "All values are integers in one unit of time. D defaults to T and J to 0. For np-fp, fp and "
    "fpp\n"
    "the first task has the highest priority. Segments sum to C.\n"
    "\n"
    "Exit codes: 0 schedulable, 2 bad usage or file, 3 not schedulable, 6 undecided.\n";

typedef struct options {
    bool json, explain, quiet;
    double timeout_s; /* 0: none */
    const char *path;
} options;

/* A signal handler reaches nothing else than a variable of the program. */
static volatile bool time_is_up;

static void on_alarm(int signal_number)
{
    (void)signal_number;
    time_is_up = true;
}

static void start_timeout(double seconds)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval timer = {.it_value = {.tv_sec = (time_t)seconds}};
    timer.it_value.tv_usec = (suseconds_t)((seconds - (double)timer.it_value.tv_sec) * 1e6);
    if (timer.it_value.tv_sec == 0 && timer.it_value.tv_usec == 0) {
        timer.it_value.tv_usec = 1;
    }
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static int usage(const char *text, const char *value)
{
    fprintf(stderr, "aegisrt admit: %s%s%s\nTry \"aegisrt admit --help\".\n", text,
            value == NULL ? "" : ": ", value == NULL ? "" : value);
    return EXIT_USAGE;
}

static bool read_timeout(const char *text, double *ret_seconds)
{
    char *end;
    errno = 0;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !(seconds > 0.0 && seconds <= 1e9)) {
        return false;
    }
    *ret_seconds = seconds;
    return true;
}

/* -1: go on. */
static int read_options(int argc, char **argv, options *opts)
{
    static const struct option long_options[] = {
        {"json", no_argument, NULL, 'j'},           {"output", required_argument, NULL, 'o'},
        {"explain", no_argument, NULL, 'e'},        {"timeout", required_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},          {"help", no_argument, NULL, 'h'},
        {"progress", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0}};
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "o:h", long_options, NULL)) != -1) {
        switch (option) {
        case 'j':
            opts->json = true;
            break;
        case 'o':
            opts->json = strcmp(optarg, "json") == 0;
            if (!opts->json && strcmp(optarg, "table") != 0) {
                return usage("--output is table or json, not", optarg);
            }
            break;
        case 'e':
            opts->explain = true;
            break;
        case 'q':
            opts->quiet = true;
            break;
        case 'p':
            break; /* nothing here takes long enough to show */
        case 't':
            if (!read_timeout(optarg, &opts->timeout_s)) {
                return usage("--timeout takes seconds above 0, not", optarg);
            }
            break;
        case 'h':
            fputs(help, stdout);
            return EXIT_SUCCESS;
        default:
            return usage("see the options", NULL);
        }
    }
    if (optind != argc - 1) {
        return usage(optind == argc ? "FILE is missing" : "more than one FILE", NULL);
    }
    opts->path = argv[optind];
    return -1;
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

static int exit_code_of(aegis_status status)
{
    return status == AEGIS_ERROR_NO_MEMORY  ? EXIT_UNAVAILABLE
           : status == AEGIS_ERROR_INTERNAL ? EXIT_INTERNAL
                                            : EXIT_USAGE;
}

static int fail(const aegis_error *err)
{
    fprintf(stderr, "aegisrt admit: %s\n", err->message);
    return exit_code_of(err->status);
}

/* ---- output ---- */

typedef struct report {
    aegis_analysis policy;
    const aegis_task *tasks;
    size_t count;
    const aegis_admission_result *result;
    aegis_fit *fits; /* one a task, or NULL */
    const bool *fit_known;
} report;

static json_t *json_of_response(int64_t response)
{
    return response >= 0 ? json_integer(response) : json_null();
}

static json_t *json_of_fit(const report *r, size_t i)
{
    const aegis_fit *fit = &r->fits[i];
    return r->fit_known[i] ? json_pack("{s:I,s:I,s:I}", "smallest_period", fit->smallest_period,
                                       "smallest_deadline", fit->smallest_deadline,
                                       "largest_execution", fit->largest_execution)
                           : json_null();
}

static json_t *json_of_tasks(const report *r)
{
    json_t *array = json_array();
    for (size_t i = 0; i < r->count; i++) {
        const aegis_task_result *task = &r->result->tasks[i];
        json_t *object = json_pack("{s:s}", "name", r->tasks[i].name);
        if (task->response != AEGIS_RESPONSE_OMITTED) {
            json_object_set_new(object, "response", json_of_response(task->response));
        }
        json_object_set_new(object, "blocking", json_integer(task->blocking));
        json_object_set_new(object, "meets", json_boolean(task->meets));
        if (r->fits != NULL) {
            json_object_set_new(object, "fits", json_of_fit(r, i));
        }
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *json_of_violation(const report *r)
{
    json_t *jobs = json_array();
    for (size_t k = 0; k < r->result->witness_count; k++) {
        const aegis_witness_job *job = &r->result->witness[k];
        json_array_append_new(jobs, json_pack("{s:s,s:I,s:I,s:I}", "task", r->tasks[job->task].name,
                                              "release", job->release, "deadline", job->deadline,
                                              "execution", job->execution));
    }
    return json_pack("{s:I,s:o}", "t", r->result->violation_at, "jobs", jobs);
}

static int print_json(const report *r)
{
    const aegis_admission_result *result = r->result;
    json_t *root = json_pack("{s:i}", "schema_version", 1);
    json_object_set_new(root, "schedulable",
                        result->verdict == AEGIS_ADMISSION_UNDECIDED
                            ? json_null()
                            : json_boolean(result->verdict == AEGIS_SCHEDULABLE));
    json_object_set_new(root, "utilisation", json_real(result->utilisation));
    json_object_set_new(root, "tasks", json_of_tasks(r));
    json_object_set_new(root, "bounds",
                        json_pack("{s:b,s:b,s:b}", "liu_layland", result->bounds.liu_layland,
                                  "hyperbolic", result->bounds.hyperbolic, "density",
                                  result->bounds.density));
    if (result->has_violation) {
        json_object_set_new(root, "violation", json_of_violation(r));
    }
    char *text = json_dumps(root, JSON_REAL_PRECISION(12));
    json_decref(root);
    if (text == NULL) {
        return EXIT_UNAVAILABLE;
    }
    puts(text);
    free(text);
    return EXIT_SUCCESS;
}

static const char *text_of_response(int64_t response, char *buffer, size_t size)
{
    snprintf(buffer, size, "%" PRId64, response);
    return response >= 0                          ? buffer
           : response == AEGIS_RESPONSE_DIVERGES  ? "diverges"
           : response == AEGIS_RESPONSE_UNSETTLED ? "unsettled"
                                                  : "-";
}

static void print_tasks(const report *r)
{
    char buffer[32];
    int width = 4;
    for (size_t i = 0; i < r->count; i++) {
        int length = (int)strlen(r->tasks[i].name);
        width = length > width ? length : width;
    }
    printf("%-*s %12s %12s %12s %10s %5s %12s %12s  %s\n", width, "task", "C", "T", "D", "J",
           "segs", "response", "blocking", "meets");
    for (size_t i = 0; i < r->count; i++) {
        const aegis_task *task = &r->tasks[i];
        const aegis_task_result *answer = &r->result->tasks[i];
        printf("%-*s %12" PRId64 " %12" PRId64 " %12" PRId64 " %10" PRId64 " %5zu %12s %12" PRId64
               "  %s\n",
               width, task->name, task->execution, task->period, task->deadline, task->jitter,
               task->segments == NULL ? 1 : task->segment_count,
               text_of_response(answer->response, buffer, sizeof buffer), answer->blocking,
               answer->meets ? "yes" : "no");
    }
}

static void print_violation(const report *r)
{
    const aegis_admission_result *result = r->result;
    printf("\nBy t = %" PRId64 ", %" PRId64 " units of work must be done:\n", result->violation_at,
           result->violation_demand);
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

static void print_part(const char *text, int64_t value)
{
    if (value > 0) {
        printf("%s%" PRId64, text, value);
    } else {
        printf("%snone", text);
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
        print_part(" T from ", r->fits[i].smallest_period);
        print_part(", D from ", r->fits[i].smallest_deadline);
        print_part(", C up to ", r->fits[i].largest_execution);
        printf("\n");
    }
}

static void print_table(const report *r)
{
    static const char *const verdicts[] = {[AEGIS_SCHEDULABLE] = "schedulable",
                                           [AEGIS_NOT_SCHEDULABLE] = "NOT schedulable",
                                           [AEGIS_ADMISSION_UNDECIDED] = "undecided"};
    const aegis_admission_result *result = r->result;
    print_tasks(r);
    printf("\npolicy %s, utilisation %.2f %%\n", aegis_analysis_name(r->policy),
           100.0 * result->utilisation);
    printf("simple bounds: Liu & Layland %s, hyperbolic %s, density %s\n",
           result->bounds.liu_layland ? "accepts" : "-",
           result->bounds.hyperbolic ? "accepts" : "-", result->bounds.density ? "accepts" : "-");
    printf("verdict: %s\n", verdicts[result->verdict]);
    if (result->has_violation) {
        print_violation(r);
    }
    if (r->fits != NULL) {
        print_fits(r);
    }
}

/* ---- the command ---- */

static int exit_code_of_verdict(aegis_admission_verdict verdict)
{
    switch (verdict) {
    case AEGIS_SCHEDULABLE:
        return EXIT_SUCCESS;
    case AEGIS_NOT_SCHEDULABLE:
        return EXIT_REFUSED;
    case AEGIS_ADMISSION_UNDECIDED:
        break;
    }
    return EXIT_UNDECIDED;
}

/* What would fit, task by task; unknown where the limits end the search. */
static void find_fits(report *r, const aegis_admission_limits *limits, bool *fit_known)
{
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t i = 0; i < r->count && r->fits != NULL; i++) {
        fit_known[i] = aegis_admission_what_fits(r->policy, r->tasks, r->count, i, limits,
                                                 &allocator, &r->fits[i], NULL) == AEGIS_OK;
    }
}

static int print_report(report *r, const options *opts, const aegis_admission_limits *limits)
{
    bool refused = r->result->verdict == AEGIS_NOT_SCHEDULABLE;
    bool *fit_known = calloc(r->count, sizeof *fit_known);
    int code = EXIT_SUCCESS;
    if (fit_known != NULL && !opts->quiet && (opts->explain || (refused && !opts->json))) {
        r->fits = calloc(r->count, sizeof *r->fits);
        r->fit_known = fit_known;
        find_fits(r, limits, fit_known);
    }
    if (opts->json && !opts->quiet) {
        code = print_json(r);
    } else if (!opts->quiet) {
        print_table(r);
    }
    free(r->fits);
    free(fit_known);
    return code;
}

static int admit(const aegis_taskset *set, const options *opts, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_limits limits = {.cancel = &time_is_up};
    aegis_admission_result result;
    report r = {.policy = aegis_taskset_policy(set), .result = &result};
    r.tasks = aegis_taskset_tasks(set, &r.count);
    if (aegis_admission_test(r.policy, r.tasks, r.count, &limits, &allocator, &result, err) !=
        AEGIS_OK) {
        return fail(err);
    }
    int code = print_report(&r, opts, &limits);
    if (code == EXIT_SUCCESS) {
        code = exit_code_of_verdict(result.verdict);
    }
    aegis_admission_result_finish(&result, &allocator);
    return code;
}

int aegisrt_command_admit(int argc, char **argv)
{
    options opts = {.json = false};
    int code = read_options(argc, argv, &opts);
    if (code >= 0) {
        return code;
    }
    aegis_allocator allocator = aegis_allocator_default();
    aegis_taskset *set;
    aegis_error err;
    if (opts.timeout_s > 0.0) {
        start_timeout(opts.timeout_s);
    }
    aegis_status status = strcmp(opts.path, "-") == 0
                              ? read_standard_input(&allocator, &set, &err)
                              : aegis_taskset_load(opts.path, &allocator, &set, &err);
    if (status != AEGIS_OK) {
        return fail(&err);
    }
    code = admit(set, &opts, &err);
    aegis_taskset_destroy(set);
    return code;
}

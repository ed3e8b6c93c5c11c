/* SPDX-License-Identifier: Apache-2.0 */
/* `run` and `check`: from a workload to a report. */
#include "byte_story.h"
#include "commands.h"
#include "memory_picture.h"
#include "report.h"

#include <aegisrt/doctor.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct run_options {
    cli_common common;
    bool timed;
    uint64_t duration_ns;
    const char *trace, *perfetto, *policy, *wait, *picture;
    bool fresh_profiles, allow_refused, cuts_given, reprofile;
    aegis_workload_cuts cuts;
    bool explains_bytes, one_byte;
    uint64_t byte;
} run_options;

/* Set by SIGINT and SIGTERM: the run ends early and is reported. */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

enum {
    RUN_DURATION,
    RUN_TRACE,
    RUN_PERFETTO,
    RUN_POLICY,
    RUN_WAIT,
    RUN_FRESH,
    RUN_CUTS,
    RUN_ALLOW,
    RUN_PICTURE,
    RUN_EXPLAIN,
    RUN_REPROFILE
};

#define OPTION_POLICY \
    {"policy", "NAME", "fifo, np-rm, np-dm, np-fp or np-edf instead of the workload's"}
#define OPTION_WAIT {"wait", "HOW", "sleep or poll instead of the workload's"}
#define OPTION_FRESH {"fresh-profiles", NULL, "measure again, also what the cache has"}
#define OPTION_CUTS \
    {"cuts", "HOW", "auto, none or a number of segments, instead of what the workload says"}
#define OPTION_PICTURE {"svg", "FILE", "draw the memory plan"}
#define OPTION_EXPLAIN                                                   \
    {"explain-bytes", "WHERE",                                           \
     "all, or an offset in the arena: why who shares bytes there never " \
     "meets"}
#define OPTION_ALLOW {"allow-refused", NULL, "exit 0 also when a model was refused unexpectedly"}

static const cli_option run_list[] = {
    [RUN_DURATION] = {"duration", "SECONDS", "how long; also 500ms, 2m; default: until Ctrl-C"},
    [RUN_TRACE] = {"trace", "FILE", "write the native trace"},
    [RUN_PERFETTO] = {"perfetto", "FILE", "write a trace for ui.perfetto.dev"},
    [RUN_POLICY] = OPTION_POLICY,
    [RUN_WAIT] = OPTION_WAIT,
    [RUN_FRESH] = OPTION_FRESH,
    [RUN_CUTS] = OPTION_CUTS,
    [RUN_ALLOW] = OPTION_ALLOW,
    [RUN_PICTURE] = OPTION_PICTURE,
    [RUN_EXPLAIN] = OPTION_EXPLAIN,
    [RUN_REPROFILE] = {"reprofile-on-drift", NULL,
                       "remove profiles that the run broke: the next run measures again"},
};

static const cli_command run_command = {
    .name = "run",
    .operands = "WORKLOAD",
    .about =
        "Profiles and admits the models of WORKLOAD, plans their memory, runs what was admitted\n"
        "and reports. Exits 1 when a deadline was missed although every bound held, 3 when a\n"
        "model was refused (or admitted, against expect = \"refuse\").",
    .examples = "  aegisrt run kiosk.toml --duration 10\n"
                "  aegisrt run kiosk.toml --duration 1m --trace kiosk.trace --json\n"
                "  aegisrt run kiosk.toml --policy np-dm --fresh-profiles\n"
                "  aegisrt run kiosk.toml --cuts auto --duration 1m\n",
    .options = run_list,
    .option_count = sizeof run_list / sizeof run_list[0],
    .writes = " trace perfetto svg ",
};

static int take_wait(const char *argument, run_options *options)
{
    if (strcmp(argument, "sleep") != 0 && strcmp(argument, "poll") != 0) {
        return cli_usage("--wait %s: write sleep or poll", argument);
    }
    options->wait = argument;
    return 0;
}

static int take_cuts(const char *argument, run_options *options)
{
    char *end;
    long segments = strtol(argument, &end, 10);
    options->cuts_given = true;
    options->cuts = (aegis_workload_cuts){.mode = AEGIS_CUTS_NONE};
    if (strcmp(argument, "none") == 0) {
        return 0;
    }
    if (strcmp(argument, "auto") == 0) {
        options->cuts.mode = AEGIS_CUTS_AUTO;
        return 0;
    }
    if (end == argument || *end != '\0' || segments < 1 || segments > AEGIS_MAX_SEGMENTS) {
        return cli_usage("--cuts %s: write auto, none or a number of segments from 1 to %d",
                         argument, AEGIS_MAX_SEGMENTS);
    }
    options->cuts.mode = AEGIS_CUTS_EVEN;
    options->cuts.segments = (uint32_t)segments;
    return 0;
}

static int take_explain(const char *option, const char *argument, run_options *options)
{
    options->explains_bytes = true;
    options->one_byte = strcmp(argument, "all") != 0;
    return options->one_byte ? cli_take_size(option, argument, &options->byte) : 0;
}

static int take_run(void *self, size_t option, const char *argument)
{
    run_options *options = self;
    switch (option) {
    case RUN_DURATION:
        options->timed = true;
        return cli_take_length("duration", argument, &options->duration_ns);
    case RUN_TRACE:
        options->trace = argument;
        return 0;
    case RUN_PERFETTO:
        options->perfetto = argument;
        return 0;
    case RUN_POLICY:
        options->policy = argument;
        return 0;
    case RUN_WAIT:
        return take_wait(argument, options);
    case RUN_FRESH:
        options->fresh_profiles = true;
        return 0;
    case RUN_CUTS:
        return take_cuts(argument, options);
    case RUN_PICTURE:
        options->picture = argument;
        return 0;
    case RUN_REPROFILE:
        options->reprofile = true;
        return 0;
    case RUN_EXPLAIN:
        return take_explain("explain-bytes", argument, options);
    default:
        options->allow_refused = true;
        return 0;
    }
}

enum {
    CHECK_POLICY,
    CHECK_WAIT,
    CHECK_FRESH,
    CHECK_CUTS,
    CHECK_PICTURE,
    CHECK_EXPLAIN,
    CHECK_ALLOW
};

static const cli_option check_list[] = {
    [CHECK_POLICY] = OPTION_POLICY,   [CHECK_WAIT] = OPTION_WAIT,
    [CHECK_FRESH] = OPTION_FRESH,     [CHECK_CUTS] = OPTION_CUTS,
    [CHECK_PICTURE] = OPTION_PICTURE, [CHECK_ALLOW] = OPTION_ALLOW,
    [CHECK_EXPLAIN] = OPTION_EXPLAIN,
};

static const cli_command check_command = {
    .name = "check",
    .operands = "WORKLOAD",
    .about =
        "Profiles and admits the models of WORKLOAD and plans their memory as `run` does, and\n"
        "prints what is proved. Exits 3 when a model was refused (or admitted, against\n"
        "expect = \"refuse\").",
    .examples = "  aegisrt check kiosk.toml\n"
                "  aegisrt check kiosk.toml --policy np-fp --json\n"
                "  aegisrt check kiosk.toml --cuts auto\n",
    .options = check_list,
    .option_count = sizeof check_list / sizeof check_list[0],
    .writes = " svg ",
};

static int take_check(void *self, size_t option, const char *argument)
{
    static const size_t as_run[] = {
        [CHECK_POLICY] = RUN_POLICY,  [CHECK_WAIT] = RUN_WAIT,       [CHECK_FRESH] = RUN_FRESH,
        [CHECK_CUTS] = RUN_CUTS,      [CHECK_PICTURE] = RUN_PICTURE, [CHECK_ALLOW] = RUN_ALLOW,
        [CHECK_EXPLAIN] = RUN_EXPLAIN};
    return take_run(self, as_run[option], argument);
}

/* A copy of the workload with what the command line says otherwise. */
static int apply(const run_options *options, aegis_workload *workload)
{
    aegis_policy policy;
    aegis_error error = {0};
    if (options->policy != NULL) {
        if (aegis_policy_find(options->policy, &policy, &error) != AEGIS_OK) {
            return cli_usage("--policy %s: %s", options->policy, error.message);
        }
        if (!aegis_policy_has_proof(&policy)) {
            return cli_usage("--policy %s: there is no proof for this policy, so nothing could be "
                             "admitted under it; aegisrt simulate takes it",
                             options->policy);
        }
        workload->policy = options->policy;
    }
    if (options->wait != NULL) {
        workload->wait = strcmp(options->wait, "poll") == 0 ? AEGIS_WAIT_POLL : AEGIS_WAIT_SLEEP;
    }
    return 0;
}

static uint64_t now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

static void show_progress(const cli_report *report, cli_progress *progress, uint64_t spent_ns)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    uint64_t jobs = 0, late = 0, overruns = 0;
    char text[CLI_TEXT_BYTES];
    for (size_t i = 0; i < count; i++) {
        aegis_model_metrics metrics;
        if (models[i].admitted &&
            aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                          &metrics, NULL) == AEGIS_OK) {
            jobs += metrics.counters.jobs;
            late += metrics.counters.missed;
            overruns += metrics.counters.overruns;
        }
    }
    cli_progress_text(progress,
                      "running for %s: %" PRIu64 " jobs, %" PRIu64 " late, %" PRIu64 " overruns",
                      cli_duration((int64_t)spent_ns, text), jobs, late, overruns);
}

static uint64_t since_ns(void *start)
{
    return now_ns() - *(const uint64_t *)start;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Once a second, for the trace; not again where no sensor can be read. */
static void watch_temperature(aegis_system *system, uint64_t spent_ns, uint64_t *next_ns)
{
    if (spent_ns >= *next_ns) {
        bool can = aegis_system_record_temperature(system, NULL, NULL) == AEGIS_OK;
        *next_ns = can ? spent_ns + 1000000000 : UINT64_MAX;
    }
}

/* Also when the run has failed for good: stop says how. */
static void wait_for_end(cli_report *report, const run_options *options, cli_progress *progress)
{
    uint64_t start = now_ns(), spent = 0, next_temperature = 0;
    bool draws = progress->terminal && !options->common.no_progress;
    const aegis_scheduler *scheduler = aegis_system_scheduler(report->system);
    while (!interrupted && (!options->timed || spent < options->duration_ns) &&
           aegis_scheduler_check(scheduler, NULL) == AEGIS_OK) {
        watch_temperature(report->system, spent, &next_temperature);
        uint64_t step = least(100000000, cli_events_wait_ns(&report->events, spent));
        step = options->timed ? least(step, options->duration_ns - spent) : step;
        nanosleep(&(struct timespec){.tv_nsec = (long)step}, NULL);
        cli_events_make(&report->events, report->system, since_ns, &start);
        spent = now_ns() - start;
        if (draws) {
            show_progress(report, progress, spent);
        }
    }
}

static aegis_status export_perfetto(const cli_report *report, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = NULL;
    if (report->trace_path == NULL) {
        return aegis_trace_collector_export_perfetto(aegis_system_collector(report->system),
                                                     report->perfetto_path, err);
    }
    aegis_status status = aegis_trace_file_open(report->trace_path, &allocator, &file, err);
    if (status == AEGIS_OK) {
        status = aegis_trace_export_perfetto(file, report->perfetto_path, err);
        aegis_trace_file_close(file);
    }
    return status;
}

/* Starts, waits and stops. Returns 0 or an exit code. */
static int execute(cli_report *report, const run_options *options, cli_progress *progress)
{
    aegis_error error = {0};
    /* Only now: until here Ctrl-C simply ends the program. */
    catch_signals();
    if (aegis_system_start(report->system, &error) != AEGIS_OK) {
        return cli_fail(&options->common, &error);
    }
    uint64_t peak;
    report->beside_arena_at_start = aegis_system_beside_arena(report->system);
    (void)aegis_process_memory(NULL, &report->resident_at_start, &peak, NULL);
    wait_for_end(report, options, progress);
    cli_progress_clear(progress);
    aegis_status status = aegis_system_stop(report->system, &error);
    if (status == AEGIS_OK) {
        report->ran = true;
        status = aegis_scheduler_get_metrics(aegis_system_scheduler(report->system),
                                             &report->metrics, &error);
    }
    if (status == AEGIS_OK && report->perfetto_path != NULL) {
        status = export_perfetto(report, &error);
    }
    return status == AEGIS_OK ? 0 : cli_fail(&options->common, &error);
}

/* Removes the kept profiles of models that are slower than these say. */
static int forget_stale(const cli_report *report, const run_options *options)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count && report->ran && options->reprofile; i++) {
        aegis_model_metrics metrics = {0};
        aegis_error error = {0};
        if (!models[i].admitted ||
            aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                          &metrics, NULL) != AEGIS_OK ||
            !metrics.drift.stale) {
            continue;
        }
        if (aegis_system_forget_profile(report->system, models[i].model, &error) != AEGIS_OK) {
            return cli_fail(&options->common, &error);
        }
        cli_remark(&options->common, "the profile of %s is put aside: the next run measures again",
                   models[i].name);
    }
    return CLI_EXIT_OK;
}

static bool held_too_much(const cli_report *report, const run_options *options)
{
    const uint64_t budget = report->workload->process_bytes;
    uint64_t resident, peak;
    if (budget == 0 || aegis_process_memory(NULL, &resident, &peak, NULL) != AEGIS_OK ||
        peak <= budget) {
        return false;
    }
    cli_remark(&options->common,
               "the process held %" PRIu64 " bytes, [device] process_memory is %" PRIu64, peak,
               budget);
    return true;
}

static int verdict(const cli_report *report, const run_options *options)
{
    if (cli_report_broken(report) > 0 || held_too_much(report, options)) {
        return CLI_EXIT_BROKEN;
    }
    return cli_report_surprises(report) > 0 && !options->allow_refused ? CLI_EXIT_REFUSED
                                                                       : CLI_EXIT_OK;
}

static int print_report(const cli_report *report, const run_options *options)
{
    if (options->common.format != CLI_TABLE) {
        return cli_json_print(cli_report_json(report), "models", options->common.format);
    }
    return report->ran ? cli_report_run(report) : CLI_EXIT_OK;
}

/* The admission first, so that it can be read while the models run. */
static int
report_system(cli_report *report, const run_options *options, cli_progress *progress, bool runs)
{
    bool table = options->common.format == CLI_TABLE;
    int code = table ? cli_report_admission(report) : CLI_EXIT_OK;
    if (runs && cli_report_admitted(report) == 0 && report->workload->event_count == 0) {
        cli_remark(&options->common, "no model was admitted: nothing to run");
        report->ran = !table; /* the same keys, with nothing in them */
    } else if (runs && code == CLI_EXIT_OK) {
        if (table) {
            putchar('\n');
            fflush(stdout);
        }
        code = execute(report, options, progress);
    }
    if (code == CLI_EXIT_OK) {
        code = print_report(report, options);
    }
    if (code == CLI_EXIT_OK) {
        code = forget_stale(report, options);
    }
    return code == CLI_EXIT_OK ? verdict(report, options) : code;
}

static int build_and_report(const aegis_workload *workload, const run_options *options, bool runs)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_error error = {0};
    cli_progress progress;
    cli_report report = {.workload = workload,
                         .reprofiles = options->reprofile,
                         .trace_path = options->trace,
                         .perfetto_path = options->perfetto,
                         .explains_bytes = options->explains_bytes,
                         .explained_byte = options->one_byte ? &options->byte : NULL};
    cli_progress_init(&progress, &options->common);
    aegis_system_options system_options = {.trace_path = options->trace,
                                           .fresh_profiles = options->fresh_profiles,
                                           .cuts = options->cuts_given ? &options->cuts : NULL,
                                           .progress = cli_progress_step,
                                           .progress_self = &progress};
    aegis_status status =
        aegis_system_create(workload, &system_options, &allocator, &report.system, &error);
    cli_progress_clear(&progress);
    if (status != AEGIS_OK) {
        return cli_fail(&options->common, &error);
    }
    report.surprises = aegis_system_surprises(report.system);
    if (!cli_events_init(&report.events, workload)) {
        status = aegis_error_set(&error, AEGIS_HERE("cli"), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory for the events");
    } else if (options->picture != NULL) {
        status = cli_memory_picture_write(report.system, options->picture, &error);
    }
    int code = status == AEGIS_OK ? report_system(&report, options, &progress, runs)
                                  : cli_fail(&options->common, &error);
    if (code == CLI_EXIT_OK && options->explains_bytes && !cli_byte_story_is_sound(report.system)) {
        code = CLI_EXIT_INTERNAL;
    }
    cli_events_finish(&report.events);
    aegis_system_destroy(report.system);
    return code;
}

static int load_and_report(const char *path, const run_options *options, bool runs)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *loaded = NULL;
    aegis_error error = {0};
    if (aegis_workload_load(path, &allocator, &loaded, &error) != AEGIS_OK) {
        int code = cli_fail(&options->common, &error);
        /* A workload that cannot be read is a wrong argument. */
        return error.status == AEGIS_ERROR_IO ? CLI_EXIT_USAGE : code;
    }
    aegis_workload workload = *loaded;
    int code = apply(options, &workload);
    if (code == 0) {
        code = build_and_report(&workload, options, runs);
    }
    aegis_workload_free(loaded);
    return code;
}

int aegisrt_command_run(int argc, char **argv)
{
    run_options options = {0};
    int first = 0;
    int code =
        cli_parse(&run_command, argc, argv, 1, 1, take_run, &options, &options.common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    return load_and_report(argv[first], &options, true);
}

int aegisrt_command_check(int argc, char **argv)
{
    run_options options = {0};
    int first = 0;
    int code =
        cli_parse(&check_command, argc, argv, 1, 1, take_check, &options, &options.common, &first);
    return code != CLI_CONTINUE ? code : load_and_report(argv[first], &options, false);
}

int aegisrt_plan_workload(const char *path,
                          const cli_common *common,
                          const char *picture,
                          const char *explain)
{
    run_options options = {.common = *common, .picture = picture};
    int code = explain != NULL ? take_explain("explain", explain, &options) : 0;
    return code == 0 ? load_and_report(path, &options, false) : code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* `simulate`: a task set or a workload in virtual time, by the core that also runs models. */
#include "simulate.h"
#include "commands.h"

#include <string.h>

enum {
    SIM_OPTION_POLICY,
    SIM_OPTION_DURATION,
    SIM_OPTION_JOBS,
    SIM_OPTION_EXECUTION,
    SIM_OPTION_SEED,
    SIM_OPTION_LANES,
    SIM_OPTION_PERIODIC,
    SIM_OPTION_SPORADIC,
    SIM_OPTION_OFFSETS,
    SIM_OPTION_SEARCH,
    SIM_OPTION_REFUSED,
    SIM_OPTION_GANTT,
    SIM_OPTION_TRACE
};

static const cli_option list[] = {
    [SIM_OPTION_POLICY] = {"policy", "NAME", "instead of the file's; cw-edf too"},
    [SIM_OPTION_DURATION] = {"duration", "TIME", "of each run: seconds, or a number of ticks"},
    [SIM_OPTION_JOBS] = {"jobs", "N", "so long that about N jobs are released a run"},
    [SIM_OPTION_EXECUTION] = {"execution", "HOW", "worst (default), random or profile"},
    [SIM_OPTION_SEED] = {"seed", "N", "of all that is random; default 1"},
    [SIM_OPTION_LANES] = {"lanes", "N", "of a task set: tasks go where least is used; default 1"},
    [SIM_OPTION_PERIODIC] = {"periodic", NULL, "releases a period apart (default)"},
    [SIM_OPTION_SPORADIC] = {"sporadic", NULL, "now and then up to a period more"},
    [SIM_OPTION_OFFSETS] = {"offsets", "HOW", "declared (default), synchronous or random"},
    [SIM_OPTION_SEARCH] = {"search", "N", "N runs: critical instants first, then random offsets"},
    [SIM_OPTION_REFUSED] = {"refused", NULL, "also models that admission refuses for their time"},
    [SIM_OPTION_GANTT] = {"gantt", "FILE", "SVG picture of the worst response found"},
    [SIM_OPTION_TRACE] = {"trace", "FILE", "native trace of the run that it was found in"},
};

static const cli_command command = {
    .name = "simulate",
    .operands = "TASKSET|WORKLOAD",
    .about =
        "Simulates a task set (JSON, as for admit; one tick is 1 ns) or the admitted models of a\n"
        "workload (a name that ends in .toml; profiles come from the cache or are measured). The\n"
        "worst response of each task stands beside its proved bound. A miss is an answer and no\n"
        "failure; exits 1 when a response passes its proved bound.",
    .examples = "  aegisrt simulate tasks.json --search 200 --gantt worst.svg\n"
                "  aegisrt simulate tasks.json --policy cw-edf --jobs 1000000 --json\n"
                "  aegisrt simulate kiosk.toml --execution profile --duration 60 --trace k.trace\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
    .writes = " gantt trace ",
};

static int take_word(const char *name,
                     const char *argument,
                     const char *const *words,
                     size_t count,
                     size_t *ret_index)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(argument, words[i]) == 0) {
            *ret_index = i;
            return 0;
        }
    }
    return cli_usage("--%s %s: write %s, %s or %s", name, argument, words[0], words[1], words[2]);
}

static int take_execution(const char *argument, sim_options *options)
{
    static const char *const words[] = {"worst", "random", "profile"};
    size_t index = 0;
    int code = take_word("execution", argument, words, 3, &index);
    options->execution = (sim_execution)index;
    return code;
}

static int take_offsets(const char *argument, sim_options *options)
{
    static const char *const words[] = {"declared", "synchronous", "random"};
    size_t index = 0;
    int code = take_word("offsets", argument, words, 3, &index);
    options->offsets = (sim_offsets)index;
    return code;
}

static int take(void *self, size_t option, const char *argument)
{
    sim_options *options = self;
    switch (option) {
    case SIM_OPTION_POLICY:
        options->policy = argument;
        return 0;
    case SIM_OPTION_DURATION:
        options->duration = argument; /* read when it is known what its unit is */
        return 0;
    case SIM_OPTION_JOBS:
        return cli_take_unsigned("jobs", argument, 1, UINT64_C(100000000000), &options->jobs);
    case SIM_OPTION_EXECUTION:
        return take_execution(argument, options);
    case SIM_OPTION_SEED:
        return cli_take_unsigned("seed", argument, 0, UINT64_MAX, &options->seed);
    case SIM_OPTION_LANES:
        return cli_take_unsigned("lanes", argument, 1, AEGIS_CORE_MAX_LANES, &options->lanes);
    case SIM_OPTION_PERIODIC:
        options->sporadic = false;
        return 0;
    case SIM_OPTION_SPORADIC:
        options->sporadic = true;
        return 0;
    case SIM_OPTION_OFFSETS:
        return take_offsets(argument, options);
    case SIM_OPTION_SEARCH:
        return cli_take_unsigned("search", argument, 1, 1000000, &options->search);
    case SIM_OPTION_REFUSED:
        options->refused = true;
        return 0;
    case SIM_OPTION_GANTT:
        options->gantt = argument;
        return 0;
    default:
        options->trace = argument;
        return 0;
    }
}

static bool passes_bound(const sim_set *set, const sim_outcome *outcome)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->tasks[i].bound >= 0 &&
            outcome->tasks[i].response > (uint64_t)set->tasks[i].bound) {
            return true;
        }
    }
    return false;
}

static int simulate(const sim_set *set, const sim_options *options, const cli_common *common)
{
    sim_outcome outcome = {.worst_task = SIZE_MAX};
    int code = sim_search(set, options, common, &outcome);
    if (code == CLI_EXIT_OK && options->gantt != NULL) {
        code = sim_gantt(set, options, common, &outcome);
    }
    if (code == CLI_EXIT_OK && options->trace != NULL) {
        code = sim_trace(set, options, common, &outcome);
    }
    if (code == CLI_EXIT_OK) {
        code = sim_report(set, options, &outcome, common->format);
    }
    if (code == CLI_EXIT_OK && passes_bound(set, &outcome)) {
        code = CLI_EXIT_BROKEN;
    }
    sim_outcome_finish(&outcome);
    return code;
}

int aegisrt_command_simulate(int argc, char **argv)
{
    sim_options options = {.seed = 1};
    cli_common common;
    sim_set set = {0};
    int first = 0;
    int code = cli_parse(&command, argc, argv, 1, 1, take, &options, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (options.duration != NULL && options.jobs > 0) {
        return cli_usage("simulate: --duration and --jobs both say how long; give one");
    }
    options.input = argv[first];
    code = sim_set_load(&set, &options, &common);
    if (code == CLI_EXIT_OK) {
        code = simulate(&set, &options, &common);
    }
    sim_set_finish(&set);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include "output.h"

#include <aegisrt/version.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 32
#define MAX_WORD 64
#define LONGEST_WORD 48

enum common_option {
    OPTION_HELP = 256,
    OPTION_JSON,
    OPTION_CSV,
    OPTION_OUTPUT,
    OPTION_QUIET,
    OPTION_VERBOSE,
    OPTION_PROGRESS
};

static const struct option common_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"json", no_argument, NULL, OPTION_JSON},
    {"csv", no_argument, NULL, OPTION_CSV},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"progress", required_argument, NULL, OPTION_PROGRESS},
};

#define COMMON_COUNT (sizeof common_options / sizeof common_options[0])

static size_t distance(const char *a, const char *b)
{
    size_t row[LONGEST_WORD + 1], length = strlen(b);
    for (size_t j = 0; j <= length; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
        }
    }
    return row[length];
}

const char *cli_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strlen(word), best = length / 3 + 2;
    const char *nearest = NULL;
    for (size_t i = 0; i < count && length <= LONGEST_WORD; i++) {
        if (strlen(candidates[i]) <= LONGEST_WORD && distance(word, candidates[i]) < best) {
            best = distance(word, candidates[i]);
            nearest = candidates[i];
        }
    }
    return nearest;
}

static void print_option(const char *name, const char *argument, const char *help)
{
    char left[48];
    snprintf(left, sizeof left, "%s%s%s", name, argument != NULL ? " " : "",
             argument != NULL ? argument : "");
    printf("  %-28s %s\n", left, help);
}

static void print_help(const cli_command *command)
{
    printf("Usage: " CLI_PROGRAM " %s [OPTIONS]%s%s\n\n%s\n", command->name,
           command->operands[0] != '\0' ? " " : "", command->operands, command->about);
    if (command->option_count > 0) {
        printf("\nOptions:\n");
    }
    for (size_t i = 0; i < command->option_count; i++) {
        char name[40];
        snprintf(name, sizeof name, "%s--%s",
                 command->output_is_file && strcmp(command->options[i].name, "output") == 0 ? "-o, "
                                                                                            : "",
                 command->options[i].name);
        print_option(name, command->options[i].argument, command->options[i].help);
    }
    printf("\nCommon options:\n");
    if (!command->output_is_file) {
        print_option("-o, --output", "FORMAT", "table (default), json, jsonl or csv");
        print_option("--json", NULL, "the same as --output json");
        print_option("--csv", NULL, "the same as --output csv");
    }
    print_option("-q, --quiet", NULL, "no progress and no remarks on stderr");
    print_option("-v, --verbose", NULL, "say where in the program an error was found");
    print_option("--progress", "WHEN", "auto (default) or never");
    print_option("-h, --help", NULL, "this text");
    printf("\nExamples:\n%s", command->examples);
}

/* Of those commands that have no rows to print. */
static bool is_of_format(const char *name)
{
    return strcmp(name, "output") == 0 || strcmp(name, "json") == 0 || strcmp(name, "csv") == 0;
}

static int say_unknown(const cli_command *command, const char *given)
{
    const char *names[MAX_OPTIONS + COMMON_COUNT];
    char word[LONGEST_WORD + 1];
    size_t count = 0;
    for (size_t i = 0; i < command->option_count; i++) {
        names[count++] = command->options[i].name;
    }
    for (size_t i = 0; i < COMMON_COUNT; i++) {
        if (!command->output_is_file || !is_of_format(common_options[i].name)) {
            names[count++] = common_options[i].name;
        }
    }
    snprintf(word, sizeof word, "%.*s", (int)strcspn(given, "="), given);
    const char *nearest = cli_nearest(word + strspn(word, "-"), names, count);
    if (nearest != NULL) {
        return cli_usage("%s: unknown option %s; did you mean --%s?", command->name, given,
                         nearest);
    }
    return cli_usage("%s: unknown option %s; see " CLI_PROGRAM " %s --help", command->name, given,
                     command->name);
}

static int take_format(const cli_command *command, const char *text, cli_common *common)
{
    static const char *const names[] = {"table", "json", "jsonl", "csv"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            common->format = (cli_format)i;
            return 0;
        }
    }
    return cli_usage("%s: --output %s: write table, json, jsonl or csv", command->name, text);
}

static int
take_common(const cli_command *command, int option, const char *argument, cli_common *common)
{
    switch (option) {
    case OPTION_JSON:
        common->format = CLI_JSON;
        return 0;
    case OPTION_CSV:
        common->format = CLI_CSV;
        return 0;
    case OPTION_OUTPUT:
        return take_format(command, argument, common);
    case OPTION_QUIET:
        common->quiet = true;
        common->no_progress = true;
        return 0;
    case OPTION_VERBOSE:
        common->verbose = true;
        return 0;
    case OPTION_PROGRESS:
        if (strcmp(argument, "never") == 0) {
            common->no_progress = true;
            return 0;
        }
        return strcmp(argument, "auto") == 0
                   ? 0
                   : cli_usage("%s: --progress %s: write auto or never", command->name, argument);
    default:
        return 0;
    }
}

/* The command's own options first: they may take the place of a common one. */
static void build_table(const cli_command *command, struct option *table)
{
    size_t count = 0;
    for (size_t i = 0; i < command->option_count && i < MAX_OPTIONS; i++) {
        table[count++] = (struct option){
            .name = command->options[i].name,
            .has_arg = command->options[i].argument != NULL ? required_argument : no_argument,
            .val = (int)i};
    }
    for (size_t i = 0; i < COMMON_COUNT; i++) {
        bool formats = common_options[i].val == OPTION_JSON ||
                       common_options[i].val == OPTION_CSV ||
                       common_options[i].val == OPTION_OUTPUT;
        if (!(formats && command->output_is_file)) {
            table[count++] = common_options[i];
        }
    }
    table[count] = (struct option){0};
}

/* Short letters as their long twins. */
static int widen(const cli_command *command, int letter)
{
    switch (letter) {
    case 'h':
        return OPTION_HELP;
    case 'q':
        return OPTION_QUIET;
    case 'v':
        return OPTION_VERBOSE;
    case 'c': /* --config, of the commands that have one */
        for (size_t i = 0; i < command->option_count; i++) {
            if (strcmp(command->options[i].name, "config") == 0) {
                return (int)i;
            }
        }
        return letter;
    case 'o':
        for (size_t i = 0; command->output_is_file && i < command->option_count; i++) {
            if (strcmp(command->options[i].name, "output") == 0) {
                return (int)i;
            }
        }
        return OPTION_OUTPUT;
    default:
        return letter;
    }
}

static int
take_own(const cli_command *command, size_t option, const char *argument, cli_take take, void *self)
{
    const char *name = command->options[option].name;
    char word[MAX_WORD];
    snprintf(word, sizeof word, " %s ", name);
    bool writes = command->writes != NULL && strstr(command->writes, word) != NULL;
    int code = writes ? cli_check_output(name, argument) : 0;
    return code == 0 ? take(self, option, argument) : code;
}

int cli_parse(const cli_command *command,
              int argc,
              char **argv,
              int least,
              int most,
              cli_take take,
              void *self,
              cli_common *ret_common,
              int *ret_first)
{
    struct option table[MAX_OPTIONS + COMMON_COUNT + 1];
    cli_common common = {0};
    build_table(command, table);
    opterr = 0;
    optind = 0; /* GNU: begins anew, permuting operands to the end */
    for (;;) {
        /* getopt leaves optind behind the argument that it complains about. */
        int option = getopt_long(argc, argv, ":c:ho:qv", table, NULL);
        if (option == -1) {
            break;
        }
        if (option == ':') {
            return cli_usage("%s: %s wants an argument", command->name, argv[optind - 1]);
        }
        if (option == '?') {
            return say_unknown(command, argv[optind - 1]);
        }
        option = option > 'A' && option < OPTION_HELP ? widen(command, option) : option;
        if (option == 'c') {
            return say_unknown(command, "-c");
        }
        if (option == OPTION_HELP) {
            print_help(command);
            return CLI_EXIT_OK;
        }
        const char *argument = optarg != NULL ? optarg : "";
        int code = option >= OPTION_HELP ? take_common(command, option, argument, &common)
                                         : take_own(command, (size_t)option, argument, take, self);
        if (code != 0) {
            return code;
        }
    }
    int operands = argc - optind;
    if (operands < least) {
        return cli_usage("%s: wants %s; see " CLI_PROGRAM " %s --help", command->name,
                         command->operands, command->name);
    }
    if (operands > most) {
        return cli_usage("%s: \"%s\" is one operand too many", command->name, argv[optind + most]);
    }
    *ret_common = common;
    *ret_first = optind;
    return CLI_CONTINUE;
}

int cli_take_unsigned(
    const char *name, const char *text, uint64_t low, uint64_t high, uint64_t *ret_value)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < low ||
        value > high) {
        return cli_usage("--%s %s: write a whole number from %" PRIu64 " to %" PRIu64, name, text,
                         low, high);
    }
    *ret_value = value;
    return 0;
}

int cli_take_number(const char *name, const char *text, double low, double high, double *ret_value)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= low && value <= high)) {
        return cli_usage("--%s %s: write a number from %g to %g", name, text, low, high);
    }
    *ret_value = value;
    return 0;
}

typedef struct cli_unit {
    const char *name;
    double factor;
} cli_unit;

static bool scale(const char *text, const cli_unit *units, size_t count, uint64_t *ret_value)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || !(value >= 0)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].name) == 0 && value * units[i].factor < 9e18) {
            *ret_value = (uint64_t)llround(value * units[i].factor);
            return true;
        }
    }
    return false;
}

int cli_take_duration(const char *name, const char *text, uint64_t *ret_ns)
{
    static const cli_unit units[] = {{"", 1e9},   {"s", 1e9},  {"ms", 1e6},  {"us", 1e3},
                                     {"ns", 1.0}, {"m", 6e10}, {"h", 3.6e12}};
    if (!scale(text, units, sizeof units / sizeof units[0], ret_ns)) {
        return cli_usage("--%s %s: write seconds, or a number with ns, us, ms, s, m or h", name,
                         text);
    }
    return 0;
}

int cli_take_length(const char *name, const char *text, uint64_t *ret_ns)
{
    int code = cli_take_duration(name, text, ret_ns);
    return code == 0 && *ret_ns == 0 ? cli_usage("--%s %s: write a time above 0", name, text)
                                     : code;
}

int cli_take_size(const char *name, const char *text, uint64_t *ret_bytes)
{
    static const cli_unit units[] = {{"", 1},           {"B", 1},           {"K", 1024},
                                     {"KiB", 1024},     {"M", 1048576},     {"MiB", 1048576},
                                     {"G", 1073741824}, {"GiB", 1073741824}};
    char *end;
    errno = 0;
    unsigned long long whole = strtoull(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0) {
        *ret_bytes = whole; /* exact, also above 2^53 */
        return 0;
    }
    if (!scale(text, units, sizeof units / sizeof units[0], ret_bytes)) {
        return cli_usage("--%s %s: write bytes, or a number with K, M, G, KiB, MiB or GiB", name,
                         text);
    }
    return 0;
}

/* ---- programs ---- */

#define MOST_ENTRIES 32

static int say_unknown_command(const cli_entry *entries, size_t count, const char *name)
{
    static const char *const planned[] = {"report", "engine", "status", "top", "serve"};
    const bool is_aegisrt = strcmp(CLI_PROGRAM, "aegisrt") == 0;
    const char *names[MOST_ENTRIES];
    size_t known = count < MOST_ENTRIES ? count : MOST_ENTRIES;
    for (size_t i = 0; i < known; i++) {
        names[i] = entries[i].name;
    }
    for (size_t i = 0; i < sizeof planned / sizeof planned[0]; i++) {
        if (is_aegisrt && strcmp(name, planned[i]) == 0) {
            return cli_usage("the command \"%s\" is designed for and not there yet; " CLI_PROGRAM
                             " --help lists those that are",
                             name);
        }
    }
    const char *nearest = cli_nearest(name, names, known);
    if (nearest != NULL) {
        return cli_usage("unknown command \"%s\"; did you mean \"%s\"?", name, nearest);
    }
    return cli_usage("unknown command \"%s\"; " CLI_PROGRAM " --help lists the commands", name);
}

int cli_run_program(
    const cli_entry *entries, size_t count, void (*help)(void), int argc, char **argv)
{
    /* Writing into a closed pipe is an error like any other. */
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        return cli_usage("no command; " CLI_PROGRAM " --help lists the commands");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help();
        return cli_finish(CLI_EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf(CLI_PROGRAM " %s\n", aegis_version());
        return cli_finish(CLI_EXIT_OK);
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(argv[1], entries[i].name) == 0) {
            return cli_finish(entries[i].run(argc - 1, argv + 1));
        }
    }
    return say_unknown_command(entries, count, argv[1]);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "edge_rt.h"

#include <aegisrt/version.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

typedef struct entry {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} entry;

static const entry entries[] = {
    {"run", "continue a text within a memory budget", edge_rt_command_run},
    {"benchmark", "time and memory over budgets and strategies", edge_rt_command_benchmark},
    {"inspect", "layers of a model, and its plan by every strategy", edge_rt_command_inspect},
    {"status", "processors, memory, pressure and heat of this machine", edge_rt_command_status},
};

#define ENTRY_COUNT (sizeof entries / sizeof entries[0])

static void print_help(void)
{
    printf(
        "Usage: edge-rt COMMAND [OPTIONS]\n\n"
        "Transformer inference under a hard memory budget: what fits stays, the rest is read from\n"
        "disk while computing. The budget covers the whole process.\n\nCommands:\n");
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        printf("  %-12s %s\n", entries[i].name, entries[i].summary);
    }
    printf("\nedge-rt COMMAND --help explains a command; edge-rt --version prints the version.\n\n"
           "Exit codes:\n"
           "  0  done\n"
           "  1  a promise did not hold: the budget was exceeded\n"
           "  2  usage, configuration or model files\n"
           "  3  the budget is too small for the model\n"
           "  4  a resource is not available\n"
           "  5  internal error\n");
}

static int say_unknown(const char *name)
{
    const char *names[ENTRY_COUNT];
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        names[i] = entries[i].name;
    }
    const char *nearest = cli_nearest(name, names, ENTRY_COUNT);
    if (nearest != NULL) {
        return cli_usage("unknown command \"%s\"; did you mean \"%s\"?", name, nearest);
    }
    return cli_usage("unknown command \"%s\"; edge-rt --help lists the commands", name);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        return cli_usage("no command; edge-rt --help lists the commands");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return cli_finish(CLI_EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("edge-rt %s\n", aegis_version());
        return cli_finish(CLI_EXIT_OK);
    }
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (strcmp(argv[1], entries[i].name) == 0) {
            return cli_finish(entries[i].run(argc - 1, argv + 1));
        }
    }
    return say_unknown(argv[1]);
}

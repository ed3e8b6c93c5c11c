/* SPDX-License-Identifier: Apache-2.0 */
#include "edge_rt.h"
#include "options.h"

#include <stdio.h>

static const cli_entry entries[] = {
    {"run", "", "continue a text within a memory budget", edge_rt_command_run},
    {"benchmark", "", "time and memory over budgets and strategies", edge_rt_command_benchmark},
    {"inspect", "", "layers of a model, and its plan by every strategy", edge_rt_command_inspect},
    {"status", "", "processors, memory, pressure and heat of this machine", edge_rt_command_status},
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

int main(int argc, char **argv)
{
    return cli_run_program(entries, ENTRY_COUNT, print_help, argc, argv);
}

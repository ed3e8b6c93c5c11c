/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "options.h"
#include "output.h"

#include <stdio.h>

static const cli_entry entries[] = {
    {"run", "WORKLOAD", "admit the models of a workload and run them", aegisrt_command_run},
    {"check", "WORKLOAD", "admit and plan, run nothing", aegisrt_command_check},
    {"admit", "TASKSET", "schedulability of a task set, arithmetic only", aegisrt_command_admit},
    {"verify", "CERTIFICATE", "check the proof of a verdict", aegisrt_command_verify},
    {"plan", "BUFFERS|WORKLOAD", "memory plan of a list of buffers, or of a workload",
     aegisrt_command_plan},
    {"profile", "MODEL|WORKLOAD", "measure execution times and memory", aegisrt_command_profile},
    {"simulate", "TASKSET|WORKLOAD", "run the scheduler in virtual time, find worst responses",
     aegisrt_command_simulate},
    {"replay", "TRACE", "derive every decision of a trace again", aegisrt_command_replay},
    {"explain", "TRACE", "why: for a job, a time or a model", aegisrt_command_explain},
    {"trace", "export TRACE", "a trace as JSON lines or for Perfetto", aegisrt_command_trace},
    {"devices", "", "what devices this machine has", aegisrt_command_devices},
    {"doctor", "", "is this machine set up for real time?", aegisrt_command_doctor},
};

#define ENTRY_COUNT (sizeof entries / sizeof entries[0])

static void print_help(void)
{
    printf(
        "Usage: aegisrt COMMAND [OPTIONS] ...\n\n"
        "Runs many models on one device within latency and memory bounds that are proved before\n"
        "the start.\n\nCommands:\n");
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        char left[40];
        snprintf(left, sizeof left, "%s %s", entries[i].name, entries[i].operands);
        printf("  %-26s %s\n", left, entries[i].summary);
    }
    printf("\naegisrt COMMAND --help explains a command; aegisrt --version prints the version.\n\n"
           "Exit codes:\n"
           "  0  done\n"
           "  1  a promise did not hold: a deadline missed without excuse, a replay that differs\n"
           "  2  usage or configuration\n"
           "  3  not admitted\n"
           "  4  a resource or runtime is not available\n"
           "  5  internal error\n"
           "  6  undecided within the limits given\n");
}

int main(int argc, char **argv)
{
    return cli_run_program(entries, ENTRY_COUNT, print_help, argc, argv);
}

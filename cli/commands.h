/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_COMMANDS_H
#define AEGISRT_CLI_COMMANDS_H

#include "options.h"

/* The commands of `aegisrt`. argv[0] is the command's own name; each returns an exit code. */

int aegisrt_command_run(int argc, char **argv);
int aegisrt_command_check(int argc, char **argv);
int aegisrt_command_admit(int argc, char **argv);
int aegisrt_command_verify(int argc, char **argv);
int aegisrt_command_plan(int argc, char **argv);
int aegisrt_command_profile(int argc, char **argv);
int aegisrt_command_simulate(int argc, char **argv);
int aegisrt_command_replay(int argc, char **argv);
int aegisrt_command_explain(int argc, char **argv);
int aegisrt_command_trace(int argc, char **argv);
int aegisrt_command_devices(int argc, char **argv);
int aegisrt_command_doctor(int argc, char **argv);

/* run.c: `plan` of a workload, which is what `check` does: who is planned is decided by admission.
 * `explain` is "all" or an offset; it and `picture` may be NULL. */
int aegisrt_plan_workload(const char *path,
                          const cli_common *common,
                          const char *picture,
                          const char *explain);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_COMMANDS_H
#define AEGISRT_CLI_COMMANDS_H

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

#endif

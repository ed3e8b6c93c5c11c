/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_OPTIONS_H
#define AEGISRT_CLI_OPTIONS_H

/* One way to read the command line: GNU long options, help from the same table, suggestions. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The name of the program; the same files make both. */
#ifndef CLI_PROGRAM
#define CLI_PROGRAM "aegisrt"
#endif

typedef enum cli_format {
    CLI_TABLE = 0,
    CLI_JSON,
    CLI_JSONL,
    CLI_CSV
} cli_format;

/* What every command understands. */
typedef struct cli_common {
    cli_format format;
    bool quiet, verbose, no_progress;
} cli_common;

typedef struct cli_option {
    const char *name;     /* long name */
    const char *argument; /* "SECONDS"; NULL: a switch */
    const char *help;
} cli_option;

typedef struct cli_command {
    const char *name;     /* "trace export" */
    const char *operands; /* "WORKLOAD" */
    const char *about;    /* more of it, with what the exit codes mean here */
    const char *examples; /* one a line */
    const cli_option *options;
    size_t option_count;
    bool output_is_file; /* -o, --output names a file: it is in `options` then */
    /* Options that name a file to be written, a blank around each: " gantt trace ". cli_parse sees
     * to it that it can be, before any work. */
    const char *writes;
} cli_command;

/* Takes option number `option` of the command with its argument ("" for a switch). Returns 0, or an
 * exit code after printing what is wrong. */
typedef int (*cli_take)(void *self, size_t option, const char *argument);

/* No exit code: go on. */
#define CLI_CONTINUE (-1)

/*
 * Reads the options. Returns CLI_CONTINUE with the index of the first operand, or an exit code: 0
 * after --help, 2 after saying what is wrong. `least` and `most` bound the number of operands.
 */
int cli_parse(const cli_command *command,
              int argc,
              char **argv,
              int least,
              int most,
              cli_take take,
              void *self,
              cli_common *ret_common,
              int *ret_first);

/* Numbers of options: each prints "--name: ..." and returns 2 when the text is none, else 0. */
int cli_take_unsigned(
    const char *name, const char *text, uint64_t low, uint64_t high, uint64_t *ret_value);
int cli_take_number(const char *name, const char *text, double low, double high, double *ret_value);
/* Seconds, or a number with ns, us, ms, s, m or h. */
int cli_take_duration(const char *name, const char *text, uint64_t *ret_ns);
/* As cli_take_duration, above 0. */
int cli_take_length(const char *name, const char *text, uint64_t *ret_ns);
/* Bytes, or a number with B, K, KiB, M, MiB, G or GiB. */
int cli_take_size(const char *name, const char *text, uint64_t *ret_bytes);

/* A command of a program; `operands` are for its help. */
typedef struct cli_entry {
    const char *name, *operands, *summary;
    int (*run)(int argc, char **argv);
} cli_entry;

/* The whole of main: help, version, or the command that is named; the exit code. */
int cli_run_program(
    const cli_entry *entries, size_t count, void (*help)(void), int argc, char **argv);

/* The candidate nearest to a mistyped word, or NULL. */
const char *cli_nearest(const char *word, const char *const *candidates, size_t count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_OUTPUT_H
#define AEGISRT_CLI_OUTPUT_H

/* Exit codes, messages on stderr, tables on stdout, progress. */

#include "options.h"

#include <aegisrt/error.h>

#include <stdint.h>

enum cli_exit {
    CLI_EXIT_OK = 0,
    CLI_EXIT_BROKEN = 1,      /* a promise did not hold */
    CLI_EXIT_USAGE = 2,       /* usage or configuration */
    CLI_EXIT_REFUSED = 3,     /* not admitted */
    CLI_EXIT_UNAVAILABLE = 4, /* a resource or runtime is not available */
    CLI_EXIT_INTERNAL = 5,
    CLI_EXIT_UNDECIDED = 6
};

/* "aegisrt: error: ..." on stderr; with --verbose also where it was found. Returns its exit code.
 */
int cli_fail(const cli_common *common, const aegis_error *error);
/* The same for what the command line got wrong; returns 2. */
int cli_usage(const char *format, ...) AEGIS_PRINTF(1, 2);
/* "aegisrt: ..." on stderr unless --quiet. */
void cli_remark(const cli_common *common, const char *format, ...) AEGIS_PRINTF(2, 3);

/* Shortest readable forms; return `buffer`. */
#define CLI_TEXT_BYTES 32
const char *cli_duration(int64_t ns, char buffer[CLI_TEXT_BYTES]);
const char *cli_size(uint64_t bytes, char buffer[CLI_TEXT_BYTES]);

typedef enum cli_colour {
    CLI_PLAIN = 0,
    CLI_BOLD,
    CLI_DIM,
    CLI_GREEN,
    CLI_YELLOW,
    CLI_RED
} cli_colour;

/* Escape sequence that begins a colour on stdout, "" without colours (NO_COLOR, no terminal). */
const char *cli_begin(cli_colour colour);
const char *cli_end(void);

/* A table that is filled row by row and printed whole: columns as wide as their widest cell. */
typedef struct cli_table cli_table;
/* `headers` separated by '|'; a header that begins with '>' makes a column of figures. NULL when
 * memory is short; all calls take NULL then. */
cli_table *cli_table_create(const char *headers);
void cli_table_cell(cli_table *table, cli_colour colour, const char *format, ...)
    AEGIS_PRINTF(3, 4);
/* Prints, frees, and returns CLI_EXIT_OK, or CLI_EXIT_UNAVAILABLE after saying that memory was
 * short. */
int cli_table_finish(cli_table *table);

/* A line on stderr that is drawn over itself; without a terminal one line for each new phase. */
typedef struct cli_progress {
    const cli_common *common;
    uint64_t phase_since_ns, drawn_ns;
    char phase[160];
    bool terminal, open;
} cli_progress;
void cli_progress_init(cli_progress *progress, const cli_common *common);
/* The form of aegis_system_progress. */
void cli_progress_step(
    void *self, const char *phase, const char *model, uint32_t done, uint32_t total);
/* A line of any text, at most twice a second. */
void cli_progress_text(cli_progress *progress, const char *format, ...) AEGIS_PRINTF(2, 3);
void cli_progress_clear(cli_progress *progress);

/* Whether --`option` PATH can be written: 0, or 4 after saying why not. Nothing is changed, and
 * what has to be made to know is removed. "-" always can. */
int cli_check_output(const char *option, const char *path);

/* Flushes stdout; 4 when what was printed could not be written. */
int cli_finish(int code);

#endif

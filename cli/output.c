/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include <aegisrt/clock.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The one place that turns failures into exit codes. */
static int exit_code(const aegis_error *error)
{
    switch (error->status) {
    case AEGIS_OK:
        return CLI_EXIT_OK;
    case AEGIS_ERROR_INVALID_ARGUMENT:
    case AEGIS_ERROR_CONFIG:
    case AEGIS_ERROR_PARSE:
    case AEGIS_ERROR_NOT_FOUND:
    case AEGIS_ERROR_EXISTS:
    case AEGIS_ERROR_UNSUPPORTED:
    case AEGIS_ERROR_OVERFLOW:
    case AEGIS_ERROR_ENGINE_BUILD:
    case AEGIS_ERROR_CALIBRATION_CACHE:
        return CLI_EXIT_USAGE;
    case AEGIS_ERROR_NOT_ADMITTED:
    case AEGIS_ERROR_BUDGET_EXCEEDED:
        return CLI_EXIT_REFUSED;
    case AEGIS_ERROR_NO_MEMORY:
        /* Short is either the plan, which is a refusal, or the machine. */
        return error->component != NULL && strncmp(error->component, "resource.", 9) == 0
                   ? CLI_EXIT_REFUSED
                   : CLI_EXIT_UNAVAILABLE;
    case AEGIS_ERROR_IO:
    case AEGIS_ERROR_QUEUE_FULL:
    case AEGIS_ERROR_STREAMS_EXHAUSTED:
    case AEGIS_ERROR_TOO_EARLY:
    case AEGIS_ERROR_BUSY:
    case AEGIS_ERROR_RUNTIME_NOT_AVAILABLE:
    case AEGIS_ERROR_DEVICE_NOT_AVAILABLE:
    case AEGIS_ERROR_ENGINE_DESERIALIZE:
    case AEGIS_ERROR_TELEMETRY_UNAVAILABLE:
    case AEGIS_ERROR_PERMISSION:
    case AEGIS_ERROR_DEVICE:
    case AEGIS_ERROR_DEVICE_LOST:
        return CLI_EXIT_UNAVAILABLE;
    case AEGIS_ERROR_UNDECIDED:
    case AEGIS_ERROR_TIMEOUT:
        return CLI_EXIT_UNDECIDED;
    case AEGIS_ERROR_STATE:
    case AEGIS_ERROR_INFERENCE:
    case AEGIS_ERROR_DEPARTURE:
    case AEGIS_ERROR_TERMINATED:
    case AEGIS_ERROR_INTERNAL:
        return CLI_EXIT_INTERNAL;
    }
    return CLI_EXIT_INTERNAL;
}

int cli_fail(const cli_common *common, const aegis_error *error)
{
    fprintf(stderr, CLI_PROGRAM ": error: %s\n", error->message);
    if (common != NULL && common->verbose) {
        fprintf(stderr, "  (%s, %s:%d %s, %s, %s)\n", error->component, error->file, error->line,
                error->function, aegis_status_name(error->status),
                aegis_error_category_name(error->category));
    }
    return exit_code(error);
}

int cli_usage(const char *format, ...)
{
    va_list arguments;
    fputs(CLI_PROGRAM ": error: ", stderr);
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): version 14 misses va_start above */
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return CLI_EXIT_USAGE;
}

void cli_remark(const cli_common *common, const char *format, ...)
{
    va_list arguments;
    if (common->quiet) {
        return;
    }
    fputs(CLI_PROGRAM ": ", stderr);
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): version 14 misses va_start above */
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* Three significant digits. */
static const char *three_digits(double value, const char *unit, char buffer[CLI_TEXT_BYTES])
{
    double size = value < 0 ? -value : value;
    snprintf(buffer, CLI_TEXT_BYTES, "%.*f %s",
             size < 9.995   ? 2
             : size < 99.95 ? 1
                            : 0,
             value, unit);
    return buffer;
}

const char *cli_duration(int64_t ns, char buffer[CLI_TEXT_BYTES])
{
    double value = (double)ns, size = value < 0 ? -value : value;
    if (size >= 1e9) {
        return three_digits(value / 1e9, "s", buffer);
    }
    if (size >= 1e6) {
        return three_digits(value / 1e6, "ms", buffer);
    }
    if (size >= 1e3) {
        return three_digits(value / 1e3, "us", buffer);
    }
    snprintf(buffer, CLI_TEXT_BYTES, "%" PRId64 " ns", ns);
    return buffer;
}

const char *cli_size(uint64_t bytes, char buffer[CLI_TEXT_BYTES])
{
    static const char *const names[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024.0;
    size_t i = 0;
    if (bytes < 1024) {
        snprintf(buffer, CLI_TEXT_BYTES, "%" PRIu64 " B", bytes);
        return buffer;
    }
    while (value >= 1024.0 && i + 1 < sizeof names / sizeof names[0]) {
        value /= 1024.0;
        i++;
    }
    return three_digits(value, names[i], buffer);
}

static bool has_colours(void)
{
    const char *none = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && (none == NULL || none[0] == '\0') &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

const char *cli_begin(cli_colour colour)
{
    if (!has_colours()) {
        return "";
    }
    switch (colour) {
    case CLI_BOLD:
        return "\033[1m";
    case CLI_DIM:
        return "\033[2m";
    case CLI_GREEN:
        return "\033[32m";
    case CLI_YELLOW:
        return "\033[33m";
    case CLI_RED:
        return "\033[31m";
    case CLI_PLAIN:
        break;
    }
    return "";
}

const char *cli_end(void)
{
    return has_colours() ? "\033[0m" : "";
}

void cli_progress_init(cli_progress *progress, const cli_common *common)
{
    const char *terminal = getenv("TERM");
    *progress = (cli_progress){.common = common,
                               .terminal = isatty(STDERR_FILENO) &&
                                           (terminal == NULL || strcmp(terminal, "dumb") != 0)};
}

/* Returns false when it is not yet time to draw again. */
static bool is_due(cli_progress *progress, uint64_t now, bool at_once)
{
    if (!at_once && now - progress->drawn_ns < 200000000) {
        return false;
    }
    progress->drawn_ns = now;
    return true;
}

void cli_progress_step(
    void *self, const char *phase, const char *model, uint32_t done, uint32_t total)
{
    cli_progress *progress = self;
    aegis_clock clock = aegis_clock_monotonic();
    char name[160], left[CLI_TEXT_BYTES], rest[64] = "";
    if (progress->common->no_progress) {
        return;
    }
    uint64_t now = aegis_clock_now_ns(&clock);
    snprintf(name, sizeof name, "%s%s%s", model != NULL ? model : "", model != NULL ? ": " : "",
             phase);
    bool fresh = strcmp(name, progress->phase) != 0;
    if (fresh) {
        memcpy(progress->phase, name, sizeof name);
        progress->phase_since_ns = now;
    }
    if (!progress->terminal) {
        if (fresh) {
            fprintf(stderr, CLI_PROGRAM ": %s\n", name);
        }
        return;
    }
    if (!is_due(progress, now, fresh)) {
        return;
    }
    if (total > 1 && done > 0 && done <= total) {
        double spent = (double)(now - progress->phase_since_ns);
        snprintf(rest, sizeof rest, ", %s left",
                 cli_duration((int64_t)(spent / done * (total - done)), left));
    }
    if (total > 1) {
        fprintf(stderr, "\r\033[K%s %" PRIu32 "/%" PRIu32 "%s", name, done, total, rest);
    } else {
        fprintf(stderr, "\r\033[K%s", name);
    }
    progress->open = true;
}

void cli_progress_text(cli_progress *progress, const char *format, ...)
{
    aegis_clock clock = aegis_clock_monotonic();
    va_list arguments;
    if (progress->common->no_progress || !progress->terminal ||
        !is_due(progress, aegis_clock_now_ns(&clock), false)) {
        return;
    }
    fputs("\r\033[K", stderr);
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): version 14 misses va_start above */
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    progress->open = true;
}

void cli_progress_clear(cli_progress *progress)
{
    if (progress->open) {
        fputs("\r\033[K", stderr);
        progress->open = false;
    }
}

/* 0, or an errno. What is no file, such as a pipe, is not opened: that might wait. */
static int why_not_written(const char *path)
{
    struct stat found;
    const bool there = stat(path, &found) == 0;
    if (there && S_ISDIR(found.st_mode)) {
        return EISDIR;
    }
    if (there && !S_ISREG(found.st_mode)) {
        return access(path, W_OK) == 0 ? 0 : errno;
    }
    int file = open(path, O_WRONLY | O_CLOEXEC | (there ? 0 : O_CREAT | O_EXCL), 0666);
    if (file < 0) {
        return errno;
    }
    close(file);
    return there || unlink(path) == 0 ? 0 : errno;
}

int cli_check_output(const char *option, const char *path)
{
    int problem = strcmp(path, "-") == 0 ? 0 : why_not_written(path);
    if (problem == 0) {
        return CLI_EXIT_OK;
    }
    fprintf(stderr,
            CLI_PROGRAM ": error: --%s %s cannot be written: %s; name a file in a folder that is "
                        "there and may be written\n",
            option, path, strerror(problem));
    return CLI_EXIT_UNAVAILABLE;
}

int cli_finish(int code)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE) {
        fprintf(stderr, CLI_PROGRAM ": error: cannot write to stdout: %s\n", strerror(errno));
        return code == CLI_EXIT_OK ? CLI_EXIT_UNAVAILABLE : code;
    }
    return code;
}

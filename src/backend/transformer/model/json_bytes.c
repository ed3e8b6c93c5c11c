/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/json_pull_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The bytes of a document, through a window of its file, and where the reader stands in them. */

#define COMPONENT "transformer.json"
#define WINDOW_BYTES 65536

void aegis_json_pull_init(aegis_json_pull *pull,
                          const char *text,
                          size_t size,
                          const char *origin,
                          const aegis_allocator *allocator)
{
    *pull = (aegis_json_pull){.allocator = *allocator,
                              .origin = origin,
                              .fd = -1,
                              .at = (const unsigned char *)text,
                              .line = 1,
                              .column = 1,
                              .now_line = 1,
                              .ended = true};
    pull->end = pull->at + size;
    pull->window_start = pull->at;
}

aegis_status aegis_json_pull_init_file(aegis_json_pull *pull,
                                       int fd,
                                       uint64_t offset,
                                       uint64_t size,
                                       const char *origin,
                                       const aegis_allocator *allocator,
                                       aegis_error *err)
{
    unsigned char *window = allocator->alloc(allocator->self, WINDOW_BYTES);
    if (window == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the %d bytes that %s is read through", WINDOW_BYTES,
                               origin);
    }
    aegis_json_pull_init(pull, (const char *)window, 0, origin, allocator);
    pull->window = window;
    pull->fd = fd;
    pull->file_offset = offset;
    pull->file_size = size;
    pull->ended = false;
    return AEGIS_OK;
}

void aegis_json_pull_finish(aegis_json_pull *pull)
{
    if (pull->window != NULL) {
        pull->allocator.free(pull->allocator.self, pull->window, WINDOW_BYTES);
    }
    if (pull->scratch != NULL) {
        pull->allocator.free(pull->allocator.self, pull->scratch, pull->scratch_capacity);
    }
    *pull = (aegis_json_pull){.fd = -1};
}

/* Bytes of the text before `at`. */
static uint64_t position(const aegis_json_pull *pull)
{
    return pull->consumed + (uint64_t)(pull->at - pull->window_start);
}

void aegis_json_mark(aegis_json_pull *pull)
{
    pull->line = pull->now_line;
    pull->column = position(pull) - pull->line_start + 1;
}

aegis_status aegis_json_pull_fail(
    const aegis_json_pull *pull, aegis_status status, aegis_error *err, const char *format, ...)
{
    char text[AEGIS_ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), status, "%s:%" PRIu64 ":%" PRIu64 ": %s",
                           pull->origin, pull->line, pull->column, text);
}

/* A failure where the reader stands. */
aegis_status aegis_json_fail_here(aegis_json_pull *pull, aegis_error *err, const char *what)
{
    aegis_json_mark(pull);
    return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                "%s; the file is damaged: fetch or convert it again", what);
}

/* More bytes into an exhausted window. */
static aegis_status refill(aegis_json_pull *pull, aegis_error *err)
{
    ssize_t got;
    pull->consumed = position(pull);
    uint64_t rest = pull->file_size - pull->consumed;
    size_t wanted = rest < WINDOW_BYTES ? (size_t)rest : WINDOW_BYTES;
    do {
        got = pread(pull->fd, pull->window, wanted, (off_t)(pull->file_offset + pull->consumed));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        int code = errno;
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO, code,
                                      "cannot read %s: %s", pull->origin, strerror(code));
    }
    pull->at = pull->window_start = pull->window;
    pull->end = pull->window + got;
    pull->ended = got == 0;
    return AEGIS_OK;
}

/* The next byte without consuming it, -1 at the end. */
aegis_status aegis_json_look(aegis_json_pull *pull, int *ret_byte, aegis_error *err)
{
    if (pull->at == pull->end && !pull->ended) {
        aegis_status status = refill(pull, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    *ret_byte = pull->at == pull->end ? -1 : *pull->at;
    return AEGIS_OK;
}

/* The next byte that is not white space, not consumed. */
aegis_status aegis_json_look_past_space(aegis_json_pull *pull, int *ret_byte, aegis_error *err)
{
    for (;;) {
        aegis_status status = aegis_json_look(pull, ret_byte, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (*ret_byte != ' ' && *ret_byte != '\n' && *ret_byte != '\t' && *ret_byte != '\r') {
            return AEGIS_OK;
        }
        pull->at++;
        if (*ret_byte == '\n') {
            pull->now_line++;
            pull->line_start = position(pull);
        }
    }
}

aegis_status aegis_json_take(aegis_json_pull *pull, int *ret_byte, aegis_error *err)
{
    aegis_status status = aegis_json_look(pull, ret_byte, err);
    if (status == AEGIS_OK && *ret_byte >= 0) {
        pull->at++;
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT "base.file"

static aegis_status
system_error(aegis_error *err, aegis_place place, const char *what, const char *path, int code)
{
    aegis_status status = code == ENOENT                    ? AEGIS_ERROR_NOT_FOUND
                          : code == EACCES || code == EPERM ? AEGIS_ERROR_PERMISSION
                                                            : AEGIS_ERROR_IO;
    return aegis_error_set_native(err, place, status, code, "cannot %s %s: %s", what, path,
                                  strerror(code));
}

/* Reads until `size` bytes or the end of the file. Returns the number read, -1 with errno. */
static ssize_t read_fully(int fd, char *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(fd, bytes + done, size - done);
        if (got == 0) {
            break;
        }
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -1;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

aegis_status aegis_file_read(const char *path,
                             uint64_t limit,
                             const aegis_allocator *allocator,
                             char **ret_bytes,
                             size_t *ret_size,
                             aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    char *bytes = NULL;
    size_t size = 0;
    struct stat info;
    char has[64], most[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return system_error(err, AEGIS_HERE(COMPONENT), "open", path, errno);
    }
    if (fstat(fd, &info) != 0) {
        status = system_error(err, AEGIS_HERE(COMPONENT), "inspect", path, errno);
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                                 "%s is not a regular file", path);
        goto done;
    }
    if ((uint64_t)info.st_size > limit) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                 "%s has %s, and at most %s are read of such a file; is it the "
                                 "right one?",
                                 path, aegis_format_size((uint64_t)info.st_size, has, sizeof has),
                                 aegis_format_size(limit, most, sizeof most));
        goto done;
    }
    size = (size_t)info.st_size;
    bytes = allocator->alloc(allocator->self, size + 1);
    if (bytes == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory for the %zu bytes of %s", size, path);
        goto done;
    }
    ssize_t got = read_fully(fd, bytes, size);
    if (got != (ssize_t)size) {
        status = got < 0 ? system_error(err, AEGIS_HERE(COMPONENT), "read", path, errno)
                         : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                                           "%s became shorter while it was read", path);
        allocator->free(allocator->self, bytes, size + 1);
        goto done;
    }
    bytes[size] = '\0';
    *ret_bytes = bytes;
    *ret_size = size;
done:
    close(fd);
    return status;
}

void aegis_file_free(const aegis_allocator *allocator, char *bytes, size_t size)
{
    if (bytes != NULL) {
        allocator->free(allocator->self, bytes, size + 1);
    }
}

static aegis_status sync_folder_of(const char *path, aegis_error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        snprintf(folder, sizeof folder, ".");
    } else {
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return system_error(err, AEGIS_HERE(COMPONENT), "open folder", folder, errno);
    }
    int rc = fsync(fd), code = errno;
    close(fd);
    /* Some file systems cannot sync a folder; that is no failure of ours. */
    if (rc != 0 && code != EINVAL) {
        return system_error(err, AEGIS_HERE(COMPONENT), "sync folder", folder, code);
    }
    return AEGIS_OK;
}

static int write_fully(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t put = write(fd, bytes, size);
        if (put < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        bytes += put;
        size -= (size_t)put;
    }
    return 0;
}

aegis_status
aegis_file_write_atomic(const char *path, const void *bytes, size_t size, aegis_error *err)
{
    const aegis_bytes whole = {bytes, size};
    return aegis_file_write_parts(path, &whole, 1, err);
}

aegis_status
aegis_file_write_parts(const char *path, const aegis_bytes *parts, size_t count, aegis_error *err)
{
    char temporary[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.tmp.XXXXXX", path) >= sizeof temporary) {
        return system_error(err, AEGIS_HERE(COMPONENT), "create", path, ENAMETOOLONG);
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return system_error(err, AEGIS_HERE(COMPONENT), "create a file beside", path, errno);
    }
    int code = 0;
    for (size_t i = 0; code == 0 && i < count; i++) {
        code = write_fully(fd, parts[i].bytes, parts[i].size);
    }
    if (code == 0 && fchmod(fd, 0644) != 0) {
        code = errno;
    }
    if (code == 0 && fsync(fd) != 0) {
        code = errno;
    }
    if (close(fd) != 0 && code == 0) {
        code = errno;
    }
    if (code == 0 && rename(temporary, path) != 0) {
        code = errno;
    }
    if (code != 0) {
        unlink(temporary);
        return system_error(err, AEGIS_HERE(COMPONENT), "write", path, code);
    }
    return sync_folder_of(path, err);
}

aegis_status aegis_folder_create(const char *path, aegis_error *err)
{
    char part[PATH_MAX];
    if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part) {
        return system_error(err, AEGIS_HERE(COMPONENT), "create folder", path, ENAMETOOLONG);
    }
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char kept = *at;
        *at = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST) {
            return system_error(err, AEGIS_HERE(COMPONENT), "create folder", part, errno);
        }
        *at = kept;
        if (kept == '\0') {
            break;
        }
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO, "%s is not a folder",
                               path);
    }
    return AEGIS_OK;
}

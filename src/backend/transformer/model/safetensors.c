/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/safetensors_internal.h"
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT "transformer.safetensors"
#define SINGLE "model.safetensors"
#define INDEX SINGLE ".index.json"

static aegis_status open_error(const char *path, int code, aegis_error *err)
{
    aegis_status status = code == ENOENT || code == ENOTDIR ? AEGIS_ERROR_NOT_FOUND
                          : code == EACCES || code == EPERM ? AEGIS_ERROR_PERMISSION
                                                            : AEGIS_ERROR_IO;
    return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), status, code,
                                  "cannot open the weights %s: %s", path, strerror(code));
}

/* O_NONBLOCK: a FIFO of that name does not hang the open. */
static aegis_status open_file(aegis_safetensors_file *file, const char *path, aegis_error *err)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return open_error(path, errno, err);
    }
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                               "%s is not a regular file", path);
    }
    *file = (aegis_safetensors_file){.path = path, .fd = fd, .size_bytes = (uint64_t)info.st_size};
    return AEGIS_OK;
}

static aegis_status no_memory(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                           "no memory for the list of the model's files");
}

static aegis_status make_files(aegis_safetensors *tensors, uint32_t count, aegis_error *err)
{
    tensors->files = aegis_bump_take(&tensors->bump, count, sizeof *tensors->files);
    tensors->views = aegis_bump_take(&tensors->bump, count, sizeof *tensors->views);
    return tensors->files == NULL || tensors->views == NULL ? no_memory(err) : AEGIS_OK;
}

/* Takes a copy of `path`. */
static aegis_status add_file(aegis_safetensors *tensors, const char *path, aegis_error *err)
{
    const char *copy = aegis_bump_text(&tensors->bump, path, strlen(path));
    if (copy == NULL) {
        return no_memory(err);
    }
    aegis_status status = open_file(&tensors->files[tensors->file_count], copy, err);
    if (status != AEGIS_OK) {
        return status;
    }
    tensors->file_count++;
    return aegis_safetensors_read_header(tensors, tensors->file_count - 1, err);
}

static aegis_status
join(const char *folder, int length, const char *name, char ret[PATH_MAX], aegis_error *err)
{
    if ((size_t)snprintf(ret, PATH_MAX, "%.*s%s", length, folder, name) >= PATH_MAX) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_FOUND,
                               "the path of %s is longer than %d bytes", name, PATH_MAX - 1);
    }
    return AEGIS_OK;
}

static aegis_status open_shards(aegis_safetensors *tensors, const char *path, aegis_error *err)
{
    char shard[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int folder = slash == NULL ? 0 : (int)(slash + 1 - path);
    aegis_shard_index *index = aegis_allocate_zeroed(&tensors->allocator, 1, sizeof *index);
    if (index == NULL) {
        return no_memory(err);
    }
    aegis_status status = aegis_shard_index_read(index, path, &tensors->allocator, err);
    if (status == AEGIS_OK) {
        status = make_files(tensors, index->file_count, err);
    }
    for (uint32_t i = 0; status == AEGIS_OK && i < index->file_count; i++) {
        status = join(path, folder, index->files[i], shard, err);
        if (status == AEGIS_OK) {
            status = add_file(tensors, shard, err);
        }
    }
    if (status == AEGIS_OK) {
        status = aegis_shard_index_check(index, tensors, err);
    }
    aegis_shard_index_finish(index);
    aegis_deallocate(&tensors->allocator, index, 1, sizeof *index);
    return status;
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* The file to open for a folder. */
static aegis_status find_in_folder(const char *folder, char ret_path[PATH_MAX], aegis_error *err)
{
    static const char *const names[] = {SINGLE, INDEX};
    struct stat info;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(names); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", ends_with(folder, "/") ? "" : "/", names[i]);
        aegis_status status = join(folder, (int)strlen(folder), name, ret_path, err);
        if (status != AEGIS_OK || stat(ret_path, &info) == 0) {
            return status;
        }
    }
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_FOUND,
                           "%s holds neither " SINGLE " nor " INDEX
                           "; put the weights there (make models fetches some)",
                           folder);
}

static int by_name(const void *a, const void *b)
{
    const aegis_tensor_source *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static aegis_status sort_by_name(aegis_safetensors *tensors, aegis_error *err)
{
    aegis_tensor_list *list = &tensors->list;
    if (list->count > 0) {
        qsort(list->items, list->count, sizeof *list->items, by_name);
    }
    for (uint32_t i = 1; i < list->count; i++) {
        const aegis_tensor_source *left = &list->items[i - 1], *right = &list->items[i];
        if (strcmp(left->name, right->name) == 0) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                   "tensor \"%.120s\" comes twice, in %.120s and %.120s; fetch or "
                                   "convert the files again",
                                   left->name, tensors->files[left->file].path,
                                   tensors->files[right->file].path);
        }
    }
    return AEGIS_OK;
}

static aegis_status read_all(aegis_safetensors *tensors, const char *path, aegis_error *err)
{
    aegis_status status;
    if (ends_with(path, ".json")) {
        status = open_shards(tensors, path, err);
    } else {
        status = make_files(tensors, 1, err);
        if (status == AEGIS_OK) {
            status = add_file(tensors, path, err);
        }
    }
    return status == AEGIS_OK ? sort_by_name(tensors, err) : status;
}

aegis_status aegis_safetensors_open(const char *path,
                                    const aegis_allocator *allocator,
                                    aegis_safetensors **ret_tensors,
                                    aegis_error *err)
{
    char inside[PATH_MAX];
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        aegis_status status = find_in_folder(path, inside, err);
        if (status != AEGIS_OK) {
            return status;
        }
        path = inside;
    }
    aegis_safetensors *tensors = aegis_allocate_zeroed(allocator, 1, sizeof *tensors);
    if (tensors == NULL) {
        return no_memory(err);
    }
    tensors->allocator = *allocator;
    tensors->list.allocator = *allocator;
    aegis_bump_init(&tensors->bump, allocator);
    aegis_status status = read_all(tensors, path, err);
    if (status != AEGIS_OK) {
        aegis_safetensors_close(tensors);
        return status;
    }
    *ret_tensors = tensors;
    return AEGIS_OK;
}

void aegis_safetensors_close(aegis_safetensors *tensors)
{
    if (tensors == NULL) {
        return;
    }
    for (uint32_t i = 0; i < tensors->file_count; i++) {
        if (tensors->views[i] != NULL) {
            munmap(tensors->views[i], (size_t)tensors->files[i].size_bytes);
        }
        close(tensors->files[i].fd);
    }
    aegis_deallocate(&tensors->list.allocator, tensors->list.items, tensors->list.capacity,
                     sizeof *tensors->list.items);
    aegis_bump_finish(&tensors->bump);
    aegis_allocator allocator = tensors->allocator;
    aegis_deallocate(&allocator, tensors, 1, sizeof *tensors);
}

uint32_t aegis_safetensors_count(const aegis_safetensors *tensors)
{
    return tensors->list.count;
}

const aegis_tensor_source *aegis_safetensors_at(const aegis_safetensors *tensors, uint32_t index)
{
    return index < tensors->list.count ? &tensors->list.items[index] : NULL;
}

const aegis_tensor_source *aegis_safetensors_find(const aegis_safetensors *tensors,
                                                  const char *name)
{
    aegis_tensor_source wanted = {.name = name};
    if (tensors->list.count == 0) {
        return NULL;
    }
    return bsearch(&wanted, tensors->list.items, tensors->list.count, sizeof wanted, by_name);
}

uint32_t aegis_safetensors_file_count(const aegis_safetensors *tensors)
{
    return tensors->file_count;
}

const aegis_safetensors_file *aegis_safetensors_file_at(const aegis_safetensors *tensors,
                                                        uint32_t index)
{
    return index < tensors->file_count ? &tensors->files[index] : NULL;
}

aegis_status aegis_safetensors_map(aegis_safetensors *tensors,
                                   uint32_t file,
                                   const void **ret_bytes,
                                   aegis_error *err)
{
    struct stat info;
    if (file >= tensors->file_count) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is no file %u; the model has %u", file, tensors->file_count);
    }
    const aegis_safetensors_file *of = &tensors->files[file];
    if (tensors->views[file] == NULL) {
        if (fstat(of->fd, &info) != 0 || (uint64_t)info.st_size != of->size_bytes) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                                   "%s had %" PRIu64 " bytes when it was opened and has changed; "
                                   "open the model again",
                                   of->path, of->size_bytes);
        }
        void *view = mmap(NULL, (size_t)of->size_bytes, PROT_READ, MAP_SHARED, of->fd, 0);
        if (view == MAP_FAILED) {
            int code = errno;
            return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO, code,
                                          "cannot map %s: %s", of->path, strerror(code));
        }
        tensors->views[file] = view;
    }
    *ret_bytes = tensors->views[file];
    return AEGIS_OK;
}

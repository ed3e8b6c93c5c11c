/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/key_set.h"
#include "backend/transformer/model/safetensors_internal.h"
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT "transformer.safetensors"
#define CURE "fetch the model's files again, all of one version"

/* A shard lies beside the index: a plain name. */
static bool is_plain(const char *name, size_t size)
{
    static const char suffix[] = ".safetensors";
    size_t tail = sizeof suffix - 1;
    return size > tail && size < 256 && strlen(name) == size && strchr(name, '/') == NULL &&
           name[0] != '.' && strcmp(name + size - tail, suffix) == 0;
}

static aegis_status
shard_number(aegis_shard_index *index, const aegis_json_pull *pull, uint32_t *ret, aegis_error *err)
{
    if (!is_plain(pull->text, pull->text_size)) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "\"%.80s\" is not the plain name of a .safetensors file",
                                    pull->text);
    }
    /* Neighbours are mostly in the same shard: look at the newest first. */
    for (uint32_t i = index->file_count; i-- > 0;) {
        if (strcmp(index->files[i], pull->text) == 0) {
            *ret = i;
            return AEGIS_OK;
        }
    }
    if (index->file_count == AEGIS_SAFETENSORS_MAX_FILES) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err, "more than %d shards",
                                    AEGIS_SAFETENSORS_MAX_FILES);
    }
    const char *name = aegis_bump_text(&index->bump, pull->text, pull->text_size);
    if (name == NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_NO_MEMORY, err, "no memory for a name");
    }
    *ret = index->file_count;
    index->files[index->file_count++] = name;
    return AEGIS_OK;
}

static aegis_status grow(aegis_shard_index *index, const aegis_json_pull *pull, aegis_error *err)
{
    uint32_t capacity = index->capacity == 0 ? 256 : 2 * index->capacity;
    if (index->count == AEGIS_SAFETENSORS_MAX_TENSORS) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "more than %u tensors",
                                    AEGIS_SAFETENSORS_MAX_TENSORS);
    }
    aegis_shard_entry *entries =
        aegis_allocate_zeroed(&index->allocator, capacity, sizeof *entries);
    if (entries == NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_NO_MEMORY, err,
                                    "no memory for an index of %u tensors", capacity);
    }
    if (index->count > 0) {
        memcpy(entries, index->entries, index->count * sizeof *entries);
    }
    aegis_deallocate(&index->allocator, index->entries, index->capacity, sizeof *entries);
    index->entries = entries;
    index->capacity = capacity;
    return AEGIS_OK;
}

static aegis_status read_entry(aegis_shard_index *index, aegis_json_pull *pull, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    if (strlen(pull->text) != pull->text_size || pull->text_size == 0) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "a tensor's name is empty or holds a NUL");
    }
    if (index->count == index->capacity) {
        status = grow(index, pull, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_shard_entry entry = {.name = aegis_bump_text(&index->bump, pull->text, pull->text_size)};
    if (entry.name == NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_NO_MEMORY, err, "no memory for a name");
    }
    status = aegis_json_pull_string(pull, err);
    if (status == AEGIS_OK) {
        status = shard_number(index, pull, &entry.file, err);
    }
    if (status == AEGIS_OK) {
        index->entries[index->count++] = entry;
    }
    return status;
}

static aegis_status read_map(aegis_shard_index *index, aegis_json_pull *pull, aegis_error *err)
{
    bool more;
    aegis_status status = aegis_json_pull_object(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_key(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = read_entry(index, pull, err);
    }
    return status;
}

static aegis_status read_json(aegis_shard_index *index, aegis_json_pull *pull, aegis_error *err)
{
    bool more, mapped = false;
    aegis_key_set keys;
    aegis_key_set_init(&keys, &index->allocator);
    aegis_status status = aegis_json_pull_object(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_key(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        bool map = strcmp(pull->text, "weight_map") == 0;
        status = aegis_key_set_add(&keys, pull, err);
        if (status == AEGIS_OK) {
            status = map ? read_map(index, pull, err) : aegis_json_pull_skip(pull, err);
        }
        mapped = mapped || map;
    }
    if (status == AEGIS_OK) {
        status = aegis_json_pull_end(pull, err);
    }
    if (status == AEGIS_OK && (!mapped || index->count == 0)) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                 "%s has no \"weight_map\" or an empty one; " CURE, index->path);
    }
    aegis_key_set_finish(&keys);
    return status;
}

static int by_name(const void *a, const void *b)
{
    const aegis_shard_entry *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static aegis_status sort_entries(aegis_shard_index *index, aegis_error *err)
{
    qsort(index->entries, index->count, sizeof *index->entries, by_name);
    for (uint32_t i = 1; i < index->count; i++) {
        if (strcmp(index->entries[i - 1].name, index->entries[i].name) == 0) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                   "%s: tensor \"%.120s\" comes twice; " CURE, index->path,
                                   index->entries[i].name);
        }
    }
    return AEGIS_OK;
}

aegis_status aegis_shard_index_read(aegis_shard_index *index,
                                    const char *path,
                                    const aegis_allocator *allocator,
                                    aegis_error *err)
{
    aegis_json_pull pull = {0};
    struct stat info;
    *index = (aegis_shard_index){.allocator = *allocator, .path = path};
    aegis_bump_init(&index->bump, allocator);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        int code = errno;
        aegis_status failure = fd >= 0          ? AEGIS_ERROR_IO
                               : code == ENOENT ? AEGIS_ERROR_NOT_FOUND
                               : code == EACCES ? AEGIS_ERROR_PERMISSION
                                                : AEGIS_ERROR_IO;
        if (fd >= 0) {
            close(fd);
        }
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), failure, code,
                                      "cannot open the index %s: %s", path, strerror(code));
    }
    aegis_status status = AEGIS_OK;
    if ((uint64_t)info.st_size > AEGIS_SAFETENSORS_HEADER_LIMIT) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                 "%s has %" PRIu64 " bytes, more than the %" PRIu64
                                 " of an index; " CURE,
                                 path, (uint64_t)info.st_size, AEGIS_SAFETENSORS_HEADER_LIMIT);
    }
    if (status == AEGIS_OK) {
        status =
            aegis_json_pull_init_file(&pull, fd, 0, (uint64_t)info.st_size, path, allocator, err);
    }
    if (status == AEGIS_OK) {
        status = read_json(index, &pull, err);
        aegis_json_pull_finish(&pull);
    }
    close(fd);
    return status == AEGIS_OK ? sort_entries(index, err) : status;
}

void aegis_shard_index_finish(aegis_shard_index *index)
{
    aegis_deallocate(&index->allocator, index->entries, index->capacity, sizeof *index->entries);
    aegis_bump_finish(&index->bump);
    index->entries = NULL;
    index->count = index->capacity = index->file_count = 0;
}

static aegis_status check_found(const aegis_shard_index *index,
                                const aegis_tensor_source *source,
                                aegis_shard_entry *entry,
                                aegis_error *err)
{
    const char *shard = index->files[source->file];
    if (entry == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "%.160s: the index does not name tensor \"%.100s\" of %.80s; " CURE,
                               index->path, source->name, shard);
    }
    if (entry->file != source->file) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "%.160s: tensor \"%.100s\" is said to be in %.60s but is in %.60s: "
                               "were the files swapped? " CURE,
                               index->path, source->name, index->files[entry->file], shard);
    }
    entry->found = true;
    return AEGIS_OK;
}

aegis_status aegis_shard_index_check(aegis_shard_index *index,
                                     const aegis_safetensors *tensors,
                                     aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; i < tensors->list.count && status == AEGIS_OK; i++) {
        const aegis_tensor_source *source = &tensors->list.items[i];
        aegis_shard_entry wanted = {.name = source->name};
        aegis_shard_entry *entry =
            bsearch(&wanted, index->entries, index->count, sizeof *index->entries, by_name);
        status = check_found(index, source, entry, err);
    }
    for (uint32_t i = 0; i < index->count && status == AEGIS_OK; i++) {
        if (!index->entries[i].found) {
            status = aegis_error_set(
                err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                "%.160s: tensor \"%.100s\" is said to be in %.80s, which does not hold it; " CURE,
                index->path, index->entries[i].name, index->files[index->entries[i].file]);
        }
    }
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/weights.h"

#include "backend/untouched.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COMPONENT "backend.weights"
#define BLOCK_BYTES (UINT64_C(1) << 20) /* hashed while it is in the cache */

static aegis_status differs(const aegis_ort_compiled *compiled, size_t chunk, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                           "%s has changed since it was compiled: the %" PRIu64 " bytes at %" PRIu64
                           " have another hash; remove its folder",
                           compiled->weights_path, compiled->chunks[chunk].length,
                           compiled->chunks[chunk].offset);
}

/* ---- mapped ---- */

aegis_status aegis_ort_weights_map(const aegis_ort_compiled *compiled,
                                   void **ret_map,
                                   void **ret_chunks,
                                   aegis_error *err)
{
    if (compiled->weights_bytes == 0) {
        return AEGIS_OK;
    }
    int fd = open(compiled->weights_path, O_RDONLY | O_CLOEXEC);
    void *bytes =
        fd < 0 ? MAP_FAILED : mmap(NULL, compiled->weights_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    int code = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (bytes == MAP_FAILED) {
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                      code, "cannot map %s: %s", compiled->weights_path,
                                      strerror(code));
    }
    *ret_map = bytes;
    for (size_t i = 0; i < compiled->chunk_count; i++) {
        const aegis_ort_chunk *chunk = &compiled->chunks[i];
        char hash[AEGIS_SHA256_HEX_BYTES];
        ret_chunks[i] = (unsigned char *)bytes + chunk->offset;
        aegis_untouched_set_apart(ret_chunks[i], chunk->length);
        aegis_status status = aegis_sha256_bytes(ret_chunks[i], chunk->length, hash, err);
        if (status != AEGIS_OK || strcmp(hash, chunk->hash) != 0) {
            return status != AEGIS_OK ? status : differs(compiled, i, err);
        }
    }
    aegis_ort_weights_forget(compiled, bytes);
    return AEGIS_OK;
}

void aegis_ort_weights_forget(const aegis_ort_compiled *compiled, void *map)
{
    if (map != NULL) {
        madvise(map, compiled->weights_bytes, MADV_DONTNEED);
    }
}

void aegis_ort_weights_find_unread(const aegis_ort_compiled *compiled,
                                   const void *map,
                                   bool *ret_unread)
{
    for (size_t i = 0; i < compiled->chunk_count; i++) {
        const aegis_ort_chunk *chunk = &compiled->chunks[i];
        ret_unread[i] =
            map != NULL && aegis_untouched_since((const char *)map + chunk->offset, chunk->length);
    }
}

/* ---- at planned places ---- */

void aegis_ort_residents_finish(aegis_ort_residents *residents)
{
    aegis_deallocate(&residents->allocator, residents->list, residents->room,
                     sizeof *residents->list);
    residents->list = NULL;
    residents->count = residents->room = 0;
}

static aegis_ort_resident *find(const aegis_ort_residents *residents, const void *address)
{
    for (size_t i = 0; i < residents->count; i++) {
        if (residents->list[i].address == address) {
            return &residents->list[i];
        }
    }
    return NULL;
}

aegis_status
aegis_ort_residents_reserve(aegis_ort_residents *residents, size_t more, aegis_error *err)
{
    if (residents->room - residents->count >= more) {
        return AEGIS_OK;
    }
    size_t room = 2 * (residents->count + more);
    aegis_ort_resident *list = aegis_allocate_zeroed(&residents->allocator, room, sizeof *list);
    if (list == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the table of placed weights");
    }
    if (residents->count > 0) {
        memcpy(list, residents->list, residents->count * sizeof *list);
    }
    aegis_deallocate(&residents->allocator, residents->list, residents->room, sizeof *list);
    residents->list = list;
    residents->room = room;
    return AEGIS_OK;
}

const uint8_t *aegis_ort_residents_content(const aegis_ort_residents *residents,
                                           const void *address)
{
    const aegis_ort_resident *there = find(residents, address);
    return there != NULL ? there->content : NULL;
}

bool aegis_ort_residents_hold(aegis_ort_residents *residents,
                              const void *address,
                              const uint8_t content[AEGIS_CONTENT_BYTES])
{
    aegis_ort_resident *there = find(residents, address);
    if (there != NULL && memcmp(there->content, content, sizeof there->content) != 0) {
        return false;
    }
    if (there == NULL) {
        there = &residents->list[residents->count++];
        *there = (aegis_ort_resident){.address = address};
        memcpy(there->content, content, sizeof there->content);
    }
    there->users++;
    return true;
}

/* Reads a chunk to its place; the very bytes that will be used are hashed, block by block. */
static aegis_status read_chunk(
    int fd, const aegis_ort_compiled *compiled, size_t index, unsigned char *to, aegis_error *err)
{
    const aegis_ort_chunk *chunk = &compiled->chunks[index];
    char found[AEGIS_SHA256_HEX_BYTES];
    aegis_sha256 hash = {NULL};
    aegis_status status = aegis_sha256_start(&hash, err);
    for (uint64_t done = 0; status == AEGIS_OK && done < chunk->length;) {
        uint64_t left = chunk->length - done;
        ssize_t got = pread(fd, to + done, left < BLOCK_BYTES ? left : BLOCK_BYTES,
                            (off_t)(chunk->offset + done));
        if (got > 0) {
            status = aegis_sha256_add(&hash, to + done, (size_t)got, err);
            done += (uint64_t)got;
        } else if (got == 0 || errno != EINTR) {
            int code = got == 0 ? 0 : errno;
            status = aegis_error_set_native(
                err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE, code,
                "cannot read %s at %" PRIu64 ": %s", compiled->weights_path, chunk->offset + done,
                got == 0 ? "it ends there" : strerror(code));
        }
    }
    if (status == AEGIS_OK) {
        status = aegis_sha256_finish(&hash, found, err);
    }
    aegis_sha256_end(&hash);
    return status == AEGIS_OK && strcmp(found, chunk->hash) != 0 ? differs(compiled, index, err)
                                                                 : status;
}

static aegis_status open_weights(const aegis_ort_compiled *compiled, int *ret_fd, aegis_error *err)
{
    *ret_fd = open(compiled->weights_path, O_RDONLY | O_CLOEXEC);
    if (*ret_fd < 0) {
        int code = errno;
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                      code, "cannot open %s: %s", compiled->weights_path,
                                      strerror(code));
    }
    return AEGIS_OK;
}

static bool read_before(void *const *places, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (places[i] == places[index]) {
            return true;
        }
    }
    return false;
}

aegis_status
aegis_ort_weights_read(const aegis_ort_compiled *compiled, void *const *places, aegis_error *err)
{
    int fd = -1;
    aegis_status status = compiled->chunk_count == 0 ? AEGIS_OK : open_weights(compiled, &fd, err);
    for (size_t i = 0; status == AEGIS_OK && i < compiled->chunk_count; i++) {
        if (places[i] != NULL && !read_before(places, i)) {
            status = read_chunk(fd, compiled, i, places[i], err);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

/* The table has room. */
static aegis_status take_one(aegis_ort_residents *residents,
                             int fd,
                             const aegis_ort_compiled *compiled,
                             size_t index,
                             void *place,
                             aegis_error *err)
{
    const aegis_ort_chunk *chunk = &compiled->chunks[index];
    if (place == NULL) {
        return AEGIS_OK;
    }
    aegis_status status =
        find(residents, place) != NULL ? AEGIS_OK : read_chunk(fd, compiled, index, place, err);
    if (status == AEGIS_OK && !aegis_ort_residents_hold(residents, place, chunk->content)) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                                 "the planned place of weights holds others that a model still "
                                 "uses: close that model first");
    }
    return status;
}

aegis_status aegis_ort_weights_take(aegis_ort_residents *residents,
                                    const aegis_ort_compiled *compiled,
                                    void *const *places,
                                    aegis_error *err)
{
    size_t taken = 0;
    if (compiled->chunk_count == 0) {
        return AEGIS_OK;
    }
    aegis_status status = aegis_ort_residents_reserve(residents, compiled->chunk_count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    int fd = -1;
    status = open_weights(compiled, &fd, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (; status == AEGIS_OK && taken < compiled->chunk_count; taken++) {
        status = take_one(residents, fd, compiled, taken, places[taken], err);
    }
    close(fd);
    if (status != AEGIS_OK) {
        aegis_ort_weights_give(residents, places, taken - 1);
    }
    return status;
}

void aegis_ort_weights_give(aegis_ort_residents *residents, void *const *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        aegis_ort_resident *there = places[i] == NULL ? NULL : find(residents, places[i]);
        if (there != NULL && --there->users == 0) {
            *there = residents->list[--residents->count];
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/reader.h"

#include "base/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define HERE AEGIS_HERE("transformer.loader")
#define MOST_THREADS 16
#define STACK_BYTES ((size_t)128 << 10)

typedef struct load {
    const aegis_weight_reader *reader;
    const aegis_load_part *parts;
    uint32_t count;
    pthread_mutex_t mutex; /* guards all below */
    uint32_t part;
    uint64_t at; /* in the part */
    aegis_status status;
    aegis_error error;
} load;

/* One read: whole blocks around [from, from + bytes) of the file. */
typedef struct bite {
    const aegis_load_part *part;
    uint64_t at, bytes;
} bite;

static bool next_bite(load *all, bite *ret_bite)
{
    pthread_mutex_lock(&all->mutex);
    bool more = all->status == AEGIS_OK && all->part < all->count;
    if (more) {
        const aegis_load_part *part = &all->parts[all->part];
        const uint64_t from = part->offset + all->at;
        /* The first read ends on a block, so that the others begin on one. */
        const uint64_t room = AEGIS_LOAD_BYTES - from % AEGIS_READ_BLOCK;
        const uint64_t left = part->bytes - all->at;
        *ret_bite = (bite){part, all->at, left < room ? left : room};
        all->at += ret_bite->bytes;
        if (all->at == part->bytes) {
            all->part++;
            all->at = 0;
        }
    }
    pthread_mutex_unlock(&all->mutex);
    return more;
}

static void fail(load *all, const aegis_error *error)
{
    pthread_mutex_lock(&all->mutex);
    if (all->status == AEGIS_OK) {
        all->status = error->status;
        all->error = *error;
    }
    pthread_mutex_unlock(&all->mutex);
}

static void *load_bites(void *argument)
{
    load *all = argument;
    aegis_error error = {0};
    bite next;
    uint8_t *block = aegis_pages_map(AEGIS_LOAD_BYTES);
    if (block == NULL) {
        aegis_error_set(&error, HERE, AEGIS_ERROR_NO_MEMORY, "no memory to read weights");
        fail(all, &error);
        return NULL;
    }
    while (next_bite(all, &next)) {
        const uint64_t from = next.part->offset + next.at;
        const uint64_t begin = from / AEGIS_READ_BLOCK * AEGIS_READ_BLOCK;
        const uint64_t bytes = aegis_align_up(from + next.bytes - begin, AEGIS_READ_BLOCK);
        if (aegis_weight_read(all->reader, next.part->file, begin, bytes, block, &error) !=
            AEGIS_OK) {
            fail(all, &error);
            break;
        }
        memcpy(next.part->to + next.at, block + (from - begin), next.bytes);
    }
    aegis_pages_unmap(block, AEGIS_LOAD_BYTES);
    return NULL;
}

aegis_status aegis_weight_load(const aegis_weight_reader *reader,
                               const aegis_load_part *parts,
                               uint32_t count,
                               uint32_t threads,
                               aegis_error *err)
{
    load all = {.reader = reader, .parts = parts, .count = count};
    pthread_t handles[MOST_THREADS];
    uint32_t started = 0;
    pthread_attr_t attributes;
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    pthread_mutex_init(&all.mutex, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (started + 1 < threads &&
           pthread_create(&handles[started], &attributes, load_bites, &all) == 0) {
        started++;
    }
    pthread_attr_destroy(&attributes);
    load_bites(&all); /* the caller too: it goes on without the threads that could not be had */
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(handles[i], NULL);
    }
    pthread_mutex_destroy(&all.mutex);
    if (all.status != AEGIS_OK && err != NULL) {
        *err = all.error;
    }
    return all.status;
}

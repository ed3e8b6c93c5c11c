/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BASE_BASE_H
#define AEGIS_BASE_BASE_H

/* Small things that every layer uses. */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 128-bit products; __extension__ because ISO C has no such type. */
__extension__ typedef unsigned __int128 aegis_u128;
__extension__ typedef __int128 aegis_i128;

#define AEGIS_NS_PER_US UINT64_C(1000)
#define AEGIS_NS_PER_MS UINT64_C(1000000)
#define AEGIS_NS_PER_S UINT64_C(1000000000)

#define AEGIS_ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* `alignment` is a power of two. */
static inline uint64_t aegis_align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* UINT64_MAX where the sum does not fit. */
static inline uint64_t aegis_add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline bool aegis_is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* splitmix64: the one generator of tests and random inputs. */
static inline uint64_t aegis_random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* units.c: "64MiB", "64M", "1G", "512" -> bytes; "200ms", "1.5s", "32ms", "10us", "5ns" -> ns. A
 * number without a unit is bytes; a duration needs a unit. CONFIG with the forms allowed. */
aegis_status aegis_parse_size(const char *text, uint64_t *ret_bytes, aegis_error *err);
aegis_status aegis_parse_duration(const char *text, uint64_t *ret_ns, aegis_error *err);
/* Shortest readable form, "12.3 MiB", "4.56 ms". Returns `buffer`. */
const char *aegis_format_size(uint64_t bytes, char *buffer, size_t size);
const char *aegis_format_duration(int64_t ns, char *buffer, size_t size);

/* text.c: the candidate nearest to `word` by edit distance, or NULL when none is near enough. */
const char *aegis_nearest_word(const char *word, const char *const *candidates, size_t count);
/* A copy of `text`; freed with aegis_deallocate(allocator, copy, strlen(copy) + 1, 1). */
char *aegis_copy_text(const aegis_allocator *allocator, const char *text);
void aegis_free_text(const aegis_allocator *allocator, char *text);

/* file.c: a whole file, with a NUL behind it that is not counted. Refuses files above `limit`. */
aegis_status aegis_file_read(const char *path,
                             uint64_t limit,
                             const aegis_allocator *allocator,
                             char **ret_bytes,
                             size_t *ret_size,
                             aegis_error *err);
void aegis_file_free(const aegis_allocator *allocator, char *bytes, size_t size);
/* Temp file, fsync, rename, fsync of the folder. */
aegis_status
aegis_file_write_atomic(const char *path, const void *bytes, size_t size, aegis_error *err);
/* The same of several ranges, one behind the other. */
typedef struct aegis_bytes {
    const void *bytes;
    size_t size;
} aegis_bytes;
aegis_status
aegis_file_write_parts(const char *path, const aegis_bytes *parts, size_t count, aegis_error *err);
/* allocator.c: gives what malloc keeps of freed memory back to the system, where the C library can.
 * Holds malloc's locks meanwhile: for the time before a start. */
void aegis_heap_trim(void);

/* mkdir -p. */
aegis_status aegis_folder_create(const char *path, aegis_error *err);

/* sha256.c: 64 hex digits and a NUL. */
#define AEGIS_SHA256_HEX_BYTES 65
aegis_status aegis_sha256_bytes(const void *bytes,
                                size_t size,
                                char ret_hex[AEGIS_SHA256_HEX_BYTES],
                                aegis_error *err);
aegis_status
aegis_sha256_file(const char *path, char ret_hex[AEGIS_SHA256_HEX_BYTES], aegis_error *err);
/* In pieces: start, add, finish; end in every case, of a zeroed one too. INTERNAL. */
typedef struct aegis_sha256 {
    void *context;
} aegis_sha256;
aegis_status aegis_sha256_start(aegis_sha256 *hash, aegis_error *err);
aegis_status aegis_sha256_add(aegis_sha256 *hash, const void *bytes, size_t size, aegis_error *err);
aegis_status
aegis_sha256_finish(aegis_sha256 *hash, char ret_hex[AEGIS_SHA256_HEX_BYTES], aegis_error *err);
void aegis_sha256_end(aegis_sha256 *hash);
/* The 32 bytes of 64 digits as they are written here; false for anything else. */
bool aegis_sha256_parse(const char *hex, uint8_t ret_digest[32]);

#endif

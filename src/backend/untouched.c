/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/untouched.h"

#include "base/base.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES_AT_ONCE 512u
#define PAGE_PRESENT (UINT64_C(1) << 63)

/* The pages that are the range's alone, but for one at each end, so that the insides of two ranges
 * do not meet; empty when the range is not asked about. */
typedef struct inside {
    uintptr_t from, to, page;
} inside;

static inside inside_of(const void *range, uint64_t size_bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)range;
    if (size_bytes < AEGIS_UNTOUCHED_LEAST_BYTES || size_bytes < 5 * page) {
        return (inside){.page = page};
    }
    return (inside){.from = aegis_align_up(at, page) + page,
                    .to = (at + size_bytes) / page * page - page,
                    .page = page};
}

void aegis_untouched_set_apart(void *range, uint64_t size_bytes)
{
    const inside own = inside_of(range, size_bytes);
    if (own.from < own.to) {
        /* Files are not dumped anyway: all that the flag does is to end a mapping. */
        madvise((char *)range + (own.from - (uintptr_t)range), own.to - own.from, MADV_DONTDUMP);
    }
}

/* Whether a page is mapped to memory; true when it cannot be told. */
static bool any_present(int pagemap, inside own)
{
    uint64_t entries[PAGES_AT_ONCE];
    for (uintptr_t at = own.from / own.page; at < own.to / own.page;) {
        size_t count =
            own.to / own.page - at < PAGES_AT_ONCE ? own.to / own.page - at : PAGES_AT_ONCE;
        ssize_t got =
            pread(pagemap, entries, count * sizeof entries[0], (off_t)(at * sizeof entries[0]));
        if (got != (ssize_t)(count * sizeof entries[0])) {
            return true;
        }
        for (size_t i = 0; i < count; i++) {
            if ((entries[i] & PAGE_PRESENT) != 0) {
                return true;
            }
        }
        at += count;
    }
    return false;
}

bool aegis_untouched_since(const void *range, uint64_t size_bytes)
{
    const inside own = inside_of(range, size_bytes);
    int pagemap = own.from < own.to ? open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) : -1;
    if (pagemap < 0) {
        return false;
    }
    const bool present = any_present(pagemap, own);
    close(pagemap);
    return !present;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "device/host/host_memory.h"

#include "base/base.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* Largest page that a transparent mapping uses on the machines that this is for. */
#define HUGE_PAGE ((size_t)2 << 20)

#define MIB(bytes) ((double)(bytes) / 1048576.0)

static aegis_status lock(void *base, uint64_t size, aegis_error *err)
{
    /* The call itself: sanitizers replace mlock by nothing. */
    if (syscall(SYS_mlock, base, (size_t)size) == 0) {
        return AEGIS_OK;
    }
    int code = errno;
    struct rlimit limit = {0, 0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (code == ENOMEM && (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= size)) {
        return aegis_error_set_native(err, AEGIS_HERE("device.host"), AEGIS_ERROR_NO_MEMORY, code,
                                      "no memory to lock %" PRIu64 " bytes (%.1f MiB)", size,
                                      MIB(size));
    }
    uint64_t kib = (size + 1023) / 1024;
    return aegis_error_set_native(
        err, AEGIS_HERE("device.host"), AEGIS_ERROR_PERMISSION, code,
        "locking %" PRIu64 " bytes in memory is refused (errno %d, limit %" PRIu64
        " bytes): raise it (ulimit -l %" PRIu64 "; '* - memlock %" PRIu64
        "' in /etc/security/limits.conf), or setcap cap_ipc_lock+ep on the program, or "
        "lock_memory = false",
        size, code, (uint64_t)limit.rlim_cur, kib, kib);
}

/* Touched by writing: reading would map the shared page of zeroes. Older kernels do not know the
 * advice; then each page is written here. */
static aegis_status touch(void *base, uint64_t size, aegis_error *err)
{
    if (madvise(base, size, MADV_POPULATE_WRITE) == 0) {
        return AEGIS_OK;
    }
    int code = errno;
    if (code != EINVAL && code != ENOSYS) {
        return aegis_error_set_native(err, AEGIS_HERE("device.host"), AEGIS_ERROR_NO_MEMORY, code,
                                      "touching %" PRIu64
                                      " bytes (%.1f MiB) failed with errno %d: reduce arena_bytes",
                                      size, MIB(size), code);
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (uint64_t at = 0; at < size; at += page) {
        ((volatile char *)base)[at] = 0;
    }
    return AEGIS_OK;
}

/* Aligned to what a huge page needs: what was mapped too much is given back at both ends. */
static void *map_aligned(size_t size, size_t alignment)
{
    char *base =
        mmap(NULL, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return NULL;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t head = (alignment - (size_t)((uintptr_t)base % alignment)) % alignment;
    size_t kept = (size + page - 1) / page * page;
    if (head > 0) {
        munmap(base, head);
    }
    munmap(base + head + kept, size + alignment - head - kept);
    return base + head;
}

aegis_status
aegis_host_map(const aegis_device_config *config, uint64_t size, void **ret_base, aegis_error *err)
{
    void *base = size <= SIZE_MAX - HUGE_PAGE ? map_aligned((size_t)size, HUGE_PAGE) : NULL;
    if (base == NULL) {
        int code = errno;
        return aegis_error_set_native(err, AEGIS_HERE("device.host"), AEGIS_ERROR_NO_MEMORY, code,
                                      "mapping %" PRIu64
                                      " bytes (%.1f MiB) failed with errno %d: reduce arena_bytes, "
                                      "or raise ulimit -v or vm.overcommit limits",
                                      size, MIB(size), code);
    }
    /* Advice may be refused where huge pages are off; `doctor` tells. */
    madvise(base, (size_t)size, config->huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    aegis_status status = touch(base, size, err);
    if (status == AEGIS_OK && config->lock_memory) {
        status = lock(base, size, err);
    }
    if (status != AEGIS_OK) {
        munmap(base, (size_t)size);
        return status;
    }
    *ret_base = base;
    return AEGIS_OK;
}

void aegis_host_unmap(void *base, uint64_t size_bytes)
{
    if (base != NULL) {
        munmap(base, (size_t)size_bytes);
    }
}

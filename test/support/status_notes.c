/* SPDX-License-Identifier: Apache-2.0 */
#include "status_notes_generated.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define STATUS_COUNT (AEGIS_ERROR_INTERNAL + 1)

_Static_assert(STATUS_COUNT <= 64, "one bit a status");

static const char *const functions[] = {TEST_NOTED_FUNCTIONS};
/* One word a function, shared with children of the test. */
static _Atomic uint64_t *seen;
static pid_t test_process;

aegis_status test_note_status(unsigned function, aegis_status status)
{
    if (seen != NULL && status >= 0 && status < STATUS_COUNT) {
        atomic_fetch_or_explicit(&seen[function], UINT64_C(1) << status, memory_order_relaxed);
    }
    return status;
}

static void write_notes(FILE *file)
{
    for (size_t i = 0; i < TEST_NOTE_COUNT; i++) {
        const uint64_t bits = atomic_load(&seen[i]);
        for (int s = 0; s < STATUS_COUNT; s++) {
            if ((bits >> s & 1) != 0) {
                fprintf(file, "%s %s\n", functions[i], aegis_status_name((aegis_status)s));
            }
        }
    }
}

/* False where no test runs: without CTest's environment. */
static bool path_of(char path[PATH_MAX], const char *end)
{
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    return folder != NULL && snprintf(path, PATH_MAX, "%s/statuses/%s.%s", folder,
                                      program_invocation_short_name, end) < PATH_MAX;
}

/* Whole or not at all, and by the test itself, not by a child that ends in the same way. */
static void leave_notes(int result, void *unused)
{
    char path[PATH_MAX], part[PATH_MAX];
    (void)unused;
    if (result != 0 || getpid() != test_process || !path_of(path, "txt") ||
        !path_of(part, "part")) {
        return;
    }
    FILE *file = fopen(part, "w");
    if (file == NULL) {
        return;
    }
    write_notes(file);
    if (fclose(file) != 0 || rename(part, path) != 0) {
        remove(part);
    }
}

void test_keep_notes(void)
{
    leave_notes(0, NULL);
}

__attribute__((constructor)) static void begin_notes(void)
{
    void *shared = mmap(NULL, TEST_NOTE_COUNT * sizeof *seen, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char old[PATH_MAX];
    if (shared != MAP_FAILED && on_exit(leave_notes, NULL) == 0) {
        seen = shared;
        test_process = getpid();
    }
    if (path_of(old, "txt")) {
        remove(old);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_DEVICE_CONFORMANCE_H
#define AEGIS_TEST_DEVICE_CONFORMANCE_H

/* What every device must do, one code for all of them. Needs no test framework, so that it also
 * builds on a GPU machine that has nothing but a compiler and CUDA. Prints a line a case. */

#include <aegisrt/device.h>

#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>

/* Where the devices under test come from. */
typedef struct conformance_target {
    const char *name;
    aegis_status (*create)(void *self,
                           uint64_t arena_bytes,
                           const aegis_allocator *allocator,
                           aegis_device **ret_device,
                           aegis_error *err);
    void *self;
    /* Work runs on the caller's thread, and only while it waits for it. */
    bool manual;
    /* What `create` asks for beside the arena; 0: the device has no pinned memory. */
    uint64_t pinned_bytes;
} conformance_target;

/* Runs every case and returns how many failed. */
int conformance_run(const conformance_target *target, FILE *out);

/* ---- for the cases ---- */

#define CONFORMANCE_ARENA_BYTES (UINT64_C(16) << 20)

/* Counts, and fails the n-th allocation when fail_at > 0. Any thread. */
typedef struct conformance_heap {
    _Atomic long live_blocks, live_bytes, calls;
    long fail_at;
} conformance_heap;
aegis_allocator conformance_allocator(conformance_heap *heap);

typedef struct conformance_case {
    const conformance_target *target;
    aegis_device *device; /* one for each case */
    conformance_heap heap;
    FILE *out;
    int failures;
} conformance_case;

bool conformance_check(conformance_case *test, bool good, const char *text, int line);
/* A failure is counted and the case goes on. */
#define CHECK(test, condition) conformance_check((test), (condition), #condition, __LINE__)
/* A failure ends the case: what follows would have nothing to work on. */
#define REQUIRE(test, condition)           \
    do {                                   \
        if (!CHECK((test), (condition))) { \
            return;                        \
        }                                  \
    } while (0)

typedef struct conformance_entry {
    const char *name;
    void (*run)(conformance_case *test);
} conformance_entry;

extern const conformance_entry conformance_memory_cases[];
extern const conformance_entry conformance_stream_cases[];
extern const conformance_entry conformance_event_cases[];
extern const conformance_entry conformance_overlap_cases[];

/* Keeps a stream's thread inside a call until it is opened (10 s at most). A manual device needs
 * none: it runs nothing by itself. */
typedef struct conformance_gate {
    sem_t entered, open;
    bool used;
} conformance_gate;
bool conformance_hold(conformance_case *test, conformance_gate *gate, aegis_stream *stream);
void conformance_let_go(conformance_gate *gate);

/* A stream with the default configuration and this depth, or NULL with a failure counted. */
aegis_stream *conformance_stream(conformance_case *test, size_t depth);

#endif

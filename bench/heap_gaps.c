/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the heap calls of each thread of a program, and the longest time that each went without
 * one: a thread that takes nothing during a run of two minutes went two minutes without.
 *
 *     LD_PRELOAD=libbench_heap_gaps.so HEAP_GAPS=FILE PROGRAM...
 *
 * FILE gets one line of JSON a thread when the program exits: name, calls, the longest gap between
 * two calls, with the instants (CLOCK_MONOTONIC) of its ends, and the last calls that came after a
 * tenth of a second without one, each with the callers that led to it (library and offset,
 * innermost first). It stands in the way of malloc, calloc, realloc, aligned_alloc, posix_memalign,
 * memalign and free of all libraries, those opened later and the GPU's driver included. mmap is not
 * counted.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST_THREADS 512
#define QUIET_NS UINT64_C(100000000)
#define BREAKS 16
#define FRAMES 24

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

typedef struct quiet_break {
    uint64_t at_ns;
    int frame_count;
    void *frames[FRAMES];
} quiet_break;

typedef struct thread_calls {
    char name[16];
    uint64_t calls, last_ns, gap_ns, gap_from_ns, break_count;
    bool looks; /* at its callers, which may take memory itself */
    quiet_break breaks[BREAKS];
} thread_calls;

static thread_calls threads[MOST_THREADS];
static atomic_uint thread_count;
static __thread thread_calls *mine __attribute__((tls_model("initial-exec")));

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void keep_callers(thread_calls *self, uint64_t now)
{
    quiet_break *one = &self->breaks[self->break_count++ % BREAKS];
    self->looks = true;
    one->at_ns = now;
    one->frame_count = backtrace(one->frames, FRAMES);
    self->looks = false;
}

static void count(void)
{
    uint64_t now = now_ns();
    thread_calls *self = mine;
    if (self == NULL) {
        unsigned index = atomic_fetch_add(&thread_count, 1);
        self = mine = &threads[index < MOST_THREADS ? index : MOST_THREADS - 1];
        self->last_ns = now;
    }
    if (self->looks) {
        return;
    }
    if (now - self->last_ns > QUIET_NS) {
        keep_callers(self, now);
    }
    /* Again and again: threads get their names after their first calls. */
    if (self->calls++ % 64 == 0) {
        pthread_getname_np(pthread_self(), self->name, sizeof self->name);
    }
    if (now - self->last_ns > self->gap_ns) {
        self->gap_ns = now - self->last_ns;
        self->gap_from_ns = self->last_ns;
        pthread_getname_np(pthread_self(), self->name, sizeof self->name);
    }
    self->last_ns = now;
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *pointer, size_t size)
{
    count();
    return __libc_realloc(pointer, size);
}

void *memalign(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    count();
    *ret = __libc_memalign(alignment, size);
    return *ret != NULL ? 0 : ENOMEM;
}

void free(void *pointer)
{
    if (pointer != NULL) {
        count();
    }
    __libc_free(pointer);
}

static void print_break(FILE *file, const quiet_break *one)
{
    fprintf(file, "{\"at_s\": %.6f, \"callers\": [", (double)one->at_ns / 1e9);
    Dl_info own = {0};
    const char *comma = "";
    (void)dladdr((void *)(uintptr_t)print_break, &own);
    for (int i = 0; i < one->frame_count; i++) {
        Dl_info info = {0};
        const char *name = "?", *symbol = "";
        if (dladdr(one->frames[i], &info) != 0 && info.dli_fname != NULL) {
            const char *slash = strrchr(info.dli_fname, '/');
            name = slash != NULL ? slash + 1 : info.dli_fname;
            symbol = info.dli_sname != NULL ? info.dli_sname : "";
        }
        if (info.dli_fbase != NULL && info.dli_fbase == own.dli_fbase) {
            continue;
        }
        fprintf(file, "%s\"%s+0x%" PRIxPTR "%s%s\"", comma, name,
                (uintptr_t)one->frames[i] - (uintptr_t)info.dli_fbase, symbol[0] != 0 ? " " : "",
                symbol);
        comma = ", ";
    }
    fprintf(file, "]}");
}

static void print_breaks(FILE *file, const thread_calls *thread)
{
    const uint64_t count = thread->break_count < BREAKS ? thread->break_count : BREAKS;
    for (uint64_t i = 0; i < count; i++) {
        fprintf(file, "%s", i > 0 ? ", " : "");
        print_break(file, &thread->breaks[(thread->break_count - count + i) % BREAKS]);
    }
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("HEAP_GAPS");
    FILE *file = path != NULL ? fopen(path, "ae") : NULL;
    unsigned known = atomic_load(&thread_count);
    if (file == NULL) {
        return;
    }
    for (unsigned i = 0; i < known && i < MOST_THREADS; i++) {
        fprintf(file,
                "{\"thread\": \"%s\", \"calls\": %" PRIu64 ", \"longest_gap_s\": %.3f, "
                "\"from_s\": %.3f, \"to_s\": %.3f, \"after_quiet\": %" PRIu64
                ", \"last_of_these\": [",
                threads[i].name, threads[i].calls, (double)threads[i].gap_ns / 1e9,
                (double)threads[i].gap_from_ns / 1e9,
                (double)(threads[i].gap_from_ns + threads[i].gap_ns) / 1e9, threads[i].break_count);
        print_breaks(file, &threads[i]);
        fprintf(file, "]}\n");
    }
    fclose(file);
}

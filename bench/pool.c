/* SPDX-License-Identifier: Apache-2.0 */
/* The pool beside glibc's malloc and, where libmimalloc.so.2 is installed, mimalloc: one sequence
 * of allocations and frees for all three, round after round in turn, so that what else the machine
 * does meets them alike. `NAME_operation` has the mean of each round (no clock inside the loop),
 * and `NAME_single` single operations with one reading of the clock in each (`clock` is its price).
 *
 *   bench_pool                     prints the report
 *   bench_pool --operations N      only runs the pool, N operations, for counting instructions
 */
#include "bench/bench.h"

#include "base/base.h"

#include <aegisrt/pool.h>

#include <dlfcn.h>
#include <malloc.h>

#define OPERATIONS 200000u
#define ROUNDS 15u
#define SLOTS 512u
#define SINGLES 100000u
#define POOL_BYTES (UINT64_C(64) << 20)
#define LARGEST_BYTES (UINT64_C(64) << 10)

/* Frees what the slot holds and fills it with a block of `size`: two operations of the allocator.
 */
typedef struct operation {
    uint32_t slot, size;
} operation;

typedef struct contestant {
    const char *name;
    void *(*take)(void *self, size_t size);
    void (*give)(void *self, void *block);
    void *self;
    double means[ROUNDS], singles[SINGLES];
} contestant;

static void *take_pool(void *self, size_t size)
{
    void *block = NULL;
    aegis_pool *pool = self;
    if (aegis_pool_allocate(pool, size, 0, &block, NULL) != AEGIS_OK) {
        abort();
    }
    return block;
}

static void give_pool(void *self, void *block)
{
    aegis_pool *pool = self;
    if (aegis_pool_free(pool, block, NULL) != AEGIS_OK) {
        abort();
    }
}

static void *take_glibc(void *self, size_t size)
{
    (void)self;
    return malloc(size);
}

static void give_glibc(void *self, void *block)
{
    (void)self;
    free(block);
}

typedef struct peer {
    void *(*take)(size_t size);
    void (*give)(void *block);
} peer;

static void *take_peer(void *self, size_t size)
{
    const peer *p = self;
    return p->take(size);
}

static void give_peer(void *self, void *block)
{
    const peer *p = self;
    p->give(block);
}

/* Sizes are spread evenly over the powers of two, as those of tensors are. */
static operation *make_operations(void)
{
    operation *list = calloc(OPERATIONS, sizeof *list);
    uint64_t seed = 7;
    for (size_t i = 0; list != NULL && i < OPERATIONS; i++) {
        uint64_t r = aegis_random_next(&seed);
        uint64_t size = (LARGEST_BYTES >> (r % 11)) - ((r >> 16) % (LARGEST_BYTES >> (r % 11)) / 2);
        list[i] = (operation){(uint32_t)(r >> 40) % SLOTS, (uint32_t)size};
    }
    if (list == NULL) {
        exit(1);
    }
    return list;
}

static void apply(const contestant *c, void **slot, uint32_t size)
{
    c->give(c->self, *slot);
    *slot = c->take(c->self, size);
    bench_keep(*slot);
}

static void run(const contestant *c, const operation *list, size_t count, void **slots)
{
    for (size_t i = 0; i < count; i++) {
        apply(c, &slots[list[i].slot], list[i].size);
    }
}

static void fill(const contestant *c, const operation *list, void **slots)
{
    for (size_t i = 0; i < SLOTS; i++) {
        slots[i] = c->take(c->self, list[i].size);
    }
    run(c, list, OPERATIONS / 4, slots);
}

static void empty(const contestant *c, void **slots)
{
    for (size_t i = 0; i < SLOTS; i++) {
        c->give(c->self, slots[i]);
    }
}

static void measure_round(contestant *c, const operation *list, size_t round)
{
    void *slots[SLOTS];
    fill(c, list, slots);
    uint64_t start = bench_now_ns();
    run(c, list, OPERATIONS, slots);
    c->means[round] = (double)(bench_now_ns() - start) / (2.0 * OPERATIONS);
    empty(c, slots);
}

static void measure_singles(contestant *c, const operation *list)
{
    void *slots[SLOTS];
    fill(c, list, slots);
    for (size_t i = 0; i < SINGLES; i++) {
        uint64_t start = bench_now_ns();
        apply(c, &slots[list[i].slot], list[i].size);
        c->singles[i] = (double)(bench_now_ns() - start) / 2;
    }
    empty(c, slots);
}

static void measure_clock(bench_report *report)
{
    static double samples[SINGLES];
    for (size_t i = 0; i < SINGLES; i++) {
        uint64_t start = bench_now_ns();
        bench_keep(&start);
        samples[i] = (double)(bench_now_ns() - start);
    }
    bench_report_samples(report, "clock", "ns", samples, SINGLES);
}

static aegis_pool *make_pool(void)
{
    aegis_allocator allocator = aegis_allocator_default();
    /* An address that nobody may touch: the pool does not. */
    const aegis_pool_config config = {.base = (void *)(uintptr_t)0x100000000000, /* NOLINT */
                                      .size_bytes = POOL_BYTES};
    aegis_pool *pool = NULL;
    aegis_error err;
    if (aegis_pool_create(&config, &allocator, &pool, &err) != AEGIS_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    return pool;
}

static void report_all(contestant *all, size_t count, const operation *list)
{
    bench_report report = bench_report_begin("pool");
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < count; i++) {
            measure_round(&all[i], list, round);
        }
    }
    for (size_t i = 0; i < count; i++) {
        measure_singles(&all[i], list);
    }
    measure_clock(&report);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_operation", all[i].name);
        bench_report_samples(&report, name, "ns", all[i].means, ROUNDS);
        snprintf(name, sizeof name, "%s_single", all[i].name);
        bench_report_samples(&report, name, "ns", all[i].singles, SINGLES);
    }
    aegis_pool_counters counters;
    aegis_pool_read(all[0].self, &counters);
    bench_report_value(&report, "pool_slow_operations", "operations", (double)counters.slow);
    bench_report_value(&report, "pool_reclaims", "times", (double)counters.reclaims);
    bench_report_end(&report);
}

static void run_pool_only(const contestant *c, const operation *list, uint64_t operations)
{
    void *slots[SLOTS];
    fill(c, list, slots);
    for (uint64_t done = 0; done < operations; done += OPERATIONS) {
        uint64_t rest = operations - done;
        run(c, list, rest < OPERATIONS ? (size_t)rest : OPERATIONS, slots);
    }
}

int main(int argc, char **argv)
{
    static contestant all[3];
    static peer mimalloc;
    size_t count = 0;
    operation *list = make_operations();
    aegis_pool *pool = make_pool();
    all[count++] = (contestant){.name = "pool", .take = take_pool, .give = give_pool, .self = pool};
    if (argc == 3 && strcmp(argv[1], "--operations") == 0) {
        run_pool_only(&all[0], list, strtoull(argv[2], NULL, 10) / 2);
    } else {
        /* glibc would map blocks above 128 KiB: none here, and nothing is given back meanwhile. */
        mallopt(M_TRIM_THRESHOLD, 1 << 30);
        all[count++] = (contestant){.name = "glibc", .take = take_glibc, .give = give_glibc};
        void *library = dlopen("libmimalloc.so.2", RTLD_NOW | RTLD_LOCAL);
        if (library != NULL) {
            *(void **)&mimalloc.take = dlsym(library, "mi_malloc");
            *(void **)&mimalloc.give = dlsym(library, "mi_free");
        }
        if (mimalloc.take != NULL && mimalloc.give != NULL) {
            all[count++] = (contestant){
                .name = "mimalloc", .take = take_peer, .give = give_peer, .self = &mimalloc};
        }
        report_all(all, count, list);
    }
    aegis_pool_destroy(pool);
    free(list);
    return 0;
}

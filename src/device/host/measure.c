/* SPDX-License-Identifier: Apache-2.0 */
#include "device/host/measure.h"

#include "base/base.h"

#include <aegisrt/clock.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define RUNS 5
#define SMALLEST_TRIAD_BYTES (UINT64_C(64) << 20)
#define LARGEST_TRIAD_BYTES (UINT64_C(1) << 30)
#define FLOP_RUN_NS (10 * AEGIS_NS_PER_MS)
#define ACCUMULATORS 12
#define CHAIN_ROUNDS 2000

typedef float lanes4 __attribute__((vector_size(16)));
typedef float lanes8 __attribute__((vector_size(32)));
typedef float lanes16 __attribute__((vector_size(64)));

/* One round is ACCUMULATORS independent chains, enough to hide the latency of two units. The values
 * stay near 1 and the sum leaves the function, so nothing can be left out. */
#define DEFINE_CHAINS(name, type, lanes, attributes)                                    \
    attributes static float name(float seed)                                            \
    {                                                                                   \
        type sum[ACCUMULATORS], factor = (type){0} + 0.999f, addend = (type){0} + seed; \
        for (int i = 0; i < ACCUMULATORS; i++) {                                        \
            sum[i] = addend + (float)i;                                                 \
        }                                                                               \
        for (int round = 0; round < CHAIN_ROUNDS; round++) {                            \
            for (int i = 0; i < ACCUMULATORS; i++) {                                    \
                sum[i] = sum[i] * factor + addend;                                      \
            }                                                                           \
        }                                                                               \
        float total = 0;                                                                \
        for (int i = 0; i < ACCUMULATORS; i++) {                                        \
            for (int lane = 0; lane < (lanes); lane++) {                                \
                total += sum[i][lane];                                                  \
            }                                                                           \
        }                                                                               \
        return total;                                                                   \
    }

DEFINE_CHAINS(chains_base, lanes4, 4, )
#if defined(__x86_64__)
DEFINE_CHAINS(chains_fma, lanes8, 8, __attribute__((target("avx2,fma"))))
DEFINE_CHAINS(chains_wide, lanes16, 16, __attribute__((target("avx512f,avx512vl,fma"))))
#endif

typedef struct chains {
    float (*run)(float seed);
    uint64_t flops; /* of one call */
} chains;

static chains choose_chains(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        return (chains){chains_wide, UINT64_C(2) * 16 * ACCUMULATORS * CHAIN_ROUNDS};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return (chains){chains_fma, UINT64_C(2) * 8 * ACCUMULATORS * CHAIN_ROUNDS};
    }
#endif
    return (chains){chains_base, UINT64_C(2) * 4 * ACCUMULATORS * CHAIN_ROUNDS};
}

typedef struct team team;

typedef struct member {
    team *team;
    pthread_t thread;
    float *a, *b, *c; /* this member's parts of the triad's arrays */
    size_t length;
    uint64_t started_ns[RUNS], ended_ns[RUNS], flops[RUNS];
    volatile float sink;
} member;

struct team {
    pthread_barrier_t barrier;
    pthread_mutex_t gate; /* held by the founder until the whole team exists */
    bool dissolved;
    int size;
    member *members;
    void (*work)(member *self, int run);
};

static void triad(member *self, int run)
{
    (void)run;
    float scale = 1.5f;
    float *restrict a = self->a;
    const float *restrict b = self->b, *restrict c = self->c;
    for (size_t i = 0; i < self->length; i++) {
        a[i] = b[i] + scale * c[i];
    }
    self->sink = a[self->length / 2];
}

static void multiply_add(member *self, int run)
{
    aegis_clock clock = aegis_clock_monotonic();
    chains chosen = choose_chains();
    uint64_t end = aegis_clock_now_ns(&clock) + FLOP_RUN_NS, count = 0;
    do {
        for (int i = 0; i < 16; i++) {
            self->sink = chosen.run(0.001f);
            count++;
        }
    } while (aegis_clock_now_ns(&clock) < end);
    self->flops[run] = count * chosen.flops;
}

static void *member_main(void *argument)
{
    member *self = argument;
    team *all = self->team;
    aegis_clock clock = aegis_clock_monotonic();
    pthread_mutex_lock(&all->gate);
    bool dissolved = all->dissolved;
    pthread_mutex_unlock(&all->gate);
    if (dissolved) {
        return NULL;
    }
    for (size_t i = 0; i < self->length; i++) { /* first touch on the thread that will use it */
        self->a[i] = 0.0f;
        self->b[i] = 1.0f;
        self->c[i] = 2.0f;
    }
    for (int run = 0; run < RUNS; run++) {
        pthread_barrier_wait(&all->barrier);
        self->started_ns[run] = aegis_clock_now_ns(&clock);
        all->work(self, run);
        self->ended_ns[run] = aegis_clock_now_ns(&clock);
    }
    return NULL;
}

/* False when the threads cannot be had. */
static bool run_team(team *all)
{
    int started = 0;
    pthread_barrier_init(&all->barrier, NULL, (unsigned)all->size);
    pthread_mutex_init(&all->gate, NULL);
    pthread_mutex_lock(&all->gate);
    while (started < all->size && pthread_create(&all->members[started].thread, NULL, member_main,
                                                 &all->members[started]) == 0) {
        started++;
    }
    all->dissolved = started < all->size;
    pthread_mutex_unlock(&all->gate);
    for (int i = 0; i < started; i++) {
        pthread_join(all->members[i].thread, NULL);
    }
    pthread_mutex_destroy(&all->gate);
    pthread_barrier_destroy(&all->barrier);
    return !all->dissolved;
}

static uint64_t duration_of(const team *all, int run)
{
    uint64_t first = UINT64_MAX, last = 0;
    for (int i = 0; i < all->size; i++) {
        const member *one = &all->members[i];
        first = one->started_ns[run] < first ? one->started_ns[run] : first;
        last = one->ended_ns[run] > last ? one->ended_ns[run] : last;
    }
    return last > first ? last - first : 1;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static uint64_t median(double *rates)
{
    qsort(rates, RUNS, sizeof *rates, compare);
    return (uint64_t)rates[RUNS / 2];
}

static uint64_t measure_flops(team *all)
{
    double rates[RUNS];
    all->work = multiply_add;
    if (!run_team(all)) {
        return 0;
    }
    for (int run = 0; run < RUNS; run++) {
        uint64_t flops = 0;
        for (int i = 0; i < all->size; i++) {
            flops += all->members[i].flops[run];
        }
        rates[run] = (double)flops * 1e9 / (double)duration_of(all, run);
    }
    return median(rates);
}

/* 0 when half of the available memory does not hold arrays that leave the caches. */
static uint64_t triad_bytes(const aegis_host_facts *facts)
{
    uint64_t bytes = 4 * facts->cache_bytes;
    bytes = bytes < SMALLEST_TRIAD_BYTES ? SMALLEST_TRIAD_BYTES : bytes;
    return bytes > LARGEST_TRIAD_BYTES || bytes > facts->available_bytes / 2 ? 0 : bytes;
}

static uint64_t measure_bandwidth(team *all, uint64_t bytes)
{
    double rates[RUNS];
    size_t length = (size_t)bytes / (3 * sizeof(float) * (size_t)all->size);
    size_t mapped = 3 * sizeof(float) * length * (size_t)all->size;
    if (bytes == 0) {
        return 0;
    }
    float *memory = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return 0;
    }
    for (int i = 0; i < all->size; i++) {
        member *one = &all->members[i];
        one->length = length;
        one->a = memory + 3 * length * (size_t)i;
        one->b = one->a + length;
        one->c = one->b + length;
    }
    all->work = triad;
    bool ran = run_team(all);
    munmap(memory, mapped);
    for (int run = 0; ran && run < RUNS; run++) {
        rates[run] = (double)mapped * 1e9 / (double)duration_of(all, run);
    }
    return ran ? median(rates) : 0;
}

void aegis_host_measure(aegis_host_facts *facts)
{
    team all = {.size = facts->usable_cpus};
    all.members = calloc((size_t)all.size, sizeof *all.members);
    if (all.members == NULL) {
        return;
    }
    for (int i = 0; i < all.size; i++) {
        all.members[i].team = &all;
    }
    facts->capabilities.measured_flops = measure_flops(&all);
    facts->capabilities.measured_bandwidth_bytes_per_second =
        measure_bandwidth(&all, triad_bytes(facts));
    free(all.members);
}

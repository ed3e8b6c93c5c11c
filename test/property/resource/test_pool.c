/* SPDX-License-Identifier: Apache-2.0 */

/* The pool against a model of one byte a granule, and under threads that check each other's
 * blocks. */

#include <aegisrt/pool.h>

#include "base/base.h"
#include "property/resource/scale.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BASE ((char *)(uintptr_t)0x200000000000)
#define GRANULE UINT64_C(64)
#define GRANULES 700u
#define BLOCKS 200u

typedef struct model {
    aegis_pool *pool;
    uint8_t out[GRANULES]; /* with a caller */
    uint64_t at[BLOCKS], granules[BLOCKS];
    size_t blocks;
} model;

static uint64_t longest_free(const model *m)
{
    uint64_t longest = 0, run = 0;
    for (size_t i = 0; i < GRANULES; i++) {
        run = m->out[i] ? 0 : run + 1;
        longest = run > longest ? run : longest;
    }
    return longest;
}

/* The size class as the header words it, not as the pool computes it. */
static uint64_t class_of(uint64_t granules)
{
    uint64_t step = 1;
    while (granules > 16 * step) {
        step *= 2;
    }
    return (granules + step - 1) / step * step;
}

static void allocate(model *m, uint64_t *seed)
{
    uint64_t r = aegis_random_next(seed), alignment = 0;
    uint64_t size = 1 + (r >> 8) % (GRANULE * (r % 8 == 0 ? 300 : 12));
    if (r >> 60 == 0) {
        alignment = UINT64_C(1) << (r >> 32) % 12;
    }
    void *block = NULL;
    aegis_status status = aegis_pool_allocate(m->pool, size, alignment, &block, NULL);
    uint64_t granules = class_of((size + GRANULE - 1) / GRANULE);
    if (status != AEGIS_OK) {
        assert_int_equal(status, AEGIS_ERROR_BUDGET_EXCEEDED);
        uint64_t extra = alignment > GRANULE ? alignment / GRANULE - 1 : 0;
        assert_true(longest_free(m) < class_of(granules + extra));
        return;
    }
    uint64_t offset = (uint64_t)((char *)block - BASE), first = offset / GRANULE;
    assert_int_equal(offset % (alignment > GRANULE ? alignment : GRANULE), 0);
    assert_true(first + granules <= GRANULES);
    for (uint64_t i = first; i < first + granules; i++) {
        assert_int_equal(m->out[i], 0);
        m->out[i] = 1;
    }
    m->at[m->blocks] = first;
    m->granules[m->blocks++] = granules;
}

static void release(model *m, uint64_t *seed)
{
    size_t k = (size_t)(aegis_random_next(seed) % m->blocks);
    assert_int_equal(aegis_pool_free(m->pool, BASE + m->at[k] * GRANULE, NULL), AEGIS_OK);
    assert_int_equal(aegis_pool_free(m->pool, BASE + m->at[k] * GRANULE, NULL), AEGIS_ERROR_STATE);
    memset(m->out + m->at[k], 0, m->granules[k]);
    m->blocks--;
    m->at[k] = m->at[m->blocks];
    m->granules[k] = m->granules[m->blocks];
}

static void pool_agrees_with_the_model(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    uint64_t rounds = 60 * property_scale();
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t seed = PROPERTY_SEED + round;
        property_at(seed);
        model m = {0};
        const aegis_pool_config config = {.base = BASE,
                                          .size_bytes = GRANULE * GRANULES + round % 64,
                                          .cached_blocks = (uint32_t)(round % 5)};
        assert_int_equal(aegis_pool_create(&config, &allocator, &m.pool, NULL), AEGIS_OK);
        for (int step = 0; step < 3000; step++) {
            uint64_t grow = aegis_random_next(&seed) % 100 < (step / 500 % 2 == 0 ? 65u : 35u);
            if (m.blocks < BLOCKS && (m.blocks == 0 || grow)) {
                allocate(&m, &seed);
            } else {
                release(&m, &seed);
            }
        }
        uint64_t used = 0;
        for (size_t i = 0; i < m.blocks; i++) {
            used += m.granules[i] * GRANULE;
        }
        aegis_pool_counters c;
        aegis_pool_read(m.pool, &c);
        assert_int_equal(c.used_bytes, used);
        assert_true(c.peak_bytes <= c.size_bytes && c.used_bytes + c.cached_bytes <= c.peak_bytes);
        while (m.blocks > 0) {
            release(&m, &seed);
        }
        void *whole; /* 640 is the largest class within 700 granules */
        assert_int_equal(aegis_pool_allocate(m.pool, 640 * GRANULE, 0, &whole, NULL), AEGIS_OK);
        aegis_pool_destroy(m.pool);
    }
    property_done();
}

/* ---- threads ---- */

#define THREADS 4
#define STEPS 20000
#define HELD 24

typedef struct bed {
    aegis_pool *pool;
    _Atomic uint32_t *owner; /* of each granule; 0: nobody */
    _Atomic uint64_t wrong, taken, twice;
    _Atomic uintptr_t shared; /* a block that two threads try to free at once */
} bed;

typedef struct worker {
    bed *b;
    uint32_t number;
    pthread_t thread;
} worker;

static void claim(bed *b, const char *block, uint32_t from, uint32_t to)
{
    uint64_t first = (uint64_t)(block - BASE) / GRANULE;
    uint64_t granules = aegis_pool_block_bytes(b->pool, block) / GRANULE;
    b->wrong += granules == 0;
    for (uint64_t i = first; i < first + granules; i++) {
        b->wrong += atomic_exchange(&b->owner[i], to) != from;
    }
}

static void *work(void *argument)
{
    worker *w = argument;
    bed *b = w->b;
    char *held[HELD];
    size_t count = 0;
    uint64_t seed = w->number;
    for (int step = 0; step < STEPS; step++) {
        uint64_t r = aegis_random_next(&seed);
        void *block;
        if (count < HELD && (count == 0 || r % 2 == 0) &&
            aegis_pool_allocate(b->pool, 1 + (r >> 8) % (r % 16 == 0 ? 9000 : 600), 0, &block,
                                NULL) == AEGIS_OK) {
            b->taken++;
            claim(b, block, 0, w->number);
            held[count++] = block;
        } else if (count > 0) {
            size_t k = (size_t)(r >> 8) % count;
            claim(b, held[k], w->number, 0);
            b->wrong += aegis_pool_free(b->pool, held[k], NULL) != AEGIS_OK;
            held[k] = held[--count];
        }
    }
    while (count > 0) {
        claim(b, held[--count], w->number, 0);
        b->wrong += aegis_pool_free(b->pool, held[count], NULL) != AEGIS_OK;
    }
    return NULL;
}

static void *free_shared(void *argument)
{
    bed *b = argument;
    aegis_status status =
        aegis_pool_free(b->pool, (void *)atomic_load(&b->shared), NULL); /* NOLINT */
    b->twice += status == AEGIS_ERROR_STATE;
    b->wrong += status != AEGIS_OK && status != AEGIS_ERROR_STATE;
    return NULL;
}

static bed make_bed(uint32_t granules)
{
    aegis_allocator allocator = aegis_allocator_default();
    const aegis_pool_config config = {.base = BASE, .size_bytes = GRANULE * granules};
    bed b = {.owner = test_calloc(granules, sizeof *b.owner)};
    assert_non_null(b.owner);
    assert_int_equal(aegis_pool_create(&config, &allocator, &b.pool, NULL), AEGIS_OK);
    return b;
}

static void threads_never_hold_the_same_bytes(void **state)
{
    (void)state;
    /* Small enough that the pool is often exhausted and the stacks are emptied under way. */
    bed b = make_bed(512);
    worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){.b = &b, .number = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    assert_int_equal(b.wrong, 0);
    assert_true(b.taken > THREADS * STEPS / 8);
    aegis_pool_counters c;
    aegis_pool_read(b.pool, &c);
    assert_int_equal(c.used_bytes, 0);
    assert_true(c.reclaims > 0);
    void *whole;
    assert_int_equal(aegis_pool_allocate(b.pool, GRANULE * 512, 0, &whole, NULL), AEGIS_OK);
    aegis_pool_destroy(b.pool);
    test_free((void *)b.owner);
}

static void of_two_frees_at_once_one_is_refused(void **state)
{
    (void)state;
    bed b = make_bed(4096);
    const uint64_t rounds = 300;
    for (uint64_t round = 0; round < rounds; round++) {
        void *block;
        assert_int_equal(aegis_pool_allocate(b.pool, round % 2 ? 100 : 60000, 0, &block, NULL),
                         AEGIS_OK);
        b.shared = (uintptr_t)block;
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, free_shared, &b), 0);
        }
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
        }
    }
    assert_int_equal(b.wrong, 0);
    assert_int_equal(b.twice, rounds);
    aegis_pool_destroy(b.pool);
    test_free((void *)b.owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_agrees_with_the_model),
        cmocka_unit_test(threads_never_hold_the_same_bytes),
        cmocka_unit_test(of_two_frees_at_once_one_is_refused),
    };
    return cmocka_run_group_tests(tests, property_start, property_end);
}

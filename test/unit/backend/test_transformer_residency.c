/* SPDX-License-Identifier: Apache-2.0 */
/* Which layers of a model stay on a device, and the order in which segments fetch and compute: each
 * layer once and in order, a fetched one from the slot that holds it, nothing overwritten before it
 * was read, nothing on its way when a segment ends, never more memory than there is. */
#include "backend/transformer/cuda/residency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Two queues, as on a device: what is fetched and what is launched. `content` is what a slot holds
 * once all fetches so far are done; `read_in` the segment run in which it was launched upon. */
typedef struct device {
    const aegis_residency_plan *plan;
    uint32_t next_layer;
    uint32_t content[AEGIS_RESIDENCY_SLOTS], launched_in[AEGIS_RESIDENCY_SLOTS];
    bool arrives[AEGIS_RESIDENCY_SLOTS]; /* nothing on the launching side has waited for it yet */
    uint32_t run, fetches, launches;
    uint32_t fail_at; /* the call that fails; 0: none */
    uint32_t calls;
    bool begun;
} device;

static aegis_status call(device *d)
{
    return ++d->calls == d->fail_at ? AEGIS_ERROR_DEVICE : AEGIS_OK;
}

static aegis_status begin(void *self, aegis_error *err)
{
    device *d = self;
    (void)err;
    d->begun = true;
    return call(d);
}

static aegis_status fetch(void *self, uint32_t which, bool behind_launch, aegis_error *err)
{
    device *d = self;
    const uint32_t slot = which % AEGIS_RESIDENCY_SLOTS;
    (void)err;
    assert_true(d->begun && which < d->plan->streamed);
    assert_int_equal(d->launched_in[slot] == d->run, behind_launch);
    d->content[slot] = which;
    d->arrives[slot] = true;
    d->fetches++;
    return call(d);
}

static aegis_status launch(void *self, uint32_t first, uint32_t last, aegis_error *err)
{
    device *d = self;
    (void)err;
    assert_int_equal(first, d->next_layer);
    assert_true(last > first && last <= d->plan->layers);
    for (uint32_t layer = first; layer < last; layer++) {
        assert_false(aegis_residency_is_streamed(d->plan, layer));
    }
    d->next_layer = last;
    d->launches++;
    return call(d);
}

static aegis_status launch_fetched(void *self, uint32_t layer, uint32_t which, aegis_error *err)
{
    device *d = self;
    const uint32_t slot = which % AEGIS_RESIDENCY_SLOTS;
    (void)err;
    assert_int_equal(layer, d->next_layer);
    assert_true(aegis_residency_is_streamed(d->plan, layer));
    assert_int_equal(aegis_residency_layer_of(d->plan, which), layer);
    assert_int_equal(aegis_residency_streamed_before(d->plan, layer), which);
    assert_int_equal(d->content[slot], which);
    d->launched_in[slot] = d->run;
    d->arrives[slot] = false;
    d->next_layer = layer + 1;
    d->launches++;
    return call(d);
}

static aegis_status await(void *self, uint32_t which, aegis_error *err)
{
    device *d = self;
    (void)err;
    assert_int_equal(d->content[which % AEGIS_RESIDENCY_SLOTS], which);
    d->arrives[which % AEGIS_RESIDENCY_SLOTS] = false;
    return call(d);
}

static const aegis_residency_ops ops = {.begin = begin,
                                        .fetch = fetch,
                                        .launch = launch,
                                        .launch_fetched = launch_fetched,
                                        .await = await};

static device device_of(const aegis_residency_plan *plan)
{
    return (device){.plan = plan, .content = {AEGIS_RESIDENCY_NOTHING, AEGIS_RESIDENCY_NOTHING}};
}

static void run_segment(device *d, uint32_t segment, aegis_residency_slots *slots)
{
    d->run++;
    d->begun = false;
    d->next_layer = segment > 0 ? aegis_residency_end_of(d->plan, segment - 1) : 0;
    assert_int_equal(aegis_residency_run(d->plan, segment, slots, &ops, d, NULL), AEGIS_OK);
    assert_int_equal(d->next_layer, aegis_residency_end_of(d->plan, segment));
    assert_false(d->arrives[0] || d->arrives[1]);
}

/* Jobs one behind the other, one that was given up part-way among them. */
static void check_jobs(const aegis_residency_plan *plan)
{
    device d = device_of(plan);
    aegis_residency_slots slots = {{77, 78}}; /* whatever was there */
    for (int job = 0; job < 3; job++) {
        const uint32_t before = d.fetches;
        if (job == 1 && plan->segments > 1) {
            run_segment(&d, 0, &slots);
            run_segment(&d, 1, &slots);
            d.fetches = before;
        }
        for (uint32_t s = 0; s < plan->segments; s++) {
            const uint32_t at = d.fetches;
            run_segment(&d, s, &slots);
            assert_true(d.fetches - at <= plan->fetches);
            assert_true(s + 1 == plan->segments || d.fetches - at == plan->fetches);
        }
        assert_int_equal(d.fetches - before, plan->streamed);
        assert_int_equal(d.next_layer, plan->layers);
    }
}

static void check_repeated_segments(const aegis_residency_plan *plan)
{
    device d = device_of(plan);
    aegis_residency_slots slots = {{0, 0}};
    for (uint32_t s = 0; s < plan->segments; s++) {
        for (int again = 0; again < 3; again++) {
            run_segment(&d, s, &slots);
        }
    }
}

static void every_division_fetches_each_layer_once(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 4, 7, 12, 30, 36, 64, 80, 200};
    static const uint64_t sizes[] = {1000, MIB, 7 * MIB, 14 * MIB, 16 * MIB, 100 * MIB};
    static const uint32_t most[] = {1, 2, 48, 64};
    uint32_t divided = 0;
    for (size_t c = 0; c < LENGTH(counts); c++) {
        for (size_t s = 0; s < LENGTH(sizes); s++) {
            for (uint32_t room = 0; room <= counts[c]; room++) {
                for (size_t m = 0; m < LENGTH(most); m++) {
                    aegis_residency_plan plan;
                    const bool can = aegis_residency_divide(
                        counts[c], sizes[s], room * sizes[s] + sizes[s] / 2, most[m], &plan);
                    assert_int_equal(can,
                                     room * sizes[s] >= aegis_residency_least(counts[c], sizes[s]));
                    if (!can || room >= counts[c]) {
                        assert_true(!can || plan.streamed == 0);
                        continue;
                    }
                    assert_int_equal(counts[c] - plan.streamed + AEGIS_RESIDENCY_SLOTS, room);
                    assert_in_range(plan.segments, 1, most[m]);
                    check_jobs(&plan);
                    check_repeated_segments(&plan);
                    divided++;
                }
            }
        }
    }
    assert_true(divided > 1000);
}

static void segments_are_not_too_small(void **state)
{
    (void)state;
    aegis_residency_plan plan;
    assert_true(aegis_residency_divide(12, 14 * MIB, 5 * 14 * MIB, 64, &plan));
    assert_int_equal(plan.streamed, 9);
    assert_int_equal(plan.fetches, 2);
    assert_int_equal(plan.segments, 5);
    assert_true(aegis_residency_divide(12, 20 * MIB, 5 * 20 * MIB, 64, &plan));
    assert_int_equal(plan.fetches, 1);
    assert_int_equal(plan.segments, 9);
    assert_true(aegis_residency_divide(200, 20 * MIB, 2 * 20 * MIB, 64, &plan));
    assert_int_equal(plan.fetches, 4);
    assert_int_equal(plan.segments, 50);
}

static void a_failed_call_empties_the_slots(void **state)
{
    (void)state;
    aegis_residency_plan plan;
    assert_true(aegis_residency_divide(12, 14 * MIB, 4 * 14 * MIB, 64, &plan));
    for (uint32_t fail_at = 1;; fail_at++) {
        device d = device_of(&plan);
        aegis_residency_slots slots = {{0, 0}};
        run_segment(&d, 0, &slots);
        d.calls = 0;
        d.fail_at = fail_at;
        d.run++;
        const aegis_status status = aegis_residency_run(&plan, 1, &slots, &ops, &d, NULL);
        if (status == AEGIS_OK) {
            assert_true(fail_at > 5);
            return;
        }
        assert_int_equal(status, AEGIS_ERROR_DEVICE);
        assert_int_equal(slots.fetch[0], AEGIS_RESIDENCY_NOTHING);
        assert_int_equal(slots.fetch[1], AEGIS_RESIDENCY_NOTHING);
        d.fail_at = 0;
        run_segment(&d, 1, &slots); /* the same again fetches what it needs */
    }
}

/* What a segment launches, for who has nothing to copy. */
typedef struct launches {
    uint32_t count, first[200], last[200], slot[200]; /* slot: none of what stays */
} launches;

static void note(launches *of, uint32_t first, uint32_t last, uint32_t slot)
{
    assert_true(of->count < LENGTH(of->first));
    of->first[of->count] = first;
    of->last[of->count] = last;
    of->slot[of->count++] = slot;
}

static aegis_status pass_begin(void *self, aegis_error *err)
{
    (void)self;
    (void)err;
    return AEGIS_OK;
}

static aegis_status pass_fetch(void *self, uint32_t which, bool behind_launch, aegis_error *err)
{
    (void)self;
    (void)which;
    (void)behind_launch;
    (void)err;
    return AEGIS_OK;
}

static aegis_status note_launch(void *self, uint32_t first, uint32_t last, aegis_error *err)
{
    (void)err;
    note(self, first, last, AEGIS_RESIDENCY_SLOTS);
    return AEGIS_OK;
}

static aegis_status note_fetched(void *self, uint32_t layer, uint32_t which, aegis_error *err)
{
    (void)err;
    note(self, layer, layer + 1, which % AEGIS_RESIDENCY_SLOTS);
    return AEGIS_OK;
}

static aegis_status pass_await(void *self, uint32_t which, aegis_error *err)
{
    return pass_fetch(self, which, false, err);
}

static const aegis_residency_ops noting = {.begin = pass_begin,
                                           .fetch = pass_fetch,
                                           .launch = note_launch,
                                           .launch_fetched = note_fetched,
                                           .await = pass_await};

static launches launches_of(const aegis_residency_plan *plan, uint32_t segment, uint32_t held)
{
    launches of = {.count = 0};
    aegis_residency_slots slots = {{held, held}};
    assert_int_equal(aegis_residency_run(plan, segment, &slots, &noting, &of, NULL), AEGIS_OK);
    return of;
}

/* So what is captured once is what each job runs, and no launch begins with the layer of another.
 * All segments but the first have layers: what they hand on takes turns. */
static void launches_are_the_same_whatever_the_slots_hold(void **state)
{
    (void)state;
    uint32_t empty = 0;
    for (uint32_t layers = 3; layers <= 36; layers++) {
        for (uint32_t room = 2; room < layers; room++) {
            for (uint32_t most = 1; most <= 64; most *= 2) {
                aegis_residency_plan plan;
                uint32_t at = 0;
                assert_true(aegis_residency_divide(layers, 20 * MIB, room * 20 * MIB, most, &plan));
                for (uint32_t s = 0; s < plan.segments; s++) {
                    const launches of = launches_of(&plan, s, AEGIS_RESIDENCY_NOTHING);
                    for (uint32_t held = 0; held < plan.streamed; held++) {
                        const launches other = launches_of(&plan, s, held);
                        assert_memory_equal(&of, &other, sizeof of);
                    }
                    for (uint32_t i = 0; i < of.count; i++) {
                        assert_int_equal(of.first[i], at);
                        assert_true(of.last[i] > at);
                        at = of.last[i];
                    }
                    assert_int_equal(at, aegis_residency_end_of(&plan, s));
                    assert_true(of.count > 0 || (s == 0 && plan.segments > 1));
                    empty += of.count == 0;
                }
                assert_int_equal(at, layers);
            }
        }
    }
    assert_true(empty > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_division_fetches_each_layer_once),
        cmocka_unit_test(segments_are_not_too_small),
        cmocka_unit_test(a_failed_call_empties_the_slots),
        cmocka_unit_test(launches_are_the_same_whatever_the_slots_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

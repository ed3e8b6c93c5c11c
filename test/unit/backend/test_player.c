/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/tape.h"

#include "support/placed_model.h"

#include <pthread.h>

/* Two requests, the first released before a third: A+ B+ A- C+ B- C-. */
typedef struct fixture {
    aegis_tape tape;
    aegis_reserve reserve;
    aegis_player player;
    void *addresses[3];
    _Alignas(64) unsigned char memory[1024], spill[512], empty[64];
    int departures;
} fixture;

static void on_departure(void *argument)
{
    ((fixture *)argument)->departures++;
}

static void record(aegis_tape *tape)
{
    size_t a = aegis_tape_alloc(tape, 100), b = aegis_tape_alloc(tape, 0);
    aegis_tape_free(tape, a);
    size_t c = aegis_tape_alloc(tape, 200);
    aegis_tape_free(tape, b);
    aegis_tape_free(tape, c);
}

static int set_up(void **state)
{
    aegis_error err;
    static fixture it;
    aegis_allocator allocator = aegis_allocator_default();
    memset(&it, 0, sizeof it);
    aegis_tape_init(&it.tape, &allocator);
    record(&it.tape);
    must(aegis_reserve_init(&it.reserve, 4096, &err), &err);
    it.addresses[0] = it.memory;
    it.addresses[2] = it.memory + 64;
    it.player = (aegis_player){.tape = &it.tape,
                               .addresses = it.addresses,
                               .empty = it.empty,
                               .planned_base = it.memory,
                               .planned_bytes = sizeof it.memory,
                               .spill_base = it.spill,
                               .spill_bytes = sizeof it.spill,
                               .reserve = &it.reserve,
                               .on_departure = on_departure,
                               .argument = &it,
                               .inject_index = -1};
    *state = &it;
    return 0;
}

static int tear_down(void **state)
{
    fixture *it = *state;
    assert_int_equal(atomic_load(&it->reserve.state), 0);
    aegis_tape_finish(&it->tape);
    aegis_reserve_finish(&it->reserve);
    return 0;
}

static void a_run_as_recorded_gets_planned_addresses(void **state)
{
    fixture *it = *state;
    for (int run = 0; run < 3; run++) {
        aegis_player_start(&it->player);
        assert_ptr_equal(aegis_player_alloc(&it->player, 100), it->addresses[0]);
        assert_ptr_equal(aegis_player_alloc(&it->player, 0), it->empty);
        aegis_player_free(&it->player, it->addresses[0]);
        assert_ptr_equal(aegis_player_alloc(&it->player, 200), it->addresses[2]);
        aegis_player_free(&it->player, it->empty);
        aegis_player_free(&it->player, it->addresses[2]);
        assert_int_equal(aegis_player_end(&it->player, true, NULL), AEGIS_OK);
    }
    assert_int_equal(it->departures, 0);
}

static void lifetimes_are_half_open_event_ranges(void **state)
{
    fixture *it = *state;
    aegis_tensor_lifetime lifetimes[3];
    assert_int_equal(aegis_tape_lifetimes(&it->tape, AEGIS_MEMORY_ACTIVATION, 4, lifetimes), 2);
    assert_int_equal(lifetimes[0].tensor, 0);
    assert_int_equal(lifetimes[0].start, 0);
    assert_int_equal(lifetimes[0].end, 2);
    assert_int_equal(lifetimes[1].tensor, 2);
    assert_int_equal(lifetimes[1].start, 3);
    assert_int_equal(lifetimes[1].end, 5);
    assert_int_equal(lifetimes[1].segment, 4);
    assert_int_equal(it->tape.peak_bytes, 200);
    assert_int_equal(aegis_tape_survivors(&it->tape), 0);
}

static void another_size_is_spilled_and_ends_as_departure(void **state)
{
    fixture *it = *state;
    aegis_error err;
    aegis_player_start(&it->player);
    assert_ptr_equal(aegis_player_alloc(&it->player, 100), it->addresses[0]);
    assert_ptr_equal(aegis_player_alloc(&it->player, 8), it->spill);
    assert_ptr_equal(aegis_player_alloc(&it->player, 100), it->spill + 64);
    assert_int_equal(it->departures, 1);
    aegis_player_free(&it->player, it->spill);
    assert_int_equal(aegis_player_end(&it->player, true, &err), AEGIS_ERROR_DEPARTURE);
    assert_non_null(strstr(err.message, "allocation 1 asked for 8 bytes where 0 were recorded"));
    assert_int_equal(it->player.spill.bytes, 64 + 128);
}

static void an_order_of_releases_of_its_own_is_fine_when_the_run_ended_early(void **state)
{
    fixture *it = *state;
    for (int completed = 0; completed < 2; completed++) {
        aegis_player_start(&it->player);
        aegis_player_alloc(&it->player, 100);
        aegis_player_alloc(&it->player, 0);
        aegis_player_free(&it->player, it->empty);
        aegis_player_free(&it->player, it->addresses[0]);
        assert_int_equal(aegis_player_end(&it->player, completed != 0, NULL),
                         completed != 0 ? AEGIS_ERROR_DEPARTURE : AEGIS_OK);
    }
    assert_int_equal(it->departures, 0);
}

static void a_run_that_stops_short_is_a_departure_when_complete(void **state)
{
    fixture *it = *state;
    aegis_player_start(&it->player);
    aegis_player_alloc(&it->player, 100);
    assert_int_equal(aegis_player_end(&it->player, false, NULL), AEGIS_OK);
    aegis_player_start(&it->player);
    aegis_player_alloc(&it->player, 100);
    assert_int_equal(aegis_player_end(&it->player, true, NULL), AEGIS_ERROR_DEPARTURE);
}

static void past_the_spill_comes_the_reserve_then_the_system(void **state)
{
    fixture *it = *state;
    aegis_error err;
    aegis_player_start(&it->player);
    unsigned char *pointer = aegis_player_alloc(&it->player, 600); /* the spill has 512 */
    assert_ptr_equal(pointer, it->reserve.base);
    unsigned char *beyond = aegis_player_alloc(&it->player, 1 << 20);
    assert_true(beyond != NULL && !aegis_player_holds(&it->player, beyond));
    memset(beyond, 1, 1 << 20);
    aegis_player_free(&it->player, beyond);
    aegis_player_free(&it->player, pointer);
    assert_int_equal(aegis_player_end(&it->player, true, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(atomic_load(&it->reserve.breaches), 1);
    /* The reserve is whole again. */
    aegis_player_start(&it->player);
    assert_ptr_equal(aegis_player_alloc(&it->player, 600), it->reserve.base);
    assert_int_equal(aegis_player_end(&it->player, false, NULL), AEGIS_ERROR_BUDGET_EXCEEDED);
}

static void injection_is_a_departure_at_every_index(void **state)
{
    fixture *it = *state;
    for (int64_t index = 0; index < 3; index++) {
        it->player.inject_index = index;
        it->player.inject_bytes = 8;
        aegis_player_start(&it->player);
        void *a = aegis_player_alloc(&it->player, 100), *b = aegis_player_alloc(&it->player, 0);
        aegis_player_free(&it->player, a);
        void *c = aegis_player_alloc(&it->player, 200);
        aegis_player_free(&it->player, b);
        aegis_player_free(&it->player, c);
        assert_int_equal(aegis_player_end(&it->player, true, NULL), AEGIS_ERROR_DEPARTURE);
        assert_int_equal(it->player.spill.first_index, index);
    }
}

static void recordings_that_differ_are_told_apart(void **state)
{
    fixture *it = *state;
    aegis_error err;
    aegis_tape other;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_tape_init(&other, &allocator);
    record(&other);
    assert_int_equal(aegis_tape_compare(&it->tape, &other, &err), AEGIS_OK);
    aegis_tape_alloc(&other, 1);
    assert_int_equal(aegis_tape_compare(&it->tape, &other, &err), AEGIS_ERROR_DEPARTURE);
    assert_int_equal(aegis_tape_survivors(&other), 1);
    aegis_tape_clear(&other);
    aegis_tape_alloc(&other, 101);
    assert_int_equal(aegis_tape_compare(&it->tape, &other, &err), AEGIS_ERROR_DEPARTURE);
    assert_non_null(strstr(err.message, "event 0: request of 100 bytes, then request of 101"));
    aegis_tape_finish(&other);
}

/* Two lanes that depart at once never get the same bytes of the reserve. */
typedef struct racer {
    fixture *it;
    aegis_player player;
    unsigned char mark;
    bool clash;
} racer;

static void *race(void *argument)
{
    racer *self = argument;
    for (int i = 0; i < 2000; i++) {
        aegis_player_start(&self->player);
        unsigned char *bytes = aegis_player_alloc(&self->player, 300);
        memset(bytes, self->mark, 300);
        for (int k = 0; k < 300; k++) {
            self->clash = self->clash || bytes[k] != self->mark;
        }
        aegis_player_free(&self->player, bytes);
        aegis_player_end(&self->player, false, NULL);
    }
    return NULL;
}

static void lanes_share_the_reserve_without_overlap(void **state)
{
    fixture *it = *state;
    racer racers[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        racers[i] = (racer){.it = it, .player = it->player, .mark = (unsigned char)(i + 1)};
        racers[i].player.on_departure = NULL;
        racers[i].player.spill_bytes = 0;
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_false(racers[i].clash);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_as_recorded_gets_planned_addresses, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(lifetimes_are_half_open_event_ranges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_size_is_spilled_and_ends_as_departure, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            an_order_of_releases_of_its_own_is_fine_when_the_run_ended_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_run_that_stops_short_is_a_departure_when_complete, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(past_the_spill_comes_the_reserve_then_the_system, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(injection_is_a_departure_at_every_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(recordings_that_differ_are_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lanes_share_the_reserve_without_overlap, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "race.h"

#include "base/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define VIEW_TRACKS (AEGIS_RACE_TRACKS / 2)
#define LEAST_TURN_NODES UINT64_C(1000)
#define NOBODY UINT64_MAX

typedef struct track {
    aegis_search *search; /* made with the first turn */
    uint64_t *offsets;
    uint64_t turns;   /* begun, of this call */
    uint64_t restart; /* of a disturbed track: number from 1; 0: not begun */
    uint64_t left;    /* of it: nodes until the next restart */
    bool begun, busy;
    uint64_t nodes; /* of the turn that decided */
    aegis_search_outcome outcome;
} track;

/* What a track searches. */
typedef struct view {
    const aegis_plan_buffer *buffers;
    size_t count;
    aegis_coalesced *coalesced; /* NULL: the buffers as they are */
} view;

struct aegis_race {
    view views[2];
    size_t view_count; /* tracks take them in turn */
    size_t track_count;
    aegis_allocator allocator;
    unsigned threads;
    uint64_t turn_nodes;

    uint64_t capacity, deadline_ns, total;
    pthread_mutex_t lock;    /* of `turns` and `busy` of the tracks */
    _Atomic uint64_t winner; /* number of the first turn known to decide */
    track tracks[AEGIS_RACE_TRACKS];
};

/* The i-th number, from 1, of 1 1 2 1 1 2 4 1 1 2 1 1 2 4 8 ... (Luby, Sinclair, Zuckerman 1993):
 * as budgets of restarts within a logarithmic factor of the best budgets, which nobody knows. */
static uint64_t luby(uint64_t i)
{
    for (;;) {
        uint64_t power = 1;
        while (2 * power - 1 < i) {
            power *= 2;
        }
        if (2 * power - 1 == i) {
            return power;
        }
        i -= power - 1;
    }
}

/* A turn's number tells its place in the total order; all before it cost turn_nodes each. */
static uint64_t turn_number(const aegis_race *race, uint64_t round, size_t index)
{
    return round * race->track_count + index;
}

/* Takes the earliest turn whose track is free. False: none is left. */
static bool take_turn(aegis_race *race, size_t *ret_index, uint64_t *ret_number)
{
    size_t best = race->track_count;
    pthread_mutex_lock(&race->lock);
    for (size_t i = 0; i < race->track_count; i++) {
        const track *t = &race->tracks[i];
        if (!t->busy && (best == race->track_count || t->turns < race->tracks[best].turns)) {
            best = i;
        }
    }
    bool taken = false;
    if (best < race->track_count) {
        *ret_index = best;
        *ret_number = turn_number(race, race->tracks[best].turns, best);
        taken = *ret_number <= (race->total - 1) / race->turn_nodes &&
                *ret_number < atomic_load(&race->winner);
        race->tracks[best].busy = taken;
        race->tracks[best].turns += taken;
    }
    pthread_mutex_unlock(&race->lock);
    return taken;
}

static void end_turn(aegis_race *race, track *t)
{
    pthread_mutex_lock(&race->lock);
    t->busy = false;
    pthread_mutex_unlock(&race->lock);
}

static void announce(aegis_race *race, uint64_t number)
{
    uint64_t first = atomic_load(&race->winner);
    while (number < first && !atomic_compare_exchange_weak(&race->winner, &first, number)) {
    }
}

static const view *view_of(const aegis_race *race, size_t index)
{
    return &race->views[index % race->view_count];
}

static bool make_search(aegis_race *race, track *t, const view *v)
{
    if (t->offsets == NULL) {
        t->offsets = aegis_allocate_zeroed(&race->allocator, v->count, sizeof *t->offsets);
    }
    if (t->offsets != NULL && t->search == NULL) {
        (void)aegis_search_create(v->buffers, v->count, &race->allocator, &t->search, NULL);
    }
    return t->search != NULL;
}

/* Starts what a track searches next; a disturbed one has a seed for each restart. */
static void start_search(aegis_race *race, track *t, size_t index)
{
    index /= race->view_count;
    if (index < AEGIS_SEARCH_ORDERS) {
        t->left = UINT64_MAX;
        aegis_search_start(t->search, race->capacity, (unsigned)index, 0);
        return;
    }
    t->restart++;
    t->left = luby(t->restart) * race->turn_nodes;
    uint64_t seed = t->restart * (VIEW_TRACKS - AEGIS_SEARCH_ORDERS) + index;
    aegis_search_start(t->search, race->capacity, (unsigned)(seed % AEGIS_SEARCH_ORDERS), seed);
}

static aegis_search_outcome play_turn(aegis_race *race, size_t index, uint64_t number)
{
    track *t = &race->tracks[index];
    if (!make_search(race, t, view_of(race, index))) {
        return AEGIS_SEARCH_NO_MEMORY;
    }
    uint64_t rest = race->total - number * race->turn_nodes;
    uint64_t nodes = rest < race->turn_nodes ? rest : race->turn_nodes;
    if (!t->begun || t->left == 0) {
        start_search(race, t, index);
        t->begun = true;
    }
    nodes = nodes < t->left ? nodes : t->left;
    const aegis_search_quota quota = {.nodes = nodes,
                                      .deadline_ns = race->deadline_ns,
                                      .number = number,
                                      .winner = &race->winner};
    t->outcome = aegis_search_continue(t->search, &quota, &t->nodes, t->offsets);
    t->left -= t->nodes;
    return t->outcome;
}

static bool past(uint64_t deadline_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * AEGIS_NS_PER_S + (uint64_t)now.tv_nsec >= deadline_ns;
}

/* Turn after turn until none is left that could still win. */
static void *play(void *argument)
{
    aegis_race *race = argument;
    size_t index;
    uint64_t number;
    while ((race->deadline_ns == 0 || !past(race->deadline_ns)) &&
           take_turn(race, &index, &number)) {
        track *t = &race->tracks[index];
        aegis_search_outcome outcome = play_turn(race, index, number);
        t->outcome = outcome;
        if (outcome == AEGIS_SEARCH_LIMIT) {
            end_turn(race, t);
        } else if (outcome != AEGIS_SEARCH_EXHAUSTED || view_of(race, index)->coalesced == NULL) {
            announce(race, number);
            break; /* the track stays busy: what it found is kept */
        }
    }
    return NULL;
}

/* The first round goes without threads: most instances need no more, and threads cost more than
 * those. */
static void play_first_round(aegis_race *race)
{
    uint64_t total = race->total, round = race->turn_nodes * race->track_count;
    race->total = total < round ? total : round;
    play(race);
    race->total = total;
}

static void play_on(aegis_race *race)
{
    pthread_t threads[AEGIS_RACE_TRACKS];
    unsigned started = 0;
    while (started + 1 < race->threads &&
           pthread_create(&threads[started], NULL, play, race) == 0) {
        started++;
    }
    play(race);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
}

static aegis_search_outcome settle(aegis_race *race, uint64_t *nodes, uint64_t *ret_offsets)
{
    uint64_t winner = atomic_load(&race->winner);
    if (winner == NOBODY) {
        *nodes = 0;
        return AEGIS_SEARCH_LIMIT;
    }
    const track *t = &race->tracks[winner % race->track_count];
    *nodes -= winner * race->turn_nodes + t->nodes;
    const view *v = view_of(race, winner % race->track_count);
    if (t->outcome == AEGIS_SEARCH_FOUND && v->coalesced != NULL) {
        aegis_coalesced_offsets(v->coalesced, t->offsets, ret_offsets);
    } else if (t->outcome == AEGIS_SEARCH_FOUND) {
        memcpy(ret_offsets, t->offsets, v->count * sizeof *ret_offsets);
    }
    race->capacity = 0; /* dropped turns: the other tracks are anywhere now */
    return t->outcome;
}

aegis_search_outcome aegis_race_run(aegis_race *race,
                                    uint64_t capacity,
                                    uint64_t deadline_ns,
                                    uint64_t *nodes,
                                    uint64_t *ret_offsets)
{
    if (*nodes == 0 || race->view_count == 0) {
        return AEGIS_SEARCH_LIMIT;
    }
    bool anew = race->capacity != capacity || capacity == 0;
    for (size_t i = 0; i < race->track_count; i++) {
        track *t = &race->tracks[i];
        t->busy = false;
        t->turns = t->nodes = 0;
        t->begun &= !anew;
        t->restart = anew ? 0 : t->restart;
    }
    race->capacity = capacity;
    race->deadline_ns = deadline_ns;
    race->total = *nodes;
    atomic_store(&race->winner, NOBODY);
    if (anew) {
        play_first_round(race);
    }
    if (atomic_load(&race->winner) == NOBODY) {
        play_on(race);
    }
    return settle(race, nodes, ret_offsets);
}

static void add_view(aegis_race *race, view v)
{
    if (aegis_search_can_hold(v.buffers, v.count)) {
        race->views[race->view_count++] = v;
        race->track_count += VIEW_TRACKS;
    }
}

aegis_status aegis_race_create(const aegis_plan_buffer *buffers,
                               size_t count,
                               aegis_coalesced *coalesced,
                               unsigned threads,
                               const aegis_allocator *allocator,
                               aegis_race **ret_race,
                               aegis_error *err)
{
    aegis_race *race = aegis_allocate_zeroed(allocator, 1, sizeof *race);
    if (race == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.race"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to search %zu buffers", count);
    }
    if (coalesced != NULL) {
        add_view(race, (view){coalesced->buffers, coalesced->count, coalesced});
    }
    add_view(race, (view){buffers, count, NULL});
    race->allocator = *allocator;
    race->threads = threads < AEGIS_RACE_TRACKS ? threads : AEGIS_RACE_TRACKS;
    race->turn_nodes = 2 * count > LEAST_TURN_NODES ? 2 * count : LEAST_TURN_NODES;
    pthread_mutex_init(&race->lock, NULL); /* default attributes: cannot fail on Linux */
    *ret_race = race;
    return AEGIS_OK;
}

void aegis_race_destroy(aegis_race *race)
{
    if (race == NULL) {
        return;
    }
    aegis_allocator allocator = race->allocator;
    for (size_t i = 0; i < race->track_count; i++) {
        track *t = &race->tracks[i];
        aegis_search_destroy(t->search);
        aegis_deallocate(&allocator, t->offsets, view_of(race, i)->count, sizeof *t->offsets);
    }
    pthread_mutex_destroy(&race->lock);
    aegis_deallocate(&allocator, race, 1, sizeof *race);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The job pool, the numbers in use, the slots, and the two levels of ready jobs. */
#include "state.h"

/* ---- numbers in use: linear probing, at most half full ---- */

static uint32_t home(const aegis_core *core, uint64_t id)
{
    return (uint32_t)aegis_random_next(&id) & core->table_mask;
}

uint32_t aegis_core_job_find(const aegis_core *core, uint64_t id)
{
    for (uint32_t at = home(core, id); core->job_table[at] != 0; at = (at + 1) & core->table_mask) {
        uint32_t job = core->job_table[at] - 1;
        if (core->jobs[job].id == id) {
            return job;
        }
    }
    return NO_JOB;
}

static void table_insert(aegis_core *core, uint32_t job)
{
    uint32_t at = home(core, core->jobs[job].id);
    while (core->job_table[at] != 0) {
        at = (at + 1) & core->table_mask;
    }
    core->job_table[at] = job + 1;
}

/* Moves later entries of the run back into the hole, so that no tombstones are needed. */
static void table_remove(aegis_core *core, uint32_t job)
{
    uint32_t mask = core->table_mask;
    uint32_t hole = home(core, core->jobs[job].id);
    while (core->job_table[hole] != job + 1) {
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; core->job_table[at] != 0; at = (at + 1) & mask) {
        uint32_t wants = home(core, core->jobs[core->job_table[at] - 1].id);
        if (((at - wants) & mask) >= ((at - hole) & mask)) {
            core->job_table[hole] = core->job_table[at];
            hole = at;
        }
    }
    core->job_table[hole] = 0;
}

/* ---- pool ---- */

static uint32_t take_slot(core_model *model)
{
    uint32_t word = 0;
    while (model->slots[word] == UINT64_MAX) {
        word++;
    }
    uint32_t bit = (uint32_t)__builtin_ctzll(~model->slots[word]);
    model->slots[word] |= UINT64_C(1) << bit;
    return word * 64 + bit;
}

uint32_t aegis_core_job_take(aegis_core *core, uint32_t number, uint64_t id)
{
    core_model *model = &core->models[number];
    uint32_t index = core->free_job;
    core_job *job = &core->jobs[index];
    core->free_job = job->next;
    *job = (core_job){.id = id,
                      .sequence = core->next_sequence++,
                      .model = number,
                      .slot = take_slot(model),
                      .left = NO_JOB,
                      .right = NO_JOB,
                      .previous = model->last_job,
                      .next = NO_JOB};
    if (model->last_job == NO_JOB) {
        model->first_job = index;
    } else {
        core->jobs[model->last_job].next = index;
    }
    model->last_job = index;
    aegis_core_count(&model->counters.pending, 1);
    table_insert(core, index);
    return index;
}

void aegis_core_job_give(aegis_core *core, uint32_t index)
{
    core_job *job = &core->jobs[index];
    core_model *model = &core->models[job->model];
    table_remove(core, index);
    model->slots[job->slot / 64] &= ~(UINT64_C(1) << (job->slot % 64));
    if (job->previous == NO_JOB) {
        model->first_job = job->next;
    } else {
        core->jobs[job->previous].next = job->next;
    }
    if (job->next == NO_JOB) {
        model->last_job = job->previous;
    } else {
        core->jobs[job->next].previous = job->previous;
    }
    aegis_core_count(&model->counters.pending, -1);
    model->loaded = model->loaded == index ? NO_JOB : model->loaded;
    job->state = JOB_FREE;
    job->next = core->free_job;
    core->free_job = index;
}

/* ---- orders ---- */

/* Within a model: the job between its segments, then key, priority, sequence. */
static bool job_before(const core_job *a, const core_job *b)
{
    if ((a->segment > 0) != (b->segment > 0)) {
        return a->segment > 0;
    }
    if (a->key != b->key) {
        return a->key < b->key;
    }
    if (a->priority != b->priority) {
        return a->priority > b->priority;
    }
    return a->sequence < b->sequence;
}

bool aegis_core_foreground_before(const void *context, uint32_t a, uint32_t b)
{
    const aegis_core *core = context;
    int64_t key_a = core->jobs[core->models[a].ready_root].key;
    int64_t key_b = core->jobs[core->models[b].ready_root].key;
    return key_a != key_b ? key_a < key_b : a < b;
}

bool aegis_core_background_before(const void *context, uint32_t a, uint32_t b)
{
    const aegis_core *core = context;
    uint64_t virtual_a = core->models[a].virtual_ns, virtual_b = core->models[b].virtual_ns;
    return virtual_a != virtual_b ? virtual_a < virtual_b : a < b;
}

bool aegis_core_release_before(const void *context, uint32_t a, uint32_t b)
{
    const aegis_core *core = context;
    const core_job *job_a = &core->jobs[a], *job_b = &core->jobs[b];
    if (job_a->release_ns != job_b->release_ns) {
        return job_a->release_ns < job_b->release_ns;
    }
    if (job_a->model != job_b->model) {
        return job_a->model < job_b->model;
    }
    return job_a->sequence < job_b->sequence;
}

bool aegis_core_rest_before(const void *context, uint32_t a, uint32_t b)
{
    const aegis_core *core = context;
    uint64_t until_a = core->models[a].rests_until_ns, until_b = core->models[b].rests_until_ns;
    return until_a != until_b ? until_a < until_b : a < b;
}

/* ---- leftist heaps: the right spine has at most log2(n + 1) jobs, and only it is walked ---- */

static uint32_t rank_of(const aegis_core *core, uint32_t job)
{
    return job == NO_JOB ? 0 : core->jobs[job].rank;
}

/* Merges two leftist heaps along their right spines. The walk down keeps the winners
 * in `spine`, the walk up restores ranks. */
static uint32_t merge(aegis_core *core, uint32_t a, uint32_t b)
{
    uint32_t spine[64];
    size_t depth = 0;
    while (a != NO_JOB && b != NO_JOB) {
        if (job_before(&core->jobs[b], &core->jobs[a])) {
            uint32_t other = a;
            a = b;
            b = other;
        }
        spine[depth++] = a;
        a = core->jobs[a].right;
    }
    uint32_t merged = a == NO_JOB ? b : a;
    while (depth > 0) {
        core_job *job = &core->jobs[spine[--depth]];
        job->right = merged;
        if (rank_of(core, job->left) < rank_of(core, job->right)) {
            job->right = job->left;
            job->left = merged;
        }
        job->rank = rank_of(core, job->right) + 1;
        merged = spine[depth];
    }
    return merged;
}

/* ---- ready jobs ---- */

static aegis_core_heap *heap_of(aegis_core *core, const core_model *model)
{
    core_lane *lane = &core->lanes[model->limits.lane];
    return model->limits.background ? &lane->background : &lane->foreground;
}

static size_t *ready_count_of(aegis_core *core, const core_model *model)
{
    core_lane *lane = &core->lanes[model->limits.lane];
    return model->limits.background ? &lane->background_ready_count : &lane->ready_count;
}

aegis_core_heap *aegis_core_releases_of(aegis_core *core, const core_model *model)
{
    core_lane *lane = &core->lanes[model->limits.lane];
    return model->limits.background ? &lane->background_releases : &lane->releases;
}

void aegis_core_policy_job(const aegis_core *core, uint32_t index, aegis_policy_job *ret_job)
{
    const core_job *job = &core->jobs[index];
    const core_model *model = &core->models[job->model];
    *ret_job = (aegis_policy_job){
        .job = job->id,
        .sequence = job->sequence,
        .model = job->model,
        .release_ns = job->release_ns,
        .deadline_ns = core_add_ns(job->release_ns, model->limits.deadline_ns),
        .segment = job->segment,
    };
}

static int64_t ask_key(const aegis_core *core, uint32_t job)
{
    const core_model *model = &core->models[core->jobs[job].model];
    aegis_policy_job view;
    aegis_core_policy_job(core, job, &view);
    return core->policy.ops->key(core->policy.self, &model->policy, &view);
}

/* Whether the first job's segment waits for bytes. */
static bool is_held(const aegis_core *core, const core_model *model)
{
    const uint32_t segment = core->jobs[model->ready_root].segment;
    return (model->limits.awaited_segments >> segment & 1) != 0 && model->ready_segment != segment;
}

void aegis_core_ready_list(aegis_core *core, uint32_t number)
{
    core_model *model = &core->models[number];
    core_lane *lane = &core->lanes[model->limits.lane];
    if (model->listed || model->resting || model->ready_root == NO_JOB || is_held(core, model)) {
        return;
    }
    if (model->rests_until_ns > core->now_ns) {
        aegis_core_heap_push(&lane->resting, number);
        model->resting = true;
        return;
    }
    if (model->virtual_ns < lane->virtual_ns) {
        model->virtual_ns = lane->virtual_ns; /* no credit for the time without work */
    }
    aegis_core_heap_push(heap_of(core, model), number);
    model->listed = true;
}

static void unlist(aegis_core *core, uint32_t number)
{
    core_model *model = &core->models[number];
    if (model->listed) {
        aegis_core_heap_remove(heap_of(core, model), number);
        model->listed = false;
    }
    if (model->resting) {
        aegis_core_heap_remove(&core->lanes[model->limits.lane].resting, number);
        model->resting = false;
    }
}

void aegis_core_ready_rest(aegis_core *core, uint32_t number, uint64_t until_ns)
{
    unlist(core, number);
    core->models[number].rests_until_ns = until_ns;
    aegis_core_ready_list(core, number);
}

void aegis_core_ready_wake(aegis_core *core, uint16_t lane)
{
    const aegis_core_heap *resting = &core->lanes[lane].resting;
    while (resting->count > 0 && core->models[resting->items[0]].rests_until_ns <= core->now_ns) {
        uint32_t number = resting->items[0];
        unlist(core, number);
        aegis_core_ready_list(core, number);
    }
}

void aegis_core_ready_push(aegis_core *core, uint32_t index)
{
    core_job *job = &core->jobs[index];
    core_model *model = &core->models[job->model];
    job->key = model->limits.background ? 0 : ask_key(core, index);
    job->state = JOB_READY;
    job->left = job->right = NO_JOB;
    job->rank = 1;
    uint32_t front = model->ready_root;
    model->ready_root = merge(core, front, index);
    model->ready_count++;
    ++*ready_count_of(core, model);
    if (model->listed && is_held(core, model)) {
        unlist(core, job->model); /* a job between its segments went to the front */
    } else if (model->listed && model->ready_root != front) {
        aegis_core_heap_update(heap_of(core, model), job->model);
    } else {
        aegis_core_ready_list(core, job->model);
    }
}

void aegis_core_ready_pop(aegis_core *core, uint32_t number)
{
    core_model *model = &core->models[number];
    const core_job *front = &core->jobs[model->ready_root];
    /* The heap is ordered by the first job, so the model leaves it before that job does. */
    unlist(core, number);
    model->ready_root = merge(core, front->left, front->right);
    model->ready_count--;
    --*ready_count_of(core, model);
    model->ready_segment = NO_SEGMENT; /* the one that is dispatched now */
    aegis_core_ready_list(core, number);
}

uint32_t
aegis_core_ready_second(const aegis_core *core, const aegis_core_heap *heap, uint32_t number)
{
    const core_job *front = &core->jobs[core->models[number].ready_root];
    uint32_t own = front->left;
    if (own == NO_JOB ||
        (front->right != NO_JOB && job_before(&core->jobs[front->right], &core->jobs[own]))) {
        own = front->right;
    }
    uint32_t second = aegis_core_heap_second(heap);
    uint32_t other = second == AEGIS_HEAP_ABSENT ? NO_JOB : core->models[second].ready_root;
    if (own == NO_JOB || other == NO_JOB) {
        return own == NO_JOB ? other : own;
    }
    if (core->models[number].limits.background) {
        return own; /* the rank is the model's, and it is the first */
    }
    const core_job *a = &core->jobs[own], *b = &core->jobs[other];
    bool own_first = a->key != b->key ? a->key < b->key : a->model < b->model;
    return own_first ? own : other;
}

void aegis_core_ready_clear(aegis_core *core, uint32_t number)
{
    core_model *model = &core->models[number];
    if (model->ready_root == NO_JOB) {
        return;
    }
    unlist(core, number);
    *ready_count_of(core, model) -= model->ready_count;
    model->ready_count = 0;
    model->ready_root = NO_JOB;
}

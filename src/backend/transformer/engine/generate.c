/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/sequence.h"

#include "base/base.h"

#include <aegisrt/clock.h>

#include <string.h>

#define HERE AEGIS_HERE("transformer.generate")

static uint64_t now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

/* --- prompts ------------------------------------------------------------------------------------
 */

/* The next prompt token of all sequences. */
typedef struct cursor {
    uint32_t sequence;
    size_t at;
} cursor;

/* Fills rows from the cursor on; returns how many, and whether one of them wants logits. */
static uint32_t
fill_rows(const aegis_generation_run *all, cursor *from, aegis_forward_row *rows, bool *ret_logits)
{
    const uint32_t most = all->engine->limits.rows, most_logits = all->engine->limits.logits;
    uint32_t count = 0, logits = 0;
    while (count < most && logits < most_logits && from->sequence < all->count) {
        const aegis_sequence *one = &all->sequences[from->sequence];
        const bool last = from->at + 1 == one->prompt;
        if (rows != NULL) {
            rows[count] = (aegis_forward_row){.sequence = from->sequence,
                                              .position = (uint32_t)from->at,
                                              .token = one->tokens.ids[from->at],
                                              .wants_logits = last};
        }
        count++;
        logits += last;
        from->at = last ? 0 : from->at + 1;
        from->sequence += last;
    }
    *ret_logits = logits > 0;
    return count;
}

static uint32_t choose(aegis_generation_run *all, uint32_t s, uint32_t index)
{
    return aegis_sample(aegis_forward_logits(all->engine->forward, index),
                        all->engine->weights.config->vocabulary, &all->sequences[s].sampling,
                        all->candidates);
}

static aegis_status
pass(aegis_generation_run *all, uint32_t count, bool follows, bool next_logits, aegis_error *err)
{
    bool done = false;
    aegis_status status =
        aegis_forward_begin(all->engine->forward, all->rows, count, follows, next_logits, err);
    return status == AEGIS_OK ? aegis_forward_run(all->engine->forward, UINT32_MAX, &done, err)
                              : status;
}

static bool any_wants_more(const aegis_generation_run *all)
{
    for (uint32_t s = 0; s < all->count; s++) {
        if (!all->sequences[s].done && all->sequences[s].most > 1) {
            return true;
        }
    }
    return false;
}

static aegis_status prefill(aegis_generation_run *all, aegis_error *err)
{
    cursor at = {0};
    aegis_status status = AEGIS_OK;
    while (status == AEGIS_OK && at.sequence < all->count) {
        bool logits, next_logits;
        const uint32_t count = fill_rows(all, &at, all->rows, &logits);
        cursor ahead = at;
        const bool more = fill_rows(all, &ahead, NULL, &next_logits) > 0;
        status = pass(all, count, more || any_wants_more(all), more ? next_logits : true, err);
        uint32_t index = 0;
        for (uint32_t r = 0; status == AEGIS_OK && r < count; r++) {
            if (all->rows[r].wants_logits) {
                const uint32_t s = all->rows[r].sequence;
                status = aegis_sequence_accept(all, s, choose(all, s, index++), err);
            }
        }
        all->figures.prompt_tokens += count;
    }
    return status;
}

/* --- one token after the other
 * -------------------------------------------------------------------- */

static void draft(aegis_generation_run *all, aegis_sequence *one, uint32_t room)
{
    one->drafted = 0;
    const uint32_t left = one->most - (uint32_t)(one->tokens.count - one->prompt);
    uint32_t most = all->engine->config.draft_tokens;
    most = most < room ? most : room;
    most = most < left - 1 ? most : left - 1; /* the pass gives one token beyond the draft */
    if (one->request->lookup && !(one->request->temperature > 0) && most > 0) {
        one->drafted =
            aegis_lookup_draft(one->tokens.ids, (uint32_t)one->tokens.count, most, one->draft);
        all->figures.drafted += one->drafted;
    }
}

/* Rows of a decoding pass: the last token of each sequence and its draft. */
static uint32_t decoding_rows(aegis_generation_run *all, bool *ret_follows)
{
    uint32_t live = 0, count = 0;
    for (uint32_t s = 0; s < all->count; s++) {
        live += !all->sequences[s].done;
    }
    const uint32_t room = live > 0 ? all->engine->limits.logits / live - 1 : 0;
    *ret_follows = false;
    for (uint32_t s = 0; s < all->count; s++) {
        aegis_sequence *one = &all->sequences[s];
        if (one->done) {
            continue;
        }
        draft(all, one, room);
        const uint32_t at = (uint32_t)one->tokens.count - 1;
        for (uint32_t d = 0; d <= one->drafted; d++) {
            all->rows[count++] =
                (aegis_forward_row){.sequence = s,
                                    .position = at + d,
                                    .token = d == 0 ? one->tokens.ids[at] : one->draft[d - 1],
                                    .wants_logits = true};
        }
        *ret_follows |= one->tokens.count - one->prompt + 1 < one->most;
    }
    return count;
}

/* The draft is right as far as each token is what greedy choice makes of the logits before it. */
static aegis_status take_tokens(aegis_generation_run *all, aegis_error *err)
{
    uint32_t index = 0;
    aegis_status status = AEGIS_OK;
    for (uint32_t s = 0; status == AEGIS_OK && s < all->count; s++) {
        aegis_sequence *one = &all->sequences[s];
        if (one->done) {
            continue;
        }
        const uint32_t first = index;
        index += 1 + one->drafted;
        for (uint32_t d = 0; status == AEGIS_OK && d <= one->drafted && !one->done; d++) {
            const uint32_t token = choose(all, s, first + d);
            status = aegis_sequence_accept(all, s, token, err);
            if (d == one->drafted || token != one->draft[d]) {
                break;
            }
            all->figures.accepted++;
        }
    }
    return status;
}

static aegis_status decode(aegis_generation_run *all, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (;;) {
        bool follows;
        const uint32_t count = decoding_rows(all, &follows);
        if (count == 0) {
            return AEGIS_OK;
        }
        status = pass(all, count, follows, true, err);
        if (status == AEGIS_OK) {
            all->figures.passes++;
            status = take_tokens(all, err);
        }
        if (status != AEGIS_OK) {
            return status;
        }
    }
}

/* --- all of it
 * ------------------------------------------------------------------------------------ */

typedef struct gauge {
    uint64_t at_ns, disk_bytes, busy_ns, stall_ns;
} gauge;

static gauge look(const aegis_engine *engine)
{
    aegis_weight_stream_counters counters = {0};
    if (engine->weights.stream != NULL) {
        aegis_weight_stream_count(engine->weights.stream, &counters);
    }
    return (gauge){now_ns(), counters.read_bytes + engine->weights.lookup_bytes, counters.busy_ns,
                   counters.stall_ns};
}

static void
finish_figures(aegis_generation_run *all, const gauge *begin, const gauge *middle, const gauge *end)
{
    aegis_generation_figures *figures = &all->figures;
    figures->prefill_s = (double)(middle->at_ns - begin->at_ns) * 1e-9;
    figures->decode_s = (double)(end->at_ns - middle->at_ns) * 1e-9;
    figures->prefill_disk_bytes = middle->disk_bytes - begin->disk_bytes;
    figures->decode_disk_bytes = end->disk_bytes - middle->disk_bytes;
    figures->load_s = (double)(end->busy_ns - middle->busy_ns) * 1e-9;
    figures->stall_s = (double)(end->stall_ns - middle->stall_ns) * 1e-9;
    figures->decoded_tokens = figures->tokens - all->count;
    const double compute_s = figures->decode_s - figures->stall_s;
    const double longer = compute_s > figures->load_s ? compute_s : figures->load_s;
    figures->held_bytes = aegis_engine_held_bytes(all->engine);
    figures->overlap = all->engine->weights.stream != NULL && figures->decode_s > 0
                           ? longer / figures->decode_s
                           : 1.0;
}

/* All results, or none. */
static aegis_status
hand_over(const aegis_generation_run *all, aegis_generation *ret, aegis_error *err)
{
    aegis_generation made[AEGIS_ENGINE_MAX_SEQUENCES] = {{0}};
    aegis_status status = AEGIS_OK;
    for (uint32_t s = 0; status == AEGIS_OK && s < all->count; s++) {
        status = aegis_sequence_copy(all->engine, &all->sequences[s], &made[s], err);
    }
    for (uint32_t s = 0; s < all->count; s++) {
        if (status == AEGIS_OK) {
            ret[s] = made[s];
        } else {
            aegis_generation_finish((aegis_transformer_ready *)(void *)all->engine, &made[s]);
        }
    }
    return status;
}

aegis_status aegis_transformer_generate(aegis_transformer_ready *engine,
                                        const aegis_generation_request *requests,
                                        uint32_t count,
                                        aegis_generation_stream stream,
                                        void *self,
                                        aegis_generation *ret_generations,
                                        aegis_generation_figures *ret_figures,
                                        aegis_error *err)
{
    aegis_generation_run all = {
        .engine = (aegis_engine *)(void *)engine, .count = count, .stream = stream, .self = self};
    if (count == 0 || count > all.engine->limits.sequences) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "%u requests; the engine was configured for 1 to %u", count,
                               all.engine->limits.sequences);
    }
    gauge begin, middle, end;
    aegis_status status = aegis_sequences_set_up(&all, requests, err);
    begin = middle = end = look(all.engine);
    if (status == AEGIS_OK) {
        status = prefill(&all, err);
        middle = look(all.engine);
    }
    if (status == AEGIS_OK) {
        status = decode(&all, err);
        end = look(all.engine);
    }
    if (status == AEGIS_OK) {
        finish_figures(&all, &begin, &middle, &end);
        status = hand_over(&all, ret_generations, err);
    }
    if (status == AEGIS_OK && ret_figures != NULL) {
        *ret_figures = all.figures;
    }
    aegis_sequences_tear_down(&all);
    return status;
}

void aegis_generation_finish(const aegis_transformer_ready *engine, aegis_generation *one)
{
    const aegis_allocator *allocator = &((const aegis_engine *)(const void *)engine)->allocator;
    aegis_deallocate(allocator, one->prompt_tokens, one->prompt_count, sizeof *one->prompt_tokens);
    aegis_deallocate(allocator, one->tokens, one->token_count, sizeof *one->tokens);
    aegis_deallocate(allocator, one->text, one->text_size + 1, 1);
    *one = (aegis_generation){0};
}

aegis_status aegis_transformer_evaluate(aegis_transformer_ready *engine,
                                        const uint32_t *tokens,
                                        size_t count,
                                        float *ret_logits,
                                        aegis_error *err)
{
    aegis_engine *self = (aegis_engine *)(void *)engine;
    if (count == 0 || count > self->limits.positions) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "%zu tokens; from 1 to the context of %u", count,
                               self->limits.positions);
    }
    aegis_forward_row *rows =
        aegis_allocate_zeroed(&self->allocator, self->limits.rows, sizeof *rows);
    if (rows == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a pass");
    }
    aegis_status status = AEGIS_OK;
    for (size_t at = 0; status == AEGIS_OK && at < count;) {
        const size_t left = count - at;
        const uint32_t some = (uint32_t)(left < self->limits.rows ? left : self->limits.rows);
        for (uint32_t r = 0; r < some; r++) {
            rows[r] = (aegis_forward_row){.position = (uint32_t)(at + r),
                                          .token = tokens[at + r],
                                          .wants_logits = at + r + 1 == count};
        }
        at += some;
        bool done;
        status = aegis_forward_begin(self->forward, rows, some, at < count,
                                     count - at <= self->limits.rows, err);
        if (status == AEGIS_OK) {
            status = aegis_forward_run(self->forward, UINT32_MAX, &done, err);
        }
    }
    if (status == AEGIS_OK) {
        memcpy(ret_logits, aegis_forward_logits(self->forward, 0),
               self->weights.config->vocabulary * sizeof *ret_logits);
    }
    aegis_deallocate(&self->allocator, rows, self->limits.rows, sizeof *rows);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/sampler.h"

#include "base/base.h"

#include <math.h>
#include <string.h>

uint32_t aegis_sample_greedy(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    float most = -INFINITY;
    for (uint32_t t = 0; t < count; t++) {
        if (logits[t] > most) {
            most = logits[t];
            best = t;
        }
    }
    return best;
}

/* --- a heap with the most likely candidate on top; the smaller token among equals ---------------
 */

static bool before(const aegis_candidate *a, const aegis_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static void sink(aegis_candidate *heap, uint32_t count, uint32_t at)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) {
            return;
        }
        if (child + 1 < count && before(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!before(&heap[child], &heap[at])) {
            return;
        }
        const aegis_candidate moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
        at = child;
    }
}

static void heapify(aegis_candidate *heap, uint32_t count)
{
    for (uint32_t at = count / 2; at-- > 0;) {
        sink(heap, count, at);
    }
}

/* Puts the first behind the `count - 1` that stay. */
static void pop(aegis_candidate *heap, uint32_t count)
{
    const aegis_candidate top = heap[0];
    heap[0] = heap[count - 1];
    heap[count - 1] = top;
    sink(heap, count - 1, 0);
}

static double weight(float logit, float most, double temperature)
{
    return exp(((double)logit - (double)most) / temperature);
}

/* In [0, 1) with 53 bits. */
static double draw(uint64_t *random)
{
    return (double)(aegis_random_next(random) >> 11) * 0x1p-53;
}

/* Sorts the most likely ones to the end of the array, most likely last, until the cut. Returns how
 * many there are; their weights' sum through ret_sum. */
static uint32_t
cut(aegis_candidate *room, uint32_t count, const aegis_sampling *sampling, double *ret_sum)
{
    const uint32_t most = sampling->top_k > 0 && sampling->top_k < count ? sampling->top_k : count;
    const bool nucleus = sampling->top_p > 0 && sampling->top_p < 1;
    heapify(room, count);
    const float top = room[0].logit;
    double whole = 0, sum = 0;
    uint32_t kept = 0;
    if (nucleus && most == count) {
        for (uint32_t i = 0; i < count; i++) {
            whole += weight(room[i].logit, top, sampling->temperature);
        }
    }
    while (kept < most && !(nucleus && most == count && sum >= sampling->top_p * whole)) {
        sum += weight(room[0].logit, top, sampling->temperature);
        pop(room, count - kept);
        kept++;
    }
    if (nucleus && most < count) { /* the share is of the top_k */
        const double all = sum;
        uint32_t fewer = 0;
        for (sum = 0; fewer < kept && sum < sampling->top_p * all; fewer++) {
            sum += weight(room[count - 1 - fewer].logit, top, sampling->temperature);
        }
        kept = fewer;
    }
    *ret_sum = sum;
    return kept;
}

static uint32_t draw_from_all(const float *logits, uint32_t count, aegis_sampling *sampling)
{
    const uint32_t best = aegis_sample_greedy(logits, count);
    double whole = 0, passed = 0;
    for (uint32_t t = 0; t < count; t++) {
        whole += weight(logits[t], logits[best], sampling->temperature);
    }
    const double at = draw(&sampling->random) * whole;
    for (uint32_t t = 0; t < count; t++) {
        passed += weight(logits[t], logits[best], sampling->temperature);
        if (passed > at) {
            return t;
        }
    }
    return best; /* no logit is a number */
}

uint32_t
aegis_sample(const float *logits, uint32_t count, aegis_sampling *sampling, aegis_candidate *room)
{
    if (!(sampling->temperature > 0)) {
        return aegis_sample_greedy(logits, count);
    }
    const bool nucleus = sampling->top_p > 0 && sampling->top_p < 1;
    if (!nucleus && (sampling->top_k == 0 || sampling->top_k >= count)) {
        return draw_from_all(logits, count, sampling);
    }
    for (uint32_t t = 0; t < count; t++) {
        room[t] = (aegis_candidate){isnan(logits[t]) ? -INFINITY : logits[t], t};
    }
    double sum, passed = 0;
    const uint32_t kept = cut(room, count, sampling, &sum);
    const float top = room[count - 1].logit;
    const double at = draw(&sampling->random) * sum;
    for (uint32_t i = 0; i < kept; i++) {
        passed += weight(room[count - 1 - i].logit, top, sampling->temperature);
        if (passed > at) {
            return room[count - 1 - i].token;
        }
    }
    return room[count - 1].token;
}

uint32_t
aegis_lookup_draft(const uint32_t *tokens, uint32_t count, uint32_t most, uint32_t *ret_draft)
{
    for (uint32_t length = 3; length > 0; length--) {
        if (count <= length) {
            continue;
        }
        const uint32_t *ending = tokens + count - length;
        for (uint32_t at = count - length; at-- > 0;) {
            if (memcmp(tokens + at, ending, length * sizeof *tokens) != 0) {
                continue;
            }
            const uint32_t behind = count - at - length;
            const uint32_t drafted = behind < most ? behind : most;
            memcpy(ret_draft, tokens + at + length, drafted * sizeof *tokens);
            return drafted;
        }
    }
    return 0;
}

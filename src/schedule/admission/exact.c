/* SPDX-License-Identifier: Apache-2.0 */
/* Exact comparison of sums and products of fractions. Periods of hundreds of tasks have no common
 * multiple that fits any machine word, so the sum is first bounded in units of 2^-64; only where
 * these bounds straddle the answer is it computed over the full product of the denominators, in as
 * many words as that takes (O(n^2) word operations). */
#include "schedule/admission/internal.h"

static aegis_u128 add_saturating(aegis_u128 a, aegis_u128 b)
{
    aegis_u128 sum;
    return __builtin_add_overflow(a, b, &sum) ? ~(aegis_u128)0 : sum;
}

void aegis_fixed_add(aegis_fixed *sum, uint64_t numerator, uint64_t denominator)
{
    aegis_u128 scaled = (aegis_u128)numerator << 64;
    aegis_u128 quotient = scaled / denominator;
    sum->low = add_saturating(sum->low, quotient);
    sum->high = add_saturating(sum->high, quotient + (scaled % denominator != 0));
}

/* A number of `used` little-endian words. */
typedef struct big {
    uint64_t *words;
    size_t used;
} big;

static void big_multiply(big *number, uint64_t factor)
{
    uint64_t carry = 0;
    for (size_t i = 0; i < number->used; i++) {
        aegis_u128 product = (aegis_u128)number->words[i] * factor + carry;
        number->words[i] = (uint64_t)product;
        carry = (uint64_t)(product >> 64);
    }
    if (carry != 0) {
        number->words[number->used++] = carry;
    }
}

/* number += other * factor */
static void big_add_product(big *number, const big *other, uint64_t factor)
{
    uint64_t carry = 0;
    size_t i = 0;
    for (; i < other->used || carry != 0; i++) {
        if (i == number->used) {
            number->words[number->used++] = 0;
        }
        aegis_u128 term = i < other->used ? (aegis_u128)other->words[i] * factor : 0;
        aegis_u128 sum = term + number->words[i] + carry; /* cannot wrap: (2^64-1)^2 + 2(2^64-1) */
        number->words[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
}

static int big_compare(const big *a, const big *b)
{
    if (a->used != b->used) {
        return a->used < b->used ? -1 : 1;
    }
    for (size_t i = a->used; i-- > 0;) {
        if (a->words[i] != b->words[i]) {
            return a->words[i] < b->words[i] ? -1 : 1;
        }
    }
    return 0;
}

/* Room for two numbers of `count` factors and a little more. */
static bool big_pair(const aegis_allocator *allocator, size_t count, big *a, big *b)
{
    uint64_t *words = aegis_allocate_zeroed(allocator, 2 * (count + 3), sizeof *words);
    *a = (big){.words = words};
    *b = (big){.words = words == NULL ? NULL : words + count + 3, .used = 1};
    return words != NULL;
}

static void big_free(const aegis_allocator *allocator, size_t count, big *a)
{
    aegis_deallocate(allocator, a->words, 2 * (count + 3), sizeof *a->words);
}

static aegis_outcome sum_compare_big(aegis_analysis_run *run,
                                     const aegis_fraction *fractions,
                                     size_t count,
                                     aegis_fraction bound,
                                     int *ret_sign)
{
    big numerator, denominator;
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    if (!big_pair(run->allocator, count, &numerator, &denominator)) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    denominator.words[0] = 1;
    for (size_t i = 0; i < count && outcome == AEGIS_OUTCOME_DONE; i++) {
        outcome = aegis_budget_take(&run->budget) ? outcome : AEGIS_OUTCOME_LIMIT;
        big_multiply(&numerator, fractions[i].denominator);
        big_add_product(&numerator, &denominator, fractions[i].numerator);
        big_multiply(&denominator, fractions[i].denominator);
    }
    big_multiply(&numerator, bound.denominator);
    big_multiply(&denominator, bound.numerator);
    *ret_sign = big_compare(&numerator, &denominator);
    big_free(run->allocator, count, &numerator);
    return outcome;
}

aegis_outcome aegis_sum_compare(aegis_analysis_run *run,
                                const aegis_fixed *sum,
                                const aegis_fraction *fractions,
                                size_t count,
                                aegis_fraction bound,
                                int *ret_sign)
{
    aegis_fixed limit = {0, 0};
    aegis_fixed_add(&limit, bound.numerator, bound.denominator);
    if (sum->high < limit.low) {
        *ret_sign = -1;
    } else if (sum->low > limit.high) {
        *ret_sign = 1;
    } else {
        return sum_compare_big(run, fractions, count, bound, ret_sign);
    }
    return AEGIS_OUTCOME_DONE;
}

static aegis_outcome product_compare_big(aegis_analysis_run *run,
                                         const aegis_fraction *fractions,
                                         size_t count,
                                         int *ret_sign)
{
    big numerator, denominator;
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    if (!big_pair(run->allocator, count, &numerator, &denominator)) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    numerator.words[0] = 1;
    numerator.used = 1;
    denominator.words[0] = 2;
    for (size_t i = 0; i < count && outcome == AEGIS_OUTCOME_DONE; i++) {
        outcome = aegis_budget_take(&run->budget) ? outcome : AEGIS_OUTCOME_LIMIT;
        big_multiply(&numerator, fractions[i].numerator);
        big_multiply(&denominator, fractions[i].denominator);
    }
    *ret_sign = big_compare(&numerator, &denominator);
    big_free(run->allocator, count, &numerator);
    return outcome;
}

#define UNIT AEGIS_PRODUCT_UNIT

/* a * b in units of 2^-60, rounded up; both at most 4. */
static uint64_t multiply_up(uint64_t a, uint64_t b)
{
    return (uint64_t)(((aegis_u128)a * b + (UNIT - 1)) >> 60);
}

static uint64_t multiply_down(uint64_t a, uint64_t b)
{
    return (uint64_t)(((aegis_u128)a * b) >> 60);
}

void aegis_product_multiply(aegis_product *product, aegis_fraction factor)
{
    aegis_u128 scaled = (aegis_u128)factor.numerator * UNIT;
    uint64_t quotient = (uint64_t)(scaled / factor.denominator);
    product->low = multiply_down(product->low, quotient);
    product->high = multiply_up(product->high, quotient + 1);
}

aegis_outcome aegis_product_compare_two(aegis_analysis_run *run,
                                        const aegis_product *product,
                                        const aegis_fraction *fractions,
                                        size_t count,
                                        int *ret_sign)
{
    if (product->low <= 2 * UNIT && product->high >= 2 * UNIT) {
        return product_compare_big(run, fractions, count, ret_sign);
    }
    *ret_sign = product->low > 2 * UNIT ? 1 : -1;
    return AEGIS_OUTCOME_DONE;
}

bool aegis_liu_layland_holds(aegis_u128 high, uint64_t n)
{
    /* The bound is at most 1, and for n > 1 irrational: there is no tie to break, and rounding up
     * everywhere can only refuse sets that are within n * 2^-60 of it. */
    if (high > AEGIS_FIXED_ONE) {
        return false;
    }
    aegis_u128 step = high / n + 1; /* x/n rounded up, in 2^-64 */
    uint64_t base = UNIT + (n == 1 ? (uint64_t)((high + 15) >> 4) : (uint64_t)((step + 15) >> 4));
    uint64_t power = UNIT;
    while (n != 0) {
        if ((n & 1) != 0) {
            power = multiply_up(power, base);
        }
        n >>= 1;
        if (power > 2 * UNIT) {
            return false; /* base >= 1: what follows only grows */
        }
        base = multiply_up(base, base); /* (1 + 1/n)^n < e, so never more than e^2 */
    }
    return true;
}

static aegis_u128 ppm_of(aegis_u128 fixed)
{
    aegis_u128 product;
    if (__builtin_mul_overflow(fixed, (aegis_u128)1000000, &product) ||
        product > ~(aegis_u128)0 - AEGIS_FIXED_ONE) {
        return UINT64_MAX;
    }
    return (product + AEGIS_FIXED_ONE - 1) >> 64;
}

/* Between two candidates the exact sum decides; the larger one where the limits end that. */
static aegis_outcome ppm_exact(aegis_analysis_run *run,
                               const aegis_fixed *sum,
                               const aegis_fraction *fractions,
                               uint64_t *ret_ppm)
{
    uint64_t low = (uint64_t)ppm_of(sum->low), high = (uint64_t)ppm_of(sum->high);
    int sign = 0;
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    if (low != high) {
        aegis_fraction candidate = {low, 1000000};
        outcome = aegis_sum_compare(run, sum, fractions, run->count, candidate, &sign);
    }
    *ret_ppm = sign > 0 || outcome != AEGIS_OUTCOME_DONE ? high : low;
    return outcome == AEGIS_OUTCOME_LIMIT ? AEGIS_OUTCOME_DONE : outcome;
}

static aegis_fraction *utilisations(aegis_analysis_run *run, size_t count, aegis_fixed *ret_sum)
{
    aegis_fraction *fractions = aegis_allocate_zeroed(run->allocator, count, sizeof *fractions);
    *ret_sum = (aegis_fixed){0, 0};
    for (size_t i = 0; i < count && fractions != NULL; i++) {
        fractions[i] = (aegis_fraction){run->tasks[i].execution, run->tasks[i].period};
        aegis_fixed_add(ret_sum, run->tasks[i].execution, run->tasks[i].period);
    }
    return fractions;
}

aegis_outcome aegis_utilisation_compare(aegis_analysis_run *run, size_t count, int *ret_sign)
{
    aegis_fixed sum;
    aegis_fraction *fractions = utilisations(run, count, &sum);
    if (fractions == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    aegis_outcome outcome =
        aegis_sum_compare(run, &sum, fractions, count, (aegis_fraction){1, 1}, ret_sign);
    aegis_deallocate(run->allocator, fractions, count, sizeof *fractions);
    return outcome;
}

aegis_outcome aegis_utilisation_ppm(aegis_analysis_run *run, uint64_t *ret_ppm)
{
    aegis_fixed sum;
    aegis_fraction *fractions = utilisations(run, run->count, &sum);
    if (fractions == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    aegis_outcome outcome = ppm_exact(run, &sum, fractions, ret_ppm);
    aegis_deallocate(run->allocator, fractions, run->count, sizeof *fractions);
    return outcome;
}

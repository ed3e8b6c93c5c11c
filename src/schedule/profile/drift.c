/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does a running model keep to its profile? The claim is that at most a share p0 of the runs passes
 * a level. For k of n runs above it and any p > p0 the likelihood ratio
 *   (p/p0)^k ((1-p)/(1-p0))^(n-k)
 * is a non-negative supermartingale of mean at most 1 as long as the claim holds, and so is the
 * mean of several. By Ville's inequality ("Etude critique de la notion de collectif", 1939) it
 * ever reaches 1/a with a chance of at most a: the test may be looked at after every run. It needs
 * the two counts only, so that nothing but a comparison and an addition is left on the way of a
 * job. The p looked at are p0 times 1.5, 2.25, ... below 1.
 */
#include <aegisrt/profile.h>

#include <math.h>

#define EVIDENCE_NEEDED 1000.0
#define FACTOR 1.5
#define MOST_RATES 64

bool aegis_profile_claim(const aegis_profile *profile, uint64_t *ret_level_ns, double *ret_share)
{
    switch (profile->method) {
    case AEGIS_BOUND_ORDER_STATISTIC:
        *ret_level_ns = profile->loaded.quantile_ns;
        *ret_share = 1 - profile->quantile;
        break;
    case AEGIS_BOUND_EXTREME_VALUE:
        *ret_level_ns = profile->bound_ns;
        *ret_share = profile->extreme.exceedance;
        break;
    case AEGIS_BOUND_TOO_FEW_SAMPLES:
        return false;
    }
    return *ret_level_ns > 0 && *ret_share > 0 && *ret_share < 1;
}

uint64_t aegis_profile_claimed_ns(const aegis_profile *profile, uint32_t segment)
{
    uint64_t level;
    double share;
    if (!aegis_profile_claim(profile, &level, &share)) {
        return UINT64_MAX;
    }
    if (aegis_profile_segments(profile) == 1) {
        return level;
    }
    const aegis_profile_segment *one = &profile->segments[segment];
    return profile->method == AEGIS_BOUND_EXTREME_VALUE ? one->bound_ns : one->series.quantile_ns;
}

static double log_ratio(double p, double p0, double n, double k)
{
    return k * log(p / p0) + (n - k) * (log1p(-p) - log1p(-p0));
}

static double evidence_of(double p0, double n, double k)
{
    double rates[MOST_RATES], largest = -INFINITY, sum = 0;
    int count = 0;
    double p = p0 * FACTOR;
    while (p < 1 && count < MOST_RATES) {
        rates[count] = log_ratio(p, p0, n, k);
        largest = fmax(largest, rates[count++]);
        p *= FACTOR;
    }
    if (count == 0) {
        rates[count] = log_ratio((1 + p0) / 2, p0, n, k);
        largest = rates[count++];
    }
    for (int i = 0; i < count; i++) {
        sum += exp(rates[i] - largest);
    }
    return exp(fmin(largest + log(sum / count), 700));
}

aegis_drift aegis_profile_drift(const aegis_profile *profile, uint64_t executions, uint64_t past)
{
    aegis_drift drift = {.executions = executions, .past = past, .evidence = 1};
    if (!aegis_profile_claim(profile, &drift.level_ns, &drift.share)) {
        drift.level_ns = 0;
        drift.share = 0;
        drift.past = 0;
        return drift;
    }
    /* The counts are read one after the other while runs end. */
    double n = (double)(executions > past ? executions : past);
    drift.evidence = evidence_of(drift.share, n, (double)past);
    drift.stale = drift.evidence >= EVIDENCE_NEEDED;
    return drift;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_PROFILE_H
#define AEGISRT_PROFILE_H

/**
 * @file profile.h How long a model's execution takes, and how sure that is.
 *
 * The bound is distribution-free: the sample at the order statistic that covers the wanted quantile
 * with the wanted statistical confidence, times a margin. On a shared machine the raw maximum
 * measures the neighbours, hence a quantile.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/backend.h>
#include <aegisrt/clock.h>
#include <aegisrt/device.h>
#include <aegisrt/error.h>
#include <aegisrt/ext/core.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How a bound was made. */
typedef enum aegis_bound_method {
    AEGIS_BOUND_ORDER_STATISTIC = 0, /**< an order statistic times the margin */
    AEGIS_BOUND_TOO_FEW_SAMPLES,     /**< the maximum times the margin: fewer samples than needed */
    AEGIS_BOUND_EXTREME_VALUE        /**< a fitted tail; the margin is not applied */
} aegis_bound_method;

typedef struct aegis_profile_options {
    uint32_t min_samples; /**< at least; 0: 100. Raised to what quantile and assurance need */
    uint32_t max_samples; /**< never more; 0: 20,000 */
    double quantile;  /**< the share of runs that the bound covers, before the margin; 0: 0.99 */
    double assurance; /**< statistical confidence in that statement; 0: 0.95 */
    double margin;    /**< factor on the order statistic; 0: 1.5 */
    uint32_t warm_up; /**< runs before sampling; the first is the cold figure; 0: 5 */
    uint64_t seed;    /**< of the bootstrap */
    /** Fit the tail; where that is refused the order statistic counts, as without. */
    bool extreme_value;
    double exceedance; /**< chance that a run passes the extreme-value bound; 0: 1e-4 */
} aegis_profile_options;

/** Tests of what every statistical bound takes for granted: that the runs are independent and
 * alike. Each at 5 %. Samples in the order in which they were taken. */
typedef struct aegis_independence {
    uint32_t samples, lags;
    /** Ljung & Box 1978: n(n+2) sum_{k<=h} r_k^2/(n-k), and its p-value from chi2_h; h = 10. */
    double ljung_box, ljung_box_p;
    /** Kwiatkowski et al. 1992, level: sum S_t^2 / (n^2 s^2(l)), s^2 after Newey & West with l =
     * floor(4 (n/100)^(1/4)). Above 0.463: not stationary. */
    double kpss, kpss_critical;
    /** Two-sample Kolmogorov-Smirnov of the first against the second half; critical value 1.358
     * sqrt((n+m)/(nm)). */
    double smirnov, smirnov_critical;
} aegis_independence;

/** What became of the extreme-value fit. */
typedef enum aegis_extreme_outcome {
    AEGIS_EXTREME_NOT_ASKED = 0,
    AEGIS_EXTREME_ACCEPTED,
    AEGIS_EXTREME_TOO_FEW,        /**< fewer than 500 samples, or 30 above the threshold */
    AEGIS_EXTREME_DEPENDENT,      /**< Ljung-Box */
    AEGIS_EXTREME_NOT_STATIONARY, /**< KPSS */
    AEGIS_EXTREME_NOT_ALIKE,      /**< Kolmogorov-Smirnov */
    AEGIS_EXTREME_HEAVY_TAIL,     /**< xi is clearly above 0: no extrapolation from that */
    AEGIS_EXTREME_BAD_FIT,        /**< Anderson-Darling */
    AEGIS_EXTREME_INSIDE          /**< the wanted exceedance lies within the samples */
} aegis_extreme_outcome;

/** Peaks over a threshold: excesses y over u follow 1 - (1 + xi y / sigma)^(-1/xi). */
typedef struct aegis_extreme_fit {
    aegis_extreme_outcome outcome;
    aegis_independence tests;
    double exceedance;    /**< p */
    uint32_t exceedances; /**< N_u: samples above u */
    double threshold_ns;  /**< u, the 0.9 quantile of the samples */
    /** xi and sigma by probability-weighted moments (Hosking & Wallis 1987), with the end of the
     * tail not before the largest excess (Dupuis & Tsao 1998); the standard error of xi from the
     * bootstrap. Refused when xi - 1.645 errors > 0. */
    double shape, shape_error, scale_ns;
    double anderson_darling,
        anderson_darling_p; /**< p by parametric bootstrap; refused below 5 % */
    double quantile_ns; /**< x_p = u + (sigma/xi)((p n/N_u)^(-xi) - 1); u + sigma ln(N_u/(p n)) */
    double upper_ns;    /**< upper confidence limit of x_p at the assurance, by the bootstrap */
} aegis_extreme_fit;

/** Times in ns of one series of runs. */
typedef struct aegis_profile_series {
    uint32_t samples;
    uint64_t best_ns, median_ns, average_ns, quantile_ns, worst_ns;
    double cv; /**< standard deviation over average */
} aegis_profile_series;

/** One segment of a cut model: what a lane can be occupied for before the next decision. */
typedef struct aegis_profile_segment {
    aegis_profile_series series; /**< in the order of a job, caches cold before the segment as
                                      another model's segment in between leaves them */
    uint64_t bound_ns;           /**< C of the segment */
    uint64_t stretch_ns;         /**< as of the model, for an end asked for within this segment */
} aegis_profile_segment;

typedef struct aegis_profile {
    aegis_profile_series alone; /**< other lanes idle, caches warm */
    aegis_profile_series
        loaded;               /**< one fixed stressor on each other lane and nothing of the
                                   model in a cache before each run; equal to alone without load */
    uint64_t cold_ns;         /**< the first run after loading */
    double contention_factor; /**< loaded median over alone median */
    double quantile, assurance, margin;
    aegis_bound_method method;
    aegis_extreme_fit extreme; /**< of the loaded series, or of a cut model's first segment whose
                                    fit was refused (else its last); says why it was refused */
    uint64_t bound_ns;   /**< C: order statistic of the loaded series times the margin, or with
                              AEGIS_BOUND_EXTREME_VALUE the larger of upper_ns and the maximum; of
                              a cut model the sum of its segments' bounds */
    uint64_t stretch_ns; /**< longest time that a run went on after it was told to end, times
                              the margin; bound_ns when a run cannot be ended */
    /** Of a model with early copies: of its inputs, from the call that asks for them to the moment
     * that their arrival is seen, with every lane loaded; and K, order statistic times margin. 0:
     * not measured. */
    aegis_profile_series copy;
    uint64_t copy_bound_ns;
    uint64_t
        copy_least_ns; /**< from its beginning on the stream's thread: what that may sleep for */
    char key[65];      /**< SHA-256 over everything that moves the figures */
    /** 0 or 1: the model is whole and `segments` says nothing that the model's figures do not. */
    uint32_t segment_count;
    aegis_profile_segment segments[AEGIS_MAX_SEGMENTS];
} aegis_profile;

/** Segments as the scheduler counts them: at least 1. */
uint32_t aegis_profile_segments(const aegis_profile *profile);
/** One of them; the model's own figures when it is whole. */
aegis_profile_segment aegis_profile_segment_at(const aegis_profile *profile, uint32_t segment);
/** The longest bound of a segment. */
uint64_t aegis_profile_longest_ns(const aegis_profile *profile);

/** Smallest number of runs whose maximum covers `quantile` with `assurance`:
 * ceil(ln(1 - assurance) / ln(quantile)). 299 for 0.99 at 0.95. */
uint32_t aegis_profile_samples_needed(double quantile, double assurance);

/** Smallest k (1-based) such that the k-th smallest of n samples is at or above the quantile with
 * the assurance: P(Binomial(n, quantile) < k) >= assurance. 0 when n is too small. */
uint32_t aegis_profile_order_statistic(uint32_t n, double quantile, double assurance);

/** The bound from samples: order statistic times margin, rounded up; the maximum times the margin
 * when there are too few (and the method says so). Sorts `samples` in place. */
uint64_t aegis_profile_compute_wcet(uint64_t *samples,
                                    uint32_t count,
                                    double quantile,
                                    double assurance,
                                    double margin,
                                    aegis_bound_method *ret_method);

/** Runs the three tests over samples in the order in which they were taken. `scratch` has `count`
 * entries. False when there are fewer than 30. Any thread. */
bool aegis_independence_test(const uint64_t *samples,
                             uint32_t count,
                             uint64_t *scratch,
                             aegis_independence *ret_tests);

/**
 * Tests the samples and fits their tail. Deterministic for a seed; half a second for 20,000.
 * @param samples  in the order in which they were taken; not changed
 * @param options  exceedance, assurance and seed
 * @return OK also when the fit is refused: the outcome says why; NO_MEMORY
 */
aegis_status aegis_extreme_fit_samples(const uint64_t *samples,
                                       uint32_t count,
                                       const aegis_profile_options *options,
                                       const aegis_allocator *allocator,
                                       aegis_extreme_fit *ret_fit,
                                       aegis_error *err);

/** Makes the fit the bound when it was accepted: method and bound_ns. */
void aegis_profile_apply_extreme(aegis_profile *profile);

/** "order-statistic", "maximum", "evt". */
const char *aegis_bound_method_name(aegis_bound_method method);
/** "accepted", "dependent", ...: one word; and a sentence without a full stop. */
const char *aegis_extreme_outcome_name(aegis_extreme_outcome outcome);
const char *aegis_extreme_outcome_text(aegis_extreme_outcome outcome);

/** Whether runs keep what their profile claims: that at most `share` of them pass `level_ns`. */
typedef struct aegis_drift {
    uint64_t level_ns; /**< the order statistic before the margin, or the extreme-value bound; 0:
                          the profile claims nothing (too few samples) */
    double share;      /**< 1 - quantile, or the exceedance */
    uint64_t executions, past; /**< runs, and those above level_ns */
    /** Likelihood ratio in favour of larger shares. At any time in the life of a valid profile it
     * reaches 1000 with a chance of at most 1/1000, however often one looks (Ville 1939; runs taken
     * as independent). */
    double evidence;
    bool stale; /**< evidence >= 1000: profile again */
} aegis_drift;

/** What a profile claims of the whole job. False when nothing. */
bool aegis_profile_claim(const aegis_profile *profile, uint64_t *ret_level_ns, double *ret_share);
/** The level of one segment, of which the share is the same; UINT64_MAX when nothing is claimed. */
uint64_t aegis_profile_claimed_ns(const aegis_profile *profile, uint32_t segment);
/** The evidence against that claim from counts; of a cut model executions are those of segments.
 * Any thread; not for the dispatch path. */
aegis_drift aegis_profile_drift(const aegis_profile *profile, uint64_t executions, uint64_t past);

/** Fills in best, median, average, quantile, worst and cv. Sorts `samples` in place. */
void aegis_profile_summarise(uint64_t *samples,
                             uint32_t count,
                             double quantile,
                             double assurance,
                             aegis_profile_series *ret_series);

/** Progress of a long profile; may be NULL. Called between runs on the caller's thread. */
typedef void (*aegis_profile_progress)(void *self,
                                       const char *phase,
                                       uint32_t done,
                                       uint32_t total);

typedef struct aegis_profiler aegis_profiler;

typedef struct aegis_profiler_config {
    aegis_stream *const *lanes; /**< one runs the model, the others the load; borrowed */
    size_t lane_count;
    /** Copies the inputs of models with early copies beside the lanes: where there are such models,
     * each profile is taken while it copies in without end. NULL: there are none. Borrowed; counts
     * as a lane in what follows. */
    aegis_stream *copy_stream;
    /** Device memory, an equal part for each lane (aegis_profiler_scratch_bytes): overwritten
     * before a run that shall start cold, so that the device's cache holds nothing of the model,
     * and streamed through by the load of the other lanes. Borrowed; none (zeroes) on a host, where
     * the lanes' own threads load. */
    aegis_buffer scratch;
    /** With `scratch` and more lanes than one: pinned memory, likewise (AEGIS_PROFILER_PINNED_BYTES
     * each), which the load copies in and out. */
    aegis_buffer pinned;
    aegis_clock clock;
    aegis_profile_progress progress;
    void *progress_self;
} aegis_profiler_config;

/** Of `pinned`, for each lane. */
#define AEGIS_PROFILER_PINNED_BYTES (2 * AEGIS_COPY_PIECE_BYTES)
/** Bytes of `scratch` for each lane of the first device of this kind, to be added to its arena; 0
 * on a host. AUTO as aegis_device_create takes it. Any thread. */
uint64_t aegis_profiler_scratch_bytes(aegis_device_kind kind);

/** Statuses: INVALID_ARGUMENT (no lanes, too little scratch), NO_MEMORY. */
aegis_status aegis_profiler_create(const aegis_profiler_config *config,
                                   const aegis_allocator *allocator,
                                   aegis_profiler **ret_profiler,
                                   aegis_error *err);
void aegis_profiler_destroy(aegis_profiler *profiler);
/** From here on models run on this lane, which is 0 at first. */
void aegis_profiler_use_lane(aegis_profiler *profiler, size_t lane);

/** Profiles an open model alone. Blocks. All segments in order are one job; of a model with more
 * than one each is also measured on its own, in that order. @return OK; INVALID_ARGUMENT for
 * options out of range; UNSUPPORTED for more than AEGIS_MAX_SEGMENTS segments; NO_MEMORY; and what
 * running the model returned. */
aegis_status aegis_profiler_profile(aegis_profiler *profiler,
                                    aegis_model *model,
                                    const aegis_profile_options *options,
                                    aegis_profile *ret_profile,
                                    aegis_error *err);

/** Profiles it alone (fewer runs) and then with one stressor on each other lane (on a GPU copies
 * within the device, in and out, without end), each run with
 * caches as another model would leave them: the bound comes
 * from the loaded series. Also measures how long it goes on after it is told to end. Statuses as
 * aegis_profiler_profile. */
aegis_status aegis_profiler_profile_under_load(aegis_profiler *profiler,
                                               aegis_model *model,
                                               const aegis_profile_options *options,
                                               aegis_profile *ret_profile,
                                               aegis_error *err);

/** Measures the copy of the inputs of an open model with early copies, on the copy stream while
 * every lane is loaded, into `copy` and `copy_bound_ns` of the profile. Blocks. @return OK;
 * INVALID_ARGUMENT for options out of range, or without a copy stream; UNSUPPORTED when the model
 * copies inline; NO_MEMORY; and what copying returned. */
aegis_status aegis_profiler_profile_copies(aegis_profiler *profiler,
                                           aegis_model *model,
                                           const aegis_profile_options *options,
                                           aegis_profile *profile,
                                           aegis_error *err);

/** Key of a profile: model hash, runtime and version, device, clocks, lanes, threads, options.
 * INTERNAL when the hash cannot be computed. */
aegis_status aegis_profile_make_key(const aegis_model *model,
                                    const aegis_device_capabilities *capabilities,
                                    unsigned lanes,
                                    unsigned threads,
                                    const aegis_profile_options *options,
                                    char ret_key[65],
                                    aegis_error *err);

/** The key of a cut model: of its key (make_key) and where it is cut. Without cuts a copy.
 * UNSUPPORTED for more cuts than a model can have; INTERNAL when the hash cannot be computed. */
aegis_status aegis_profile_cut_key(
    const char key[65], const uint32_t *cuts, size_t cut_count, char ret_key[65], aegis_error *err);

/** The key (of make_key) where some models copy early: all are measured while inputs come in,
 * copies are in pieces, and the copy of an early model is no part of its runs. `ret_key` may be
 * `key`. INTERNAL when the hash cannot be computed. */
aegis_status
aegis_profile_copies_key(const char key[65], bool early, char ret_key[65], aegis_error *err);

/** Writes a profile file, atomically: JSON with the version of its layout. NOT_FOUND (no such
 * folder), PERMISSION or IO from the system; NO_MEMORY. */
aegis_status aegis_profile_save(const char *path, const aegis_profile *profile, aegis_error *err);
/** Reads one. NOT_FOUND when there is none, PARSE when it is none or its layout has another
 * version, STATE when its key is not `key` (both in the message): such a profile is not used;
 * PERMISSION or IO from the system. */
aegis_status
aegis_profile_load(const char *path, const char *key, aegis_profile *ret_profile, aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif

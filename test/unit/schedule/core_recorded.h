/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_CORE_RECORDED_H
#define AEGIS_TEST_CORE_RECORDED_H

/* A core of one lane under np-edf that is recorded, and what it decided derived again. */

#include "core_fixture.h"

#include <aegisrt/ext/clock_ops.h>
#include <aegisrt/replay.h>

/* `records` has room for FIXTURE_RECORDS. */
static inline void begin_recorded(fixture *f, aegis_trace_record *records, uint64_t wake_bound_ns)
{
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-edf", &policy, NULL), AEGIS_OK);
    begin_with(f, &policy,
               &(aegis_core_config){
                   .lanes = 1, .max_models = 8, .max_jobs = 64, .wake_bound_ns = wake_bound_ns});
    f->records = records;
    records[0] = aegis_core_config_to_record(&f->config, 0);
    f->record_count = 1;
}

static inline void expect_same_replayed(const fixture *f)
{
    aegis_policy policy;
    aegis_replay_result result;
    const aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(aegis_policy_find("np-edf", &policy, NULL), AEGIS_OK);
    assert_int_equal(aegis_replay_verify_records(f->records, f->record_count, true, &policy,
                                                 &allocator, &result, NULL),
                     AEGIS_OK);
    assert_true(result.decisions > 0);
    assert_int_equal(result.identical, result.decisions);
}

#endif

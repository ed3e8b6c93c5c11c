/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_AEGIS_H
#define AEGISRT_AEGIS_H

/** @file aegis.h Everything that users need; ext/ is for people who extend AegisRT. */

#include <aegisrt/admission.h>
#include <aegisrt/allocator.h>
#include <aegisrt/backend.h>
#include <aegisrt/certificate.h>
#include <aegisrt/clock.h>
#include <aegisrt/context.h>
#include <aegisrt/cuts.h>
#include <aegisrt/device.h>
#include <aegisrt/doctor.h>
#include <aegisrt/error.h>
#include <aegisrt/memory_plan.h>
#include <aegisrt/monitor.h>
#include <aegisrt/policy.h>
#include <aegisrt/pool.h>
#include <aegisrt/profile.h>
#include <aegisrt/rationale.h>
#include <aegisrt/replay.h>
#include <aegisrt/scheduler.h>
#include <aegisrt/status.h>
#include <aegisrt/system.h>
#include <aegisrt/trace.h>
#include <aegisrt/transformer.h>
#include <aegisrt/version.h>
#include <aegisrt/workload.h>

#endif

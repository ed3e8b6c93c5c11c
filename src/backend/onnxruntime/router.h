/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_ROUTER_H
#define AEGIS_BACKEND_ORT_ROUTER_H

/* What router.c (where requests go) and library.c (the library, its environment) share. */

#include "backend/onnxruntime/ort.h"

#include <pthread.h>

typedef struct aegis_ort_router {
    pthread_mutex_t lock; /* of all but `strays` */
    unsigned references, cuda_users;
    aegis_ort ort;
    OrtAllocator allocator, device_allocator, pinned_allocator; /* as registered */
    char path[512];                                             /* of the library */
    _Atomic uint64_t strays;
} aegis_ort_router;

/* The one of this process: see ort.h. */
extern aegis_ort_router aegis_ort_the_router;

OrtAllocator aegis_ort_host_allocator(void);
OrtAllocator aegis_ort_device_allocator(void);
OrtAllocator aegis_ort_pinned_allocator(void);

/* The environment's logger. */
void aegis_ort_route_log(void *parameter,
                         OrtLoggingLevel severity,
                         const char *category,
                         const char *id,
                         const char *location,
                         const char *message);

#endif

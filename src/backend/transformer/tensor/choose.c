/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tensor/kernel_sets.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}

/* Conversions of f16, which not every compiler's __builtin_cpu_supports knows. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}
#endif

const aegis_kernels *aegis_kernels_at(size_t index)
{
    const aegis_kernels *sets[4];
    size_t count = 0;
#if defined(__x86_64__)
    if (has_avx512()) {
        sets[count++] = &aegis_kernels_avx512;
    }
    if (has_avx2()) {
        sets[count++] = &aegis_kernels_avx2;
    }
#elif defined(__aarch64__)
    sets[count++] = &aegis_kernels_neon; /* every aarch64 has it */
#endif
    sets[count++] = &aegis_kernels_scalar;
    return index < count ? sets[index] : NULL;
}

const aegis_kernels *aegis_kernels_choose(void)
{
    return aegis_kernels_at(0);
}

const aegis_kernels *aegis_kernels_find(const char *name)
{
    const aegis_kernels *set = NULL;
    for (size_t i = 0; (set = aegis_kernels_at(i)) != NULL; i++) {
        if (strcmp(set->name, name) == 0) {
            return set;
        }
    }
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_VERSION_H
#define AEGISRT_VERSION_H

/** @file version.h Version of the library and of the formats it writes. */

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_VERSION_MAJOR 0
#define AEGIS_VERSION_MINOR 1
#define AEGIS_VERSION_PATCH 0
#define AEGIS_VERSION_STRING "0.1.0"

/** `schema_version` of every JSON object that the commands print. */
#define AEGIS_JSON_SCHEMA_VERSION 1

/** Version of the library that is linked, "major.minor.patch". Any thread. */
const char *aegis_version(void);

#ifdef __cplusplus
}
#endif
#endif

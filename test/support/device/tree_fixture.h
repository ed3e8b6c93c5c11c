/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_TREE_FIXTURE_H
#define AEGIS_TEST_TREE_FIXTURE_H

/* Writes a small procfs and sysfs into a temporary folder, from a table of paths and texts. */

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct tree_file {
    const char *path, *text;
} tree_file;

typedef struct tree_fixture {
    char root[64];
} tree_fixture;

static inline bool tree_put(const tree_fixture *tree, const char *path, const char *text)
{
    char full[512];
    int length = snprintf(full, sizeof full, "%s/%s", tree->root, path);
    if (length < 0 || (size_t)length >= sizeof full) {
        return false;
    }
    for (char *slash = strchr(full + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    bool good = file != NULL && fputs(text, file) >= 0;
    return file != NULL && fclose(file) == 0 && good;
}

/* The table ends with a path of NULL. */
static inline bool tree_make(tree_fixture *tree, const tree_file *files)
{
    snprintf(tree->root, sizeof tree->root, "/tmp/aegis-tree-XXXXXX");
    if (mkdtemp(tree->root) == NULL) {
        return false;
    }
    bool good = true;
    for (; files->path != NULL; files++) {
        good = tree_put(tree, files->path, files->text) && good;
    }
    return good;
}

static inline int
tree_remove_entry(const char *path, const struct stat *is, int type, struct FTW *at)
{
    (void)is;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void tree_remove(const tree_fixture *tree)
{
    nftw(tree->root, tree_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#endif

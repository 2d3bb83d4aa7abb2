// SPDX-License-Identifier: Apache-2.0
#include "base/hierarchy.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* The words of a line of mountinfo: ... ... ... root place ... - type source options. */
static bool read_line(const char *line, struct hierarchy *hierarchy)
{
    static_assert(PATH_MAX == 4096, "the widths below");
    const char *dash = strstr(line, " - ");
    const char *end = strchr(line, '\n');

    return dash && (!end || dash < end) &&
           sscanf(line, "%*s %*s %*s %4095s %4095s", hierarchy->root, hierarchy->place) == 2 &&
           sscanf(dash + 3, "%31s %*s %255s", hierarchy->type, hierarchy->options) == 2;
}

const char *hierarchy_next_line(const char *line)
{
    const char *end = strchr(line, '\n');

    return end && end[1] ? end + 1 : NULL;
}

const char *hierarchy_next(const char *mountinfo, struct hierarchy *hierarchy)
{
    for (const char *line = mountinfo; line && *line;) {
        const char *next = hierarchy_next_line(line);

        if (read_line(line, hierarchy) &&
            (strcmp(hierarchy->type, "cgroup2") == 0 || strcmp(hierarchy->type, "cgroup") == 0))
            return next ? next : "";
        line = next;
    }
    return NULL;
}

bool hierarchy_lists(const char *list, const char *word)
{
    size_t size = strlen(word);

    for (const char *at = list; (at = strstr(at, word)); at += size) {
        if ((at == list || at[-1] == ',') && (at[size] == ',' || at[size] == '\0'))
            return true;
    }
    return false;
}

/* One of its controllers tells a hierarchy of version 1: no other one has that. */
bool hierarchy_has(const struct hierarchy *hierarchy, const char *controllers)
{
    char first[64];

    if (!*controllers)
        return strcmp(hierarchy->type, "cgroup2") == 0;
    snprintf(first, sizeof(first), "%.*s", (int)strcspn(controllers, ","), controllers);
    return strcmp(hierarchy->type, "cgroup") == 0 && hierarchy_lists(hierarchy->options, first);
}

const char *hierarchy_below(const struct hierarchy *hierarchy, const char *group)
{
    const char *root = hierarchy->root;
    size_t size = strcmp(root, "/") == 0 ? 0 : strlen(root);

    if (strncmp(group, root, size) != 0 || (group[size] && group[size] != '/') || strstr(group, "/.."))
        return NULL;
    return strcmp(group + size, "/") == 0 ? "" : group + size;
}

// SPDX-License-Identifier: Apache-2.0
#include "slot/table.h"

const struct index_sizes table_sizes = {.entry = ENTRY_SIZE, .tail = ENTRY_TAIL};

void table_attach(struct slots *slots, struct slot *slot)
{
    slot->table = slots;
    slot->marks = &slots->marks;
    slot->inline_bytes = slots->inline_bytes[slot - slots->entries];
}

uint32_t table_bucket(const struct slots *slots, const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash & (slots->buckets - 1);
}

void table_enlist(struct slots *slots, struct slot *slot)
{
    uint32_t *bucket = &slots->bucket[table_bucket(slots, slot->name)];

    slot->next_in_bucket = *bucket;
    *bucket = (uint32_t)(slot - slots->entries);
}

void table_delist(struct slots *slots, struct slot *slot)
{
    uint32_t *link = &slots->bucket[table_bucket(slots, slot->name)];
    uint32_t index = (uint32_t)(slot - slots->entries);

    while (*link && *link != index)
        link = &slots->entries[*link].next_in_bucket;
    if (*link)
        *link = slot->next_in_bucket;
}

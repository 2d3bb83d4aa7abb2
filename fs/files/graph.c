// SPDX-License-Identifier: Apache-2.0
#include "files/graph.h"

#include "files/report.h"

static const char *colour_of(const struct slot *slot)
{
    static const char *const colours[HANDSHAKE_STATES] = {
        [STATE_IDLE] = "white",          [STATE_FILLING] = "lightyellow", [STATE_READY] = "gold",
        [STATE_COMPUTING] = "lightblue", [STATE_DONE] = "palegreen",      [STATE_FAILED] = "salmon",
    };

    return colours[slot_state(slot)];
}

/* Slot names are any bytes: what could end a DOT string or escape in it is written as \xHH. */
static void print_escaped(const char *name, FILE *out)
{
    for (const char *at = name; *at; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\')
            fprintf(out, "\\\\x%02x", byte);
        else
            putc(byte, out);
    }
}

void graph_dot(struct exchange *exchange, FILE *out)
{
    const struct slot *slot;
    uint32_t index = 0;

    fputs("digraph pyrmapfs {\n    rankdir=LR;\n    node [shape=box, style=\"rounded,filled\", "
          "fontname=\"sans-serif\"];\n",
          out);
    while ((slot = slot_after(exchange_slots(exchange), index))) {
        index = slot_index(exchange_slots(exchange), slot);
        fprintf(out, "    n%u [label=\"", index);
        print_escaped(slot->name, out);
        fprintf(out, "\\n%s %llu\", fillcolor=%s];\n", handshake_state_name(slot_state(slot)),
                (unsigned long long)slot->record.round, colour_of(slot));
        if (slot->source)
            fprintf(out, "    n%u -> n%u%s;\n", slot->source, index,
                    slot->source_side == RECORD_SIDE_INPUT ? " [style=dashed, label=\"data.bin\"]" : "");
    }
    fputs("}\n", out);
}

enum { DEEPEST = 32 };

static void print_node(const struct slot *slot, unsigned depth, FILE *out)
{
    for (unsigned i = 1; i < depth && i < DEEPEST; i++)
        fputs("    ", out);
    if (depth > DEEPEST)
        fprintf(out, "[%u] ", depth); /* a long chain is no staircase without end */
    if (depth)
        fputs(slot->source_side == RECORD_SIDE_INPUT ? "`=> " : "`-> ", out);
    report_name(slot->name, out);
    fprintf(out, "  %s, round %llu\n", handshake_state_name(slot_state(slot)),
            (unsigned long long)slot->record.round);
}

/* Walks a tree in preorder by its links: chains may be longer than the stack is deep. */
static void print_tree(struct exchange *exchange, const struct slot *root, FILE *out)
{
    const struct slot *at = root;
    unsigned depth = 0;

    while (at) {
        print_node(at, depth, out);
        if (at->first_follower) {
            at = slot_at(exchange_slots(exchange), at->first_follower);
            depth++;
            continue;
        }
        while (at && at != root && !at->next_follower) {
            at = slot_at(exchange_slots(exchange), at->source);
            depth--;
        }
        at = !at || at == root ? NULL : slot_at(exchange_slots(exchange), at->next_follower);
    }
}

void graph_tree(struct exchange *exchange, FILE *out)
{
    const struct slot *slot;
    uint32_t index = 0;

    while ((slot = slot_after(exchange_slots(exchange), index))) {
        index = slot_index(exchange_slots(exchange), slot);
        if (!slot->source && slot->first_follower)
            print_tree(exchange, slot, out);
    }
}

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

static void print_dot(const struct slot *slot, uint32_t index, FILE *out)
{
    fprintf(out, "    n%u [label=\"", index);
    print_escaped(slot->name, out);
    fprintf(out, "\\n%s %llu\", fillcolor=%s];\n", handshake_state_name(slot_state(slot)),
            (unsigned long long)slot->record.round, colour_of(slot));
    if (slot->source)
        fprintf(out, "    n%u -> n%u%s;\n", slot->source, index,
                slot->source_side == RECORD_SIDE_INPUT ? " [style=dashed, label=\"data.bin\"]" : "");
}

enum { DEEPEST = 32 };

static void print_node(const struct slot *slot, unsigned depth, FILE *out)
{
    for (unsigned i = 1; i < depth && i < DEEPEST; i++)
        fputs("    ", out);
    if (depth > DEEPEST)
        fprintf(out, "[%u] ", depth); /* the indentation of a long chain is bounded */
    if (depth)
        fputs(slot->source_side == RECORD_SIDE_INPUT ? "`=> " : "`-> ", out);
    report_name(slot->name, out);
    fprintf(out, "  %s, round %llu\n", handshake_state_name(slot_state(slot)),
            (unsigned long long)slot->record.round);
}

static void enter(struct graph *graph, struct slots *slots, uint32_t index, uint32_t depth, FILE *out)
{
    const struct slot *slot = slot_at(slots, index);

    graph->at = index;
    graph->serial = slot->serial;
    graph->depth = depth;
    graph->is_below = false;
    print_node(slot, depth, out);
}

/* The next slot of the table. Returns false beyond the last. */
static bool look_further(struct graph *graph, struct slots *slots, FILE *out)
{
    const struct slot *slot = slot_at(slots, ++graph->root);

    if (graph->root >= slots_end(slots))
        return false;
    if (!slot)
        return true;
    if (graph->kind == GRAPH_DOT)
        print_dot(slot, graph->root, out);
    else if (!slot->source && slot->first_follower)
        enter(graph, slots, graph->root, 0, out);
    return true;
}

/* One move in a tree, in preorder and by its links: recursion could overflow the stack. */
static void walk_on(struct graph *graph, struct slots *slots, FILE *out)
{
    const struct slot *slot = slot_at(slots, graph->at);

    /* The slot may have gone since the last piece, and our place in the tree with it. */
    bool lost = !slot || slot->serial != graph->serial;

    if (!lost && !graph->is_below && slot->first_follower) {
        enter(graph, slots, slot->first_follower, graph->depth + 1, out);
    } else if (lost || graph->depth == 0 || !slot->source) {
        graph->at = 0;
    } else if (slot->next_follower) {
        enter(graph, slots, slot->next_follower, graph->depth, out);
    } else {
        graph->at = slot->source;
        graph->serial = slot_at(slots, slot->source)->serial;
        graph->depth--;
        graph->is_below = true;
    }
}

void graph_begin(struct graph *graph, enum graph_kind kind, struct slots *slots, FILE *out)
{
    /* Each entry costs at most three moves: look at it, enter it, leave it. */
    *graph = (struct graph){.kind = kind, .moves_left = 3 * (uint64_t)slots_end(slots) + 1};
    if (kind == GRAPH_DOT)
        fputs("digraph pyrmapfs {\n    rankdir=LR;\n    node [shape=box, style=\"rounded,filled\", "
              "fontname=\"sans-serif\"];\n",
              out);
}

bool graph_draw(struct graph *graph, struct slots *slots, FILE *out)
{
    for (int moves = 0; moves < GRAPH_PIECE; moves++) {
        bool more = graph->moves_left-- > 0;

        if (more && graph->at)
            walk_on(graph, slots, out);
        else if (more)
            more = look_further(graph, slots, out);
        if (!more) {
            if (graph->kind == GRAPH_DOT)
                fputs("}\n", out);
            return false;
        }
    }
    return true;
}

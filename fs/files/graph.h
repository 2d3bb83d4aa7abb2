// SPDX-License-Identifier: Apache-2.0
/*
 * graph.h - the chains as pictures: Graphviz DOT for .pyrmap/graph, a tree for the terminal in
 * .pyrmap/chains.
 *
 * A picture is drawn piece by piece. Between two pieces slots may come, go and change their chains: the
 * picture shows the rest correctly, and it ends after a number of moves that is linear in the size of the
 * table.
 */
#ifndef PYRMAPFS_GRAPH_H
#define PYRMAPFS_GRAPH_H

#include "slot/slot.h"
#include <stdio.h>

enum graph_kind {
    GRAPH_DOT,  /* all slots as nodes coloured by state; an edge from a source to each follower */
    GRAPH_TREE, /* chained slots only, indented below their sources, with state and round */
    GRAPH_KINDS,
};

/* A picture being drawn. */
struct graph {
    enum graph_kind kind;
    uint32_t root;   /* the last slot that was looked at from above: index */
    uint32_t at;     /* GRAPH_TREE: the place in its tree; 0: between two trees */
    uint64_t serial; /* of that slot */
    uint32_t depth;
    bool is_below; /* its followers have been drawn already */
    uint64_t moves_left;
};

void graph_begin(struct graph *graph, enum graph_kind kind, struct slots *slots, FILE *out);
/* Draws a piece of at most GRAPH_PIECE slots. Returns whether there is more; else the picture is complete. */
enum { GRAPH_PIECE = 128 };
bool graph_draw(struct graph *graph, struct slots *slots, FILE *out);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * graph.h - the chains as pictures: Graphviz DOT for .pyrmap/graph, a tree for the terminal in
 * .pyrmap/chains.
 */
#ifndef PYRMAPFS_GRAPH_H
#define PYRMAPFS_GRAPH_H

#include "exchange/exchange.h"
#include <stdio.h>

/* All slots as nodes coloured by state; an edge goes from a source to its follower, dashed if it shares the
 * input. */
void graph_dot(struct exchange *exchange, FILE *out);

/* Chained slots only, indented below their sources, with state and round. */
void graph_tree(struct exchange *exchange, FILE *out);

#endif

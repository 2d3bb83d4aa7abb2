// SPDX-License-Identifier: Apache-2.0
/*
 * word.h - one message from process to process: a line of text, and if need be a descriptor.
 */
#ifndef PYRMAPFS_WORD_H
#define PYRMAPFS_WORD_H

#include <stddef.h>

/* A pair of sockets for words, closed by exec. Returns 0 or -errno. */
int word_pair(int sockets[2]);

/* descriptor: -1 for no descriptor. Sending to a process that has ended is no error. */
void word_send(int socket, const char *text, int descriptor);

/*
 * Waits for a word. The text is "" if every sender has ended without one. *descriptor is the one that came
 * with it, or -1.
 */
void word_receive(int socket, char *text, size_t size, int *descriptor);

#endif

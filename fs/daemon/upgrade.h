// SPDX-License-Identifier: Apache-2.0
/*
 * upgrade.h - how far the supervisor is on its way to another program: see handover.h.
 *
 *     NOT --begin--> PROBES --could go on--> STOPS --(the supervisor becomes the new program)--> STARTS --> NOT
 *      ^                |
 *      +----refused-----+
 */
#ifndef PYRMAPFS_UPGRADE_H
#define PYRMAPFS_UPGRADE_H

#include "daemon/handover.h"
#include <stdbool.h>

enum upgrade_stage {
    UPGRADE_NOT,
    UPGRADE_PROBES, /* the new program is asked whether it could go on */
    UPGRADE_STOPS,  /* it could, and the server stops */
    UPGRADE_STARTS, /* we are the new program, and our first server does not serve yet */
};

struct upgrade {
    enum upgrade_stage stage;
    int program;  /* the new one, from PROBES on */
    int previous; /* the one that we were until STARTS, and are again if that fails */
    pid_t probe;  /* 0: none */
    int said;     /* what it says */
};

/* Of nothing under way. */
struct upgrade upgrade_none(void);
/* Closes what it has open. */
void upgrade_end(struct upgrade *upgrade);

/* Asks the program that is at the command's path now. Returns false if it was refused, of which the log tells. */
bool upgrade_begin(struct upgrade *upgrade, const struct handover_command *command, struct handover *handover,
                   const struct session *session, const struct conf *conf, pid_t server);
/* The probe has ended so. Returns whether the program could go on; if not it is refused. */
bool upgrade_probe_ended(struct upgrade *upgrade, const struct handover_command *command, int how);
/* Tells the log and the service manager, and ends the upgrade. */
void upgrade_refuse(struct upgrade *upgrade, const struct handover_command *command, const char *reason);
/* In the probe: says that we could go on. */
void upgrade_say_yes(void);

#endif

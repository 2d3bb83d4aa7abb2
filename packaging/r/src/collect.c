// SPDX-License-Identifier: Apache-2.0
/*
 * collect.c - collect and try again.
 */
#include "collect.h"

#define R_NO_REMAP
#include <errno.h>
#include <R.h>
#include <Rinternals.h>

bool collected_for(int error)
{
    switch (-error) {
    case ENOSPC: /* the arena */
    case EDQUOT: /* this user's share of it, or of the slots */
    case EMFILE: /* this process's descriptors */
    case ENFILE: /* the machine's */
    case ENOMEM: /* this process's mappings, vm.max_map_count */
        R_gc();
        return true;
    default:
        return false;
    }
}

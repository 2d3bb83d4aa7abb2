// SPDX-License-Identifier: Apache-2.0
/*
 * init.c - what R can call.
 */
#include "bundle_read.h"
#include "bundle_write.h"
#include "child.h"
#include "input.h"
#include "lend.h"
#include "names.h"
#include "reference.h"
#include "spare.h"
#include "vector.h"
#include "wait.h"
#include <R_ext/Rdynload.h>
#include <R_ext/Visibility.h>

#define ROUTINE(name, arguments)                                                                             \
    {                                                                                                        \
#name, (DL_FUNC)(void (*)(void))pyrmap_##name, arguments                                             \
    }

static const R_CallMethodDef routines[] = {
    ROUTINE(slot_new, 2),      ROUTINE(slot_open, 2),     ROUTINE(slot_lock, 1),
    ROUTINE(slot_remove, 1),   ROUTINE(slot_path, 1),     ROUTINE(slot_text, 3),
    ROUTINE(slot_read, 2),     ROUTINE(slot_source, 2),   ROUTINE(slot_state, 1),
    ROUTINE(slot_reset, 1),    ROUTINE(slot_fill, 4),     ROUTINE(slot_result, 4),
    ROUTINE(slot_current, 2),  ROUTINE(array_new, 3),     ROUTINE(array_holder, 4),
    ROUTINE(vector_info, 1),   ROUTINE(child_start, 4),   ROUTINE(child_ready, 2),
    ROUTINE(child_alive, 1),   ROUTINE(child_pid, 1),     ROUTINE(child_warnings, 1),
    ROUTINE(child_end, 1),     ROUTINE(environment, 0),   ROUTINE(environment_version, 0),
    ROUTINE(output, 2),        ROUTINE(captured, 0),      ROUTINE(collect, 0),
    ROUTINE(wait, 4),          ROUTINE(cores, 0),         ROUTINE(first_na, 2),
    ROUTINE(bundle_check, 3),  ROUTINE(bundle_fill, 6),   ROUTINE(bundle_bytes, 2),
    ROUTINE(bundle_object, 2), ROUTINE(slot_bytes, 1),    ROUTINE(names_of, 1),
    ROUTINE(names_put, 2),     ROUTINE(bundle_holder, 2), ROUTINE(slot_keep, 1),
    ROUTINE(array_list, 3),    ROUTINE(slot_lends, 1),    ROUTINE(spares_end, 0),
    ROUTINE(slot_empty, 1),    ROUTINE(reference_map, 2), {NULL, NULL, 0},
};

void R_init_pyrmap(DllInfo *info);

void attribute_visible R_init_pyrmap(DllInfo *info)
{
    R_registerRoutines(info, NULL, routines, NULL, NULL);
    R_useDynamicSymbols(info, FALSE);
    R_forceSymbols(info, TRUE);
    vector_register(info);
}

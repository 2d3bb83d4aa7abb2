// SPDX-License-Identifier: Apache-2.0
/*
 * collect.h - memory, mappings and descriptors that R has dropped but not collected.
 *
 * R's collector knows of none of them: it runs when R's own heap grows. So an operation that finds none left
 * collects and tries once more before anybody sees an error.
 */
#ifndef PYRMAP_COLLECT_H
#define PYRMAP_COLLECT_H

#include <stdbool.h>

/*
 * Whether to try an operation once more that failed with error (-errno): it lacked something that R may have
 * given back now. Runs finalizers: objects that are not protected may go.
 */
bool collected_for(int error);

#endif

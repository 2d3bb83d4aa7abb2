/* SPDX-License-Identifier: Apache-2.0
 *
 * judge.pml - how an answer of the handshake's table is written as one number, and the table itself: JUDGE(event, state, facts).
 */

#define PROCEED(to, makes, does) ((to) | ((does) << 5) | ((makes) << 16))
#define WAIT                     (VERDICT_WAIT << 3)
#define REFUSE(why)              ((VERDICT_REFUSE << 3) | ((why) << 24))
#define NEXT(step)               ((step) & 7)
#define VERDICT(step)            (((step) >> 3) & 3)
#define EFFECTS(step)            (((step) >> 5) & 2047)
#define CHECKS(step)             (((step) >> 16) & 255)
#define ERRNO(step)              ((step) >> 24)

#include "table.pml"

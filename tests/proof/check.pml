/* SPDX-License-Identifier: Apache-2.0
 *
 * check.pml - asks the table of the model and handshake_judge itself, with which it is linked: for every event, in every state, with
 * every combination of facts the answer has to be the same.
 */
c_decl { \#include "protocol/handshake.h" }

#include "judge.pml"

#define ALL_FACTS (1 << 12)

int event_now, state_now, facts_now, model, program, compared;

active proctype check() {
    d_step {
        do
        :: event_now < HANDSHAKE_EVENTS ->
            state_now = 0;
            do
            :: state_now <= STATE_FAILED ->
                facts_now = 0;
                do
                :: facts_now < ALL_FACTS ->
                    model = JUDGE(event_now, state_now, facts_now);
                    c_code {
                        struct handshake_step step = handshake_judge(now.state_now, now.event_now, now.facts_now);

                        now.program = step.verdict == VERDICT_PROCEED
                                          ? (int)(step.next | step.effects << 5 | step.checks << 16)
                                          : (int)(step.verdict << 3 | (step.verdict == VERDICT_REFUSE ? step.error << 24 : 0));
                    };
                    assert(model == program);
                    compared++;
                    facts_now++
                :: else -> break
                od;
                state_now++
            :: else -> break
            od;
            event_now++
        :: else -> break
        od;
        assert(compared == HANDSHAKE_EVENTS * 6 * ALL_FACTS)
    }
}

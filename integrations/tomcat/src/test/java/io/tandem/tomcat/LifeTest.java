package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** When a session is over: what docs/sessions/tomcat.md says of it. */
class LifeTest {

    @Test
    void a_session_ends_never_before_its_idle_time_and_at_most_6_percent_and_3_seconds_after_it() {
        for (int maxIdle = 1; maxIdle < 200_000; maxIdle++) {
            long life = Life.wanted(maxIdle);
            // Used when so much was left that neither we nor the session tier prolonged its item.
            long mostSkipped = life - life / 20 + 1;
            assertFalse(Life.isOver(maxIdle, mostSkipped - (maxIdle - 1)), "over too early: " + maxIdle);
            // Prolonged by its last use; what is left is known in whole seconds.
            long latest = maxIdle + (maxIdle * 6L + 99) / 100 + 2;
            assertTrue(Life.isOver(maxIdle, Math.max(0, life - latest)), "over too late: " + maxIdle);
            assertTrue(Life.isOver(maxIdle, 29), "no time left to tell the application: " + maxIdle);
        }
    }

    @Test
    void a_use_is_told_when_more_than_a_twentieth_of_the_life_has_passed() {
        for (int maxIdle : new int[] {3, 10, 60, 1800, 86_400}) {
            long life = Life.wanted(maxIdle);
            assertFalse(Life.needsTouch(maxIdle, life));
            assertFalse(Life.needsTouch(maxIdle, life - life / 20));
            assertTrue(Life.needsTouch(maxIdle, life - life / 20 - 1));
        }
    }
}

package io.tandem.tomcat;

import io.tandem.tomcat.wire.Item;

/**
 * How long a session's item lives, and what its remaining life says about the session.
 *
 * <p>The item outlives the session by a margin, in which one Tomcat can still read it and tell the application that the
 * session is over. A touch may be left out while more than 95 % of the wanted life remains (the session tier does so, to
 * save a write), so a session that looks idle may have been used that much later: it is over when even then it would
 * be. All times are in seconds, by the session tier's clock.
 */
final class Life {

    private static final long LEAST_MARGIN = 30;
    private static final long MOST_MARGIN = 300;

    private Life() {}

    /** The life of the item of a session that was used now; 0 for ever. */
    static long wanted(int maxIdle) {
        if (maxIdle <= 0) {
            return 0;
        }
        long margin = Math.max(LEAST_MARGIN, Math.min(MOST_MARGIN, maxIdle / 10));
        return ((maxIdle + margin) * 100 + 94) / 95;
    }

    private static long slack(int maxIdle) {
        return (wanted(maxIdle) * 5 + 99) / 100;
    }

    /** Seconds until the session is over for certain if nobody uses it; 0 or less: it is over. */
    static long left(int maxIdle, long ttl) {
        if (maxIdle <= 0 || ttl == Item.FOREVER) {
            return Long.MAX_VALUE;
        }
        return ttl - (wanted(maxIdle) - maxIdle - slack(maxIdle));
    }

    static boolean isOver(int maxIdle, long ttl) {
        return left(maxIdle, ttl) <= 0;
    }

    /** Whether using a session whose item has this much left must be told to the session tier. */
    static boolean needsTouch(int maxIdle, long ttl) {
        return maxIdle > 0 && ttl < wanted(maxIdle) - wanted(maxIdle) * 5 / 100;
    }

    /** Milliseconds since the item was stored or touched. */
    static long ageMillis(int maxIdle, long ttl) {
        return maxIdle <= 0 || ttl == Item.FOREVER ? Long.MAX_VALUE : Math.max(0, wanted(maxIdle) - ttl) * 1000;
    }
}

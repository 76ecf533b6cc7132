package io.tandem.tomcat;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;

import org.apache.catalina.connector.Request;

import io.tandem.tomcat.wire.Change;
import io.tandem.tomcat.wire.Item;
import io.tandem.tomcat.wire.StoreException;

/**
 * Sessions locked for the time of a request (lockingMode). A lock is an item with its owner's token and a short life; it
 * is released by its version, so that one that has expired never takes its successor's with it. That no change is lost
 * does not depend on locks.
 */
final class Locks {

    private static final int LEARNT = 1000;
    private static final long LEAST_PAUSE = 5;
    private static final long MOST_PAUSE = 100;

    /** A lock that a request holds. */
    static final class Held {
        final String key;
        private final long cas;
        private final Store store;

        Held(String key, long cas, Store store) {
            this.key = key;
            this.cas = cas;
            this.store = store;
        }

        void release() {
            try {
                store.client.delete(key, cas);
            } catch (StoreException away) {
                // It ends by itself.
            }
        }
    }

    private final Options options;
    private final Store store;
    private final Counters counters;
    /** Of {@link LockMode#AUTO}: addresses, and whether they ever changed a session; the oldest are forgotten. */
    private final Map<String, Boolean> learnt = new LinkedHashMap<String, Boolean>(16, 0.75f, true) {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > LEARNT;
        }
    };

    Locks(Options options, Store store, Counters counters) {
        this.options = options;
        this.store = store;
        this.counters = counters;
    }

    /** Whether a request is to have its session for itself. */
    boolean wanted(Request request) {
        switch (options.lockMode) {
            case NONE:
                return false;
            case ALL:
                return true;
            case AUTO:
                synchronized (learnt) {
                    return !Boolean.FALSE.equals(learnt.get(address(request)));
                }
            default:
                return SessionManager.matches(options.lockPattern, request);
        }
    }

    /** A request is over, and did or did not change a session. */
    void learn(Request request, boolean changed) {
        if (options.lockMode == LockMode.AUTO) {
            synchronized (learnt) {
                learnt.merge(address(request), changed, Boolean::logicalOr);
            }
        }
    }

    private static String address(Request request) {
        return request.getMethod() + " " + request.getRequestURI();
    }

    /**
     * Waits for the lock. Null when it was not had in time, or the session tier is away: the request goes on without.
     * A holder that died leaves it for lockExpiration seconds at most, so that waiting a little longer suffices.
     */
    Held acquire(String id) {
        String key = store.lockKey(id);
        byte[] token = Store.ascii(Long.toHexString(ThreadLocalRandom.current().nextLong()));
        long end = System.nanoTime() + (options.lockExpiration + 1) * 1_000_000_000L;
        long pause = LEAST_PAUSE;
        try {
            for (;;) {
                Change change = store.client.add(key, options.lockExpiration, token);
                if (change.done() && change.cas != 0) {
                    return new Held(key, change.cas, store);
                }
                // Ours, if only its version or the answer is missing.
                if (change.done() || change.doubtful) {
                    Item there = store.client.get(key);
                    if (there != null && java.util.Arrays.equals(there.value, token)) {
                        return new Held(key, there.cas, store);
                    }
                }
                if (System.nanoTime() - end >= 0) {
                    break;
                }
                Thread.sleep(ThreadLocalRandom.current().nextLong(pause / 2, pause + 1));
                pause = Math.min(MOST_PAUSE, pause * 2);
            }
        } catch (StoreException away) {
            // The load that follows finds the same and decides.
        } catch (InterruptedException stopping) {
            Thread.currentThread().interrupt();
        }
        counters.locksMissed.incrementAndGet();
        return null;
    }
}

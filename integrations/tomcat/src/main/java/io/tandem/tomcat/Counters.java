package io.tandem.tomcat;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

import org.apache.juli.logging.Log;

/** What happened, counted; and said in the log, the first time or now and then. */
final class Counters {

    /** Attributes that are remembered as reported. */
    private static final int MOST_REPORTED = 1000;
    private static final long MINUTE = 60_000_000_000L;

    final AtomicLong saves = new AtomicLong();
    final AtomicLong touches = new AtomicLong();
    final AtomicLong loads = new AtomicLong();
    final AtomicLong merges = new AtomicLong();
    final AtomicLong conflicts = new AtomicLong();
    final AtomicLong servedLocally = new AtomicLong();
    final AtomicLong unavailable = new AtomicLong();
    final AtomicLong unsaved = new AtomicLong();
    final AtomicLong healed = new AtomicLong();
    final AtomicLong refused = new AtomicLong();
    final AtomicLong savesAfterEnd = new AtomicLong();
    final AtomicLong locksMissed = new AtomicLong();
    final AtomicLong notSerialized = new AtomicLong();
    final AtomicLong notDeserialized = new AtomicLong();

    private final Log log;
    private final Set<String> reported = ConcurrentHashMap.newKeySet();
    private final AtomicLong lastRefusal = new AtomicLong(System.nanoTime() - MINUTE);
    /** Sessions and attributes that were said to be too large; the oldest are forgotten. */
    private final Map<String, Boolean> tooLarge = new LinkedHashMap<String, Boolean>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > MOST_REPORTED;
        }
    };
    private final AtomicLong noRoom = new AtomicLong();
    private final AtomicLong lastNoRoom = new AtomicLong(System.nanoTime() - MINUTE);
    private volatile boolean away;

    Counters(Log log) {
        this.log = log;
    }

    /** An item that we did not store is no session. */
    void refused(String key, Exception why) {
        refused.incrementAndGet();
        long last = lastRefusal.get();
        if (System.nanoTime() - last >= MINUTE && lastRefusal.compareAndSet(last, System.nanoTime())) {
            log.error("The item " + key + " is not taken for a session: it " + why.getMessage()
                    + " (said once a minute; refused so far: " + refused + ")");
        }
    }

    /** An attribute that stays on this Tomcat, or that could not be read: said once for each name and cause. */
    void attribute(AtomicLong counter, String name, String what) {
        counter.incrementAndGet();
        if (reported.size() < MOST_REPORTED && reported.add(name + '\0' + what)) {
            log.warn("Session attribute '" + name + "' " + what + " (said once)");
        }
    }

    /** A session that is too large, by the fault of one attribute: said once for both. */
    void tooLarge(String session, String attribute, String what) {
        synchronized (tooLarge) {
            if (tooLarge.put(session + '\0' + attribute, Boolean.TRUE) != null) {
                return;
            }
        }
        log.error(what + " (said once)");
    }

    /** The tier takes nothing more. */
    void noRoom(Exception why) {
        noRoom.incrementAndGet();
        long last = lastNoRoom.get();
        if (System.nanoTime() - last >= MINUTE && lastNoRoom.compareAndSet(last, System.nanoTime())) {
            log.error("Sessions cannot be stored, and requests that change one are answered 503: " + why.getMessage()
                    + " (said once a minute; not stored for this reason so far: " + noRoom + ")");
        }
    }

    void away(Exception why) {
        if (!away) {
            away = true;
            log.error("Sessions: " + why.getMessage());
        }
    }

    void back() {
        if (away) {
            away = false;
            log.info("Sessions: the session tier answers again; " + servedLocally + " requests were served from local "
                    + "copies so far, " + unavailable + " refused, " + healed + " sessions healed");
        }
    }

    boolean isAway() {
        return away;
    }
}

package io.tandem.tomcat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

import io.tandem.tomcat.wire.Change;
import io.tandem.tomcat.wire.Item;
import io.tandem.tomcat.wire.StoreException;

/**
 * Ends sessions whose time is over, and tells the application so: once, whichever Tomcats live by then.
 *
 * <p>The ids of stored sessions are kept in lists in the session tier, by the time at which they are due. Every Tomcat
 * looks at the lists that are due. A session that was used meanwhile is moved to a later list; one that is over is
 * claimed: its item is replaced by one that says so, if nobody changed it since. Who did that runs the application's
 * listeners and removes it. Claims of a Tomcat that dies over them are taken over. The clock that decides is the session
 * tier's; those of the Tomcats decide only when they look.
 */
final class Expirer {

    /** Seconds a list stands for. */
    private static final long WIDTH = 10;
    /** Lists of one time: no single item gets too long. */
    private static final int PARTS = 4;
    /** Seconds back that are looked through in full: no session can be claimed later. */
    private static final long HORIZON = 900;
    /** Seconds between such looks. */
    private static final long FULL_EVERY = 60;
    /** Seconds that a list is one Tomcat's, and after which a claim is taken over. */
    private static final long CLAIM = 60;
    /** Seconds that a claimed session remains to be taken over. */
    private static final long CLAIMED = 600;

    private final SessionManager manager;
    private final Store store;
    private long lastFull = Long.MIN_VALUE;
    private long doneUpTo;
    /** Seconds that this Tomcat's clock is ahead. */
    private volatile long ahead;

    Expirer(SessionManager manager, Store store) {
        this.manager = manager;
        this.store = store;
    }

    private long now() {
        return System.currentTimeMillis() / 1000 + ahead;
    }

    /** For tests: looks as at a later time. */
    void lookAhead(long seconds) {
        ahead += seconds;
    }

    /** Has a session looked at when it can be over. */
    void note(String id, int maxIdle) throws StoreException {
        if (maxIdle > 0) {
            noteIn(id, Life.left(maxIdle, Life.wanted(maxIdle)));
        }
    }

    private void noteIn(String id, long seconds) throws StoreException {
        long bucket = (now() + Math.max(0, seconds)) / WIDTH + 1;
        int part = (id.hashCode() & 0x7fffffff) % PARTS;
        store.client.append(store.dueKey(bucket, part), Math.max(0, seconds) + WIDTH + HORIZON,
                (id + " ").getBytes(StandardCharsets.ISO_8859_1));
    }

    /** Ends what is over. Called now and then by one thread. */
    void run() throws StoreException {
        long now = now();
        long last = now / WIDTH;
        boolean full = lastFull == Long.MIN_VALUE || now - lastFull >= FULL_EVERY || now < lastFull;
        long first = full ? (now - HORIZON) / WIDTH : Math.min(last, doneUpTo);
        List<String> keys = new ArrayList<>();
        for (long bucket = first; bucket <= last; bucket++) {
            for (int part = 0; part < PARTS; part++) {
                keys.add(store.dueKey(bucket, part));
            }
        }
        for (String key : store.client.getAll(keys).keySet()) {
            list(key);
        }
        doneUpTo = last;
        if (full) {
            lastFull = now;
        }
    }

    private void list(String key) throws StoreException {
        String lease = "lease:" + key;
        byte[] token = Store.ascii(Long.toHexString(java.util.concurrent.ThreadLocalRandom.current().nextLong()));
        store.client.add(lease, CLAIM, token);
        // Read in any case: not every server tells the version that it stored.
        Item mine = store.client.get(lease);
        if (mine == null || !java.util.Arrays.equals(mine.value, token)) {
            return;
        }
        try {
            Set<String> done = new LinkedHashSet<>();
            for (;;) {
                Item list = store.client.get(key);
                if (list == null) {
                    return;
                }
                boolean open = false;
                for (String id : new String(list.value, StandardCharsets.ISO_8859_1).split(" ")) {
                    if (Store.isId(id) && done.add(id)) {
                        open |= !one(id);
                    }
                }
                // While ids were added to it, there is more to do.
                if (open || store.client.delete(key, list.cas).outcome != Change.Outcome.CHANGED) {
                    return;
                }
            }
        } finally {
            store.client.delete(lease, mine.cas);
        }
    }

    /** False when it must be looked at again. */
    private boolean one(String id) throws StoreException {
        Store.Found found = store.load(id);
        if (found == null || found.image.state == Image.State.MOVED) {
            return true;
        }
        if (found.image.state == Image.State.ENDING) {
            if (found.ttl > CLAIMED - CLAIM) {
                return false;
            }
            return claim(id, found);
        }
        if (found.image.maxIdle() <= 0) {
            return true;
        }
        long left = Life.left(found.image.maxIdle(), found.ttl);
        if (left > 0) {
            noteIn(id, left);
            return true;
        }
        return claim(id, found);
    }

    /** Ends a session that is over. False when another was faster, or it was used after all. */
    boolean claim(String id, Store.Found found) throws StoreException {
        Image ending = found.image.ending();
        Change change = store.cas(id, ending, found.cas, CLAIMED);
        if (!change.done()) {
            if (!change.doubtful) {
                return false;
            }
            Store.Found now = store.load(id);
            if (now == null || now.image.state != Image.State.ENDING) {
                return false;
            }
        }
        manager.expireClaimed(id, found);
        store.client.delete(store.key(id));
        return true;
    }
}

package io.tandem.tomcat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;

import io.tandem.tomcat.wire.Change;
import io.tandem.tomcat.wire.Client;
import io.tandem.tomcat.wire.Item;
import io.tandem.tomcat.wire.StoreException;

/** Sessions as items: their keys, their seals, their lifetimes. */
final class Store {

    /** A stored session. */
    static final class Found {
        final Image image;
        final long cas;
        /** Seconds, or {@link Item#FOREVER}. */
        final long ttl;

        Found(Image image, long cas, long ttl) {
            this.image = image;
            this.cas = cas;
            this.ttl = ttl;
        }
    }

    final Client client;
    private final Seal seal;
    private final String prefix;
    private final Counters counters;

    Store(Client client, Seal seal, String prefix, Counters counters) {
        this.client = client;
        this.seal = seal;
        this.prefix = prefix;
        this.counters = counters;
    }

    /** Whether an id can be a session's: no other reaches the protocol. */
    static boolean isId(String id) {
        if (id == null || id.isEmpty() || id.length() > 128) {
            return false;
        }
        for (int i = 0; i < id.length(); i++) {
            char c = id.charAt(i);
            boolean good = c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.' || c == '_'
                    || c == '-';
            if (!good) {
                return false;
            }
        }
        return true;
    }

    String key(String id) {
        return prefix + id;
    }

    String lockKey(String id) {
        return "lock:" + prefix + id;
    }

    String dueKey(long bucket, int part) {
        return "due:" + prefix + bucket + "." + part;
    }

    /** What is stored under an id; null when nothing is, or nothing that we stored. */
    Found load(String id) throws StoreException {
        Item item = client.get(key(id));
        return item == null ? null : open(id, item);
    }

    private Found open(String id, Item item) {
        try {
            Image image = Image.decode(seal.open(key(id), item.value));
            return new Found(image, item.cas, item.ttl);
        } catch (Seal.BrokenSeal | IOException unreadable) {
            counters.refused(key(id), unreadable);
            return null;
        }
    }

    byte[] close(String id, Image image) {
        return seal.close(key(id), image.encode());
    }

    Change add(String id, Image image) throws StoreException {
        return client.add(key(id), Life.wanted(image.maxIdle()), close(id, image));
    }

    Change cas(String id, Image image, long cas) throws StoreException {
        return client.cas(key(id), Life.wanted(image.maxIdle()), close(id, image), cas);
    }

    Change cas(String id, Image image, long cas, long ttl) throws StoreException {
        return client.cas(key(id), ttl, close(id, image), cas);
    }

    Change touch(String id, int maxIdle) throws StoreException {
        return client.touch(key(id), Life.wanted(maxIdle));
    }

    Change delete(String id, long cas) throws StoreException {
        return client.delete(key(id), cas);
    }

    /**
     * Ends a session, under whatever id it has by now. True for the one who ended it, false when it was over already.
     *
     * @param incarnation which session; 0: whichever is there
     */
    boolean end(String id, long incarnation) throws StoreException {
        boolean doubtful = false;
        String at = id;
        for (int tries = 0; tries < 100; tries++) {
            Found found = load(at);
            if (found == null) {
                return doubtful;
            }
            if (found.image.state == Image.State.ENDING || incarnation != 0 && found.image.incarnation != incarnation) {
                return false;
            }
            Change change = delete(at, found.cas);
            doubtful |= change.doubtful;
            if (found.image.state == Image.State.MOVED) {
                at = found.image.movedTo;
            } else if (change.done()) {
                return true;
            }
        }
        throw new StoreException("session " + id + " changes too fast to be ended", false, null);
    }

    static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }
}

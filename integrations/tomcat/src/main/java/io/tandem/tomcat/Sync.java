package io.tandem.tomcat;

import java.io.IOException;
import java.io.NotSerializableException;
import java.io.Serializable;
import java.security.Principal;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

import org.apache.catalina.authenticator.Constants;

import jakarta.servlet.http.HttpSessionActivationListener;
import jakarta.servlet.http.HttpSessionEvent;

import io.tandem.tomcat.wire.Change;
import io.tandem.tomcat.wire.Change.Outcome;
import io.tandem.tomcat.wire.StoreException;

/**
 * Exchanges a session's copy with the session tier.
 *
 * <p>There are three versions of each value: the one last seen in the tier (base), ours and the tier's. What only one of
 * the latter two changed is taken over from it; what both changed is a conflict, counted and decided by the option
 * {@code conflicts}. A save replaces exactly the version it was merged with; when that is gone, so is the session, and
 * nothing brings it back.
 */
final class Sync {

    /** Notes that a login in progress or done lives by. */
    static final Set<String> NOTES = Collections.unmodifiableSet(new HashSet<>(
            Arrays.asList(Constants.SESSION_ID_NOTE, Constants.FORM_REQUEST_NOTE)));

    /** Each lost race means that another made progress. */
    private static final int MOST_RACES = 1000;
    /** How often an id can have changed while one request was under way. */
    private static final int MOST_MOVES = 10;

    private final SessionManager manager;
    private final Store store;
    private final Expirer expirer;
    private final Counters counters;
    private final Options options;

    Sync(SessionManager manager, Store store, Expirer expirer, Counters counters, Options options) {
        this.manager = manager;
        this.store = store;
        this.expirer = expirer;
        this.counters = counters;
        this.options = options;
    }

    // Reading.

    /** A copy of a stored session, new in this JVM. */
    TandemSession open(String id, Store.Found found) {
        TandemSession session = new TandemSession(manager);
        session.setCreationTime(found.image.created);
        session.setNew(false);
        session.setValid(true);
        session.renamed(id);
        session.takeIdle(found.image.maxIdle());
        session.incarnation = found.image.incarnation;
        session.storedId = id;
        session.base = Image.live(found.image.incarnation, found.image.created, found.image.accessed, new HashMap<>());
        rebase(session, found);
        return session;
    }

    /** Brings a copy up to what the tier has. */
    void refresh(TandemSession session, Store.Found found) {
        session.lock.lock();
        try {
            // Another request may have saved since this one read: versions only grow.
            if (session.base == null || Long.compareUnsigned(found.cas, session.cas) > 0) {
                if (session.base == null) {
                    // Made at the same time by two Tomcats that were given the same id.
                    session.incarnation = found.image.incarnation;
                    session.storedId = session.getIdInternal();
                }
                rebase(session, found);
            }
            if (session.adrift) {
                // What the tier did not take is merged with what it has, and goes with the next save.
                session.adrift = false;
                session.changed = true;
                counters.healed.incrementAndGet();
            }
            session.ttl = found.ttl;
            session.usedAt(usedAt(found));
        } finally {
            session.lock.unlock();
        }
    }

    private static long usedAt(Store.Found found) {
        long age = Life.ageMillis(found.image.maxIdle(), found.ttl);
        return age == Long.MAX_VALUE ? found.image.accessed
                : Math.max(found.image.accessed, System.currentTimeMillis() - age);
    }

    /** The three-way merge. */
    private void rebase(TandemSession session, Store.Found found) {
        Map<String, byte[]> theirs = found.image.values;
        Map<String, byte[]> base = session.base == null ? Collections.emptyMap() : session.base.values;
        Set<String> names = new HashSet<>(base.keySet());
        names.addAll(theirs.keySet());
        ClassLoader before = manager.bind();
        try {
            for (String name : names) {
                byte[] was = base.get(name);
                byte[] now = theirs.get(name);
                if (Arrays.equals(was, now)) {
                    continue;
                }
                boolean maybe = session.base == null || session.touched.containsKey(name);
                byte[] mine = maybe ? current(session, name, was) : was;
                if (Arrays.equals(mine, now)) {
                    continue;
                }
                if (!Arrays.equals(mine, was)) {
                    counters.conflicts.incrementAndGet();
                    manager.debug("attribute '" + name + "' of session " + session.getIdInternal()
                            + " was changed by two requests at the same time");
                    // What was changed while the tier was away came before what is there now.
                    if (options.conflicts == Options.Conflicts.LAST && !session.adrift) {
                        continue;
                    }
                }
                adopt(session, name, now);
            }
        } finally {
            manager.unbind(before);
        }
        session.base = found.image;
        session.cas = found.cas;
        session.ttl = found.ttl;
        session.usedAt(usedAt(found));
    }

    /** Takes over a value as the tier has it. */
    private void adopt(TandemSession session, String name, byte[] bytes) {
        if (name.equals(Image.IDLE)) {
            session.takeIdle(bytes == null || bytes.length != 4 ? -1 : Image.toInt(bytes));
            return;
        }
        Object value = null;
        session.unreadable.remove(name);
        if (bytes != null) {
            try {
                value = Values.read(bytes, manager.loader(), manager.classFilter());
            } catch (IOException | ClassNotFoundException | LinkageError failed) {
                counters.attribute(counters.notDeserialized, name, "cannot be read here, and stays in the session tier as "
                        + "it is: " + failed);
                session.unreadable.put(name, bytes);
            }
        }
        if (name.charAt(0) == Image.OWN) {
            adoptProperty(session, name, value);
        } else if (value == null) {
            session.attributes().remove(name);
        } else {
            session.attributes().put(name, value);
            if (value instanceof HttpSessionActivationListener) {
                try {
                    ((HttpSessionActivationListener) value)
                            .sessionDidActivate(new HttpSessionEvent(session.getSession()));
                } catch (RuntimeException its) {
                    manager.warn("attribute '" + name + "' failed when it was told of its activation", its);
                }
            }
        }
        session.touched.remove(name);
    }

    private void adoptProperty(TandemSession session, String name, Object value) {
        if (!manager.getPersistAuthentication()) {
            return;
        }
        if (name.equals(TandemSession.PRINCIPAL)) {
            session.takePrincipal(value instanceof Principal ? (Principal) value : null);
        } else if (name.equals(TandemSession.AUTH_TYPE)) {
            session.takeAuthType(value instanceof String ? (String) value : null);
        } else if (name.startsWith(TandemSession.NOTE)) {
            String note = name.substring(TandemSession.NOTE.length());
            if (!NOTES.contains(note)) {
                return;
            }
            if (value == null) {
                session.notes().remove(note);
            } else {
                session.notes().put(note, value);
            }
        }
    }

    /** A value of the copy as it would be stored; null when it is not to be. {@code before}: as it was. */
    private byte[] current(TandemSession session, String name, byte[] before) {
        if (name.equals(Image.IDLE)) {
            return Image.fromInt(session.getMaxInactiveInterval());
        }
        Object value;
        if (name.charAt(0) == Image.OWN) {
            if (!manager.getPersistAuthentication()) {
                return before;
            }
            value = property(session, name);
        } else {
            value = session.attributes().get(name);
            if (value != null && !manager.isStored(name, value)) {
                value = null;
            }
        }
        if (value == null) {
            return session.unreadable.get(name);
        }
        byte[] bytes;
        try {
            if (!(value instanceof Serializable)) {
                throw new NotSerializableException(value.getClass().getName());
            }
            bytes = Values.write(value);
        } catch (NotSerializableException cannot) {
            session.localOnly.add(name);
            counters.attribute(counters.notSerialized, name, "stays on this Tomcat: it is a " + value.getClass().getName()
                    + (cannot.getMessage().equals(value.getClass().getName()) ? ", which is"
                            : ", which contains a " + cannot.getMessage() + ", which is")
                    + " not serializable");
            return null;
        } catch (IOException failed) {
            counters.attribute(counters.notSerialized, name, "is not stored now: " + failed.getMessage());
            return before;
        }
        session.localOnly.remove(name);
        if (before != null && !Arrays.equals(before, bytes) && !Values.isImmutable(value)
                && Arrays.equals(again(before), bytes)) {
            // A hash table that was read is not written as it was before, and yet it is the same.
            return before;
        }
        return bytes;
    }

    private byte[] again(byte[] bytes) {
        try {
            return Values.write(Values.read(bytes, manager.loader(), manager.classFilter()));
        } catch (IOException | ClassNotFoundException | LinkageError unreadable) {
            return null;
        }
    }

    private static Object property(TandemSession session, String name) {
        if (name.equals(TandemSession.PRINCIPAL)) {
            return session.getPrincipal();
        }
        if (name.equals(TandemSession.AUTH_TYPE)) {
            return session.getAuthType();
        }
        return session.getNote(name.substring(TandemSession.NOTE.length()));
    }

    // Writing.

    /**
     * Stores what the copy has changed. True when something was written.
     *
     * @param goesOn others, or the same request, may change the copy later in ways that are not noticed otherwise
     * @throws StoreException when the tier did not take it
     */
    boolean save(TandemSession session, boolean goesOn) throws StoreException {
        session.lock.lock();
        ClassLoader before = manager.bind();
        Image image = null;
        try {
            boolean wrote = false;
            session.changed = false;
            Map<String, Object> looked = new HashMap<>(session.touched);
            for (int races = 0; session.isValid(); races++) {
                if (races == MOST_RACES) {
                    throw new StoreException("session " + session.getIdInternal() + " was changed by others " + races
                            + " times while it was being stored", false, null);
                }
                image = image(session);
                if (image == null) {
                    break;
                }
                wrote = true;
                if (attempt(session, image)) {
                    counters.saves.incrementAndGet();
                    session.ttl = Life.wanted(image.maxIdle());
                    break;
                }
                counters.merges.incrementAndGet();
            }
            if (session.adrift) {
                session.adrift = false;
                counters.healed.incrementAndGet();
            }
            if (!goesOn) {
                // Not what was touched again meanwhile.
                looked.forEach((name, token) -> session.touched.remove(name, token));
            }
            return wrote;
        } catch (StoreException failed) {
            if (failed.isRefused()) {
                refused(session, image, failed);
            } else {
                session.adrift = true;
                session.changed = true;
            }
            throw failed;
        } finally {
            manager.unbind(before);
            session.lock.unlock();
        }
    }

    /**
     * The tier is there and did not take it. To go on with the copy would be to show what no other Tomcat has: it is
     * forgotten, and the next request begins with what is stored. Requests that use it now are refused in their turn.
     */
    private void refused(TandemSession session, Image image, StoreException why) {
        manager.forget(session);
        if (!why.isTooLarge() || image == null) {
            counters.noRoom(why);
            return;
        }
        String largest = image.largestSince(session.base);
        counters.tooLarge(session.getIdInternal(), largest, "Session attribute '" + Image.printed(largest) + "' of "
                + image.values.get(largest).length + " bytes makes session " + session.getIdInternal() + " too large: it has "
                + image.size() + " bytes now, and the session tier takes 1 MiB at most. What the request changed is not "
                + "stored, and it is answered 500. The session's largest attributes are " + image.sizes());
    }

    /** The session as it is to be stored, or null when the tier has it so. */
    private Image image(TandemSession session) {
        boolean first = session.base == null;
        Map<String, byte[]> values = new TreeMap<>(first ? Collections.emptyMap() : session.base.values);
        Set<String> names = new HashSet<>(session.touched.keySet());
        if (first) {
            names.addAll(session.attributes().keySet());
            names.add(Image.IDLE);
        }
        boolean changed = first || !session.getIdInternal().equals(session.storedId);
        for (String name : names) {
            byte[] was = values.get(name);
            byte[] now = current(session, name, was);
            if (Arrays.equals(was, now)) {
                continue;
            }
            changed = true;
            if (now == null) {
                values.remove(name);
            } else {
                values.put(name, now);
            }
        }
        return changed ? Image.live(session.incarnation, session.getCreationTimeInternal(),
                session.getThisAccessedTimeInternal(), values) : null;
    }

    /** One try; false when the tier has something else by now, which then is merged into the copy. */
    private boolean attempt(TandemSession session, Image image) throws StoreException {
        if (session.base == null) {
            return create(session, image);
        }
        if (!session.getIdInternal().equals(session.storedId)) {
            return rotate(session, image);
        }
        if (session.cas == 0) {
            // The server did not tell the version when it was stored.
            catchUp(session);
            return false;
        }
        Change change = store.cas(session.storedId, image, session.cas);
        if (change.done()) {
            noteIdle(session, image);
            stored(session, image, change);
            return true;
        }
        if (change.outcome == Outcome.GONE) {
            over(session);
            return true;
        }
        catchUp(session);
        return false;
    }

    private void stored(TandemSession session, Image image, Change change) {
        session.base = image;
        session.cas = change.cas;
        session.storedId = session.getIdInternal();
    }

    /** A shorter life than before is due earlier than the expirer knows. */
    private void noteIdle(TandemSession session, Image image) throws StoreException {
        if (session.base.maxIdle() != image.maxIdle()) {
            expirer.note(session.getIdInternal(), image.maxIdle());
        }
    }

    private boolean create(TandemSession session, Image image) throws StoreException {
        String id = session.getIdInternal();
        expirer.note(id, image.maxIdle());
        Change change = store.add(id, image);
        if (change.done()) {
            stored(session, image, change);
            return true;
        }
        // Ours, if only the answer was lost; else it was made elsewhere with the id the browser had.
        Store.Found there = store.load(id);
        if (there != null && there.image.state == Image.State.LIVE) {
            refresh(session, there);
        } else if (there != null) {
            throw new StoreException("session " + id + " is just being ended elsewhere", false, null);
        }
        return false;
    }

    /**
     * The session has a new id. Stored under it first, so that there is no moment without; then the old id is made to
     * lead on, or removed. Until then the old one is as good as before, and nobody knows the new one.
     */
    private boolean rotate(TandemSession session, Image image) throws StoreException {
        String newId = session.getIdInternal();
        String oldId = session.storedId;
        Change added = store.add(newId, image);
        long newCas = added.cas;
        if (!added.done()) {
            Store.Found there = store.load(newId);
            if (there == null || there.image.incarnation != image.incarnation) {
                throw new StoreException("the new session id " + newId + " is taken", false, null);
            }
            // From an earlier try.
            Change replaced = store.cas(newId, image, there.cas);
            if (!replaced.done()) {
                return false;
            }
            newCas = replaced.cas;
        }
        if (session.cas == 0) {
            Store.Found old = store.load(oldId);
            if (old != null && old.image.state == Image.State.LIVE && old.image.incarnation == session.incarnation) {
                rebase(session, old);
                return false;
            }
        }
        RequestScope scope = RequestScope.current();
        Change moved = options.rotationGrace > 0
                ? store.cas(oldId, image.moved(newId, scope == null ? "" : scope.sender()), session.cas,
                        options.rotationGrace)
                : store.delete(oldId, session.cas);
        boolean done = moved.done();
        if (!done) {
            Store.Found old = store.load(oldId);
            if (old != null && old.image.state == Image.State.MOVED) {
                // Ours, if only the answer was lost; else two logins at once: each keeps its session.
                done = true;
            } else if (old == null && moved.doubtful && options.rotationGrace == 0) {
                done = true;
            } else if (old != null && old.image.state == Image.State.LIVE
                    && old.image.incarnation == session.incarnation) {
                // Changed by another request meanwhile.
                rebase(session, old);
                return false;
            }
        }
        if (!done) {
            // It was ended meanwhile, and a new id does not bring it back.
            store.client.delete(store.key(newId));
            over(session);
            return true;
        }
        session.base = image;
        session.cas = newCas;
        session.storedId = newId;
        expirer.note(newId, image.maxIdle());
        return true;
    }

    /** Learns what became of a session whose version is not the one we know. */
    private void catchUp(TandemSession session) throws StoreException {
        for (int moves = 0; moves < MOST_MOVES; moves++) {
            Store.Found found = store.load(session.storedId);
            if (found == null || found.image.state == Image.State.ENDING
                    || found.image.incarnation != session.incarnation) {
                break;
            }
            if (found.image.state == Image.State.LIVE) {
                rebase(session, found);
                return;
            }
            // This request was under way when the id changed: it goes on with the session.
            session.storedId = found.image.movedTo;
            manager.renamed(session, found.image.movedTo);
        }
        over(session);
    }

    /** It was ended elsewhere: what this request changed goes with it. */
    private void over(TandemSession session) {
        counters.savesAfterEnd.incrementAndGet();
        manager.debug("session " + session.getIdInternal() + " was ended while a request was using it; "
                + "what the request changed is not stored");
        manager.discard(session);
    }

    /** Tells the tier that the session was used, if it need know. */
    void touch(TandemSession session) throws StoreException {
        session.lock.lock();
        try {
            if (session.base == null || !Life.needsTouch(session.base.maxIdle(), session.ttl)) {
                return;
            }
            Change change = store.touch(session.storedId, session.base.maxIdle());
            counters.touches.incrementAndGet();
            if (change.outcome == Outcome.GONE) {
                manager.discard(session);
            }
            session.ttl = Life.wanted(session.base.maxIdle());
        } finally {
            session.lock.unlock();
        }
    }
}

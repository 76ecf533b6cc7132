package io.tandem.tomcat;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

import org.apache.catalina.Session;
import org.apache.catalina.connector.Request;

import io.tandem.tomcat.wire.StoreException;

/**
 * What one request has to do with sessions, from its first look at one until its response is complete. Usually that is
 * one session of one application; with dispatches into other contexts it may be several.
 *
 * <p>Locked by itself: an asynchronous request may be written to by another thread than the one that serves it.
 */
final class RequestScope {

    private static final String NOTE = "io.tandem.tomcat.scope";
    private static final ThreadLocal<RequestScope> CURRENT = new ThreadLocal<>();

    private final Request request;
    private final SessionManager manager;
    /** Neither stores nor prolongs sessions: requestUriIgnorePattern. */
    final boolean ignored;
    private final Map<String, TandemSession> seen = new HashMap<>();
    private final Set<TandemSession> sessions = new LinkedHashSet<>();
    private final List<Locks.Held> locks = new ArrayList<>();
    private final Set<TandemSession> fresh = new LinkedHashSet<>();
    private final Set<TandemSession> unsaved = new LinkedHashSet<>();
    /** Those that the tier did not take: the response is an error, and the same is not sent again. */
    private final Set<TandemSession> refused = new LinkedHashSet<>();
    private volatile boolean inApplication;
    /** Something before the application looked for a session that could not be read. */
    private volatile StoreException unread;
    private boolean async;
    private boolean wrote;
    /** A session could not be read or stored, and the request must not go on as if it had been. */
    private volatile StoreException failed;
    private volatile boolean told;

    private RequestScope(Request request, SessionManager manager) {
        this.request = request;
        this.manager = manager;
        this.ignored = manager.ignores(request);
    }

    static RequestScope of(Request request) {
        return (RequestScope) request.getNote(NOTE);
    }

    static RequestScope open(Request request, SessionManager manager) {
        RequestScope scope = of(request);
        if (scope == null) {
            scope = new RequestScope(request, manager);
            request.setNote(NOTE, scope);
        }
        return scope;
    }

    static RequestScope current() {
        return CURRENT.get();
    }

    /** Makes a scope the thread's, or none; returns the one before. */
    static RequestScope enter(RequestScope scope) {
        RequestScope before = CURRENT.get();
        if (scope == null) {
            CURRENT.remove();
        } else {
            CURRENT.set(scope);
        }
        return before;
    }

    Request request() {
        return request;
    }

    /** The request goes on after the thread has left it: others may ask for its session then. */
    synchronized void goesAsync() {
        async = true;
    }

    private static String name(SessionManager manager, String id) {
        return System.identityHashCode(manager) + " " + id;
    }

    /** Whether this id was looked up before in this request. */
    synchronized boolean knows(SessionManager of, String id) {
        return seen.containsKey(name(of, id));
    }

    /** What was found; null when nothing was, or it is over. */
    synchronized TandemSession seen(SessionManager of, String id) {
        TandemSession session = seen.get(name(of, id));
        return session == null || !session.isValid() ? null : session;
    }

    synchronized void saw(SessionManager by, String id, TandemSession session) {
        seen.put(name(by, id), session);
        if (session != null) {
            sessions.add(session);
        }
    }

    synchronized void holds(Locks.Held lock) {
        locks.add(lock);
    }

    synchronized boolean holdsLock(String key) {
        for (Locks.Held lock : locks) {
            if (lock.key.equals(key)) {
                return true;
            }
        }
        return false;
    }

    void reachesApplication() {
        inApplication = true;
    }

    boolean inApplication() {
        return inApplication;
    }

    /** What looked for it may go on without; it must not make a new one in its place. */
    void unread(StoreException why) {
        unread = why;
    }

    StoreException unread() {
        return unread;
    }

    void fail(StoreException why) {
        failed = why;
    }

    StoreException failed() {
        return failed;
    }

    /** The response says that the request failed. */
    void told() {
        told = true;
    }

    boolean isTold() {
        return told;
    }

    /** How a failed request is answered: it may be tried again, or would fail again. */
    int status() {
        return failed.isTooLarge() ? 500 : 503;
    }

    /** Before the first byte of the response leaves. */
    synchronized void beforeCommit() {
        adopt();
        save(true, false);
    }

    /** Before a flush of a response that has begun: what the application set since goes first. */
    synchronized void beforeFlush() {
        save(true, true);
    }

    /** The application has done with the request, or the response is about to be complete. */
    synchronized void finish() {
        adopt();
        save(false, false);
        if (!ignored) {
            for (TandemSession session : sessions) {
                if (session.isValid() && fresh.add(session)) {
                    try {
                        manager(session).sync().touch(session);
                    } catch (StoreException away) {
                        manager(session).wentAway(away);
                    }
                }
            }
        }
        for (Locks.Held lock : locks) {
            lock.release();
        }
        manager.learn(request, wrote);
        locks.clear();
    }

    /** An asynchronous request may have asked for its session in a thread that does not know it. */
    private void adopt() {
        if (async && failed == null) {
            Session session = request.getSessionInternal(false);
            if (session instanceof TandemSession) {
                sessions.add((TandemSession) session);
            }
        }
    }

    private void save(boolean goesOn, boolean onlySet) {
        if (ignored) {
            return;
        }
        for (TandemSession session : sessions) {
            if (!session.isValid() || onlySet && !session.changed || session.touched.isEmpty() && !session.adrift
                    || refused.contains(session)) {
                continue;
            }
            SessionManager of = manager(session);
            try {
                // Others that use the same copy may change it after this look at it.
                if (of.sync().save(session, goesOn || session.users.get() > 1)) {
                    wrote = true;
                    fresh.add(session);
                }
            } catch (StoreException away) {
                of.unsaved(session, away, this, unsaved.add(session));
                if (away.isRefused()) {
                    refused.add(session);
                }
            }
        }
    }

    private static SessionManager manager(TandemSession session) {
        return (SessionManager) session.getManager();
    }

    /** Who sent the request: an old id leads on only for the client that had it. */
    String sender() {
        return Sender.of(request);
    }
}

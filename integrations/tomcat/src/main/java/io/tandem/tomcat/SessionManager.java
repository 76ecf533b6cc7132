package io.tandem.tomcat;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

import org.apache.catalina.Context;
import org.apache.catalina.Host;
import org.apache.catalina.LifecycleException;
import org.apache.catalina.LifecycleState;
import org.apache.catalina.Session;
import org.apache.catalina.connector.Request;
import org.apache.catalina.session.ManagerBase;
import org.apache.catalina.session.StandardSession;
import org.apache.juli.logging.Log;
import org.apache.juli.logging.LogFactory;

import io.tandem.tomcat.wire.Address;
import io.tandem.tomcat.wire.Client;
import io.tandem.tomcat.wire.StoreException;

/**
 * Keeps an application's sessions in Tandem's session tier, so that every Tomcat has every session at every request.
 *
 * <pre>{@code <Manager className="io.tandem.tomcat.SessionManager"/>}</pre>
 *
 * in the application's context.xml is all it needs; docs/sessions/tomcat.md has the attributes. It must never take a
 * session for absent that it could not look for, never let a response leave before the session's changes are stored
 * (unless the tier is away and the option says to go on), and never bring back a session that was ended.
 */
public class SessionManager extends ManagerBase {

    private static final String NAME = "TandemSessionManager";
    /** Ends that could not be told to the tier and are remembered. */
    private static final int MOST_PENDING_ENDS = 100_000;
    /** Set for a request that was served from a local copy. */
    static final String LOCAL_COPY = "io.tandem.session.local";

    private final Log log = LogFactory.getLog(SessionManager.class);
    private final Options options = new Options();
    private final Counters counters = new Counters(log);
    /** Sessions that were ended while the tier was away, and which: id, incarnation. */
    private final Map<String, Long> pendingEnds = new ConcurrentHashMap<>();
    private volatile Store store;
    private volatile Sync sync;
    private volatile Expirer expirer;
    private volatile Locks locks;
    private volatile Host joined;
    private ApplicationValve last;

    public SessionManager() {
        // Tomcat's background thread comes by every 10 s; looking costs a few reads.
        setProcessExpiresFrequency(1);
    }

    // Attributes. Tomcat calls setX for what it finds, and setProperty for all else.

    /** The agents, {@code host:port}, separated by commas. */
    public void setSessions(String value) {
        options.set("sessions", value);
    }

    /** The keys that seal sessions; the first one seals, all are accepted. */
    public void setKey(String value) {
        options.set("key", value);
    }

    /** A file with the keys. */
    public void setKeyFile(String value) {
        options.set("keyFile", value);
    }

    /** {@code local} or {@code fail}. */
    public void setWhenAway(String value) {
        options.set("whenAway", value);
    }

    /** {@code last} or {@code first}. */
    public void setConflicts(String value) {
        options.set("conflicts", value);
    }

    /** memcached-session-manager's name of {@code sessionAttributeNameFilter}. */
    public void setSessionAttributeFilter(String value) {
        try {
            setSessionAttributeNameFilter(value);
        } catch (java.util.regex.PatternSyntaxException wrong) {
            options.errors.add("sessionAttributeFilter: '" + value + "' is no regular expression: "
                    + wrong.getDescription());
        }
    }

    /** Any other attribute: one of {@link Options}, or a mistake. */
    public boolean setProperty(String name, String value) {
        options.set(name, value);
        return true;
    }

    @Override
    public String getName() {
        return NAME;
    }

    // What happened, for JMX.

    public long getSaves() {
        return counters.saves.get();
    }

    public long getTouches() {
        return counters.touches.get();
    }

    public long getLoads() {
        return counters.loads.get();
    }

    /** Saves that found another's and were merged with it. */
    public long getMerges() {
        return counters.merges.get();
    }

    /** Attributes that two requests changed at the same time. */
    public long getConflictCount() {
        return counters.conflicts.get();
    }

    /** Requests served from a local copy while the tier was away. */
    public long getServedLocally() {
        return counters.servedLocally.get();
    }

    /** Requests refused, or looked for in vain, while the tier was away. */
    public long getUnavailable() {
        return counters.unavailable.get();
    }

    /** Saves that the tier did not take. */
    public long getUnsaved() {
        return counters.unsaved.get();
    }

    /** Sessions stored after all. */
    public long getHealed() {
        return counters.healed.get();
    }

    /** Sessions here that have changes the tier does not know. */
    public long getAdrift() {
        return sessions.values().stream().filter(s -> ((TandemSession) s).adrift).count() + pendingEnds.size();
    }

    /** Items that were not stored by a Tomcat with our key. */
    public long getRefusedItems() {
        return counters.refused.get();
    }

    /** Saves of sessions that had been ended: not done. */
    public long getSavesAfterEnd() {
        return counters.savesAfterEnd.get();
    }

    public long getLocksMissed() {
        return counters.locksMissed.get();
    }

    public long getNotSerialized() {
        return counters.notSerialized.get();
    }

    public long getNotDeserialized() {
        return counters.notDeserialized.get();
    }

    // Life.

    @Override
    protected void startInternal() throws LifecycleException {
        super.startInternal();
        List<Address> addresses = options.addresses(System.getenv(Options.ENV_ADDRESS));
        List<String> keys = options.keys(System.getenv(Options.ENV_KEY));
        if (!options.errors.isEmpty()) {
            throw new LifecycleException("<Manager className=\"" + getClass().getName() + "\"> of "
                    + getContext().getName() + ": " + String.join("; ", options.errors));
        }
        CommitHook.check();
        if (!(getContext().getParent() instanceof Host)) {
            throw new LifecycleException(getClass().getName() + " must be inside the <Context> of a <Host>");
        }
        for (String note : options.notes) {
            log.info("<Manager> of " + getContext().getName() + ": " + note);
        }
        if (keys.isEmpty()) {
            log.warn("Sessions of " + getContext().getName() + " are not sealed: whoever can write to the session tier can "
                    + "make sessions. Give all Tomcats the same key (attribute key or keyFile, or "
                    + Options.ENV_KEY + "); `tandem key` makes one");
        }
        Client client = new Client(addresses, options.operationTimeout);
        store = new Store(client, new Seal(keys), Prefix.of(options.storageKeyPrefix, getContext()), counters);
        expirer = new Expirer(this, store);
        sync = new Sync(this, store, expirer, counters, options);
        locks = new Locks(options, store, counters);
        last = new ApplicationValve();
        getContext().getPipeline().addValve(last);
        joined = (Host) getContext().getParent();
        SessionValve.join(joined);
        log.info("Sessions of " + getContext().getName() + " are kept by the agent at " + client.where() + ", as "
                + store.key("*"));
        setState(LifecycleState.STARTING);
    }

    /** The sessions stay in the tier; what it does not have yet is stored now. */
    @Override
    protected void stopInternal() throws LifecycleException {
        setState(LifecycleState.STOPPING);
        if (joined != null) {
            SessionValve.leave(joined);
            joined = null;
            getContext().getPipeline().removeValve(last);
        }
        if (store != null) {
            heal(true);
            for (Session session : findSessions()) {
                passivate((TandemSession) session);
            }
            sessions.clear();
            if (!pendingEnds.isEmpty()) {
                log.error(pendingEnds.size() + " sessions were ended while the session tier was away, and it was not "
                        + "told: they go on until they are idle for too long");
            }
            store.client.close();
        }
        super.stopInternal();
    }

    @Override
    public void load() {
        // Each session is loaded when it is asked for.
    }

    @Override
    public void unload() {
        // Each session is stored before its response leaves.
    }

    // Sessions.

    @Override
    public Session createEmptySession() {
        return new TandemSession(this);
    }

    @Override
    protected StandardSession getNewSession() {
        return new TandemSession(this);
    }

    @Override
    public Session createSession(String requestedId) {
        RequestScope scope = RequestScope.current();
        if (scope != null && scope.unread() != null) {
            // The client has a session, for all we know: a new one would take its cookie away.
            throw refuse(scope, scope.unread());
        }
        TandemSession session = (TandemSession) super.createSession(Store.isId(requestedId) ? requestedId : null);
        session.incarnation = ThreadLocalRandom.current().nextLong() | 1;
        session.changed = true;
        session.touch(Image.IDLE);
        if (scope != null) {
            scope.saw(this, session.getIdInternal(), session);
        }
        return session;
    }

    @Override
    public Session findSession(String id) throws IOException {
        Store from = store;
        if (from == null || !Store.isId(id)) {
            return null;
        }
        RequestScope scope = RequestScope.current();
        if (scope != null && scope.knows(this, id)) {
            return scope.seen(this, id);
        }
        if (scope != null && !scope.ignored && locks.wanted(scope.request()) && !scope.holdsLock(from.lockKey(id))) {
            Locks.Held lock = locks.acquire(id);
            if (lock != null) {
                scope.holds(lock);
            }
        }
        boolean early = scope != null && !scope.inApplication();
        if (early && scope.ignored) {
            return null;
        }
        TandemSession session;
        try {
            session = fetch(id, scope);
            counters.back();
        } catch (StoreException away) {
            wentAway(away);
            session = withoutTier(id, scope);
            if (session == null && early && !pendingEnds.containsKey(id)) {
                scope.unread(away);
                return null;
            }
            if (session == null && !pendingEnds.containsKey(id)) {
                throw refuse(scope, away);
            }
        }
        if (scope != null) {
            scope.saw(this, id, session);
        }
        return session;
    }

    private TandemSession fetch(String id, RequestScope scope) throws StoreException {
        if (pendingEnds.containsKey(id)) {
            endPending(id);
            return null;
        }
        counters.loads.incrementAndGet();
        String at = id;
        Store.Found found = store.load(at);
        for (int moves = 0; found != null && found.image.state == Image.State.MOVED && moves < 3; moves++) {
            if (scope == null || !found.image.mover.equals(scope.sender())) {
                return null;
            }
            at = found.image.movedTo;
            found = store.load(at);
        }
        TandemSession local = (TandemSession) sessions.get(at);
        if (found == null || found.image.state != Image.State.LIVE) {
            if (local != null && local.base == null && local.isValid()) {
                // Made here, and not stored yet.
                return local;
            }
            if (local != null) {
                discard(local);
            }
            return null;
        }
        if (Life.isOver(found.image.maxIdle(), found.ttl)) {
            expirer.claim(at, found);
            return null;
        }
        if (local != null && local.isValid() && local.base != null && local.incarnation != found.image.incarnation) {
            discard(local);
            local = null;
        }
        if (local == null || !local.isValid()) {
            TandemSession opened = sync.open(at, found);
            Session other = sessions.putIfAbsent(at, opened);
            if (other == null) {
                countActive();
                return opened;
            }
            local = (TandemSession) other;
        }
        sync.refresh(local, found);
        return local;
    }

    private void countActive() {
        int size = sessions.size();
        synchronized (this) {
            if (size > maxActive) {
                maxActive = size;
            }
        }
    }

    /** The tier does not say what it has: the copy of this JVM serves, if there is one and the option allows. */
    private TandemSession withoutTier(String id, RequestScope scope) {
        TandemSession local = (TandemSession) sessions.get(id);
        if (options.whenAway == Options.WhenAway.FAIL || local == null || !local.isValid() || isIdleTooLong(local)
                || pendingEnds.containsKey(id)) {
            return null;
        }
        counters.servedLocally.incrementAndGet();
        if (scope != null) {
            scope.request().setAttribute(LOCAL_COPY, Boolean.TRUE);
        }
        return local;
    }

    /** Nobody knows whether the session exists: the request is answered 503, and its cookie stays. */
    private SessionsAway refuse(RequestScope scope, StoreException away) {
        counters.unavailable.incrementAndGet();
        if (scope != null) {
            scope.fail(away);
        }
        return new SessionsAway(away);
    }

    private static boolean isIdleTooLong(TandemSession session) {
        int most = session.getMaxInactiveInterval();
        return most > 0 && session.getIdleTimeInternal() / 1000 >= most;
    }

    void wentAway(StoreException why) {
        counters.away(why);
    }

    /** A save failed: the copy is kept until it succeeds, or the request fails, by option or because it never will. */
    void unsaved(TandemSession session, StoreException why, RequestScope scope, boolean first) {
        if (first) {
            counters.unsaved.incrementAndGet();
        }
        if (why.isRefused()) {
            // The others go on with what is stored: to go on here with what is not would be two sessions of one id.
            scope.fail(why);
            return;
        }
        wentAway(why);
        if (options.whenAway == Options.WhenAway.FAIL) {
            scope.fail(why);
        } else {
            scope.request().setAttribute(LOCAL_COPY, Boolean.TRUE);
        }
    }

    @Override
    protected void changeSessionId(Session session, String newId, boolean notifySessions, boolean notifyContainer) {
        super.changeSessionId(session, newId, notifySessions, notifyContainer);
        TandemSession mine = (TandemSession) session;
        RequestScope scope = RequestScope.current();
        if (scope != null) {
            scope.saw(this, newId, mine);
        }
        if (mine.storedId == null) {
            return;
        }
        try {
            sync.save(mine, true);
        } catch (StoreException away) {
            if (scope != null) {
                unsaved(mine, away, scope, false);
            } else if (!away.isRefused()) {
                wentAway(away);
            }
        }
    }

    /** Another Tomcat gave the session a new id. */
    void renamed(TandemSession session, String newId) {
        sessions.remove(session.getIdInternal(), session);
        session.renamed(newId);
        sessions.putIfAbsent(newId, session);
    }

    /** Ends a session in the tier. True when it is for this Tomcat to tell the application. */
    boolean end(TandemSession session) {
        if (session.claimed || session.storedId == null || store == null) {
            return true;
        }
        String id = session.storedId;
        try {
            return store.end(id, session.incarnation);
        } catch (StoreException away) {
            wentAway(away);
            counters.unsaved.incrementAndGet();
            if (pendingEnds.size() < MOST_PENDING_ENDS) {
                pendingEnds.put(id, session.incarnation);
            }
            RequestScope scope = RequestScope.current();
            if (scope != null && options.whenAway == Options.WhenAway.FAIL) {
                scope.fail(away);
            }
            return true;
        }
    }

    private void endPending(String id) throws StoreException {
        Long incarnation = pendingEnds.get(id);
        if (incarnation != null) {
            store.end(id, incarnation);
            pendingEnds.remove(id);
            counters.healed.incrementAndGet();
        }
    }

    /** Forgets the copy of a session that is over; whoever ended it tells the application. */
    void discard(TandemSession session) {
        session.discard();
        sessions.remove(session.getIdInternal(), session);
    }

    /** Lets go of a copy; the next request takes a new one from the tier. */
    void forget(TandemSession session) {
        sessions.remove(session.getIdInternal(), session);
    }

    /** This Tomcat has claimed the end of a session: its listeners are called. */
    void expireClaimed(String id, Store.Found found) {
        TandemSession session = (TandemSession) sessions.get(id);
        if (session == null || !session.isValid()) {
            session = sync.open(id, found);
            sessions.put(id, session);
        } else {
            sync.refresh(session, found);
        }
        session.claimed = true;
        ClassLoader before = bind();
        try {
            session.expire(true);
        } catch (RuntimeException its) {
            warn("a listener failed at the end of session " + id, its);
        } finally {
            unbind(before);
            sessions.remove(id, session);
        }
    }

    // Now and then.

    @Override
    public void processExpires() {
        if (store == null || !getState().isAvailable()) {
            return;
        }
        long start = System.currentTimeMillis();
        heal(false);
        try {
            expirer.run();
            counters.back();
        } catch (StoreException away) {
            wentAway(away);
        }
        for (Session session : findSessions()) {
            dropIfIdle((TandemSession) session);
        }
        processingTime += System.currentTimeMillis() - start;
    }

    /** Stores what the tier did not take before. */
    private void heal(boolean all) {
        try {
            for (String id : new ArrayList<>(pendingEnds.keySet())) {
                endPending(id);
            }
            for (Session each : findSessions()) {
                TandemSession session = (TandemSession) each;
                boolean behind = session.adrift || session.changed && session.users.get() <= 0;
                if (session.isValid() && (behind || all && !session.touched.isEmpty())) {
                    healOne(session);
                }
            }
        } catch (StoreException away) {
            wentAway(away);
        }
    }

    private void healOne(TandemSession session) throws StoreException {
        try {
            sync.save(session, session.users.get() > 0);
        } catch (StoreException failed) {
            if (!failed.isRefused()) {
                throw failed;
            }
            // Said in the log; the others can be stored nevertheless.
            counters.unsaved.incrementAndGet();
        }
    }

    /** A copy that nobody uses need not be here, once the tier has all of it. */
    private void dropIfIdle(TandemSession session) {
        if (session.users.get() > 0) {
            return;
        }
        if (session.storedId == null) {
            // Known to nobody else: over when it has been idle for too long.
            if (isIdleTooLong(session)) {
                ClassLoader before = bind();
                try {
                    session.expire(true);
                } finally {
                    unbind(before);
                }
            }
            return;
        }
        long idle = TimeUnit.MILLISECONDS.toSeconds(session.getIdleTimeInternal());
        if (idle >= options.localCopies && !session.adrift && !session.changed) {
            passivate(session);
            sessions.remove(session.getIdInternal(), session);
        }
    }

    private void passivate(TandemSession session) {
        ClassLoader before = bind();
        try {
            session.passivate();
        } catch (RuntimeException its) {
            warn("an attribute failed when it was told that session " + session.getIdInternal() + " leaves this JVM", its);
        } finally {
            unbind(before);
        }
    }

    // For the others here.

    Sync sync() {
        return sync;
    }

    Store storeForTests() {
        return store;
    }

    Expirer expirerForTests() {
        return expirer;
    }

    boolean ignores(Request request) {
        return options.ignore != null && matches(options.ignore, request);
    }

    /** As memcached-session-manager: the URI alone, or method, URI and query. */
    static boolean matches(Pattern pattern, Request request) {
        String uri = request.getRequestURI();
        String query = request.getQueryString();
        return pattern.matcher(uri).matches()
                || pattern.matcher(request.getMethod() + " " + uri + (query == null ? "" : "?" + query)).matches();
    }

    void learn(Request request, boolean changed) {
        Locks now = locks;
        if (now != null) {
            now.learn(request, changed);
        }
    }

    /** Whether an attribute is stored at all: not what Tomcat itself keeps out, nor what a filter of the manager does. */
    boolean isStored(String name, Object value) {
        return !org.apache.catalina.session.Constants.excludedAttributeNames.contains(name)
                && willAttributeDistribute(name, value);
    }

    ClassFilter classFilter() {
        return new ClassFilter(getSessionAttributeValueClassNamePattern());
    }

    ClassLoader loader() {
        Context context = getContext();
        ClassLoader loader = context.getLoader() == null ? null : context.getLoader().getClassLoader();
        return loader == null ? Thread.currentThread().getContextClassLoader() : loader;
    }

    ClassLoader bind() {
        return getContext().bind(false, null);
    }

    void unbind(ClassLoader before) {
        getContext().unbind(false, before);
    }

    void debug(String text) {
        if (log.isDebugEnabled()) {
            log.debug(text);
        }
    }

    void warn(String text, Exception why) {
        log.warn(text, why);
    }
}

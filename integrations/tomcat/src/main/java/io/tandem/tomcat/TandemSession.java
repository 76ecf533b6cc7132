package io.tandem.tomcat;

import java.security.Principal;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;

import org.apache.catalina.session.StandardSession;

/**
 * This JVM's copy of a session. It keeps track of what the application may have changed; {@link Sync} exchanges that with
 * the session tier. Nothing here waits for the network but {@link #expire(boolean)}.
 */
public class TandemSession extends StandardSession {

    private static final long serialVersionUID = 1L;

    /** Names of the properties that are stored beside {@link Image#IDLE} when authentication is to survive. */
    static final String AUTH_TYPE = Image.OWN + "authType";
    static final String PRINCIPAL = Image.OWN + "principal";
    static final String NOTE = Image.OWN + "note:";

    private final transient SessionManager owner;
    /** Held while the copy and the session tier are compared, and all below but the concurrent collections changes. */
    final transient ReentrantLock lock = new ReentrantLock();
    /** What the session tier had when last seen, its version, and under which id; null before it is stored first. */
    transient Image base;
    transient long cas;
    transient volatile String storedId;
    /** Seconds that the item had left when last seen. */
    transient long ttl;
    transient long incarnation;
    /** Names of what may have changed since, each with a token of its latest touch. */
    final transient ConcurrentMap<String, Object> touched = new ConcurrentHashMap<>();
    /** An attribute was set or removed since the last save. */
    transient volatile boolean changed;
    /** Stored values that this application cannot read: they stay in the session tier as they are. */
    final transient Map<String, byte[]> unreadable = new ConcurrentHashMap<>();
    /** Attributes that cannot be stored. */
    final transient Set<String> localOnly = ConcurrentHashMap.newKeySet();
    /** Requests that use it now. */
    final transient AtomicInteger users = new AtomicInteger();
    /** It has changes that the session tier did not take. */
    transient volatile boolean adrift;
    /** This Tomcat has the right to tell the application that the session is over. */
    transient volatile boolean claimed;

    TandemSession(SessionManager owner) {
        super(owner);
        this.owner = owner;
    }

    ConcurrentMap<String, Object> attributes() {
        return attributes;
    }

    Map<String, Object> notes() {
        return notes;
    }

    void touch(String name) {
        touched.put(name, new Object());
    }

    /** Takes the times of a session that was used elsewhere meanwhile. */
    void usedAt(long millis) {
        if (millis > lastAccessedTime) {
            lastAccessedTime = millis;
        }
        if (millis > thisAccessedTime) {
            thisAccessedTime = millis;
        }
    }

    /** It is known under another id now, and no listener is told: another Tomcat has. */
    void renamed(String newId) {
        id = newId;
    }

    void takeIdle(int seconds) {
        maxInactiveInterval = seconds;
    }

    void takePrincipal(Principal who) {
        principal = who;
    }

    void takeAuthType(String type) {
        authType = type;
    }

    @Override
    public Object getAttribute(String name) {
        Object value = super.getAttribute(name);
        if (value != null && !Values.isImmutable(value)) {
            touch(name);
        }
        return value;
    }

    @Override
    public void setAttribute(String name, Object value, boolean notify) {
        super.setAttribute(name, value, notify);
        if (name != null && value != null) {
            unreadable.remove(name);
            touch(name);
            changed = true;
        }
    }

    @Override
    protected void removeAttributeInternal(String name, boolean notify) {
        super.removeAttributeInternal(name, notify);
        if (name != null) {
            unreadable.remove(name);
            touch(name);
            changed = true;
        }
    }

    @Override
    public void setMaxInactiveInterval(int seconds) {
        super.setMaxInactiveInterval(seconds);
        touch(Image.IDLE);
    }

    @Override
    public void setPrincipal(Principal who) {
        super.setPrincipal(who);
        touch(PRINCIPAL);
        changed = true;
    }

    @Override
    public void setAuthType(String type) {
        super.setAuthType(type);
        touch(AUTH_TYPE);
        changed = true;
    }

    @Override
    public void setNote(String name, Object value) {
        super.setNote(name, value);
        if (Sync.NOTES.contains(name)) {
            touch(NOTE + name);
            changed = true;
        }
    }

    @Override
    public void removeNote(String name) {
        super.removeNote(name);
        if (Sync.NOTES.contains(name)) {
            touch(NOTE + name);
            changed = true;
        }
    }

    @Override
    public void access() {
        users.incrementAndGet();
        super.access();
    }

    @Override
    public void endAccess() {
        super.endAccess();
        users.decrementAndGet();
    }

    /** Whether it is over is decided by the session tier, which knows the requests of all Tomcats. */
    @Override
    public boolean isValid() {
        return isValid;
    }

    @Override
    protected boolean isValidInternal() {
        return isValid || expiring;
    }

    /** Ends the session everywhere. The application is told by the Tomcat that ended it, and by no other. */
    @Override
    public void expire(boolean notify) {
        if (!isValid || expiring) {
            return;
        }
        boolean mine = owner.end(this);
        super.expire(notify && mine);
    }

    /** It is over, and another Tomcat has told or will tell the application. */
    void discard() {
        isValid = false;
    }
}

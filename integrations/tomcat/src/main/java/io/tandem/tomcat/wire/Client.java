package io.tandem.tomcat.wire;

import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The memcached commands that sessions need, in the meta protocol, over pooled connections. It has no threads of its own.
 *
 * <p>A command whose connection broke, or could not be made, is sent again for {@link #PATIENCE_MILLIS}: an agent that is
 * restarted is not away. The answer then is {@link Change#doubtful}. With several addresses (agents of one cluster,
 * which all see the same items) the next is tried when one does not connect. Once nothing was answered for so long, the
 * tier is away, and commands fail at once, but for one each {@link #PAUSE_MILLIS} that tries, so that requests do not
 * queue up behind an agent that hangs.
 */
public final class Client implements Closeable {

    /** To connect: an agent is on this machine, or in this network. */
    public static final int CONNECT_MILLIS = 1000;
    /** How long connecting is tried again before the tier is taken for away. */
    public static final int PATIENCE_MILLIS = 2000;
    /** Between tries of a tier that is away. */
    public static final int PAUSE_MILLIS = 500;
    /** Between tries of one command. */
    private static final int AGAIN_MILLIS = 50;
    /** Connections kept while nobody uses them. */
    private static final int KEPT = 64;
    /** Keys asked for in one write. */
    private static final int BATCH = 100;
    /** Above this many seconds memcached takes an exptime for a Unix time. */
    private static final long RELATIVE_LIMIT = 60L * 60 * 24 * 30;

    private final List<Address> addresses;
    private final int operationMillis;
    private final Deque<Connection> kept = new ConcurrentLinkedDeque<>();
    private final AtomicInteger keptCount = new AtomicInteger();
    private volatile int preferred;
    private volatile boolean away;
    private volatile String awayWhy = "";
    /** When the next command tries, while the tier is away. */
    private final AtomicLong nextTry = new AtomicLong();
    private volatile long lastAnswer = System.nanoTime();
    private volatile boolean closed;
    private volatile boolean cutOff;

    /** @param operationMillis the limit of one command, without connecting */
    public Client(List<Address> addresses, int operationMillis) {
        if (addresses.isEmpty()) {
            throw new IllegalArgumentException("no address");
        }
        this.addresses = Collections.unmodifiableList(new ArrayList<>(addresses));
        this.operationMillis = operationMillis;
    }

    /** The item, with version and remaining life, or null when nothing is there. */
    public Item get(String key) throws StoreException {
        Reply reply = ask(("mg " + key + " v c t\r\n").getBytes(StandardCharsets.ISO_8859_1)).reply;
        return item(reply);
    }

    /** Which of some keys have items, and those: a round for a hundred keys. Remaining lives are not told. */
    public Map<String, Item> getAll(List<String> keys) throws StoreException {
        Map<String, Item> items = new HashMap<>();
        for (int from = 0; from < keys.size(); from += BATCH) {
            String command = "gets " + String.join(" ", keys.subList(from, Math.min(keys.size(), from + BATCH)))
                    + "\r\n";
            Reply reply = ask(command.getBytes(StandardCharsets.ISO_8859_1)).reply;
            if (reply.isError()) {
                throw refused(reply);
            }
            items.putAll(reply.items);
        }
        return items;
    }

    /** Stores where nothing is. {@code ttl} in seconds, 0 for ever, as in all that follow. */
    public Change add(String key, long ttl, byte[] value) throws StoreException {
        return change(store(key, value, " ME c T" + exptime(ttl)));
    }

    /** Stores if the item still has this version. */
    public Change cas(String key, long ttl, byte[] value, long cas) throws StoreException {
        return change(store(key, value, " c C" + Long.toUnsignedString(cas) + " T" + exptime(ttl)));
    }

    /** Appends to the item, or makes it. Repeated after a broken connection, it may append twice. */
    public void append(String key, long ttl, byte[] value) throws StoreException {
        // Autovivification (N) would do it in one, but memcached before 1.6.21 does not know it of ms.
        for (int tries = 0; tries < 100; tries++) {
            if (change(store(key, value, " MA")).done() || add(key, ttl, value).done()) {
                return;
            }
        }
        throw new StoreException(key + " comes and goes: nothing was appended to it", false, null);
    }

    /** Gives the item a new lifetime. */
    public Change touch(String key, long ttl) throws StoreException {
        return change(("mg " + key + " T" + exptime(ttl) + "\r\n").getBytes(StandardCharsets.ISO_8859_1));
    }

    /** Deletes the item. */
    public Change delete(String key) throws StoreException {
        return change(("md " + key + "\r\n").getBytes(StandardCharsets.ISO_8859_1));
    }

    /**
     * Deletes the item if it still has this version: by replacing it with one that is over already, which every store
     * can, while an agent does not compare before it deletes.
     */
    public Change delete(String key, long cas) throws StoreException {
        return change(store(key, new byte[0], " c C" + Long.toUnsignedString(cas) + " T-1"));
    }

    /** For tests: as if no address took connections. */
    public void cutOffForTests(boolean cut) {
        cutOff = cut;
        if (cut) {
            dropKept();
        } else {
            away = false;
        }
    }

    /** The addresses, for messages. */
    public String where() {
        StringBuilder text = new StringBuilder();
        for (Address address : addresses) {
            text.append(text.length() == 0 ? "" : ", ").append(address);
        }
        return text.toString();
    }

    /** Closes the connections that nobody uses now; those in use are closed when they are given back. */
    @Override
    public void close() {
        closed = true;
        Connection connection;
        while ((connection = kept.pollFirst()) != null) {
            connection.close();
        }
    }

    private static byte[] store(String key, byte[] value, String flags) {
        byte[] head = ("ms " + key + " " + value.length + flags + "\r\n").getBytes(StandardCharsets.ISO_8859_1);
        ByteArrayOutputStream command = new ByteArrayOutputStream(head.length + value.length + 2);
        command.write(head, 0, head.length);
        command.write(value, 0, value.length);
        command.write('\r');
        command.write('\n');
        return command.toByteArray();
    }

    private static long exptime(long ttl) {
        return ttl <= RELATIVE_LIMIT ? ttl : System.currentTimeMillis() / 1000 + ttl;
    }

    private Item item(Reply reply) throws StoreException {
        switch (reply.code) {
            case "VA":
                return new Item(reply.cas, reply.ttl, reply.value);
            case "EN":
                return null;
            default:
                throw refused(reply);
        }
    }

    private Change change(byte[] command) throws StoreException {
        Asked asked = ask(command);
        Reply reply = asked.reply;
        switch (reply.code) {
            case "HD":
                return new Change(Change.Outcome.DONE, reply.cas, asked.again);
            case "NS":
                return new Change(Change.Outcome.NOT_STORED, 0, asked.again);
            case "EX":
                return new Change(Change.Outcome.CHANGED, 0, asked.again);
            case "NF":
            case "EN":
                return new Change(Change.Outcome.GONE, 0, asked.again);
            default:
                throw refused(reply);
        }
    }

    private StoreException refused(Reply reply) {
        boolean unknown = reply.code.contains("outcome unknown");
        if (unknown || reply.code.contains("not stored") || reply.code.contains("cannot be read")) {
            // The agent has tried for seconds: the next request need not wait as long for the same answer.
            goneAway(reply.code);
            return new StoreException("the session tier at " + where() + " answered: " + reply.code, unknown, null);
        }
        return StoreException.refused("the session tier at " + where() + " answered: " + reply.code);
    }

    private static final class Asked {
        final Reply reply;
        final boolean again;

        Asked(Reply reply, boolean again) {
            this.reply = reply;
            this.again = again;
        }
    }

    /** Where one command stands over its tries. */
    private static final class Attempt {
        /** It may have reached a server. */
        boolean sent;
        IOException why;
        /** It was sent and not answered in time: there is no time left to try again. */
        boolean hangs;
    }

    private Asked ask(byte[] command) throws StoreException {
        long begun = System.nanoTime();
        if (away) {
            long next = nextTry.get();
            if (begun - next < 0 || !nextTry.compareAndSet(next, begun + PAUSE_MILLIS * 1_000_000L)) {
                throw new StoreException("the session tier at " + where() + " is away (" + awayWhy + ")", false, null);
            }
        }
        boolean probing = away;
        Attempt attempt = new Attempt();
        for (;;) {
            boolean again = attempt.sent;
            Reply reply = once(command, attempt);
            if (reply != null) {
                lastAnswer = System.nanoTime();
                away = false;
                return new Asked(reply, again || attempt.sent);
            }
            boolean tried = System.nanoTime() - begun >= PATIENCE_MILLIS * 1_000_000L;
            if (attempt.hangs || tried || probing) {
                // Others may be answered meanwhile: then it is this command that failed, and not the tier.
                if (lastAnswer - begun < 0) {
                    goneAway(String.valueOf(attempt.why.getMessage()));
                }
                throw new StoreException("the session tier at " + where() + " did not answer ("
                        + attempt.why.getMessage() + ")", attempt.sent, attempt.why);
            }
            try {
                Thread.sleep(AGAIN_MILLIS);
            } catch (InterruptedException stopping) {
                Thread.currentThread().interrupt();
                throw new StoreException("interrupted while the session tier at " + where() + " was waited for",
                        attempt.sent, attempt.why);
            }
        }
    }

    /** A kept connection, else a new one to the first address that takes it. Null when none answered. */
    private Reply once(byte[] command, Attempt attempt) {
        Connection connection = take();
        // A kept connection may have ended unnoticed: that it breaks says nothing about the agent.
        if (connection != null) {
            Reply reply = on(connection, command, attempt);
            if (reply != null || attempt.hangs) {
                return reply;
            }
            dropKept();
        }
        for (int i = 0; i < addresses.size(); i++) {
            int index = (preferred + i) % addresses.size();
            try {
                if (cutOff) {
                    throw new IOException("cut off");
                }
                connection = new Connection(addresses.get(index), CONNECT_MILLIS);
            } catch (IOException refused) {
                attempt.why = refused;
                continue;
            }
            preferred = index;
            Reply reply = on(connection, command, attempt);
            if (reply != null || attempt.hangs) {
                return reply;
            }
        }
        return null;
    }

    private Reply on(Connection connection, byte[] command, Attempt attempt) {
        boolean before = attempt.sent;
        try {
            attempt.sent = true;
            Reply reply = connection.call(command, operationMillis);
            giveBack(connection);
            attempt.sent = before;
            return reply;
        } catch (IOException broken) {
            connection.close();
            attempt.why = broken;
            attempt.hangs = broken instanceof java.net.SocketTimeoutException;
            return null;
        }
    }

    private void goneAway(String why) {
        awayWhy = why;
        nextTry.set(System.nanoTime() + PAUSE_MILLIS * 1_000_000L);
        away = true;
    }

    private Connection take() {
        Connection connection = kept.pollFirst();
        if (connection != null) {
            keptCount.decrementAndGet();
        }
        return connection;
    }

    /** The others of a connection that broke are likely to be as old. */
    private void dropKept() {
        Connection connection;
        while ((connection = take()) != null) {
            connection.close();
        }
    }

    private void giveBack(Connection connection) {
        if (closed || keptCount.incrementAndGet() > KEPT) {
            if (!closed) {
                keptCount.decrementAndGet();
            }
            connection.close();
            return;
        }
        kept.addFirst(connection);
        if (closed) {
            close();
        }
    }
}

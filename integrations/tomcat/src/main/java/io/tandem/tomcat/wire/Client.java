package io.tandem.tomcat.wire;

import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The memcached commands that sessions need, in the meta protocol, over pooled connections. It has no threads of its own.
 *
 * <p>A command whose connection broke is sent once more on a new one; the answer then is {@link Change#doubtful}.
 * With several addresses (agents of one cluster, which all see the same items) the next is tried when one does not
 * connect. After a failure of all, commands fail at once for {@link #PAUSE_MILLIS}, so that requests do not queue up
 * behind an agent that hangs.
 */
public final class Client implements Closeable {

    /** To connect: an agent is on this machine, or in this network. */
    public static final int CONNECT_MILLIS = 1000;
    /** How long nothing is tried after all addresses failed. */
    public static final int PAUSE_MILLIS = 500;
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
    private volatile long downUntil = System.nanoTime();
    private volatile String downWhy = "";
    private volatile boolean closed;

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
        Reply reply = ask(("mg " + key + " v c t\r\n").getBytes(StandardCharsets.ISO_8859_1), 1).replies[0];
        return item(reply);
    }

    /** The items of some keys, each null when nothing is there. */
    public List<Item> getAll(List<String> keys) throws StoreException {
        List<Item> items = new ArrayList<>(keys.size());
        for (int from = 0; from < keys.size(); from += BATCH) {
            List<String> part = keys.subList(from, Math.min(keys.size(), from + BATCH));
            StringBuilder commands = new StringBuilder();
            for (String key : part) {
                commands.append("mg ").append(key).append(" v c t\r\n");
            }
            for (Reply reply : ask(commands.toString().getBytes(StandardCharsets.ISO_8859_1), part.size()).replies) {
                items.add(item(reply));
            }
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
        Asked asked = ask(command, 1);
        Reply reply = asked.replies[0];
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
            downWhy = reply.code;
            downUntil = System.nanoTime() + PAUSE_MILLIS * 1_000_000L;
        }
        return new StoreException("the session tier at " + where() + " answered: " + reply.code, unknown, null);
    }

    private static final class Asked {
        final Reply[] replies;
        final boolean again;

        Asked(Reply[] replies, boolean again) {
            this.replies = replies;
            this.again = again;
        }
    }

    private Asked ask(byte[] commands, int answers) throws StoreException {
        if (System.nanoTime() - downUntil < 0) {
            throw new StoreException("the session tier at " + where() + " is away (" + downWhy + ")", false, null);
        }
        boolean sent = false;
        IOException why = null;
        Connection connection = take();
        // A kept connection may have ended unnoticed: that it breaks says nothing about the agent.
        if (connection != null) {
            try {
                Reply[] replies = connection.call(commands, answers, operationMillis);
                giveBack(connection);
                return new Asked(replies, false);
            } catch (java.net.SocketTimeoutException hangs) {
                connection.close();
                throw down(hangs, true);
            } catch (IOException broken) {
                connection.close();
                dropKept();
                sent = true;
                why = broken;
            }
        }
        for (int i = 0; i < addresses.size(); i++) {
            int index = (preferred + i) % addresses.size();
            try {
                connection = new Connection(addresses.get(index), CONNECT_MILLIS);
            } catch (IOException refused) {
                why = refused;
                continue;
            }
            preferred = index;
            boolean again = sent;
            try {
                sent = true;
                Reply[] replies = connection.call(commands, answers, operationMillis);
                giveBack(connection);
                return new Asked(replies, again);
            } catch (IOException broken) {
                connection.close();
                why = broken;
                if (broken instanceof java.net.SocketTimeoutException) {
                    break;
                }
            }
        }
        throw down(why, sent);
    }

    private StoreException down(IOException why, boolean unknown) {
        downWhy = String.valueOf(why.getMessage());
        downUntil = System.nanoTime() + PAUSE_MILLIS * 1_000_000L;
        return new StoreException("the session tier at " + where() + " did not answer (" + why.getMessage() + ")",
                unknown, why);
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

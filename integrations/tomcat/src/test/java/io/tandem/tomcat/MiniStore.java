package io.tandem.tomcat;

import java.io.BufferedInputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;
import java.util.function.Predicate;

/**
 * A session tier in this JVM, with the limits of an agent's meta protocol (no comparing deletes), that can be told to
 * be away, to lose answers and to let time pass.
 */
final class MiniStore implements Closeable {

    static final class Item {
        byte[] value;
        long cas;
        /** Milliseconds of {@link #now}, or Long.MAX_VALUE. */
        long end;
    }

    private final Map<String, Item> items = new TreeMap<>();
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();
    /** The first words of all commands: {@code ms tomcat...}. */
    final List<String> commands = new CopyOnWriteArrayList<>();
    /** Called before a command is done, with its line. */
    volatile Consumer<String> before = line -> {};
    /** Commands whose answer is lost, with the connection, after they are done: each once. */
    volatile Predicate<String> loseAnswer = line -> false;
    private volatile ServerSocket listening;
    /** As memcached does when it stores; an agent says 0. */
    volatile boolean tellsVersions;
    /** As an agent whose voters are at their limit: takes nothing more. */
    volatile boolean full;
    /** The largest value that is taken, in bytes: an agent's limit. */
    private static final int MAX_VALUE = 1 << 20;
    private volatile boolean away;
    private final int port;
    private long lastCas = 100;
    private long passed;

    MiniStore() throws IOException {
        listening = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        port = listening.getLocalPort();
        accept(listening);
    }

    String address() {
        return "127.0.0.1:" + port;
    }

    /** Refuses connections, and ends those that are open. */
    void away() throws IOException {
        away = true;
        listening.close();
        for (Socket socket : open) {
            socket.close();
        }
    }

    void back() throws IOException {
        away = false;
        ServerSocket again = new ServerSocket();
        again.setReuseAddress(true);
        again.bind(new java.net.InetSocketAddress(InetAddress.getLoopbackAddress(), port));
        listening = again;
        accept(again);
    }

    int connections() {
        return open.size();
    }

    synchronized void pass(long seconds) {
        passed += seconds * 1000;
    }

    synchronized List<String> keys() {
        List<String> keys = new ArrayList<>();
        for (String key : new ArrayList<>(items.keySet())) {
            if (find(key) != null) {
                keys.add(key);
            }
        }
        return keys;
    }

    synchronized Item item(String key) {
        return find(key);
    }

    synchronized void put(String key, byte[] value) {
        Item item = items.computeIfAbsent(key, k -> new Item());
        item.value = value;
        item.cas = ++lastCas;
        item.end = item.end == 0 ? Long.MAX_VALUE : item.end;
    }

    long count(String start) {
        return commands.stream().filter(c -> c.startsWith(start)).count();
    }

    @Override
    public void close() throws IOException {
        away();
    }

    private void accept(ServerSocket server) {
        Thread thread = new Thread(() -> {
            try {
                for (;;) {
                    Socket socket = server.accept();
                    socket.setTcpNoDelay(true);
                    open.add(socket);
                    Thread serving = new Thread(() -> serve(socket), "mini-store");
                    serving.setDaemon(true);
                    serving.start();
                }
            } catch (IOException closed) {
                // Away.
            }
        }, "mini-store-accept");
        thread.setDaemon(true);
        thread.start();
    }

    private void serve(Socket socket) {
        try (Socket closing = socket) {
            InputStream in = new BufferedInputStream(socket.getInputStream());
            OutputStream out = socket.getOutputStream();
            for (String line = line(in); line != null; line = line(in)) {
                String[] words = line.split(" ");
                byte[] value = null;
                if (words[0].equals("ms")) {
                    value = in.readNBytes(Integer.parseInt(words[2]));
                    in.readNBytes(2);
                }
                if (away) {
                    return;
                }
                commands.add(line);
                before.accept(line);
                byte[] answer = refusal(value);
                if (answer == null) {
                    answer = answer(words, value);
                }
                Predicate<String> lose = loseAnswer;
                if (lose.test(line)) {
                    loseAnswer = l -> false;
                    return;
                }
                out.write(answer);
            }
        } catch (IOException gone) {
            // The client's business.
        } finally {
            open.remove(socket);
        }
    }

    private static String line(InputStream in) throws IOException {
        StringBuilder line = new StringBuilder();
        for (int b = in.read(); b >= 0; b = in.read()) {
            if (b == '\n') {
                return line.substring(0, line.length() - 1);
            }
            line.append((char) b);
        }
        return null;
    }

    private long now() {
        return System.nanoTime() / 1_000_000 + passed;
    }

    private Item find(String key) {
        Item item = items.get(key);
        if (item != null && item.end <= now()) {
            items.remove(key);
            return null;
        }
        return item;
    }

    private static String flag(String[] words, int from, char name) {
        for (int i = from; i < words.length; i++) {
            if (words[i].charAt(0) == name) {
                return words[i].substring(1);
            }
        }
        return null;
    }

    private long end(String exptime) {
        long seconds = Long.parseLong(exptime);
        return seconds == 0 ? Long.MAX_VALUE : now() + seconds * 1000;
    }

    /** What an agent says to a value that it does not take; null when it does. */
    private byte[] refusal(byte[] value) {
        String why = value == null || value.length == 0 ? null : value.length > MAX_VALUE ? "object too large for cache"
                : full ? "out of memory storing object" : null;
        return why == null ? null : ("SERVER_ERROR " + why + "\r\n").getBytes(StandardCharsets.US_ASCII);
    }

    private synchronized byte[] answer(String[] words, byte[] value) {
        Item item = find(words[1]);
        if (words[0].equals("gets")) {
            java.io.ByteArrayOutputStream all = new java.io.ByteArrayOutputStream();
            for (int i = 1; i < words.length; i++) {
                Item hit = find(words[i]);
                if (hit != null) {
                    all.writeBytes(("VALUE " + words[i] + " 0 " + hit.value.length + " " + hit.cas + "\r\n")
                            .getBytes(StandardCharsets.US_ASCII));
                    all.writeBytes(hit.value);
                    all.writeBytes("\r\n".getBytes(StandardCharsets.US_ASCII));
                }
            }
            all.writeBytes("END\r\n".getBytes(StandardCharsets.US_ASCII));
            return all.toByteArray();
        }
        String compare = flag(words, 2, 'C');
        String life = flag(words, 2, 'T');
        switch (words[0]) {
            case "mg":
                if (item == null) {
                    return "EN\r\n".getBytes(StandardCharsets.US_ASCII);
                }
                if (life != null) {
                    item.end = end(life);
                    return "HD\r\n".getBytes(StandardCharsets.US_ASCII);
                }
                long left = item.end == Long.MAX_VALUE ? -1 : (item.end - now()) / 1000;
                byte[] head = ("VA " + item.value.length + " c" + item.cas + " t" + left + "\r\n")
                        .getBytes(StandardCharsets.US_ASCII);
                byte[] all = java.util.Arrays.copyOf(head, head.length + item.value.length + 2);
                System.arraycopy(item.value, 0, all, head.length, item.value.length);
                all[all.length - 2] = '\r';
                all[all.length - 1] = '\n';
                return all;
            case "md":
                if (item == null) {
                    return "NF\r\n".getBytes(StandardCharsets.US_ASCII);
                }
                if (compare != null) {
                    return "SERVER_ERROR not supported by this store\r\n".getBytes(StandardCharsets.US_ASCII);
                }
                items.remove(words[1]);
                return "HD\r\n".getBytes(StandardCharsets.US_ASCII);
            default:
                String mode = flag(words, 3, 'M');
                if (compare != null) {
                    if (item == null) {
                        return "NF c0\r\n".getBytes(StandardCharsets.US_ASCII);
                    }
                    if (item.cas != Long.parseLong(compare)) {
                        return "EX c0\r\n".getBytes(StandardCharsets.US_ASCII);
                    }
                }
                if ("E".equals(mode) && item != null || "A".equals(mode) && item == null) {
                    return "NS\r\n".getBytes(StandardCharsets.US_ASCII);
                }
                if ("A".equals(mode)) {
                    byte[] joined = java.util.Arrays.copyOf(item.value, item.value.length + value.length);
                    System.arraycopy(value, 0, joined, item.value.length, value.length);
                    item.value = joined;
                } else {
                    item = new Item();
                    item.value = value;
                    item.end = end(life);
                    items.put(words[1], item);
                }
                item.cas = ++lastCas;
                return ("HD" + (flag(words, 3, 'c') == null ? "" : " c" + (tellsVersions ? item.cas : 0)) + "\r\n")
                        .getBytes(StandardCharsets.US_ASCII);
        }
    }
}

package io.tandem.tomcat;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * A session as it is stored: what never changes, and a map of values, each serialized on its own. Immutable.
 *
 * <p>The values are the attributes under their names, and the session's own properties (its idle time, who is logged
 * in) under names that begin with {@link #OWN}: all are compared, merged and sent in the same way.
 */
final class Image {

    /** What the item at a session's key stands for. */
    enum State {
        /** A session. */
        LIVE,
        /** The session has another id now: a request that was under way when it changed may follow. */
        MOVED,
        /** It is over, and one Tomcat is telling the application so. */
        ENDING
    }

    /** Before the names of a session's own properties. The servlet API lets an attribute's name begin with it, nobody does. */
    static final char OWN = '\u0001';
    /** Seconds a session may be idle: 4 bytes. */
    static final String IDLE = OWN + "idle";

    private static final int MAGIC = 0x54530001;
    /** More values than this are a damaged item, not a session. */
    private static final int MAX_VALUES = 1 << 20;

    final State state;
    /** Chosen when the session was created: tells it from another that later has the same id. */
    final long incarnation;
    /** Milliseconds since 1970. */
    final long created;
    /** Milliseconds since 1970, when it was stored: requests that change nothing do not write it. */
    final long accessed;
    /** Of {@link State#MOVED}: the id it has now, and who may follow; else empty. */
    final String movedTo;
    final String mover;
    final Map<String, byte[]> values;

    private Image(State state, long incarnation, long created, long accessed, String movedTo, String mover,
            Map<String, byte[]> values) {
        this.state = state;
        this.incarnation = incarnation;
        this.created = created;
        this.accessed = accessed;
        this.movedTo = movedTo;
        this.mover = mover;
        this.values = Collections.unmodifiableMap(values);
    }

    static Image live(long incarnation, long created, long accessed, Map<String, byte[]> values) {
        return new Image(State.LIVE, incarnation, created, accessed, "", "", new TreeMap<>(values));
    }

    /** What is left at the old id: who asks from where {@code mover} was may follow. */
    Image moved(String to, String mover) {
        return new Image(State.MOVED, incarnation, created, accessed, to, mover, new TreeMap<>());
    }

    Image ending() {
        return new Image(State.ENDING, incarnation, created, accessed, "", "", new TreeMap<>(values));
    }

    /** Seconds the session may be idle; 0 or less: for ever. */
    int maxIdle() {
        byte[] bytes = values.get(IDLE);
        return bytes == null || bytes.length != 4 ? -1 : toInt(bytes);
    }

    static byte[] fromInt(int value) {
        return new byte[] {(byte) (value >>> 24), (byte) (value >>> 16), (byte) (value >>> 8), (byte) value};
    }

    static int toInt(byte[] bytes) {
        return (bytes[0] & 0xff) << 24 | (bytes[1] & 0xff) << 16 | (bytes[2] & 0xff) << 8 | bytes[3] & 0xff;
    }

    byte[] encode() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            out.writeInt(MAGIC);
            out.writeByte(state.ordinal());
            out.writeLong(incarnation);
            out.writeLong(created);
            out.writeLong(accessed);
            text(out, movedTo);
            text(out, mover);
            out.writeInt(values.size());
            for (Map.Entry<String, byte[]> value : values.entrySet()) {
                text(out, value.getKey());
                out.writeInt(value.getValue().length);
                out.write(value.getValue());
            }
        } catch (IOException impossible) {
            throw new IllegalStateException(impossible);
        }
        return bytes.toByteArray();
    }

    /** @throws IOException when the bytes are no image */
    static Image decode(byte[] bytes) throws IOException {
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
            if (in.readInt() != MAGIC) {
                throw new IOException("not a session of this manager, or of a newer version of it");
            }
            int state = in.readByte();
            if (state < 0 || state >= State.values().length) {
                throw new IOException("unknown state " + state);
            }
            long incarnation = in.readLong();
            long created = in.readLong();
            long accessed = in.readLong();
            String movedTo = text(in);
            String mover = text(in);
            int count = in.readInt();
            if (count < 0 || count > MAX_VALUES) {
                throw new IOException("damaged: " + count + " values");
            }
            Map<String, byte[]> values = new TreeMap<>();
            for (int i = 0; i < count; i++) {
                String name = text(in);
                values.put(name, bytes(in));
            }
            if (in.read() >= 0) {
                throw new IOException("damaged: bytes after the last value");
            }
            return new Image(State.values()[state], incarnation, created, accessed, movedTo, mover, values);
        }
    }

    /** The sum of the values' sizes, in bytes. */
    long size() {
        return values.values().stream().mapToLong(value -> value.length).sum();
    }

    /** The largest attribute of those that differ from another version, else the largest of all. */
    String largestSince(Image before) {
        String largest = null;
        for (boolean changed : new boolean[] {true, false}) {
            for (Map.Entry<String, byte[]> value : values.entrySet()) {
                boolean counts = !changed || before == null
                        || !Arrays.equals(before.values.get(value.getKey()), value.getValue());
                if (counts && (largest == null || value.getValue().length > values.get(largest).length)) {
                    largest = value.getKey();
                }
            }
            if (largest != null) {
                break;
            }
        }
        return largest;
    }

    /** A name as it is put in messages. */
    static String printed(String name) {
        return name.charAt(0) == OWN ? "(" + name.substring(1) + ")" : name;
    }

    /** The names of the attributes and their sizes, the largest first: for messages. */
    String sizes() {
        List<Map.Entry<String, byte[]>> entries = new ArrayList<>(values.entrySet());
        entries.sort((a, b) -> b.getValue().length - a.getValue().length);
        StringBuilder text = new StringBuilder();
        for (Map.Entry<String, byte[]> entry : entries.subList(0, Math.min(3, entries.size()))) {
            text.append(text.length() == 0 ? "" : ", ").append(printed(entry.getKey())).append(": ")
                    .append(entry.getValue().length).append(" bytes");
        }
        return text.toString();
    }

    private static void text(DataOutputStream out, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    private static String text(DataInputStream in) throws IOException {
        return new String(bytes(in), StandardCharsets.UTF_8);
    }

    private static byte[] bytes(DataInputStream in) throws IOException {
        int length = in.readInt();
        // What is left is known: nobody makes us reserve more.
        if (length < 0 || length > in.available()) {
            throw new IOException("damaged: a length of " + length);
        }
        byte[] bytes = new byte[length];
        in.readFully(bytes);
        return bytes;
    }
}

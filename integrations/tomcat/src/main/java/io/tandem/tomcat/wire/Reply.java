package io.tandem.tomcat.wire;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** One answer of the meta protocol (memcached doc/protocol.txt, "Meta Commands"). */
final class Reply {

    /** The longest line that is read, in bytes. An answer's line is a code and a few flags. */
    private static final int MAX_LINE = 2048;
    /** The largest value that is read, in bytes: an agent does not store larger ones. */
    private static final int MAX_VALUE = 128 << 20;

    /** {@code HD}, {@code VA}, {@code EN}, ...; of an error the whole line. */
    final String code;
    final long cas;
    final long ttl;
    /** Of {@code VA}; else null. */
    final byte[] value;
    /** Of the text protocol's {@code VALUE} lines, up to {@code END}; else null. */
    final Map<String, Item> items;

    private Reply(String code, long cas, long ttl, byte[] value, Map<String, Item> items) {
        this.code = code;
        this.cas = cas;
        this.ttl = ttl;
        this.value = value;
        this.items = items;
    }

    static Reply read(InputStream in) throws IOException {
        String line = line(in);
        if (line.startsWith("VALUE ") || line.equals("END")) {
            return values(line, in);
        }
        if (line.startsWith("SERVER_ERROR") || line.startsWith("CLIENT_ERROR") || line.equals("ERROR")) {
            return new Reply(line, 0, Item.FOREVER, null, null);
        }
        String[] words = line.split(" ");
        int flags = 1;
        byte[] value = null;
        if (words[0].equals("VA")) {
            int length = words.length > 1 ? (int) number(words[1], line) : -1;
            if (length < 0 || length > MAX_VALUE) {
                throw new IOException("not understood: " + line);
            }
            value = exactly(in, length);
            if (in.read() != '\r' || in.read() != '\n') {
                throw new IOException("a value that does not end where it says");
            }
            flags = 2;
        }
        long cas = 0;
        long ttl = Item.FOREVER;
        for (int i = flags; i < words.length; i++) {
            if (words[i].startsWith("c")) {
                cas = number(words[i].substring(1), line);
            } else if (words[i].startsWith("t")) {
                ttl = number(words[i].substring(1), line);
            }
        }
        return new Reply(words[0], cas, ttl, value, null);
    }

    /** {@code VALUE key flags length cas}, each followed by its bytes. */
    private static Reply values(String first, InputStream in) throws IOException {
        Map<String, Item> items = new HashMap<>();
        for (String line = first; !line.equals("END"); line = line(in)) {
            String[] words = line.split(" ");
            if (words.length != 5 || !words[0].equals("VALUE")) {
                throw new IOException("not understood: " + line);
            }
            long length = number(words[3], line);
            if (length < 0 || length > MAX_VALUE) {
                throw new IOException("not understood: " + line);
            }
            byte[] value = exactly(in, (int) length);
            if (in.read() != '\r' || in.read() != '\n') {
                throw new IOException("a value that does not end where it says");
            }
            items.put(words[1], new Item(number(words[4], line), Item.FOREVER, value));
        }
        return new Reply("END", 0, Item.FOREVER, null, items);
    }

    boolean isError() {
        return code.contains("ERROR");
    }

    private static long number(String word, String line) throws IOException {
        try {
            return word.startsWith("-") ? Long.parseLong(word) : Long.parseUnsignedLong(word);
        } catch (NumberFormatException notANumber) {
            throw new IOException("not understood: " + line);
        }
    }

    private static byte[] exactly(InputStream in, int length) throws IOException {
        byte[] bytes = new byte[length];
        int done = 0;
        while (done < length) {
            int now = in.read(bytes, done, length - done);
            if (now < 0) {
                throw new EOFException("the connection ended inside a value");
            }
            done += now;
        }
        return bytes;
    }

    private static String line(InputStream in) throws IOException {
        byte[] bytes = new byte[64];
        int length = 0;
        for (;;) {
            int b = in.read();
            if (b < 0) {
                throw new EOFException("the connection ended");
            }
            if (b == '\n') {
                break;
            }
            if (length == MAX_LINE) {
                throw new IOException("a line without end");
            }
            if (length == bytes.length) {
                bytes = java.util.Arrays.copyOf(bytes, length * 2);
            }
            bytes[length++] = (byte) b;
        }
        if (length > 0 && bytes[length - 1] == '\r') {
            length--;
        }
        return new String(bytes, 0, length, StandardCharsets.ISO_8859_1);
    }
}

package io.tandem.tomcat.wire;

import java.io.BufferedInputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;

/** One connection to an agent. */
final class Connection implements Closeable {

    final Address address;
    private final Socket socket;
    private final Deadline deadline;

    Connection(Address address, int connectMillis) throws IOException {
        this.address = address;
        socket = new Socket();
        try {
            socket.setTcpNoDelay(true);
            socket.connect(new InetSocketAddress(address.host(), address.port()), connectMillis);
            deadline = new Deadline(socket);
        } catch (IOException | RuntimeException failed) {
            close();
            throw failed;
        }
    }

    /** Sends a command and reads its answer, within {@code millis}. */
    Reply call(byte[] command, int millis) throws IOException {
        deadline.set(millis);
        socket.getOutputStream().write(command);
        return Reply.read(deadline.in);
    }

    @Override
    public void close() {
        try {
            socket.close();
        } catch (IOException alreadyBroken) {
            // It is closed either way.
        }
    }

    /** Reads with one limit for a whole answer: a peer that sends a byte now and then must not hold us. */
    private static final class Deadline {

        private final Socket socket;
        private long end;
        final InputStream in;

        Deadline(Socket socket) throws IOException {
            this.socket = socket;
            InputStream raw = socket.getInputStream();
            in = new BufferedInputStream(new InputStream() {
                @Override
                public int read() throws IOException {
                    byte[] one = new byte[1];
                    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
                }

                @Override
                public int read(byte[] bytes, int offset, int length) throws IOException {
                    long left = end - System.nanoTime();
                    if (left <= 0) {
                        throw new SocketTimeoutException("no answer in time");
                    }
                    Deadline.this.socket.setSoTimeout((int) (left / 1_000_000) + 1);
                    return raw.read(bytes, offset, length);
                }
            }, 16 << 10);
        }

        void set(int millis) {
            end = System.nanoTime() + millis * 1_000_000L;
        }
    }
}

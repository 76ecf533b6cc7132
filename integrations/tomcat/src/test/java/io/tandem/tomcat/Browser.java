package io.tandem.tomcat;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;

/** A client with a cookie jar that sees when a response's first byte arrives. */
final class Browser {

    static final class Page {
        final int status;
        final String head;
        final String body;

        Page(int status, String head, String body) {
            this.status = status;
            this.head = head;
            this.body = body;
        }

        String header(String name) {
            for (String line : head.split("\r\n")) {
                if (line.toLowerCase(Locale.ROOT).startsWith(name.toLowerCase(Locale.ROOT) + ":")) {
                    return line.substring(name.length() + 1).trim();
                }
            }
            return null;
        }
    }

    String session;
    String agent = "test";
    /** The gateway that its requests come through, and as whose; null: they come directly. */
    String gateway;
    String client;
    volatile CountDownLatch firstByte = new CountDownLatch(1);

    Browser() {}

    Browser(String session) {
        this.session = session;
    }

    Page get(int port, String path) throws IOException {
        return send(port, "GET", path, "");
    }

    Page send(int port, String method, String path, String body) throws IOException {
        firstByte = new CountDownLatch(1);
        try (Socket socket = new Socket()) {
            if (gateway != null) {
                socket.bind(new InetSocketAddress(gateway, 0));
            }
            socket.connect(new InetSocketAddress("127.0.0.1", port));
            socket.setSoTimeout(20_000);
            String head = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: " + agent
                    + "\r\n" + (session == null ? "" : "Cookie: JSESSIONID=" + session + "\r\n")
                    + (client == null ? "" : "X-Forwarded-For: " + client + "\r\n")
                    + (body.isEmpty() ? "" : "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
                            + body.length() + "\r\n")
                    + "\r\n" + body;
            socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
            InputStream in = new BufferedInputStream(socket.getInputStream());
            ByteArrayOutputStream all = new ByteArrayOutputStream();
            for (int b = in.read(); b >= 0; b = in.read()) {
                firstByte.countDown();
                all.write(b);
            }
            Page page = parse(new String(all.toByteArray(), StandardCharsets.ISO_8859_1));
            String cookie = page.header("Set-Cookie");
            if (cookie != null && cookie.startsWith("JSESSIONID=")) {
                session = cookie.substring("JSESSIONID=".length(), cookie.indexOf(';'));
            }
            return page;
        }
    }

    private static Page parse(String text) throws IOException {
        int end = text.indexOf("\r\n\r\n");
        if (end < 0) {
            throw new IOException("no response: " + text);
        }
        String head = text.substring(0, end);
        String body = text.substring(end + 4);
        if (head.toLowerCase(Locale.ROOT).contains("transfer-encoding: chunked")) {
            StringBuilder whole = new StringBuilder();
            for (int at = 0;;) {
                int eol = body.indexOf("\r\n", at);
                int size = Integer.parseInt(body.substring(at, eol).trim(), 16);
                if (size == 0) {
                    break;
                }
                whole.append(body, eol + 2, eol + 2 + size);
                at = eol + 2 + size + 2;
            }
            body = whole.toString();
        }
        return new Page(Integer.parseInt(head.split(" ")[1]), head, body);
    }
}

package io.tandem.tomcat.wire;

import java.util.ArrayList;
import java.util.List;

/** Where an agent listens. */
public final class Address {

    /** memcached's port, which an agent uses too. */
    public static final int DEFAULT_PORT = 11211;

    private final String host;
    private final int port;

    public Address(String host, int port) {
        this.host = host;
        this.port = port;
    }

    public String host() {
        return host;
    }

    public int port() {
        return port;
    }

    /**
     * Reads {@code host}, {@code host:port} or {@code [v6]:port}.
     *
     * @throws IllegalArgumentException when it is none of them; the message names the text
     */
    public static Address parse(String text) {
        String host = text.trim();
        int port = DEFAULT_PORT;
        int colon = host.lastIndexOf(':');
        boolean bare = host.indexOf(':') != colon && !host.startsWith("[");
        if (colon >= 0 && !bare && colon > host.indexOf(']')) {
            try {
                port = Integer.parseInt(host.substring(colon + 1));
            } catch (NumberFormatException notANumber) {
                port = -1;
            }
            host = host.substring(0, colon);
        }
        if (host.startsWith("[") && host.endsWith("]")) {
            host = host.substring(1, host.length() - 1);
        }
        if (host.isEmpty() || port < 1 || port > 65535 || host.contains("/") || host.contains(" ")) {
            throw new IllegalArgumentException("'" + text + "' is no address: write host:port, as in 127.0.0.1:11211");
        }
        return new Address(host, port);
    }

    /** Reads a list separated by commas or spaces; empty parts are left out. */
    public static List<Address> parseList(String text) {
        List<Address> addresses = new ArrayList<>();
        for (String part : text.split("[,\\s]+")) {
            if (!part.isEmpty()) {
                addresses.add(parse(part));
            }
        }
        return addresses;
    }

    @Override
    public String toString() {
        return (host.indexOf(':') >= 0 ? "[" + host + "]" : host) + ":" + port;
    }
}

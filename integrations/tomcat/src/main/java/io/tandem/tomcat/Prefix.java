package io.tandem.tomcat;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;

import org.apache.catalina.Context;

/**
 * What stands before a session's id in its key: {@code storageKeyPrefix}, a list of {@code static:TEXT}, {@code host},
 * {@code context}, {@code webappVersion}, and {@code host.hash}, {@code context.hash} as memcached-session-manager has
 * them. Tomcats with the same prefix share their sessions; applications with different ones cannot see each other's.
 */
final class Prefix {

    /** With the id, 128 characters at most, and the names of locks and lists a key stays under memcached's 250. */
    private static final int LONGEST = 80;

    private Prefix() {}

    /** @throws IllegalArgumentException naming what is wrong */
    static void check(String list) {
        for (String part : list.split("\\s*,\\s*")) {
            boolean known = part.matches("host|host\\.hash|context|context\\.hash|webappVersion")
                    || part.matches("static:[!-~]+");
            if (!known) {
                throw new IllegalArgumentException("'" + part
                        + "' is not host, host.hash, context, context.hash, webappVersion or static:TEXT");
            }
        }
    }

    static String of(String list, Context context) {
        StringBuilder prefix = new StringBuilder("tomcat");
        for (String part : list.split("\\s*,\\s*")) {
            String value;
            if (part.startsWith("static:")) {
                value = part.substring("static:".length());
            } else if (part.startsWith("host")) {
                value = context.getParent() == null ? "" : context.getParent().getName();
            } else if (part.startsWith("context")) {
                value = context.getPath();
            } else {
                value = context.getWebappVersion();
            }
            prefix.append(':').append(part.endsWith(".hash") ? hash(value) : plain(value));
        }
        String text = prefix.toString();
        return (text.length() > LONGEST ? "tomcat:" + hash(text) : text) + "_";
    }

    private static String plain(String value) {
        return value.matches("[!-~]*") ? value : hash(value);
    }

    private static String hash(String value) {
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(value.getBytes(StandardCharsets.UTF_8));
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 8; i++) {
                text.append(String.format("%02x", hash[i]));
            }
            return text.toString();
        } catch (GeneralSecurityException missing) {
            // Every Java platform has it (java.security.MessageDigest's documentation).
            throw new IllegalStateException(missing);
        }
    }
}

package io.tandem.tomcat;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.regex.Pattern;

import org.apache.catalina.connector.Request;

/**
 * Who sent a request, so far as that can be told: an old id leads on only for the client that had it.
 *
 * <p>Requests of one client reach each Tomcat from another gateway. So what a gateway says of the client counts, and not
 * its own address; but only if it can be one: the rule is that of Tomcat's RemoteIpValve, private and loopback addresses.
 * From any other address, whoever sends {@code X-Forwarded-For} may have made it up, and the address counts, too.
 */
final class Sender {

    /** An address and no name: nothing is looked up. */
    private static final Pattern ADDRESS = Pattern.compile("[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*");

    private Sender() {}

    /** A digest: what is stored tells nobody the address. */
    static String of(Request request) {
        String text = client(request.getRemoteAddr(), Collections.list(request.getHeaders("X-Forwarded-For"))) + "\n"
                + request.getHeader("User-Agent");
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return Base64.getEncoder().encodeToString(hash);
        } catch (GeneralSecurityException missing) {
            // Every Java platform has it (java.security.MessageDigest's documentation).
            throw new IllegalStateException(missing);
        }
    }

    /** The client of a request from {@code peer} with these values of {@code X-Forwarded-For}. */
    static String client(String peer, List<String> forwarded) {
        String stated = String.join(",", forwarded);
        if (stated.isEmpty()) {
            return String.valueOf(peer);
        }
        return mayBeGateway(peer) ? stated : peer + " " + stated;
    }

    private static boolean mayBeGateway(String peer) {
        if (peer == null) {
            // A Unix socket.
            return true;
        }
        // The interface that it came by says nothing of it.
        String bare = peer.replaceFirst("%.*", "");
        if (!ADDRESS.matcher(bare).matches()) {
            return false;
        }
        try {
            InetAddress address = InetAddress.getByName(bare);
            byte[] bytes = address.getAddress();
            boolean shared = bytes.length == 4 && (bytes[0] & 0xff) == 100 && (bytes[1] & 0xc0) == 64;
            boolean unique = bytes.length == 16 && (bytes[0] & 0xfe) == 0xfc;
            return address.isLoopbackAddress() || address.isSiteLocalAddress() || address.isLinkLocalAddress() || shared
                    || unique;
        } catch (UnknownHostException noAddress) {
            return false;
        }
    }
}

package io.tandem.tomcat;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * HMAC-SHA256 over each stored item and the key it is stored under: whoever can write to the session tier, but does not
 * have the key, can neither make a session, nor change one, nor put one in the place of another.
 *
 * <p>A sealed item is the byte 1, 32 bytes of HMAC, and the content; without a key it is the byte 0 and the content.
 */
final class Seal {

    private static final String HMAC = "HmacSHA256";
    private static final int LENGTH = 32;

    /** The first one seals, all of them are accepted. */
    private final List<SecretKeySpec> keys = new ArrayList<>();

    /** @param keys none: nothing is sealed; several, while one is exchanged: the first one seals */
    Seal(List<String> keys) {
        for (String key : keys) {
            this.keys.add(new SecretKeySpec(key.getBytes(StandardCharsets.UTF_8), HMAC));
        }
    }

    boolean hasKey() {
        return !keys.isEmpty();
    }

    byte[] close(String name, byte[] content) {
        if (keys.isEmpty()) {
            byte[] open = new byte[content.length + 1];
            System.arraycopy(content, 0, open, 1, content.length);
            return open;
        }
        byte[] sealed = new byte[1 + LENGTH + content.length];
        sealed[0] = 1;
        System.arraycopy(content, 0, sealed, 1 + LENGTH, content.length);
        System.arraycopy(mac(keys.get(0), name, sealed), 0, sealed, 1, LENGTH);
        return sealed;
    }

    /** @throws BrokenSeal when it was not sealed with one of our keys under this name */
    byte[] open(String name, byte[] item) throws BrokenSeal {
        if (item.length > 0 && item[0] == 0) {
            if (hasKey()) {
                throw new BrokenSeal("is not sealed, and this Tomcat has a key: give all of them the same key");
            }
            return Arrays.copyOfRange(item, 1, item.length);
        }
        if (item.length < 1 + LENGTH || item[0] != 1) {
            throw new BrokenSeal("is no session");
        }
        if (!hasKey()) {
            throw new BrokenSeal("is sealed, and this Tomcat has no key: give it the key of the others");
        }
        byte[] found = Arrays.copyOfRange(item, 1, 1 + LENGTH);
        for (SecretKeySpec key : keys) {
            // Takes the same time wherever they differ.
            if (MessageDigest.isEqual(found, mac(key, name, item))) {
                return Arrays.copyOfRange(item, 1 + LENGTH, item.length);
            }
        }
        throw new BrokenSeal("was sealed with another key, or forged");
    }

    private static byte[] mac(SecretKeySpec key, String name, byte[] sealed) {
        try {
            Mac mac = Mac.getInstance(HMAC);
            mac.init(key);
            byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
            mac.update(Image.fromInt(bytes.length));
            mac.update(bytes);
            mac.update(sealed, 1 + LENGTH, sealed.length - 1 - LENGTH);
            return mac.doFinal();
        } catch (GeneralSecurityException missing) {
            // Every Java platform has it (java.security.Mac's documentation).
            throw new IllegalStateException(missing);
        }
    }

    /** An item that we did not store. */
    static final class BrokenSeal extends Exception {
        private static final long serialVersionUID = 1L;

        BrokenSeal(String message) {
            super(message);
        }
    }
}

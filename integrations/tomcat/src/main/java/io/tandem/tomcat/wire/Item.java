package io.tandem.tomcat.wire;

/** A found item. */
public final class Item {

    /** {@link #ttl} of an item that lives for ever. */
    public static final long FOREVER = -1;

    /** Its version: changes with every change, never comes back. */
    public final long cas;
    /** Seconds it has left, rounded down, or {@link #FOREVER}. */
    public final long ttl;
    /** Its bytes. */
    public final byte[] value;

    public Item(long cas, long ttl, byte[] value) {
        this.cas = cas;
        this.ttl = ttl;
        this.value = value;
    }
}

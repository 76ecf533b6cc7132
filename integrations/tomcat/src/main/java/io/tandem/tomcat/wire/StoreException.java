package io.tandem.tomcat.wire;

import java.io.IOException;

/**
 * The session tier did not do what it was asked.
 *
 * <p>{@link #isUnknown()} tells two kinds apart: nothing was changed, or it may have been. Of the first,
 * {@link #isRefused()} tells those that the tier decided, for what it was asked to store.
 */
public final class StoreException extends IOException {

    private static final long serialVersionUID = 1L;

    private final boolean unknown;
    private final boolean refused;

    /** Nothing was changed, or with {@code unknown} it may have been. */
    public StoreException(String message, boolean unknown, Throwable cause) {
        this(message, unknown, false, cause);
    }

    private StoreException(String message, boolean unknown, boolean refused, Throwable cause) {
        super(message, cause);
        this.unknown = unknown;
        this.refused = refused;
    }

    /** The tier is there, and does not take what it was given. */
    static StoreException refused(String message) {
        return new StoreException(message, false, true, null);
    }

    /** Whether the change that was asked for may have happened. */
    public boolean isUnknown() {
        return unknown;
    }

    /** Whether the tier is there and did not take it: it is too large, or there is no room left. */
    public boolean isRefused() {
        return refused;
    }

    /** Whether it was refused for its size: the same is refused again. */
    public boolean isTooLarge() {
        return refused && getMessage().contains("too large");
    }
}

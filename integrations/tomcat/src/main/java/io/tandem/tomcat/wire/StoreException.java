package io.tandem.tomcat.wire;

import java.io.IOException;

/**
 * The session tier did not do what it was asked.
 *
 * <p>{@link #isUnknown()} tells the two kinds apart: nothing was changed, or it may have been.
 */
public final class StoreException extends IOException {

    private static final long serialVersionUID = 1L;

    private final boolean unknown;

    /** Nothing was changed, or with {@code unknown} it may have been. */
    public StoreException(String message, boolean unknown, Throwable cause) {
        super(message, cause);
        this.unknown = unknown;
    }

    /** Whether the change that was asked for may have happened. */
    public boolean isUnknown() {
        return unknown;
    }
}

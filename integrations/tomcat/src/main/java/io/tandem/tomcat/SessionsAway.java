package io.tandem.tomcat;

import io.tandem.tomcat.wire.StoreException;

/** A session that a request asks for cannot be read, and there is no copy of it here: nobody knows whether it exists. */
final class SessionsAway extends IllegalStateException {

    private static final long serialVersionUID = 1L;

    SessionsAway(StoreException why) {
        super("the session cannot be read now: " + why.getMessage(), why);
    }
}

package io.tandem.tomcat;

/** Which requests of a session exclude one another, over all Tomcats. */
enum LockMode {
    /** None: changes are merged. */
    NONE,
    /** All. */
    ALL,
    /** All but those whose address never changed a session so far. */
    AUTO,
    /** Those whose address matches. */
    PATTERN;

    static final String PATTERN_PREFIX = "uriPattern:";

    static LockMode parse(String value) {
        switch (value) {
            case "none":
                return NONE;
            case "all":
                return ALL;
            case "auto":
                return AUTO;
            default:
                if (value.startsWith(PATTERN_PREFIX)) {
                    return PATTERN;
                }
                throw new IllegalArgumentException("'" + value + "' is not none, all, auto or uriPattern:REGEX");
        }
    }
}

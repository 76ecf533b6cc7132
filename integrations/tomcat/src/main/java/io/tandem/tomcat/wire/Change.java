package io.tandem.tomcat.wire;

/** How a change came out. */
public final class Change {

    /** What happened. */
    public enum Outcome {
        /** Done. */
        DONE,
        /** {@code add}: something is there. {@code append}: nothing is. */
        NOT_STORED,
        /** The item has another version than the one given. */
        CHANGED,
        /** Nothing is there. */
        GONE
    }

    public final Outcome outcome;
    /** The version it has now, when {@link Outcome#DONE} and the server tells; else 0, which is no version. */
    public final long cas;
    /**
     * An earlier try of the same change lost its answer: what looks like another's doing may be our own, and whoever
     * asked compares.
     */
    public final boolean doubtful;

    Change(Outcome outcome, long cas, boolean doubtful) {
        this.outcome = outcome;
        this.cas = cas;
        this.doubtful = doubtful;
    }

    public boolean done() {
        return outcome == Outcome.DONE;
    }
}

package io.tandem.tomcat;

import java.util.function.Consumer;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** Two Tomcats that share their sessions. */
abstract class TwoTomcats {

    MiniStore store;
    Server one;
    Server two;

    /** The application's pages. */
    abstract void pages(Server server) throws Exception;

    void options(SessionManager manager) {
        // None.
    }

    @BeforeEach
    void start() throws Exception {
        store = new MiniStore();
        one = server(this::options);
        two = server(this::options);
    }

    Server server(Consumer<SessionManager> options) throws Exception {
        Server server = new Server(store, options);
        pages(server);
        return server.start();
    }

    @AfterEach
    void stop() throws Exception {
        one.close();
        two.close();
        store.close();
    }

    /** The key of a session. */
    static String key(String id) {
        return "tomcat:localhost::_" + id;
    }
}

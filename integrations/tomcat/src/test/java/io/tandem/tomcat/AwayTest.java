package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;

import jakarta.servlet.http.HttpSession;

import org.junit.jupiter.api.Test;

/** The agent is away: requests go on with the copy that is here, are marked and counted, and the session heals. */
class AwayTest extends TwoTomcats {

    @Override
    void pages(Server server) {
        server.page("/add", (q, r) -> {
            HttpSession session = q.getSession();
            Integer n = (Integer) session.getAttribute("n");
            session.setAttribute("n", n == null ? 1 : n + 1);
            r.getWriter().print(session.getAttribute("n") + " " + q.getAttribute(SessionManager.LOCAL_COPY));
        }).page("/logout", (q, r) -> q.getSession().invalidate())
                .page("/who", (q, r) -> r.getWriter().print(q.getSession(false) == null ? "nobody" : "ann"))
                .page("/plain", (q, r) -> r.getWriter().print("no session needed"))
                .page("/rotate", (q, r) -> q.changeSessionId());
    }

    private void heal(Server server) throws Exception {
        store.back();
        Thread.sleep(io.tandem.tomcat.wire.Client.PAUSE_MILLIS + 50L);
        server.manager.backgroundProcess();
    }

    @Test
    void a_session_goes_on_from_its_copy_and_heals() throws Exception {
        Browser browser = new Browser();
        assertEquals("1 null", browser.get(one.port(), "/add").body);
        store.away();
        assertEquals("2 true", browser.get(one.port(), "/add").body);
        assertEquals("3 true", browser.get(one.port(), "/add").body);
        assertEquals(2, one.manager.getServedLocally());
        assertEquals(2, one.manager.getUnsaved());
        assertEquals(1, one.manager.getAdrift());
        heal(one);
        assertEquals(0, one.manager.getAdrift());
        assertEquals("4 null", browser.get(two.port(), "/add").body);
    }

    @Test
    void what_others_stored_meanwhile_is_not_overwritten_with_what_was_changed_before() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        // Only the first one is cut off.
        two.close();
        MiniStore reachable = store;
        two = server(m -> { });
        one.manager.storeForTests().client.cutOffForTests(true);
        assertEquals("2 true", browser.get(one.port(), "/add").body);
        for (int i = 2; i <= 5; i++) {
            assertEquals(i + " null", browser.get(two.port(), "/add").body);
        }
        one.manager.storeForTests().client.cutOffForTests(false);
        assertEquals("6 null", browser.get(one.port(), "/add").body);
        assertEquals("7 null", browser.get(two.port(), "/add").body);
        assertEquals(1, one.manager.getHealed());
        assertEquals(0, reachable.keys().stream().filter(k -> k.startsWith("lock:")).count());
    }

    @Test
    void an_agent_that_is_restarted_is_not_away() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        store.away();
        Thread back = new Thread(() -> {
            try {
                Thread.sleep(300);
                store.back();
            } catch (Exception failed) {
                throw new IllegalStateException(failed);
            }
        });
        back.start();
        assertEquals("2 null", browser.get(one.port(), "/add").body);
        back.join();
        assertEquals(0, one.manager.getServedLocally() + one.manager.getUnsaved());
    }

    @Test
    void a_session_made_meanwhile_is_stored_later() throws Exception {
        Browser browser = new Browser();
        store.away();
        assertEquals("1 null", browser.get(one.port(), "/add").body);
        assertNotNull(browser.session);
        assertEquals("2 true", browser.get(one.port(), "/add").body);
        heal(one);
        assertEquals("3 null", browser.get(two.port(), "/add").body);
    }

    @Test
    void nobody_is_logged_out_because_the_session_could_not_be_read() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        String id = browser.session;
        store.away();
        // The other Tomcat has no copy: it knows nothing, and says so.
        Browser.Page page = browser.get(two.port(), "/add");
        assertEquals(503, page.status);
        assertEquals("1", page.header("Retry-After"));
        assertEquals(id, browser.session, "and the cookie stays");
        assertEquals("no session needed", browser.get(two.port(), "/plain").body);
        assertEquals(1, two.manager.getUnavailable());
        heal(two);
        assertEquals("2 null", browser.get(two.port(), "/add").body);
    }

    @Test
    void a_logout_meanwhile_is_one_here_at_once_and_everywhere_later() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        String id = browser.session;
        store.away();
        new Browser(id).get(one.port(), "/logout");
        store.back();
        Thread.sleep(io.tandem.tomcat.wire.Client.PAUSE_MILLIS + 50L);
        assertEquals("nobody", new Browser(id).get(one.port(), "/who").body);
        one.manager.backgroundProcess();
        assertEquals("nobody", new Browser(id).get(two.port(), "/who").body);
        assertEquals(0, one.manager.getAdrift());
    }

    @Test
    void a_new_id_given_meanwhile_is_known_everywhere_later() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        String old = browser.session;
        store.away();
        browser.get(one.port(), "/rotate");
        assertEquals("2 true", browser.get(one.port(), "/add").body);
        heal(one);
        assertEquals("3 null", browser.get(two.port(), "/add").body);
        store.pass(15);
        assertEquals("nobody", new Browser(old).get(two.port(), "/who").body);
    }

    @Test
    void requests_fail_by_option() throws Exception {
        one.close();
        one = server(m -> m.setWhenAway("fail"));
        Browser browser = new Browser();
        assertEquals(200, browser.get(one.port(), "/add").status);
        store.away();
        assertEquals(503, browser.get(one.port(), "/add").status);
        Browser.Page fresh = new Browser().get(one.port(), "/add");
        assertEquals(503, fresh.status, "a session that cannot be stored is not promised");
        assertEquals(null, fresh.header("Set-Cookie"));
        assertEquals("no session needed", browser.get(one.port(), "/plain").body);
        store.back();
        Thread.sleep(io.tandem.tomcat.wire.Client.PAUSE_MILLIS + 50L);
        assertEquals(200, browser.get(one.port(), "/add").status);
    }

    @Test
    void stopping_leaves_no_thread_and_no_connection() throws Exception {
        Browser browser = new Browser();
        for (int i = 0; i < 20; i++) {
            browser.get(one.port(), "/add");
        }
        long threads = Thread.getAllStackTraces().keySet().stream()
                .filter(t -> t.getName().contains("tandem")).count();
        assertEquals(0, threads, "it has none of its own");
        one.tomcat.stop();
        long deadline = System.nanoTime() + 10_000_000_000L;
        two.tomcat.stop();
        while (store.connections() > 0 && System.nanoTime() < deadline) {
            Thread.sleep(10);
        }
        assertEquals(0, store.connections());
        assertTrue(List.of(one.tomcat.getHost().getPipeline().getValves()).stream()
                .noneMatch(v -> v instanceof SessionValve));
    }
}

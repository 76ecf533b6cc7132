package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import jakarta.servlet.http.HttpSession;

import org.junit.jupiter.api.Test;

/** A session gets a new id on login: nothing is lost, and the old id is worth nothing to others. */
class RotationTest extends TwoTomcats {

    private volatile CountDownLatch entered = new CountDownLatch(0);
    private volatile CountDownLatch leave = new CountDownLatch(0);

    @Override
    void pages(Server server) {
        server.page("/begin", (q, r) -> q.getSession().setAttribute("cart", "full")).page("/login", (q, r) -> {
            q.getSession().setAttribute("user", "ann");
            q.changeSessionId();
            r.getWriter().print(q.getSession().getId());
        }).page("/rotate", (q, r) -> q.changeSessionId()).page("/show", (q, r) -> {
            HttpSession session = q.getSession(false);
            r.getWriter().print(session == null ? "no session"
                    : session.getAttribute("user") + " " + session.getAttribute("cart") + " "
                            + session.getAttribute("late"));
        }).page("/slow", (q, r) -> {
            HttpSession session = q.getSession();
            entered.countDown();
            leave.await(10, TimeUnit.SECONDS);
            session.setAttribute("late", "kept");
        }).page("/logout", (q, r) -> q.getSession().invalidate());
    }

    @Test
    void the_session_goes_on_under_its_new_id_even_if_nothing_else_changed() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/begin");
        String old = browser.session;
        browser.get(two.port(), "/rotate");
        assertNotEquals(old, browser.session);
        assertEquals("null full null", browser.get(one.port(), "/show").body);
        assertEquals("null full null", browser.get(two.port(), "/show").body);
    }

    @Test
    void the_old_id_leads_on_for_the_same_client_and_a_while_only() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/begin");
        String old = browser.session;
        browser.get(one.port(), "/login");
        assertEquals("ann full null", new Browser(old).get(two.port(), "/show").body);
        Browser thief = new Browser(old);
        thief.agent = "another";
        assertEquals("no session", thief.get(two.port(), "/show").body, "who fixed the id does not get the login");
        store.pass(11);
        assertEquals("no session", new Browser(old).get(two.port(), "/show").body);
        assertEquals("ann full null", browser.get(two.port(), "/show").body);
    }

    /** A machine's gateway has its own address, and says who the client is. */
    private static Browser through(String gateway, String client, String session) {
        Browser browser = new Browser(session);
        browser.gateway = gateway;
        browser.client = client;
        return browser;
    }

    @Test
    void the_old_id_leads_on_through_another_gateway_and_for_the_same_client_only() throws Exception {
        Browser browser = through("127.84.1.11", "198.51.100.7", null);
        browser.get(one.port(), "/begin");
        String old = browser.session;
        browser.get(one.port(), "/login");
        assertEquals("ann full null", through("127.84.1.12", "198.51.100.7", old).get(two.port(), "/show").body);
        assertEquals("no session", through("127.84.1.12", "198.51.100.8", old).get(two.port(), "/show").body);
        assertEquals("no session", through("127.84.1.11", "198.51.100.8", old).get(one.port(), "/show").body);
        assertEquals("no session", through("127.84.1.11", null, old).get(one.port(), "/show").body);
    }

    @Test
    void what_is_said_of_the_client_counts_alone_from_where_a_gateway_can_be() {
        List<String> said = List.of("198.51.100.7");
        String client = Sender.client("127.0.0.1", said);
        for (String gateway : List.of("10.1.2.3", "172.16.0.1", "192.168.0.69", "100.64.0.1", "169.254.1.1", "::1",
                "0:0:0:0:0:0:0:1", "fd00::5", "fe80::1%lo")) {
            assertEquals(client, Sender.client(gateway, said), gateway);
        }
        for (String other : List.of("203.0.113.5", "100.128.0.1", "172.32.0.1", "2001:db8::1", "localhost", "")) {
            assertNotEquals(client, Sender.client(other, said), other);
        }
        assertNotEquals(client, Sender.client("127.0.0.1", List.of("198.51.100.7", "10.0.0.1")));
        assertNotEquals(Sender.client("203.0.113.5", said), Sender.client("203.0.113.6", said));
    }

    @Test
    void without_grace_the_old_id_is_gone_at_once() throws Exception {
        one.close();
        one = server(m -> m.setProperty("rotationGrace", "0"));
        Browser browser = new Browser();
        browser.get(one.port(), "/begin");
        String old = browser.session;
        browser.get(one.port(), "/login");
        assertEquals("no session", new Browser(old).get(two.port(), "/show").body);
        assertNull(store.item(key(old)));
        assertEquals("ann full null", browser.get(two.port(), "/show").body);
    }

    @Test
    void a_request_under_way_on_the_other_tomcat_does_not_lose_its_change() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/begin");
        String old = browser.session;
        entered = new CountDownLatch(1);
        leave = new CountDownLatch(1);
        ExecutorService threads = Executors.newSingleThreadExecutor();
        Future<Browser.Page> slow = threads.submit(() -> new Browser(old).get(one.port(), "/slow"));
        assertTrue(entered.await(10, TimeUnit.SECONDS));
        browser.get(two.port(), "/login");
        leave.countDown();
        slow.get(10, TimeUnit.SECONDS);
        threads.shutdown();
        assertEquals("ann full kept", browser.get(one.port(), "/show").body);
        assertEquals("ann full kept", browser.get(two.port(), "/show").body);
    }

    @Test
    void a_lost_answer_at_any_step_changes_nothing() throws Exception {
        for (int step = 0; step < 4; step++) {
            Browser browser = new Browser();
            browser.get(one.port(), "/begin");
            String old = browser.session;
            int lost = step;
            int[] seen = {0};
            store.loseAnswer = line -> line.startsWith("ms ") && seen[0]++ == lost;
            assertEquals(200, browser.get(two.port(), "/login").status);
            store.loseAnswer = line -> false;
            assertNotEquals(old, browser.session);
            assertEquals("ann full null", browser.get(one.port(), "/show").body, "answer " + step + " lost");
        }
    }

    @Test
    void a_logout_during_a_login_elsewhere_ends_the_new_id_too() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/begin");
        String old = browser.session;
        boolean[] once = {true};
        store.before = line -> {
            // Between the two steps of the rotation.
            if (line.startsWith("ms " + key(old) + " ") && once[0]) {
                once[0] = false;
                try {
                    new Browser(old).get(one.port(), "/logout");
                } catch (java.io.IOException failed) {
                    throw new IllegalStateException(failed);
                }
            }
        };
        browser.get(two.port(), "/login");
        store.before = line -> {};
        // What the login page does after that is in a session that has nothing of the one that was ended.
        assertEquals("null null null", browser.get(one.port(), "/show").body);
        assertEquals("no session", new Browser(old).get(one.port(), "/show").body);
    }

    @Test
    void a_logout_with_the_old_id_ends_the_session() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/begin");
        String old = browser.session;
        browser.get(one.port(), "/login");
        new Browser(old).get(two.port(), "/logout");
        assertEquals("no session", browser.get(one.port(), "/show").body);
    }
}

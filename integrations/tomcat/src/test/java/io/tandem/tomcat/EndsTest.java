package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import jakarta.servlet.http.HttpSession;
import jakarta.servlet.http.HttpSessionEvent;
import jakarta.servlet.http.HttpSessionListener;

import org.junit.jupiter.api.Test;

/** Logout, expiry, and the events of both: once, and for good. */
class EndsTest extends TwoTomcats {

    private final List<String> destroyed = new CopyOnWriteArrayList<>();
    private volatile CountDownLatch entered = new CountDownLatch(0);
    private volatile CountDownLatch leave = new CountDownLatch(0);

    @Override
    void pages(Server server) {
        server.page("/login", (q, r) -> {
            q.getSession().setAttribute("user", "ann");
            r.getWriter().print("ok");
        }).page("/short", (q, r) -> {
            q.getSession().setAttribute("user", "ann");
            q.getSession().setMaxInactiveInterval(60);
        }).page("/who", (q, r) -> {
            HttpSession session = q.getSession(false);
            r.getWriter().print(session == null ? "nobody" : session.getAttribute("user"));
        }).page("/slow", (q, r) -> {
            HttpSession session = q.getSession();
            session.getAttribute("user");
            entered.countDown();
            leave.await(10, TimeUnit.SECONDS);
            session.setAttribute("late", "change");
        }).page("/logout", (q, r) -> {
            if (q.getSession(false) != null) {
                q.getSession(false).invalidate();
            }
            r.getWriter().print("bye");
        });
        server.context.addApplicationListener(Listener.class.getName());
        server.context.addServletContainerInitializer((classes, context) -> context.setAttribute("destroyed", destroyed),
                null);
    }

    /** Notes which sessions ended, and whether their attributes could still be read. */
    public static final class Listener implements HttpSessionListener {
        @Override
        public void sessionDestroyed(HttpSessionEvent event) {
            @SuppressWarnings("unchecked")
            List<String> destroyed = (List<String>) event.getSession().getServletContext().getAttribute("destroyed");
            destroyed.add(event.getSession().getId() + " " + event.getSession().getAttribute("user"));
        }
    }

    @Test
    void a_logout_is_not_undone_by_a_slower_request() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/login");
        String id = browser.session;
        entered = new CountDownLatch(1);
        leave = new CountDownLatch(1);
        ExecutorService threads = Executors.newSingleThreadExecutor();
        Future<Browser.Page> slow = threads.submit(() -> new Browser(id).get(one.port(), "/slow"));
        assertTrue(entered.await(10, TimeUnit.SECONDS));
        assertEquals("bye", new Browser(id).get(two.port(), "/logout").body);
        leave.countDown();
        slow.get(10, TimeUnit.SECONDS);
        threads.shutdown();
        for (Server server : new Server[] {one, two}) {
            assertEquals("nobody", new Browser(id).get(server.port(), "/who").body);
        }
        assertNull(store.item(key(id)));
        assertEquals(List.of(id + " ann"), destroyed);
        assertEquals(1, one.manager.getSavesAfterEnd());
    }

    @Test
    void two_logouts_at_once_are_one() throws Exception {
        for (int i = 0; i < 20; i++) {
            destroyed.clear();
            Browser browser = new Browser();
            browser.get(one.port(), "/login");
            browser.get(two.port(), "/who");
            String id = browser.session;
            ExecutorService threads = Executors.newFixedThreadPool(2);
            Future<?> a = threads.submit(() -> new Browser(id).get(one.port(), "/logout"));
            Future<?> b = threads.submit(() -> new Browser(id).get(two.port(), "/logout"));
            a.get(10, TimeUnit.SECONDS);
            b.get(10, TimeUnit.SECONDS);
            threads.shutdown();
            assertEquals(List.of(id + " ann"), destroyed);
        }
    }

    @Test
    void a_session_whose_owner_died_ends_once_with_its_attributes() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/short");
        store.pass(58);
        two.manager.backgroundProcess();
        assertEquals(List.of(), destroyed, "not before its time");
        // The owner never looks again: as if it were dead.
        store.pass(20);
        for (int i = 0; i < 3; i++) {
            timePassesHere();
            two.manager.backgroundProcess();
            timePassesHere();
            one.manager.backgroundProcess();
        }
        assertEquals(List.of(browser.session + " ann"), destroyed);
        assertEquals("nobody", browser.get(one.port(), "/who").body);
    }

    @Test
    void a_used_session_does_not_end() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/short");
        for (int i = 0; i < 6; i++) {
            store.pass(40);
            assertEquals("ann", browser.get((i % 2 == 0 ? one : two).port(), "/who").body);
            timePassesHere();
            one.manager.backgroundProcess();
        }
        assertEquals(List.of(), destroyed);
        store.pass(75);
        timePassesHere();
        two.manager.backgroundProcess();
        assertEquals(List.of(browser.session + " ann"), destroyed);
    }

    @Test
    void a_request_that_comes_too_late_ends_it() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/short");
        store.pass(75);
        assertEquals("nobody", browser.get(two.port(), "/who").body);
        assertEquals(List.of(browser.session + " ann"), destroyed);
    }

    @Test
    void a_claim_whose_tomcat_died_is_taken_over() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/short");
        String id = browser.session;
        Store.Found found = one.manager.storeForTests().load(id);
        // Claimed, and then nothing: the Tomcat is dead.
        Image ending = found.image.ending();
        assertTrue(one.manager.storeForTests().cas(id, ending, found.cas, 600).done());
        store.pass(30);
        assertEquals("nobody", browser.get(two.port(), "/who").body);
        assertEquals(List.of(), destroyed);
        store.pass(100);
        timePassesHere();
        two.manager.backgroundProcess();
        assertEquals(List.of(id + " ann"), destroyed);
        assertNull(store.item(key(id)));
    }

    /** Lists are kept by this machine's clock, and the test lets only the store's time pass. */
    private void timePassesHere() {
        for (Server server : new Server[] {one, two}) {
            server.manager.expirerForTests().lookAhead(120);
        }
    }
}

package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

import jakarta.servlet.http.HttpSession;

import org.junit.jupiter.api.Test;

/** lockingMode: requests of one session exclude one another, on all Tomcats and on one. */
class LocksTest extends TwoTomcats {

    private final AtomicInteger inside = new AtomicInteger();
    private final AtomicInteger most = new AtomicInteger();

    @Override
    void options(SessionManager manager) {
        manager.setProperty("lockingMode", "all");
    }

    @Override
    void pages(Server server) {
        server.page("/add", (q, r) -> {
            HttpSession session = q.getSession();
            most.accumulateAndGet(inside.incrementAndGet(), Math::max);
            Integer n = (Integer) session.getAttribute("n");
            Thread.yield();
            session.setAttribute("n", n == null ? 1 : n + 1);
            inside.decrementAndGet();
            r.getWriter().print(session.getAttribute("n"));
        }).page("/look", (q, r) -> r.getWriter().print(q.getSession().getAttribute("n")))
                .page("/plain", (q, r) -> r.getWriter().print("plain"));
    }

    private void together(Browser browser, int requests) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(6);
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < requests; i++) {
            Server server = i % 2 == 0 ? one : two;
            all.add(threads.submit(() -> new Browser(browser.session).get(server.port(), "/add")));
        }
        for (Future<?> each : all) {
            each.get(60, TimeUnit.SECONDS);
        }
        threads.shutdown();
    }

    @Test
    void increments_at_once_are_all_counted() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        together(browser, 40);
        assertEquals("41", browser.get(two.port(), "/look").body);
        assertEquals(1, most.get());
        assertEquals(0, one.manager.getLocksMissed() + two.manager.getLocksMissed());
        assertTrue(store.keys().stream().noneMatch(k -> k.startsWith("lock:")), "all were released: " + store.keys());
    }

    @Test
    void the_lock_of_a_dead_tomcat_ends_by_itself() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        two.close();
        two = server(m -> {
            m.setProperty("lockingMode", "all");
            m.setProperty("lockExpiration", "1");
        });
        two.manager.storeForTests().client.add("lock:" + key(browser.session), 1, Store.ascii("dead"));
        assertEquals("2", browser.get(two.port(), "/add").body);
        assertEquals(0, two.manager.getLocksMissed());
    }

    @Test
    void an_expired_holder_does_not_release_its_successors_lock() throws Exception {
        Locks locks = new Locks(lockAll(), one.manager.storeForTests(), new Counters(null));
        Locks.Held first = locks.acquire("a");
        store.pass(6);
        Locks.Held second = locks.acquire("a");
        first.release();
        assertTrue(store.keys().contains(second.key));
        second.release();
        assertTrue(!store.keys().contains(second.key));
    }

    private static Options lockAll() {
        Options options = new Options();
        options.set("lockingMode", "all");
        return options;
    }

    @Test
    void auto_learns_which_addresses_only_read() throws Exception {
        one.close();
        one = server(m -> m.setProperty("lockingMode", "auto"));
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        browser.get(one.port(), "/look");
        store.commands.clear();
        browser.get(one.port(), "/look");
        assertEquals(0, store.commands.stream().filter(c -> c.startsWith("ms lock:") && c.contains(" ME ")).count());
        browser.get(one.port(), "/add");
        assertEquals(1, store.commands.stream().filter(c -> c.startsWith("ms lock:") && c.contains(" ME ")).count());
    }

    @Test
    void a_pattern_says_which_addresses_lock() throws Exception {
        one.close();
        one = server(m -> m.setProperty("lockingMode", "uriPattern:/add"));
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        browser.get(one.port(), "/look");
        assertEquals(0, store.commands.stream().filter(c -> c.startsWith("ms lock:") && c.contains(" ME ")).count());
        browser.get(one.port(), "/add");
        assertEquals(1, store.commands.stream().filter(c -> c.startsWith("ms lock:") && c.contains(" ME ")).count());
    }

    @Test
    void ignored_addresses_neither_load_nor_store() throws Exception {
        one.close();
        one = server(m -> m.setProperty("requestUriIgnorePattern", "/plain|GET /add.x=1"));
        Browser browser = new Browser();
        browser.get(two.port(), "/add");
        store.commands.clear();
        assertEquals("plain", browser.get(one.port(), "/plain").body);
        assertEquals(List.of(), store.commands);
        browser.get(one.port(), "/add?x=1");
        assertEquals(0, store.count("ms"));
        assertEquals("2", browser.get(two.port(), "/add").body);
    }
}

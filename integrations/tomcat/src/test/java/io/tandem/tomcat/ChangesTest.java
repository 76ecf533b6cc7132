package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

import jakarta.servlet.http.HttpSession;

import org.junit.jupiter.api.Test;

/** What a request changes is stored, no more and no less, and two requests' changes are both kept. */
class ChangesTest extends TwoTomcats {

    private volatile CountDownLatch entered = new CountDownLatch(0);
    private volatile CountDownLatch leave = new CountDownLatch(0);

    @Override
    void pages(Server server) {
        server.page("/set", (q, r) -> {
            q.getSession().setAttribute(q.getParameter("name"), q.getParameter("value"));
            r.getWriter().print("ok");
        }).page("/slow-set", (q, r) -> {
            HttpSession session = q.getSession();
            entered.countDown();
            leave.await(10, TimeUnit.SECONDS);
            session.setAttribute(q.getParameter("name"), q.getParameter("value"));
        }).page("/get", (q, r) -> {
            HttpSession session = q.getSession(false);
            r.getWriter().print(session == null ? "no session" : session.getAttribute(q.getParameter("name")));
        }).page("/remove", (q, r) -> q.getSession().removeAttribute(q.getParameter("name"))).page("/begin", (q, r) -> {
            Map<String, List<Integer>> cart = new HashMap<>();
            for (int i = 0; i < 50; i++) {
                cart.put("item" + i, new ArrayList<>(List.of(i)));
            }
            q.getSession().setAttribute("cart", cart);
        }).page("/mutate", (q, r) -> {
            @SuppressWarnings("unchecked")
            Map<String, List<Integer>> cart = (Map<String, List<Integer>>) q.getSession().getAttribute("cart");
            cart.get("item7").add(77);
        }).page("/look", (q, r) -> {
            Map<?, ?> cart = (Map<?, ?>) q.getSession().getAttribute("cart");
            r.getWriter().print(cart.get("item7"));
        }).page("/idle", (q, r) -> {
            q.getSession().setMaxInactiveInterval(Integer.parseInt(q.getParameter("value")));
        }).page("/times", (q, r) -> {
            HttpSession s = q.getSession();
            r.getWriter().print(s.getCreationTime() + " " + s.getMaxInactiveInterval() + " " + s.isNew());
        }).page("/add", (q, r) -> {
            HttpSession session = q.getSession();
            Integer n = (Integer) session.getAttribute("n");
            session.setAttribute("n", n == null ? 1 : n + 1);
            r.getWriter().print(session.getAttribute("n"));
        }).page("/odd", (q, r) -> {
            q.getSession().setAttribute("thread", new Object());
            q.getSession().setAttribute("inside", new ArrayList<>(List.of(new Object())));
            q.getSession().setAttribute("good", "stored");
        });
    }

    @Test
    void a_counter_never_goes_back_when_the_tomcats_take_turns() throws Exception {
        Browser browser = new Browser();
        for (int i = 1; i <= 40; i++) {
            assertEquals(String.valueOf(i), browser.get((i % 2 == 0 ? one : two).port(), "/add").body);
        }
        String times = browser.get(one.port(), "/times").body;
        assertEquals(times, browser.get(two.port(), "/times").body);
        assertTrue(times.endsWith(" 1800 false"), times);
    }

    @Test
    void nor_with_a_server_that_tells_the_versions_it_stores() throws Exception {
        store.tellsVersions = true;
        a_counter_never_goes_back_when_the_tomcats_take_turns();
        Browser browser = new Browser();
        browser.get(one.port(), "/set?name=a&value=0");
        race(browser, "/slow-set?name=a&value=1", "/set?name=b&value=2");
        assertEquals("1", browser.get(two.port(), "/get?name=a").body);
        assertEquals("2", browser.get(one.port(), "/get?name=b").body);
    }

    @Test
    void a_change_inside_an_attribute_is_found() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/begin");
        browser.get(two.port(), "/mutate");
        assertEquals("[7, 77]", browser.get(one.port(), "/look").body);
    }

    @Test
    void an_unchanged_session_costs_one_touch_and_only_when_its_life_needs_it() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/begin");
        store.commands.clear();
        // On the other one, so that the attribute is one that was read and not one that was put.
        browser.get(two.port(), "/look");
        assertEquals(1, store.count("mg"), "read once, fresh as it is: " + store.commands);
        assertEquals(0, store.count("ms"), "nothing is stored: " + store.commands);
        store.pass(600);
        store.commands.clear();
        browser.get(two.port(), "/look");
        assertEquals(0, store.count("ms"), "nothing is stored: " + store.commands);
        assertEquals(2, store.commands.size(), "one read and one touch: " + store.commands);
        assertTrue(store.commands.get(1).matches("mg \\S+ T\\d+"), store.commands.toString());
    }

    @Test
    void different_attributes_changed_at_the_same_time_on_two_tomcats_are_both_kept() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/set?name=a&value=0");
        race(browser, "/slow-set?name=a&value=1", "/set?name=b&value=2");
        for (Server server : new Server[] {one, two}) {
            assertEquals("1", browser.get(server.port(), "/get?name=a").body);
            assertEquals("2", browser.get(server.port(), "/get?name=b").body);
        }
        assertEquals(0, one.manager.getConflictCount());
    }

    @Test
    void of_one_attribute_the_later_value_stays_and_the_conflict_is_counted() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/set?name=a&value=0");
        race(browser, "/slow-set?name=a&value=slow", "/set?name=a&value=fast");
        assertEquals("slow", browser.get(two.port(), "/get?name=a").body);
        assertEquals(1, one.manager.getConflictCount());
    }

    @Test
    void or_the_earlier_one_by_option() throws Exception {
        one.close();
        one = server(m -> m.setConflicts("first"));
        Browser browser = new Browser();
        browser.get(one.port(), "/set?name=a&value=0");
        race(browser, "/slow-set?name=a&value=slow", "/set?name=a&value=fast");
        assertEquals("fast", browser.get(two.port(), "/get?name=a").body);
        assertEquals(1, one.manager.getConflictCount());
    }

    /** The first request, on one, ends after the second, on two, has begun and ended. */
    private void race(Browser browser, String slow, String fast) throws Exception {
        entered = new CountDownLatch(1);
        leave = new CountDownLatch(1);
        ExecutorService threads = Executors.newSingleThreadExecutor();
        try {
            String id = browser.session;
            Future<?> first = threads.submit(() -> new Browser(id).get(one.port(), slow));
            assertTrue(entered.await(10, TimeUnit.SECONDS));
            assertEquals(200, new Browser(id).get(two.port(), fast).status);
            leave.countDown();
            first.get(10, TimeUnit.SECONDS);
        } finally {
            threads.shutdownNow();
        }
    }

    @Test
    void many_requests_at_once_on_both_tomcats_lose_no_attribute() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/set?name=first&value=1");
        ExecutorService threads = Executors.newFixedThreadPool(8);
        AtomicInteger next = new AtomicInteger();
        List<Future<?>> all = new ArrayList<>();
        for (int t = 0; t < 8; t++) {
            all.add(threads.submit(() -> {
                for (int i = next.getAndIncrement(); i < 200; i = next.getAndIncrement()) {
                    Server server = i % 2 == 0 ? one : two;
                    String path = "/set?name=a" + i + "&value=" + i;
                    assertEquals(200, new Browser(browser.session).get(server.port(), path).status);
                }
                return null;
            }));
        }
        for (Future<?> each : all) {
            each.get(60, TimeUnit.SECONDS);
        }
        threads.shutdown();
        for (int i = 0; i < 200; i++) {
            assertEquals(String.valueOf(i), browser.get((i % 3 == 0 ? one : two).port(), "/get?name=a" + i).body);
        }
        assertEquals(0, one.manager.getConflictCount() + two.manager.getConflictCount());
    }

    @Test
    void a_removed_attribute_is_gone_and_a_new_idle_time_is_known_everywhere() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/set?name=a&value=1");
        browser.get(two.port(), "/remove?name=a");
        assertEquals("null", browser.get(one.port(), "/get?name=a").body);
        browser.get(one.port(), "/idle?value=77");
        assertTrue(browser.get(two.port(), "/times").body.contains(" 77 "));
    }

    @Test
    void what_cannot_be_serialized_stays_here_is_reported_and_takes_nothing_with_it() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/odd");
        assertEquals(2, one.manager.getNotSerialized());
        assertTrue(browser.get(one.port(), "/get?name=thread").body.startsWith("java.lang.Object"));
        assertEquals("null", browser.get(two.port(), "/get?name=thread").body);
        assertEquals("null", browser.get(two.port(), "/get?name=inside").body);
        assertEquals("stored", browser.get(two.port(), "/get?name=good").body);
    }

    @Test
    void a_lost_answer_changes_nothing() throws Exception {
        Browser browser = new Browser();
        store.loseAnswer = line -> line.startsWith("ms tomcat");
        assertEquals("1", browser.get(one.port(), "/add").body);
        assertEquals("2", browser.get(two.port(), "/add").body);
        store.loseAnswer = line -> line.startsWith("ms tomcat");
        assertEquals("3", browser.get(one.port(), "/add").body);
        assertEquals("4", browser.get(two.port(), "/add").body);
        assertEquals(0, one.manager.getConflictCount() + two.manager.getConflictCount());
        assertEquals(0, one.manager.getUnsaved() + two.manager.getUnsaved());
    }

    @Test
    void an_id_that_is_none_never_reaches_the_protocol() throws Exception {
        for (String id : new String[] {"a b", "a\tb", "..%0d%0aflush_all", "x".repeat(129), "\u00e4", "a:b"}) {
            Browser browser = new Browser(id);
            assertEquals("no session", browser.get(one.port(), "/get?name=a").body);
        }
        assertEquals(List.of(), store.commands);
        assertNull(one.manager.findSession("a\r\nb"));
        assertNull(one.manager.findSession(""));
        assertNull(one.manager.findSession(null));
    }
}

package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

import jakarta.servlet.http.HttpSession;

import org.junit.jupiter.api.Test;

/** The session tier is there and does not take a session: the client sees an error, and what it saw before stays. */
class TooLargeTest extends TwoTomcats {

    private final CountDownLatch inside = new CountDownLatch(1);
    private final CountDownLatch goOn = new CountDownLatch(1);

    @Override
    void pages(Server server) {
        server.page("/add", (q, r) -> {
            HttpSession session = q.getSession();
            Integer n = (Integer) session.getAttribute("n");
            session.setAttribute("n", n == null ? 1 : n + 1);
            r.getWriter().print(session.getAttribute("n"));
        }).page("/big", (q, r) -> {
            q.getSession().setAttribute("photo", new byte[Integer.parseInt(q.getParameter("bytes"))]);
            r.getWriter().print("kept");
        }).page("/big-later", (q, r) -> {
            q.getSession();
            r.getWriter().print("head");
            r.flushBuffer();
            q.getSession().setAttribute("photo", new byte[2_000_000]);
            r.getWriter().print("tail");
        }).page("/big-slowly", (q, r) -> {
            q.getSession().setAttribute("photo", new byte[2_000_000]);
            inside.countDown();
            goOn.await();
        }).page("/rotate", (q, r) -> {
            q.getSession().setAttribute("photo", new byte[2_000_000]);
            q.changeSessionId();
        }).page("/what", (q, r) -> {
            HttpSession session = q.getSession(false);
            byte[] photo = session == null ? null : (byte[]) session.getAttribute("photo");
            r.getWriter().print(session == null ? "no session"
                    : session.getAttribute("n") + " " + (photo == null ? "none" : photo.length));
        });
    }

    @Test
    void a_session_that_is_too_large_is_an_error_and_loses_nothing_that_a_client_saw() throws Exception {
        Browser browser = new Browser();
        assertEquals("1", browser.get(one.port(), "/add").body);
        Browser.Page page = browser.get(one.port(), "/big?bytes=2000000");
        assertEquals(500, page.status);
        assertEquals("", page.body);
        assertNull(page.header("Retry-After"));
        for (int n = 2; n < 8; n += 2) {
            assertEquals("" + n, browser.get(one.port(), "/add").body);
            assertEquals("" + (n + 1), browser.get(two.port(), "/add").body);
        }
        assertEquals("7 none", browser.get(one.port(), "/what").body);
        assertEquals(200, browser.get(one.port(), "/big?bytes=1000").status);
        assertEquals("7 1000", browser.get(two.port(), "/what").body);
        assertEquals(1, one.manager.getUnsaved());
        assertEquals(0, one.manager.getAdrift() + one.manager.getServedLocally());
    }

    @Test
    void a_new_session_that_is_too_large_is_not_promised() throws Exception {
        Browser browser = new Browser();
        Browser.Page page = browser.get(one.port(), "/big?bytes=2000000");
        assertEquals(500, page.status);
        assertNull(page.header("Set-Cookie"));
        assertEquals(0, one.manager.getActiveSessions());
    }

    @Test
    void a_new_id_for_a_session_that_is_too_large_is_an_error() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        assertEquals(500, browser.get(one.port(), "/rotate").status);
        assertEquals("2", browser.get(two.port(), "/add").body, "the old id is as good as before");
        assertEquals("3", browser.get(one.port(), "/add").body);
    }

    @Test
    void a_response_that_had_begun_is_cut_off() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        boolean complete = true;
        try {
            browser.get(one.port(), "/big-later");
        } catch (StringIndexOutOfBoundsException | NumberFormatException noLastChunk) {
            complete = false;
        }
        assertFalse(complete, "the client cannot take it for a whole response");
        assertEquals("1 none", browser.get(one.port(), "/what").body);
        assertEquals("2", browser.get(two.port(), "/add").body);
    }

    @Test
    void what_another_request_stores_meanwhile_stays() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        String id = browser.session;
        int[] status = new int[1];
        Thread slow = new Thread(() -> {
            try {
                status[0] = new Browser(id).get(one.port(), "/big-slowly").status;
            } catch (Exception failed) {
                throw new IllegalStateException(failed);
            }
        });
        slow.start();
        inside.await();
        // The same copy: what this request stores would take the other's attribute along.
        assertEquals(500, browser.get(one.port(), "/add").status);
        assertEquals("2", browser.get(one.port(), "/add").body);
        goOn.countDown();
        slow.join();
        assertEquals(500, status[0]);
        assertEquals("2 none", browser.get(one.port(), "/what").body);
        assertEquals("3", browser.get(two.port(), "/add").body);
    }

    @Test
    void a_tier_that_is_full_is_an_error_also_with_local_copies() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/add");
        store.full = true;
        Browser.Page page = browser.get(one.port(), "/add");
        assertEquals(503, page.status);
        assertEquals("1", page.header("Retry-After"));
        assertEquals("1 none", browser.get(one.port(), "/what").body, "what is stored is read");
        store.full = false;
        assertEquals("2", browser.get(two.port(), "/add").body);
        assertEquals("3", browser.get(one.port(), "/add").body);
    }

    @Test
    void the_attribute_at_fault_is_named_once_with_its_size() throws Exception {
        List<String> said = Collections.synchronizedList(new ArrayList<>());
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord record) {
                if (record.getLevel().intValue() >= Level.WARNING.intValue()) {
                    said.add(record.getMessage());
                }
            }

            @Override
            public void flush() {
                // Nothing is held.
            }

            @Override
            public void close() {
                // Nothing is open.
            }
        };
        Logger logger = Logger.getLogger(SessionManager.class.getName());
        logger.addHandler(handler);
        try {
            Browser browser = new Browser();
            browser.get(one.port(), "/add");
            for (int i = 0; i < 3; i++) {
                browser.get(one.port(), "/big?bytes=2000000");
                browser.get(one.port(), "/add");
            }
        } finally {
            logger.removeHandler(handler);
        }
        assertEquals(1, said.size(), said.toString());
        assertTrue(said.get(0).startsWith("Session attribute 'photo' of 2000027 bytes makes session "), said.get(0));
        assertTrue(said.get(0).contains("the session tier takes 1 MiB at most"), said.get(0));
    }
}

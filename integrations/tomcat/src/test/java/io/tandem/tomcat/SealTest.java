package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;

import jakarta.servlet.http.HttpSession;

import org.junit.jupiter.api.Test;

/** Who can write to the session tier, but has no key, cannot make or change a session. */
class SealTest extends TwoTomcats {

    static final String KEY = "0123456789abcdef0123456789abcdef";
    static final String OTHER = "another-key-another-key-another-";

    @Override
    void options(SessionManager manager) {
        manager.setKey(KEY);
    }

    @Override
    void pages(Server server) {
        server.page("/login", (q, r) -> q.getSession().setAttribute("user", q.getParameter("user"))).page("/who", (q, r) -> {
            HttpSession session = q.getSession(false);
            r.getWriter().print(session == null ? "nobody" : session.getAttribute("user"));
        });
    }

    @Test
    void a_changed_item_is_no_session() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/login?user=ann");
        assertEquals("ann", browser.get(two.port(), "/who").body);
        MiniStore.Item item = store.item(key(browser.session));
        for (int at : new int[] {0, 1, 40, item.value.length - 1}) {
            byte[] forged = item.value.clone();
            forged[at] ^= 1;
            store.put(key(browser.session), forged);
            assertEquals("nobody", new Browser(browser.session).get(two.port(), "/who").body, "byte " + at);
        }
        assertEquals(4, two.manager.getRefusedItems());
    }

    @Test
    void an_item_is_no_other_session() throws Exception {
        Browser ann = new Browser();
        ann.get(one.port(), "/login?user=ann");
        Browser bob = new Browser();
        bob.get(one.port(), "/login?user=bob");
        store.put(key(bob.session), store.item(key(ann.session)).value);
        assertEquals("nobody", bob.get(two.port(), "/who").body);
    }

    @Test
    void a_key_is_exchanged_in_two_steps() throws Exception {
        Browser old = new Browser();
        old.get(one.port(), "/login?user=ann");
        two.close();
        two = server(m -> m.setKey(KEY + "," + OTHER));
        assertEquals("ann", old.get(two.port(), "/who").body);
        one.close();
        one = server(m -> m.setKey(OTHER + " " + KEY));
        Browser fresh = new Browser();
        fresh.get(one.port(), "/login?user=bob");
        assertEquals("bob", fresh.get(two.port(), "/who").body);
        assertEquals("ann", old.get(one.port(), "/who").body);
    }

    @Test
    void with_and_without_key_do_not_mix() throws Exception {
        two.close();
        two = server(m -> m.setKey(""));
        Browser browser = new Browser();
        browser.get(one.port(), "/login?user=ann");
        assertEquals("nobody", new Browser(browser.session).get(two.port(), "/who").body);
        Browser open = new Browser();
        open.get(two.port(), "/login?user=ann");
        assertEquals("nobody", new Browser(open.session).get(one.port(), "/who").body);
    }

    @Test
    void a_seal_is_bound_to_its_name() throws Exception {
        Seal seal = new Seal(List.of(KEY));
        byte[] item = seal.close("a", new byte[] {1, 2, 3});
        assertArrayEquals(new byte[] {1, 2, 3}, seal.open("a", item));
        assertThrows(Seal.BrokenSeal.class, () -> seal.open("b", item));
        assertThrows(Seal.BrokenSeal.class, () -> seal.open("a", new byte[0]));
        assertThrows(Seal.BrokenSeal.class, () -> seal.open("a", new byte[] {0, 1}));
    }
}

package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.file.Files;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

import jakarta.servlet.AsyncContext;
import jakarta.servlet.http.HttpServletRequest;

import org.apache.tomcat.util.descriptor.web.ErrorPage;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a client can have seen is stored, whatever kind of response it saw it in. */
class StoredBeforeCommitTest {

    private MiniStore store;
    private Server one;
    private Server two;

    private static void mark(HttpServletRequest request) {
        request.getSession().setAttribute("seen", request.getRequestURI());
    }

    private static Server pages(Server server) throws Exception {
        File file = server.dir.resolve("large").toFile();
        Files.write(file.toPath(), new byte[200_000]);
        ErrorPage page = new ErrorPage();
        page.setErrorCode(404);
        page.setLocation("/error-page");
        server.context.addErrorPage(page);
        return server.page("/small", (q, r) -> {
            mark(q);
            r.getWriter().print("ok");
        }).page("/large", (q, r) -> {
            mark(q);
            for (int i = 0; i < 4000; i++) {
                r.getWriter().print("0123456789");
            }
        }).page("/flushed", (q, r) -> {
            mark(q);
            r.getWriter().print("first");
            r.flushBuffer();
            r.getWriter().print("second");
        }).page("/empty", (q, r) -> {
            mark(q);
            r.setStatus(204);
        }).page("/redirect", (q, r) -> {
            mark(q);
            r.sendRedirect("/small");
        }).page("/error", (q, r) -> {
            mark(q);
            r.sendError(403);
        }).page("/throws", (q, r) -> {
            mark(q);
            throw new IllegalStateException("meant to be thrown");
        }).page("/error-page", (q, r) -> {
            mark(q);
            r.getWriter().print("from the error page");
        }).page("/not-found", (q, r) -> r.sendError(404)).page("/sendfile", (q, r) -> {
            mark(q);
            r.setContentLength(200_000);
            q.setAttribute("org.apache.tomcat.sendfile.filename", file.getCanonicalPath());
            q.setAttribute("org.apache.tomcat.sendfile.start", 0L);
            q.setAttribute("org.apache.tomcat.sendfile.end", 200_000L);
        }).page("/async", (q, r) -> {
            AsyncContext async = q.startAsync();
            async.start(() -> {
                try {
                    mark((HttpServletRequest) async.getRequest());
                    async.getResponse().getWriter().print("async");
                    async.complete();
                } catch (Exception failed) {
                    throw new IllegalStateException(failed);
                }
            });
        }).page("/async-flushed", (q, r) -> {
            AsyncContext async = q.startAsync(q, r);
            mark(q);
            async.start(() -> {
                try {
                    async.getResponse().getWriter().print("async");
                    async.getResponse().flushBuffer();
                    async.complete();
                } catch (Exception failed) {
                    throw new IllegalStateException(failed);
                }
            });
        }).page("/async-dispatched", (q, r) -> q.startAsync().dispatch("/small"))
                .page("/after-flush", (q, r) -> {
                    q.getSession();
                    r.getWriter().print("head");
                    r.flushBuffer();
                    mark(q);
                    r.getWriter().print("tail");
                }).page("/what", (q, r) -> r.getWriter().print(q.getSession(false) == null ? "no session"
                        : String.valueOf(q.getSession().getAttribute("seen"))));
    }

    @BeforeEach
    void start() throws Exception {
        store = new MiniStore();
        one = pages(new Server(store)).start();
        two = pages(new Server(store)).start();
    }

    @AfterEach
    void stop() throws Exception {
        one.close();
        two.close();
        store.close();
    }

    @ParameterizedTest
    @ValueSource(strings = {"/small", "/large", "/flushed", "/empty", "/redirect", "/error", "/throws", "/sendfile",
        "/async", "/async-flushed", "/async-dispatched", "/not-found"})
    void nothing_leaves_before_the_session_is_stored(String path) throws Exception {
        Browser browser = new Browser();
        AtomicBoolean early = new AtomicBoolean();
        store.before = line -> {
            if (line.startsWith("ms tomcat")) {
                try {
                    // The save is held here for a while: a response that does not wait for it is seen.
                    early.compareAndSet(false, browser.firstByte.await(200, TimeUnit.MILLISECONDS));
                } catch (InterruptedException stopping) {
                    Thread.currentThread().interrupt();
                }
            }
        };
        Browser.Page page = browser.get(one.port(), path);
        store.before = line -> {};
        assertFalse(early.get(), "a byte left before the session was stored");
        assertTrue(store.count("ms tomcat") >= 1, "it was stored: " + store.commands);
        String mark = path.equals("/not-found") ? "/error-page" : path.equals("/async-dispatched") ? "/small" : path;
        assertEquals(mark, browser.get(two.port(), "/what").body, page.head);
    }

    @Test
    void what_changes_after_a_flush_is_stored_before_the_response_ends() throws Exception {
        Browser browser = new Browser();
        browser.get(one.port(), "/small");
        Browser.Page page = browser.get(one.port(), "/after-flush");
        assertEquals("headtail", page.body);
        assertEquals("/after-flush", browser.get(two.port(), "/what").body);
    }
}

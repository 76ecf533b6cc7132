package io.tandem.tomcat;

import java.lang.reflect.Field;

import org.apache.catalina.connector.CoyoteAdapter;
import org.apache.coyote.ActionCode;
import org.apache.coyote.ActionHook;
import org.apache.coyote.Request;
import org.apache.coyote.Response;

/**
 * Runs before a response's first byte leaves, whatever sends it.
 *
 * <p>Every way to commit a response (a full buffer, a flush, a redirect, an error page, sendfile, the end of a request
 * without a body, an asynchronous thread) goes through {@code Response.action(COMMIT)}, and every way to complete it
 * through {@code action(CLOSE)}; both ask the response's one {@link ActionHook}, its protocol's processor. A valve runs
 * too late for what is flushed, a filter misses what Tomcat itself writes. So the hook is replaced by this one, which
 * first has the sessions stored and then lets the processor do its work. A processor serves one request after the other
 * with the same response object: once replaced, it stays.
 *
 * <p>The field is not public. {@link #check()} tells when the manager starts whether it can be reached, so that it never
 * fails in silence.
 */
final class CommitHook implements ActionHook {

    private static final Field HOOK;
    private static final Exception WHY_NOT;

    static {
        Field hook = null;
        Exception whyNot = null;
        try {
            hook = Response.class.getDeclaredField("hook");
            hook.setAccessible(true);
        } catch (ReflectiveOperationException | RuntimeException refused) {
            hook = null;
            whyNot = refused;
        }
        HOOK = hook;
        WHY_NOT = whyNot;
    }

    private final Request request;
    private final Response response;
    private final ActionHook processor;

    private CommitHook(Request request, Response response, ActionHook processor) {
        this.request = request;
        this.response = response;
        this.processor = processor;
    }

    /** @throws IllegalStateException when responses cannot be watched in this Tomcat; says what to do */
    static void check() {
        if (HOOK == null) {
            throw new IllegalStateException("this Tomcat does not let its responses be watched (" + WHY_NOT
                    + "): sessions could not be stored before responses leave. With Tomcat on the module path, add "
                    + "--add-opens org.apache.tomcat.coyote/org.apache.coyote=ALL-UNNAMED", WHY_NOT);
        }
    }

    static void install(Request request) {
        Response response = request.getResponse();
        try {
            ActionHook now = (ActionHook) HOOK.get(response);
            if (now != null && !(now instanceof CommitHook)) {
                HOOK.set(response, new CommitHook(request, response, now));
            }
        } catch (IllegalAccessException impossible) {
            throw new IllegalStateException("checked when the manager started", impossible);
        }
    }

    @Override
    public void action(ActionCode code, Object param) {
        if (code == ActionCode.COMMIT || code == ActionCode.CLOSE || code == ActionCode.CLIENT_FLUSH) {
            RequestScope scope = scope();
            if (scope != null) {
                before(code, scope);
            }
        }
        processor.action(code, param);
    }

    private RequestScope scope() {
        Object adapted = request.getNote(CoyoteAdapter.ADAPTER_NOTES);
        return adapted instanceof org.apache.catalina.connector.Request
                ? RequestScope.of((org.apache.catalina.connector.Request) adapted) : null;
    }

    private void before(ActionCode code, RequestScope scope) {
        if (code == ActionCode.CLOSE) {
            scope.finish();
        } else if (code == ActionCode.COMMIT) {
            scope.beforeCommit();
        } else {
            scope.beforeFlush();
        }
        if (scope.failed() == null) {
            return;
        }
        if (!response.isCommitted()) {
            refuse(scope);
            scope.told();
        } else if (scope.failed().isRefused() && !scope.isTold()) {
            // What was flushed has left; that the client sees no end of it is all that can still be told.
            processor.action(ActionCode.CLOSE_NOW, scope.failed());
        }
    }

    /** What the application wrote must not be seen: it may rest on a session that could not be read or stored. */
    private void refuse(RequestScope scope) {
        int status = scope.status();
        if (response.getStatus() == status) {
            return;
        }
        if (!"HTTP/1.1".equals(scope.request().getProtocol())) {
            // The other protocols do not cut off what follows the stated length.
            processor.action(ActionCode.CLOSE_NOW, new IllegalStateException("sessions are unavailable"));
            return;
        }
        response.getMimeHeaders().recycle();
        response.setStatus(status);
        if (status == 503) {
            response.setHeader("Retry-After", "1");
        }
        response.setContentLength(0);
    }
}

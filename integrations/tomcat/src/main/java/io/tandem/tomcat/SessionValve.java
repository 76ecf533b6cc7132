package io.tandem.tomcat;

import java.io.IOException;

import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServletResponse;

import org.apache.catalina.Host;
import org.apache.catalina.Manager;
import org.apache.catalina.Valve;
import org.apache.catalina.connector.Request;
import org.apache.catalina.connector.Response;
import org.apache.catalina.valves.ValveBase;

/**
 * Opens and closes the {@link RequestScope} of each request for an application with a {@link SessionManager}. One stands
 * in the pipeline of each host that has such applications, so that it comes before a context's authenticators, which
 * look for sessions, too, and ends after error pages.
 */
final class SessionValve extends ValveBase {

    private int users;

    private SessionValve() {
        super(true);
    }

    /** Sees to it that the host has one. */
    static void join(Host host) {
        synchronized (host) {
            SessionValve valve = find(host);
            if (valve == null) {
                valve = new SessionValve();
                host.getPipeline().addValve(valve);
            }
            valve.users++;
        }
    }

    /** The last manager takes it away. */
    static void leave(Host host) {
        synchronized (host) {
            SessionValve valve = find(host);
            if (valve != null && --valve.users == 0) {
                host.getPipeline().removeValve(valve);
            }
        }
    }

    private static SessionValve find(Host host) {
        for (Valve valve : host.getPipeline().getValves()) {
            if (valve instanceof SessionValve) {
                return (SessionValve) valve;
            }
        }
        return null;
    }

    @Override
    public void invoke(Request request, Response response) throws IOException, ServletException {
        Manager manager = request.getContext() == null ? null : request.getContext().getManager();
        if (!(manager instanceof SessionManager)) {
            getNext().invoke(request, response);
            return;
        }
        CommitHook.install(request.getCoyoteRequest());
        RequestScope scope = RequestScope.open(request, (SessionManager) manager);
        RequestScope before = RequestScope.enter(scope);
        try {
            getNext().invoke(request, response);
        } catch (SessionsAway away) {
            // Outside of the application, as in an authenticator; what it threw inside has become an error page.
            response.sendError(HttpServletResponse.SC_SERVICE_UNAVAILABLE);
        } finally {
            try {
                if (request.isAsyncStarted()) {
                    scope.goesAsync();
                } else {
                    scope.finish();
                }
            } finally {
                RequestScope.enter(before);
            }
        }
    }
}

package io.tandem.tomcat;

import java.io.IOException;

import jakarta.servlet.ServletException;

import org.apache.catalina.connector.Request;
import org.apache.catalina.connector.Response;
import org.apache.catalina.valves.ValveBase;

/**
 * Tells a request's scope that the application begins. It is the last valve of the context: what looks for a session
 * before, an authenticator, does so for every request, also for those that need none.
 */
final class ApplicationValve extends ValveBase {

    ApplicationValve() {
        super(true);
    }

    @Override
    public void invoke(Request request, Response response) throws IOException, ServletException {
        RequestScope scope = RequestScope.of(request);
        if (scope != null) {
            scope.reachesApplication();
        }
        getNext().invoke(request, response);
    }
}

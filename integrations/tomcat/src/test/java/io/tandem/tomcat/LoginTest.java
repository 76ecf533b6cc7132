package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.apache.catalina.authenticator.FormAuthenticator;
import org.apache.tomcat.util.descriptor.web.LoginConfig;
import org.apache.tomcat.util.descriptor.web.SecurityCollection;
import org.apache.tomcat.util.descriptor.web.SecurityConstraint;
import org.junit.jupiter.api.Test;

/** A form login whose every step is served by the other Tomcat. */
class LoginTest extends TwoTomcats {

    @Override
    void options(SessionManager manager) {
        manager.setPersistAuthentication(true);
    }

    @Override
    void pages(Server server) throws Exception {
        server.page("/form", (q, r) -> r.getWriter().print("please log in"))
                .page("/failed", (q, r) -> r.getWriter().print("no"))
                .page("/secret", (q, r) -> r.getWriter().print(q.getRemoteUser() + " " + q.isUserInRole("staff")
                        + " " + q.getParameter("kept")));
        server.tomcat.addUser("ann", "secret");
        server.tomcat.addRole("ann", "staff");
        SecurityConstraint constraint = new SecurityConstraint();
        SecurityCollection collection = new SecurityCollection();
        collection.addPatternDecoded("/secret");
        constraint.addCollection(collection);
        constraint.addAuthRole("staff");
        server.context.addConstraint(constraint);
        server.context.addSecurityRole("staff");
        server.context.setLoginConfig(new LoginConfig("FORM", null, "/form", "/failed"));
        server.context.getPipeline().addValve(new FormAuthenticator());
    }

    @Test
    void the_request_the_login_and_the_principal_are_known_on_both() throws Exception {
        Browser browser = new Browser();
        assertEquals("please log in", browser.get(one.port(), "/secret?kept=word").body);
        String before = browser.session;
        Browser.Page login = browser.send(two.port(), "POST", "/j_security_check", "j_username=ann&j_password=secret");
        assertEquals("/secret?kept=word", login.header("Location").replaceFirst("^http://[^/]*", ""), login.head);
        Browser.Page page = browser.get(one.port(), "/secret?kept=word");
        assertEquals("ann true word", page.body, page.head);
        assertTrue(!before.equals(browser.session), "the login changed the id");
        assertEquals("ann true null", browser.get(two.port(), "/secret").body);
        assertEquals("ann true null", browser.get(one.port(), "/secret").body);
    }

    @Test
    void who_does_not_ask_for_it_logs_in_again_elsewhere() throws Exception {
        two.close();
        two = server(m -> m.setPersistAuthentication(false));
        Browser browser = new Browser();
        browser.get(one.port(), "/secret");
        browser.send(one.port(), "POST", "/j_security_check", "j_username=ann&j_password=secret");
        assertEquals("ann true null", browser.get(one.port(), "/secret").body);
        assertEquals("please log in", browser.get(two.port(), "/secret").body);
    }
}

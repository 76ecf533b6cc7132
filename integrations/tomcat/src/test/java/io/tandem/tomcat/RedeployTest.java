package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.ref.WeakReference;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;

import org.apache.catalina.Context;
import org.apache.catalina.core.StandardContext;
import org.apache.catalina.startup.ContextConfig;
import org.apache.catalina.startup.Tomcat;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Attributes of the application's own classes, through reloads of the application. */
class RedeployTest {

    @TempDir
    Path dir;
    private MiniStore store;
    private Tomcat tomcat;

    @AfterEach
    void stop() throws Exception {
        tomcat.stop();
        tomcat.destroy();
        store.close();
    }

    /** Compiles the application anew: a bean and a servlet that keeps one in the session. */
    private void compile(Path classes, String version) throws IOException {
        Files.createDirectories(classes);
        Path source = Files.createDirectories(dir.resolve("source"));
        String servlet = jakarta.servlet.http.HttpServlet.class.getName();
        String packages = servlet.substring(0, servlet.lastIndexOf('.'));
        Path bean = source.resolve("Bean.java");
        Files.writeString(bean, "package app; public class Bean implements java.io.Serializable {\n"
                + "private static final long serialVersionUID = 1L; public int n; }");
        Path page = source.resolve("Page.java");
        Files.writeString(page, "package app; import " + packages + ".*;\n"
                + "public class Page extends HttpServlet { private static final long serialVersionUID = 1L;\n"
                + "protected void doGet(HttpServletRequest q, HttpServletResponse r) throws java.io.IOException {\n"
                + "Bean bean = (Bean) q.getSession().getAttribute(\"bean\");\n"
                + "if (bean == null) { bean = new Bean(); q.getSession().setAttribute(\"bean\", bean); }\n"
                + "bean.n++; r.getWriter().print(bean.n + \" " + version + "\"); } }");
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        ByteArrayOutputStream errors = new ByteArrayOutputStream();
        int result = compiler.run(null, null, errors, "-proc:none", "-d", classes.toString(), "-cp",
                System.getProperty("java.class.path"), bean.toString(), page.toString());
        assertEquals(0, result, errors.toString());
    }

    private StandardContext deploy(String path, String version, Path docs) {
        StandardContext context = new StandardContext();
        context.setPath(path);
        context.setWebappVersion(version);
        context.setName(path + (version.isEmpty() ? "" : "##" + version));
        context.setDocBase(docs.toString());
        ContextConfig config = new ContextConfig();
        config.setDefaultWebXml(tomcat.noDefaultWebXmlPath());
        context.addLifecycleListener(config);
        SessionManager manager = new SessionManager();
        manager.setSessions(store.address());
        context.setManager(manager);
        return context;
    }

    private void start() throws Exception {
        store = new MiniStore();
        tomcat = new Tomcat();
        tomcat.setBaseDir(dir.toString());
        tomcat.setPort(0);
        tomcat.getConnector();
        tomcat.start();
    }

    private Path docs(String name, String version) throws IOException {
        Path docs = dir.resolve(name);
        compile(docs.resolve("WEB-INF/classes"), version);
        try (PrintWriter web = new PrintWriter(docs.resolve("WEB-INF/web.xml").toFile())) {
            web.print("<web-app metadata-complete=\"true\"><servlet><servlet-name>p</servlet-name><servlet-class>app.Page"
                    + "</servlet-class></servlet><servlet-mapping><servlet-name>p</servlet-name>"
                    + "<url-pattern>/page</url-pattern></servlet-mapping></web-app>");
        }
        return docs;
    }

    @Test
    void a_session_with_the_applications_own_classes_survives_reloads_and_new_versions() throws Exception {
        start();
        Path docs = docs("docs", "v1");
        Context context = deploy("/app", "", docs);
        tomcat.getHost().addChild(context);
        int port = tomcat.getConnector().getLocalPort();
        Browser browser = new Browser();
        assertEquals("1 v1", browser.get(port, "/app/page").body);
        String id = browser.session;
        WeakReference<ClassLoader> old = new WeakReference<>(context.getLoader().getClassLoader());
        assertEquals("2 v1", browser.get(port, "/app/page").body);
        compile(docs.resolve("WEB-INF/classes"), "v2");
        context.reload();
        assertEquals("3 v2", browser.get(port, "/app/page").body);
        context.reload();
        assertEquals("4 v2", browser.get(port, "/app/page").body);
        assertEquals(id, browser.session);
        for (int i = 0; i < 50 && old.get() != null; i++) {
            System.gc();
            Thread.sleep(20);
        }
        assertNull(old.get(), "nothing holds the classes of the application that was reloaded");
        assertEquals(1, List.of(tomcat.getHost().getPipeline().getValves()).stream()
                .filter(v -> v instanceof SessionValve).count());
    }

    @Test
    void of_parallel_versions_each_session_keeps_its_own() throws Exception {
        start();
        tomcat.getHost().addChild(deploy("/app", "1", docs("one", "v1")));
        int port = tomcat.getConnector().getLocalPort();
        Browser old = new Browser();
        assertEquals("1 v1", old.get(port, "/app/page").body);
        tomcat.getHost().addChild(deploy("/app", "2", docs("two", "v2")));
        Browser fresh = new Browser();
        assertEquals("1 v2", fresh.get(port, "/app/page").body);
        assertEquals("2 v1", old.get(port, "/app/page").body);
        assertEquals("2 v2", fresh.get(port, "/app/page").body);
        assertTrue(new File(URI.create(dir.toUri().toString())).exists());
    }
}

package io.tandem.tomcat;

import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.function.Consumer;
import java.util.stream.Stream;

import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;

import org.apache.catalina.Context;
import org.apache.catalina.LifecycleException;
import org.apache.catalina.Wrapper;
import org.apache.catalina.startup.Tomcat;

/** One Tomcat with one application, whose sessions are in a {@link MiniStore}. */
final class Server implements Closeable {

    /** What a page does. */
    interface Action {
        void serve(HttpServletRequest request, HttpServletResponse response) throws Exception;
    }

    final Tomcat tomcat = new Tomcat();
    final SessionManager manager;
    final Context context;
    final Path dir;

    Server(MiniStore store) throws IOException {
        this(store, m -> {});
    }

    Server(MiniStore store, Consumer<SessionManager> options) throws IOException {
        dir = Files.createTempDirectory("tomcat");
        tomcat.setBaseDir(dir.toString());
        tomcat.setPort(0);
        tomcat.getConnector();
        Path docs = Files.createDirectories(dir.resolve("docs"));
        context = tomcat.addContext("", docs.toString());
        context.setSessionTimeout(30);
        manager = new SessionManager();
        manager.setSessions(store.address());
        options.accept(manager);
        context.setManager(manager);
        // Tests call it when they want it.
        tomcat.getEngine().setBackgroundProcessorDelay(-1);
    }

    Server page(String path, Action action) {
        Wrapper wrapper = Tomcat.addServlet(context, path, new HttpServlet() {
            private static final long serialVersionUID = 1L;

            @Override
            protected void service(HttpServletRequest request, HttpServletResponse response)
                    throws ServletException, IOException {
                try {
                    action.serve(request, response);
                } catch (RuntimeException | IOException | ServletException thrown) {
                    throw thrown;
                } catch (Exception other) {
                    throw new ServletException(other);
                }
            }
        });
        wrapper.setAsyncSupported(true);
        context.addServletMappingDecoded(path, path);
        return this;
    }

    Server start() throws LifecycleException {
        tomcat.start();
        return this;
    }

    int port() {
        return tomcat.getConnector().getLocalPort();
    }

    @Override
    public void close() throws IOException {
        try {
            tomcat.stop();
            tomcat.destroy();
        } catch (LifecycleException failed) {
            throw new IOException(failed);
        }
        try (Stream<Path> files = Files.walk(dir)) {
            files.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        }
    }
}

package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import org.apache.catalina.core.StandardContext;
import org.apache.catalina.startup.ContextConfig;
import org.apache.catalina.startup.Tomcat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The attributes of a context.xml. */
class OptionsTest {

    @TempDir
    Path dir;

    /** Whether an application starts whose context.xml has this manager. */
    private boolean starts(String attributes) throws Exception {
        Path docs = Files.createDirectories(dir.resolve("docs"));
        File xml = dir.resolve("context.xml").toFile();
        Files.writeString(xml.toPath(),
                "<Context><Manager className=\"io.tandem.tomcat.SessionManager\" " + attributes + "/></Context>");
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(dir.toString());
        tomcat.setPort(0);
        StandardContext context = new StandardContext();
        context.setName("");
        context.setPath("");
        context.setDocBase(docs.toString());
        context.setConfigFile(xml.toURI().toURL());
        ContextConfig config = new ContextConfig();
        config.setDefaultWebXml(tomcat.noDefaultWebXmlPath());
        context.addLifecycleListener(config);
        tomcat.getHost().addChild(context);
        try {
            tomcat.start();
            return context.getState().isAvailable();
        } finally {
            tomcat.stop();
            tomcat.destroy();
        }
    }

    @Test
    void no_attribute_is_needed() throws Exception {
        assertTrue(starts(""));
    }

    @Test
    void an_msm_configuration_works_with_its_class_name_changed() throws Exception {
        assertTrue(starts("memcachedNodes='n1:127.0.0.1:11211,n2:127.0.0.1:11212' "
                + "failoverNodes='n1' sticky='false' lockingMode='uriPattern:/cart|/order' lockExpiration='7' "
                + "requestUriIgnorePattern='.*\\.(ico|png|gif|jpg|css|js)$' sessionBackupAsync='false' "
                + "sessionBackupTimeout='1800' operationTimeout='2500' sessionAttributeFilter='^(user|cart)$' "
                + "storageKeyPrefix='static:shop,host.hash,context,webappVersion' "
                + "transcoderFactoryClass='de.javakaffee.web.msm.serializer.kryo.KryoTranscoderFactory'"));
    }

    @Test
    void an_unknown_attribute_is_an_error() throws Exception {
        assertFalse(starts("sesions='127.0.0.1:11211'"));
        Options options = new Options();
        options.set("lockingMod", "none");
        options.set("colour", "blue");
        assertEquals("unknown attribute 'lockingMod': did you mean 'lockingMode'?", options.errors.get(0));
        assertTrue(options.errors.get(1).contains("known are sessions, key"));
    }

    @ParameterizedTest
    @CsvSource({"lockingMode, sometimes", "lockingMode, uriPattern:(", "lockExpiration, 0", "lockExpiration, soon",
        "operationTimeout, -1", "requestUriIgnorePattern, [", "storageKeyPrefix, 'host,nothing'",
        "whenAway, maybe", "conflicts, both", "rotationGrace, -1"})
    void a_value_that_makes_no_sense_is_an_error(String name, String value) throws Exception {
        Options options = new Options();
        options.set(name, value);
        assertEquals(1, options.errors.size());
        assertTrue(options.errors.get(0).startsWith(name + ": "), options.errors.toString());
        assertFalse(starts(name + "=\"" + value + "\""));
    }

    @Test
    void the_agent_is_where_the_attribute_or_the_environment_or_msms_nodes_say() {
        assertEquals("[127.0.0.1:11211]", new Options().addresses(null).toString());
        assertEquals("[127.0.0.2:12]", new Options().addresses("127.0.0.2:12").toString());
        Options own = new Options();
        own.set("sessions", "10.0.0.1, [::1]:5");
        own.set("memcachedNodes", "10.0.0.2:11211");
        assertEquals("[10.0.0.1:11211, [::1]:5]", own.addresses("127.0.0.2:12").toString());
        Options msm = new Options();
        msm.set("memcachedNodes", "n1:a:1 n2:b:2,n3:c:3");
        msm.set("failoverNodes", "n1");
        assertEquals("[b:2, c:3, a:1]", msm.addresses(null).toString());
        Options both = new Options();
        both.set("memcachedNodes", "n1:a:1");
        assertEquals("[127.0.0.2:12]", both.addresses("127.0.0.2:12").toString());
        assertTrue(both.notes.get(0).contains("is not used"));
    }

    @Test
    void nodes_that_are_no_memcached_and_unknown_failover_nodes_are_errors() {
        Options redis = new Options();
        redis.set("memcachedNodes", "redis://localhost");
        redis.addresses(null);
        assertTrue(redis.errors.get(0).contains("is no memcached"), redis.errors.toString());
        Options failover = new Options();
        failover.set("memcachedNodes", "n1:a:1");
        failover.set("failoverNodes", "n2");
        failover.addresses(null);
        assertEquals("failoverNodes: 'n2' is none of memcachedNodes", failover.errors.get(0));
        Options wrong = new Options();
        wrong.set("sessions", "localhost:port");
        wrong.addresses(null);
        assertTrue(wrong.errors.get(0).contains("is no address"));
    }

    @Test
    void what_has_no_meaning_any_more_is_said_once() {
        Options options = new Options();
        options.set("sticky", "true");
        options.set("sessionBackupAsync", "true");
        assertTrue(options.errors.isEmpty());
        assertEquals(2, options.notes.size());
        assertTrue(options.notes.get(0).startsWith("sticky has no meaning any more"));
    }

    @Test
    void a_key_comes_from_the_attribute_a_file_or_the_environment() throws Exception {
        assertEquals(List.of(), new Options().keys(null));
        assertEquals(List.of(SealTest.KEY), new Options().keys(SealTest.KEY));
        Path file = dir.resolve("key");
        Files.writeString(file, SealTest.OTHER + "\n" + SealTest.KEY + "\n");
        Options options = new Options();
        options.set("keyFile", file.toString());
        assertEquals(List.of(SealTest.OTHER, SealTest.KEY), options.keys("ignored-ignored-ignored"));
        Options weak = new Options();
        weak.set("key", "short");
        weak.keys(null);
        assertTrue(weak.errors.get(0).contains("shorter than 16"));
        Options missing = new Options();
        missing.set("keyFile", dir.resolve("none").toString());
        missing.keys(null);
        assertTrue(missing.errors.get(0).contains("cannot be read"));
        assertFalse(missing.errors.isEmpty());
    }
}

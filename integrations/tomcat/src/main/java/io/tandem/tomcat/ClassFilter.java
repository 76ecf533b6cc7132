package io.tandem.tomcat;

import java.io.InvalidClassException;
import java.util.regex.Pattern;

/**
 * Which classes a stored value may contain. Those that attacks by deserialization are made of never: no web
 * application keeps them in a session. If the manager has a {@code sessionAttributeValueClassNameFilter}, only what
 * matches it.
 */
final class ClassFilter {

    private static final String[] REFUSED = {
        "bsh.", "clojure.inspector.", "com.mchange.v2.c3p0.",
        "com.mchange.v2.naming.", "com.sun.jndi.", "com.sun.org.apache.bcel.internal.",
        "com.sun.org.apache.xalan.internal.", "com.sun.rowset.", "com.alibaba.fastjson.JSON", "com.sun.syndication.",
        "com.rometools.rome.feed.impl.", "freemarker.template.utility.",
        "groovy.util.Expando", "java.beans.EventHandler", "java.lang.ProcessBuilder", "java.lang.Runtime",
        "java.lang.reflect.Proxy$", "java.net.URLClassLoader", "java.rmi.", "java.security.SignedObject",
        "javax.imageio.", "javax.management.", "javax.naming.", "javax.script.", "javassist.",
        "javax.swing.UIDefaults$", "org.apache.bcel.", "org.apache.catalina.core.", "org.apache.catalina.loader.",
        "org.apache.click.control.", "org.apache.commons.beanutils.BeanComparator",
        "org.apache.commons.collections.functors.", "org.apache.commons.collections.keyvalue.TiedMapEntry",
        "org.apache.commons.collections.map.LazyMap", "org.apache.commons.collections4.functors.",
        "org.apache.commons.collections4.keyvalue.TiedMapEntry", "org.apache.commons.collections4.map.LazyMap",
        "org.apache.commons.collections4.comparators.TransformingComparator",
        "org.apache.commons.collections.comparators.TransformingComparator", "org.apache.commons.fileupload.disk.",
        "org.apache.commons.configuration.", "org.apache.commons.configuration2.",
        "org.apache.naming.", "org.apache.tomcat.dbcp.", "org.apache.wicket.util.upload.",
        "org.apache.xalan.", "org.aspectj.weaver.", "org.codehaus.groovy.runtime.MethodClosure",
        "org.codehaus.groovy.runtime.ConvertedClosure", "org.codehaus.groovy.runtime.ConversionHandler", "org.hibernate.engine.spi.TypedValue",
        "org.hibernate.property.access.", "org.hibernate.tuple.component.", "org.mozilla.javascript.", "org.python.core.",
        "org.springframework.core.SerializableTypeWrapper",
        "org.springframework.transaction.jta.", "sun.rmi.", "sun.reflect.annotation.AnnotationInvocationHandler",
        "sun.swing.SwingLazyValue", "jdk.nashorn.", "ysoserial.",
    };

    private final Pattern allowed;

    /** @param allowed what class names must match, or null */
    ClassFilter(Pattern allowed) {
        this.allowed = allowed;
    }

    /** @throws InvalidClassException for a class that must not come out of a store */
    void check(String name) throws InvalidClassException {
        String element = name;
        if (name.startsWith("[")) {
            int at = name.lastIndexOf('[') + 1;
            if (name.charAt(at) != 'L') {
                return;
            }
            element = name.substring(at + 1, name.length() - 1);
        }
        for (String refused : REFUSED) {
            if (element.startsWith(refused)) {
                throw new InvalidClassException(element, "not deserialized: it is a known means of attack");
            }
        }
        if (allowed != null && !allowed.matcher(name).matches()) {
            throw new InvalidClassException(name,
                    "not deserialized: sessionAttributeValueClassNameFilter does not allow it");
        }
    }
}

package io.tandem.tomcat;

import java.io.ObjectInputStream;
import java.lang.reflect.Method;

/**
 * Bounds what one stored value can make deserialization do: depth, references, length of arrays. The filter that does
 * it is java.io.ObjectInputFilter since Java 9, and sun.misc.ObjectInputFilter in Java 8 since update 121.
 */
final class StreamLimits {

    private static final String LIMITS = "maxdepth=200;maxrefs=5000000;maxarray=50000000";

    private static final Object FILTER;
    private static final Method SET;

    static {
        Object filter = null;
        Method set = null;
        for (String type : new String[] {"java.io.ObjectInputFilter", "sun.misc.ObjectInputFilter"}) {
            try {
                Class<?> interf = Class.forName(type);
                Class<?> config = Class.forName(type + "$Config");
                filter = config.getMethod("createFilter", String.class).invoke(null, LIMITS);
                set = type.startsWith("java.") ? ObjectInputStream.class.getMethod("setObjectInputFilter", interf)
                        : config.getMethod("setObjectInputFilter", ObjectInputStream.class, interf);
                break;
            } catch (ReflectiveOperationException notInThisJava) {
                filter = null;
            }
        }
        FILTER = filter;
        SET = set;
    }

    private StreamLimits() {}

    /** Whether this Java can limit a stream. */
    static boolean available() {
        return FILTER != null;
    }

    static void apply(ObjectInputStream in) {
        if (FILTER == null) {
            return;
        }
        try {
            if (SET.getParameterCount() == 1) {
                SET.invoke(in, FILTER);
            } else {
                SET.invoke(null, in, FILTER);
            }
        } catch (ReflectiveOperationException refused) {
            // A filter of the whole JVM (jdk.serialFilterFactory) may refuse others: then that one limits.
            if (!(refused.getCause() instanceof IllegalStateException)) {
                throw new IllegalStateException("streams cannot be limited", refused);
            }
        }
    }
}

package io.tandem.tomcat;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.NotSerializableException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.ObjectStreamClass;
import java.lang.reflect.Modifier;
import java.util.ConcurrentModificationException;

/** Values to bytes and back, with the web application's classes. */
final class Values {

    /** An object that another request changes while it is written is written again, so often. */
    private static final int TRIES = 5;

    private Values() {}

    /** @throws IOException when it cannot be serialized; {@link NotSerializableException} names the class at fault */
    static byte[] write(Object value) throws IOException {
        for (int tries = 1;; tries++) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(128);
            try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
                out.writeObject(value);
                out.flush();
                return bytes.toByteArray();
            } catch (ConcurrentModificationException | IndexOutOfBoundsException changing) {
                if (tries == TRIES) {
                    throw new IOException("it was changed while it was written, " + tries + " times in a row", changing);
                }
                Thread.yield();
            } catch (StackOverflowError deep) {
                throw new IOException("it is nested too deeply to be serialized", deep);
            } catch (RuntimeException its) {
                // The application's own writeObject.
                throw new IOException("its serialization failed: " + its, its);
            }
        }
    }

    /** @throws IOException when it cannot be read, or contains what the filter refuses */
    static Object read(byte[] bytes, ClassLoader loader, ClassFilter filter) throws IOException, ClassNotFoundException {
        try (Input in = new Input(new ByteArrayInputStream(bytes), loader, filter)) {
            return in.readObject();
        } catch (StackOverflowError deep) {
            throw new IOException("it is nested too deeply", deep);
        } catch (RuntimeException | LinkageError its) {
            throw new IOException("its deserialization failed: " + its, its);
        }
    }

    /** Whether a value of this class cannot change inside, so that having read it needs no second look. */
    static boolean isImmutable(Object value) {
        return value instanceof String || value instanceof Integer || value instanceof Long
                || value instanceof Boolean || value instanceof Double || value instanceof Float
                || value instanceof Short || value instanceof Byte || value instanceof Character
                || value instanceof Enum || value instanceof java.util.UUID || value instanceof java.util.Locale
                || value instanceof java.math.BigDecimal && value.getClass() == java.math.BigDecimal.class
                || value instanceof java.math.BigInteger && value.getClass() == java.math.BigInteger.class
                || value instanceof java.time.temporal.Temporal && value.getClass().getName().startsWith("java.time.");
    }

    private static final class Input extends ObjectInputStream {

        private final ClassLoader loader;
        private final ClassFilter filter;

        Input(InputStream in, ClassLoader loader, ClassFilter filter) throws IOException {
            super(in);
            this.loader = loader;
            this.filter = filter;
            StreamLimits.apply(this);
        }

        @Override
        protected Class<?> resolveClass(ObjectStreamClass described) throws IOException, ClassNotFoundException {
            filter.check(described.getName());
            try {
                return Class.forName(described.getName(), false, loader);
            } catch (ClassNotFoundException notOfTheApplication) {
                return super.resolveClass(described);
            }
        }

        @Override
        protected Class<?> resolveProxyClass(String[] names) throws IOException, ClassNotFoundException {
            Class<?>[] interfaces = new Class<?>[names.length];
            ClassLoader owner = loader;
            for (int i = 0; i < names.length; i++) {
                filter.check(names[i]);
                interfaces[i] = Class.forName(names[i], false, loader);
                if (!Modifier.isPublic(interfaces[i].getModifiers())) {
                    owner = interfaces[i].getClassLoader();
                }
            }
            try {
                return java.lang.reflect.Proxy.getProxyClass(owner, interfaces);
            } catch (IllegalArgumentException impossible) {
                throw new ClassNotFoundException("a proxy of " + String.join(", ", names), impossible);
            }
        }
    }
}

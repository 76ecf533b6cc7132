package io.tandem.tomcat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InvalidClassException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.regex.Pattern;

import org.junit.jupiter.api.Test;

/** What comes out of the store is judged before it is made an object of. */
class DeserializationTest {

    private final ClassLoader loader = getClass().getClassLoader();

    @Test
    void known_means_of_attack_are_refused_however_wrapped() throws Exception {
        javax.management.BadAttributeValueExpException attack = new javax.management.BadAttributeValueExpException(null);
        for (Object value : new Object[] {attack, new ArrayList<>(List.of(attack)), new Object[] {attack},
            new HashMap<>(Map.of("a", attack))}) {
            byte[] bytes = Values.write(value);
            IOException refused = assertThrows(IOException.class,
                    () -> Values.read(bytes, loader, new ClassFilter(null)));
            assertTrue(refused.getMessage().contains("means of attack"), refused.toString());
        }
    }

    @Test
    void the_managers_filter_is_kept_to() throws Exception {
        ClassFilter strict = new ClassFilter(Pattern.compile("java\\.lang\\..*|java\\.util\\.ArrayList"));
        assertEquals(List.of("a"), Values.read(Values.write(new ArrayList<>(List.of("a"))), loader, strict));
        byte[] other = Values.write(new HashMap<>(Map.of("a", 1)));
        assertThrows(InvalidClassException.class, () -> Values.read(other, loader, strict));
    }

    @Test
    void a_bomb_of_nested_sets_is_cut_off() throws Exception {
        assertTrue(StreamLimits.available());
        // Its hash code takes 2^100 steps: deserialization would never end (CVE-2011-4461 and its like).
        Set<Object> root = new HashSet<>();
        Set<Object> a = root;
        Set<Object> b = new HashSet<>();
        for (int i = 0; i < 250; i++) {
            Set<Object> x = new HashSet<>();
            Set<Object> y = new HashSet<>();
            // The strings make them unequal without making the bomb's maker compute hashes: added first.
            a.add("x");
            a.add(x);
            b.add(y);
            a = x;
            b = y;
        }
        byte[] bytes = Values.write(root);
        IOException refused = assertThrows(IOException.class, () -> Values.read(bytes, loader, new ClassFilter(null)));
        assertTrue(refused.toString().contains("filter"), refused.toString());
    }

    @Test
    void random_bytes_are_an_error_and_nothing_worse() {
        Random random = new Random(1);
        byte[] good = Image.live(5, 1, 2, new HashMap<>(Map.of("a", new byte[] {1, 2}, Image.IDLE, Image.fromInt(9))))
                .encode();
        for (int i = 0; i < 20_000; i++) {
            byte[] bytes = good.clone();
            for (int flips = 1 + random.nextInt(4); flips > 0; flips--) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
            }
            if (random.nextBoolean()) {
                bytes = java.util.Arrays.copyOf(bytes, random.nextInt(bytes.length));
            }
            try {
                Image.decode(bytes);
            } catch (IOException expected) {
                // As it should be.
            }
        }
    }

    @Test
    void an_image_is_read_as_it_was_written() throws Exception {
        Image image = Image.live(7, 11, 13, new HashMap<>(Map.of("\u00e4", new byte[] {5}, Image.IDLE, Image.fromInt(-1))));
        Image read = Image.decode(image.encode());
        assertEquals(7, read.incarnation);
        assertEquals(11, read.created);
        assertEquals(13, read.accessed);
        assertEquals(-1, read.maxIdle());
        assertArrayEquals(new byte[] {5}, read.values.get("\u00e4"));
        Image moved = Image.decode(image.moved("to", "who").encode());
        assertEquals(Image.State.MOVED, moved.state);
        assertEquals("to", moved.movedTo);
        assertEquals("who", moved.mover);
    }

    @Test
    void a_list_that_another_thread_changes_is_written_whole() throws Exception {
        List<Integer> list = new ArrayList<>();
        AtomicBoolean stop = new AtomicBoolean();
        Thread changing = new Thread(() -> {
            for (int i = 0; !stop.get(); i++) {
                if (i % 1000 == 0) {
                    list.clear();
                    Thread.yield();
                }
                list.add(i);
            }
        });
        changing.start();
        try {
            int written = 0;
            for (int i = 0; i < 200; i++) {
                try {
                    assertTrue(Values.read(Values.write(list), loader, new ClassFilter(null)) instanceof List);
                    written++;
                } catch (IOException busy) {
                    assertTrue(busy.getMessage().contains("changed while it was written")
                            || busy.getMessage().contains("serialization failed")
                            || busy.getMessage().contains("null"), busy.toString());
                }
            }
            assertFalse(written == 0 && stop.get());
        } finally {
            stop.set(true);
            changing.join();
        }
    }
}

import java.net.InetSocketAddress;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.*;

/** Every operation of spymemcached, in the text and in the binary protocol. */
public class SpyClient {
    static void check(boolean is, String what) {
        if (!is) {
            System.err.println(what);
            System.exit(1);
        }
    }

    public static void main(String[] args) throws Exception {
        List<InetSocketAddress> server = Arrays.asList(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])));
        for (ConnectionFactory factory : new ConnectionFactory[] {new DefaultConnectionFactory(), new BinaryConnectionFactory()}) {
            MemcachedClient c = new MemcachedClient(factory, server);
            check(c.flush().get(), "flush");
            check(c.set("a", 100, "x").get() && "x".equals(c.get("a")), "set, get");
            check(c.get("none") == null, "miss");
            check(!c.add("a", 0, "y").get() && c.add("b", 0, "y").get(), "add");
            check(c.replace("b", 0, "z").get() && !c.replace("none", 0, "z").get(), "replace");
            check(c.incr("n", 1, 10) == 10 && c.incr("n", 5) == 15 && c.decr("n", 6) == 9, "incr, decr");
            check(c.append("a", ">").get() && c.prepend("a", "<").get() && "<x>".equals(c.get("a")), "append, prepend");
            CASValue<Object> seen = c.gets("a");
            check(c.cas("a", seen.getCas(), "new") == CASResponse.OK, "cas");
            check(c.cas("a", seen.getCas(), "newer") == CASResponse.EXISTS, "cas of an old version");
            check(c.cas("none", 1, "x") == CASResponse.NOT_FOUND, "cas of nothing");
            for (int i = 0; i < 100; i++) c.set("m" + i, 0, "v" + i);
            String[] keys = new String[120];
            for (int i = 0; i < keys.length; i++) keys[i] = "m" + i;
            check(c.getBulk(keys).size() == 100, "getBulk");
            check(c.touch("a", 50).get(), "touch");
            if (factory instanceof BinaryConnectionFactory) check("new".equals(c.getAndTouch("a", 50).getValue()), "getAndTouch");
            check(c.getStats().size() == 1 && c.getVersions().size() == 1, "stats, versions");
            check(c.delete("a").get() && !c.delete("a").get(), "delete");
            c.shutdown(5, TimeUnit.SECONDS);
        }
    }
}

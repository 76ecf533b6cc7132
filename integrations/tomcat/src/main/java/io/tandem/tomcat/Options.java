package io.tandem.tomcat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

import io.tandem.tomcat.wire.Address;

/**
 * What the attributes of {@code <Manager>} say: our own and those of memcached-session-manager. Every mistake is kept and
 * reported at once when the manager starts; what memcached-session-manager needed and we do not is reported once, too.
 */
final class Options {

    /** Where the agent is when nothing says otherwise. */
    static final String DEFAULT_ADDRESS = "127.0.0.1:11211";
    /** Names the agent; Tandem sets it for the programs it runs. */
    static final String ENV_ADDRESS = "TANDEM_SESSIONS";
    /** The key that seals the sessions; Tandem sets it for the programs it runs when the cluster has a key. */
    static final String ENV_KEY = "TANDEM_SESSION_KEY";

    /** What the session tier's absence means to requests. */
    enum WhenAway { LOCAL, FAIL }

    /** Whose value of an attribute stays when two requests change it at the same time. */
    enum Conflicts { LAST, FIRST }

    /** All attributes of ours and of memcached-session-manager; {@code tandem doctor} has the same list. */
    private static final List<String> KNOWN = Arrays.asList("sessions", "key", "keyFile", "whenAway", "conflicts",
            "rotationGrace", "localCopies", "memcachedNodes", "failoverNodes", "sticky", "lockingMode",
            "lockExpiration", "requestUriIgnorePattern", "sessionBackupAsync", "sessionBackupTimeout",
            "operationTimeout", "sessionAttributeFilter", "storageKeyPrefix", "transcoderFactoryClass");

    private static final Map<String, String> MEANINGLESS = new TreeMap<>();

    static {
        MEANINGLESS.put("sticky", "sessions are right on every Tomcat at every request, with sticky routing and without");
        MEANINGLESS.put("sessionBackupAsync", "every change is stored before the response leaves");
        MEANINGLESS.put("sessionBackupTimeout", "operationTimeout is the limit");
        MEANINGLESS.put("backupThreadCount", "there are no threads for it");
        MEANINGLESS.put("customConverter", "sessions are serialized by Java itself");
        MEANINGLESS.put("copyCollectionsForSerialization",
                "an object that another request changes meanwhile is serialized again");
        MEANINGLESS.put("memcachedProtocol", "the agent is spoken to in the meta protocol");
        MEANINGLESS.put("username", "the agent asks for no password");
        MEANINGLESS.put("password", "the agent asks for no password");
        MEANINGLESS.put("enabled", "leave the <Manager> out to go without it");
        MEANINGLESS.put("enableStatistics", "counters cost nothing and are always there");
    }

    final List<String> errors = new ArrayList<>();
    final List<String> notes = new ArrayList<>();

    private String sessions;
    private String memcachedNodes;
    private String failoverNodes;
    private String key;
    private String keyFile;

    WhenAway whenAway = WhenAway.LOCAL;
    Conflicts conflicts = Conflicts.LAST;
    /** Seconds. */
    int rotationGrace = 10;
    /** Seconds that a copy stays in this JVM while nobody uses it. */
    int localCopies = 600;
    LockMode lockMode = LockMode.NONE;
    /** Of {@link LockMode#PATTERN}. */
    Pattern lockPattern;
    /** Seconds. */
    int lockExpiration = 5;
    Pattern ignore;
    /** Milliseconds: one second more than the agent itself gives up after. */
    int operationTimeout = 6000;
    String storageKeyPrefix = "host,context,webappVersion";

    /** Takes one attribute; a mistake is remembered. */
    void set(String name, String value) {
        try {
            take(name, value.trim());
        } catch (PatternSyntaxException wrong) {
            errors.add(name + ": '" + value + "' is no regular expression: " + wrong.getDescription());
        } catch (IllegalArgumentException wrong) {
            errors.add(name + ": " + wrong.getMessage());
        }
    }

    private void take(String name, String value) {
        if (MEANINGLESS.containsKey(name)) {
            notes.add(name + " has no meaning any more: " + MEANINGLESS.get(name));
            return;
        }
        switch (name) {
            case "sessions":
                sessions = value;
                break;
            case "memcachedNodes":
                memcachedNodes = value;
                break;
            case "failoverNodes":
                failoverNodes = value;
                break;
            case "key":
                key = value;
                break;
            case "keyFile":
                keyFile = value;
                break;
            case "whenAway":
                whenAway = word(value, WhenAway.values());
                break;
            case "conflicts":
                conflicts = word(value, Conflicts.values());
                break;
            case "rotationGrace":
                rotationGrace = number(value, 0, 3600, "seconds");
                break;
            case "localCopies":
                localCopies = number(value, 0, 30 * 24 * 3600, "seconds");
                break;
            case "lockExpiration":
                lockExpiration = number(value, 1, 3600, "seconds");
                break;
            case "operationTimeout":
                operationTimeout = number(value, 1, 600_000, "milliseconds");
                break;
            case "requestUriIgnorePattern":
                ignore = Pattern.compile(value);
                break;
            case "lockingMode":
                lockMode = LockMode.parse(value);
                lockPattern = lockMode == LockMode.PATTERN
                        ? Pattern.compile(value.substring(LockMode.PATTERN_PREFIX.length())) : null;
                break;
            case "storageKeyPrefix":
                Prefix.check(value);
                storageKeyPrefix = value;
                break;
            case "transcoderFactoryClass":
                notes.add("transcoderFactoryClass has no meaning any more: sessions are serialized by Java itself, "
                        + "no serializer's jars are needed");
                break;
            default:
                errors.add(unknown(name));
        }
    }

    private static String unknown(String name) {
        String nearest = null;
        int best = 4;
        for (String known : KNOWN) {
            int distance = distance(name.toLowerCase(java.util.Locale.ROOT), known.toLowerCase(java.util.Locale.ROOT));
            if (distance < best) {
                best = distance;
                nearest = known;
            }
        }
        return "unknown attribute '" + name + "'"
                + (nearest == null ? "; known are " + String.join(", ", KNOWN) + ", and those of Tomcat's managers"
                        : ": did you mean '" + nearest + "'?");
    }

    /** Levenshtein's. */
    private static int distance(String a, String b) {
        int[] row = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            row[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int corner = row[0];
            row[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int above = row[j];
                int change = corner + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
                row[j] = Math.min(change, 1 + Math.min(above, row[j - 1]));
                corner = above;
            }
        }
        return row[b.length()];
    }

    /**
     * Where the agents are: {@code sessions}, else TANDEM_SESSIONS, else {@code memcachedNodes}, else 127.0.0.1:11211.
     * The environment goes before memcachedNodes, which was written for the memcached servers that Tandem replaces.
     */
    List<Address> addresses(String environment) {
        if (sessions != null) {
            return parsed("sessions", sessions);
        }
        if (environment != null && !environment.isEmpty()) {
            if (memcachedNodes != null) {
                notes.add("memcachedNodes is not used: " + ENV_ADDRESS + " says that the agent is at " + environment);
            }
            return parsed(ENV_ADDRESS, environment);
        }
        if (memcachedNodes != null) {
            return nodes();
        }
        return parsed("sessions", DEFAULT_ADDRESS);
    }

    private List<Address> parsed(String name, String text) {
        try {
            List<Address> addresses = Address.parseList(text);
            if (addresses.isEmpty()) {
                errors.add(name + " names no address: write host:port, as in " + DEFAULT_ADDRESS);
            }
            return addresses;
        } catch (IllegalArgumentException wrong) {
            errors.add(name + ": " + wrong.getMessage());
            return new ArrayList<>();
        }
    }

    /** {@code host:port} or {@code id:host:port,id:host:port}; those named in failoverNodes come last. */
    private List<Address> nodes() {
        List<Address> first = new ArrayList<>();
        List<Address> last = new ArrayList<>();
        List<String> failover = failoverNodes == null ? new ArrayList<>()
                : new ArrayList<>(Arrays.asList(failoverNodes.split("[,\\s]+")));
        for (String part : memcachedNodes.split("[,\\s]+")) {
            if (part.isEmpty()) {
                continue;
            }
            if (part.contains("://")) {
                errors.add("memcachedNodes: " + part + " is no memcached: point it at an agent, as in "
                        + DEFAULT_ADDRESS);
                continue;
            }
            String id = "";
            String address = part;
            if (part.matches("\\w+:[^:\\[\\]]+:\\d+")) {
                id = part.substring(0, part.indexOf(':'));
                address = part.substring(id.length() + 1);
            }
            List<Address> parsed = parsed("memcachedNodes", address);
            (failover.remove(id) ? last : first).addAll(parsed);
        }
        for (String unknown : failover) {
            if (!unknown.isEmpty()) {
                errors.add("failoverNodes: '" + unknown + "' is none of memcachedNodes");
            }
        }
        first.addAll(last);
        if (first.isEmpty() && errors.isEmpty()) {
            errors.add("memcachedNodes names no address");
        }
        if (first.size() > 1) {
            notes.add("memcachedNodes names " + first.size() + " addresses: they must be agents of one Tandem cluster, "
                    + "which all have the same sessions, and are tried in this order; for independent memcached "
                    + "servers put an agent in front");
        }
        return first;
    }

    /** The keys that seal the sessions, none when none is given. */
    List<String> keys(String environment) {
        String text = key;
        if (text == null && keyFile != null) {
            try {
                text = new String(Files.readAllBytes(Paths.get(keyFile)), StandardCharsets.UTF_8);
            } catch (IOException unreadable) {
                errors.add("keyFile: " + keyFile + " cannot be read: " + unreadable);
                text = "";
            }
            if (text.trim().isEmpty() && errors.isEmpty()) {
                errors.add("keyFile: " + keyFile + " is empty");
            }
        }
        if (text == null) {
            text = environment == null ? "" : environment;
        }
        List<String> keys = new ArrayList<>();
        for (String part : text.split("[,\\s]+")) {
            if (part.isEmpty()) {
                continue;
            }
            if (part.length() < 16) {
                errors.add("key: one of the keys is shorter than 16 characters; `tandem key` makes a good one");
            }
            keys.add(part);
        }
        return keys;
    }

    private static int number(String value, int least, int most, String unit) {
        try {
            int number = Integer.parseInt(value);
            if (number >= least && number <= most) {
                return number;
            }
        } catch (NumberFormatException notANumber) {
            // Reported below.
        }
        throw new IllegalArgumentException("'" + value + "' is no number of " + unit + " from " + least + " to " + most);
    }

    private static <E extends Enum<E>> E word(String value, E[] words) {
        StringBuilder known = new StringBuilder();
        for (E word : words) {
            if (word.name().equalsIgnoreCase(value)) {
                return word;
            }
            known.append(known.length() == 0 ? "" : " or ").append(word.name().toLowerCase(java.util.Locale.ROOT));
        }
        throw new IllegalArgumentException("'" + value + "' is not " + known);
    }
}

<?php
// A client of two memcacheds as PHP offers it for sessions that are to survive: libmemcached writes to both
// (memcached.sess_number_of_replicas = 1, memcached.sess_remove_failed_servers = On). It takes requests in memcached's
// text protocol on standard input, which is a socket, and answers there.

$cache = new Memcached();
$set = $cache->setOptions([
    Memcached::OPT_BINARY_PROTOCOL => true,
    Memcached::OPT_LIBKETAMA_COMPATIBLE => true,
    Memcached::OPT_NUMBER_OF_REPLICAS => 1,
    Memcached::OPT_REMOVE_FAILED_SERVERS => true,
    Memcached::OPT_SERVER_FAILURE_LIMIT => 2,
    Memcached::OPT_RETRY_TIMEOUT => 1,
    Memcached::OPT_CONNECT_TIMEOUT => 1000,
    Memcached::OPT_POLL_TIMEOUT => 1000,
    Memcached::OPT_COMPRESSION => false,
    Memcached::OPT_TCP_NODELAY => true,
]);
foreach (array_slice($argv, 1) as $server) {
    $set = $cache->addServer($server, 11211) && $set;
}
if (!$set) {
    fwrite(STDERR, "libmemcached does not take its options: " . $cache->getResultMessage() . "\n");
    exit(1);
}
// As often as the extension's session handler tries to save: 1 + failure limit * (replicas + 1).
$attempts = 1 + 2 * (1 + 1);

/** What a change came to, in the words of the text protocol, which has others for some verbs than the binary one. */
function told(Memcached $cache, string $verb, mixed $done, string $word): string
{
    if ($done !== false) {
        return $word;
    }
    $failed = match ($cache->getResultCode()) {
        Memcached::RES_NOTSTORED => 'NOT_STORED',
        Memcached::RES_DATA_EXISTS => 'EXISTS',
        Memcached::RES_NOTFOUND => 'NOT_FOUND',
        default => 'SERVER_ERROR outcome unknown: ' . $cache->getResultMessage(),
    };
    return match ([$verb, $failed]) {
        ['add', 'EXISTS'], ['replace', 'NOT_FOUND'], ['append', 'NOT_FOUND'] => 'NOT_STORED',
        default => $failed,
    };
}

function value(Memcached $cache, string $verb, string $key): string
{
    $found = $cache->get($key, null, Memcached::GET_EXTENDED);
    if ($found === false) {
        $is_missing = $cache->getResultCode() === Memcached::RES_NOTFOUND;
        return $is_missing ? 'END' : 'SERVER_ERROR cannot read: ' . $cache->getResultMessage();
    }
    $token = $verb === 'gets' ? " {$found['cas']}" : '';
    $value = (string) $found['value'];
    return "VALUE $key 0 " . strlen($value) . "$token\r\n$value\r\nEND";
}

function set(Memcached $cache, string $key, string $value, int $life, int $attempts): bool
{
    do {
        $done = $cache->set($key, $value, $life);
    } while (!$done && --$attempts > 0);
    return $done;
}

$client = fopen('php://fd/0', 'r+');
while (($line = fgets($client)) !== false) {
    $words = explode(' ', rtrim($line));
    [$verb, $key] = $words;
    $value = null;
    if (in_array($verb, ['set', 'add', 'replace', 'cas', 'append'])) {
        $value = substr(stream_get_contents($client, $words[4] + 2), 0, -2);
        $life = (int) $words[3];
    }
    $answer = match ($verb) {
        'get', 'gets' => value($cache, $verb, $key),
        'set' => told($cache, $verb, set($cache, $key, $value, $life, $attempts), 'STORED'),
        'add' => told($cache, $verb, $cache->add($key, $value, $life), 'STORED'),
        'replace' => told($cache, $verb, $cache->replace($key, $value, $life), 'STORED'),
        'cas' => told($cache, $verb, $cache->cas((int) $words[5], $key, $value, $life), 'STORED'),
        'append' => told($cache, $verb, $cache->append($key, $value), 'STORED'),
        'delete' => told($cache, $verb, $cache->delete($key), 'DELETED'),
        'touch' => told($cache, $verb, $cache->touch($key, (int) $words[2]), 'TOUCHED'),
        'incr' => told($cache, $verb, $sum = $cache->increment($key, (int) $words[2]), (string) $sum),
    };
    fwrite($client, "$answer\r\n");
    fflush($client);
}

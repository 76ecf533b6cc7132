<?php
// Every operation of php-memcached, in the text and in the binary protocol.
function check(bool $is, string $what): void
{
    if (!$is) {
        fwrite(STDERR, "$what\n");
        exit(1);
    }
}
foreach ([false, true] as $binary) {
    $m = new Memcached();
    $m->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
    $m->addServer('127.0.0.1', (int) $argv[1]);
    check($m->flush(), 'flush');
    check($m->set('a', 'x') && $m->get('a') === 'x', 'set, get');
    check($m->add('b', 5) && !$m->add('b', 6), 'add');
    check($m->replace('b', 7) && !$m->replace('none', 1), 'replace');
    check($m->increment('b', 3) === 10 && $m->decrement('b', 4) === 6, 'increment, decrement');
    if ($binary) {
        check($m->increment('fresh', 1, 42) === 42 && $m->increment('fresh') === 43, 'initial value');
    }
    $m->setOption(Memcached::OPT_COMPRESSION, false);
    check($m->set('s', 'mid') && $m->append('s', '>') && $m->prepend('s', '<'), 'append, prepend');
    check($m->get('s') === '<mid>', 'joined');
    $got = $m->get('s', null, Memcached::GET_EXTENDED);
    check($m->cas($got['cas'], 's', 'new') && !$m->cas($got['cas'], 's', 'newer'), 'cas');
    check($m->setMulti(['m1' => 1, 'm2' => [2], 'm3' => null]), 'setMulti');
    check($m->getMulti(['m1', 'm2', 'm3', 'm4']) == ['m1' => 1, 'm2' => [2], 'm3' => null], 'getMulti');
    check($m->getDelayed(['m1', 'm2'], true) && count($m->fetchAll()) === 2, 'getDelayed');
    check($m->deleteMulti(['m1', 'm2']) == ['m1' => true, 'm2' => true], 'deleteMulti');
    check($m->touch('a', 100) && !$m->touch('none', 1), 'touch');
    // In the binary protocol -1 is a time in the far future, with memcached too.
    check($binary || ($m->set('e', 'x', -1) && $m->get('e') === false), 'expired');
    check(count($m->getStats()) === 1 && count($m->getVersion()) === 1, 'stats, version');
    check($m->delete('a') && !$m->delete('a'), 'delete');
    check($m->getResultCode() === Memcached::RES_NOTFOUND, 'result code');
    $m->quit();
}

"""Every operation of pylibmc (libmemcached), in the text and in the binary protocol."""
import sys
import time

import pylibmc

for binary in (False, True):
    c = pylibmc.Client(["127.0.0.1:" + sys.argv[1]], binary=binary, behaviors={"cas": True})
    c.flush_all()
    assert c.set("a", "1") and c.get("a") == "1"
    assert c.add("b", 2) and not c.add("b", 3) and c.get("b") == 2
    assert c.replace("b", 4)
    try:
        assert not c.replace("none", 1)
    except pylibmc.NotFound:
        pass
    assert c.incr("b", 3) == 7 and c.decr("b", 2) == 5
    try:
        c.incr("none")
        raise SystemExit("incr of nothing")
    except pylibmc.NotFound:
        pass
    assert c.set("s", b"mid") and c.append("s", b">") and c.prepend("s", b"<") and c.get("s") == b"<mid>"
    value, cas = c.gets("s")
    assert c.cas("s", b"new", cas) and not c.cas("s", b"newer", cas) and c.get("s") == b"new"
    assert c.set_multi({"m%d" % i: i for i in range(100)}) == []
    assert c.get_multi(["m%d" % i for i in range(120)]) == {"m%d" % i: i for i in range(100)}
    assert c.delete_multi(["m1", "m2"]) and c.get("m1") is None
    assert c.add_multi({"m1": 1, "m3": 3}) == ["m3"]
    assert c.set("t", "x", time=100) and c.touch("t", 1) and not c.touch("none", 1)
    time.sleep(1.3)
    assert c.get("t") is None
    big = "v" * 900_000
    assert c.set("big", big) and c.get("big") == big
    assert c.get_stats()[0][1]["curr_items"]
    assert c.delete("a") and not c.delete("a")
    c.disconnect_all()

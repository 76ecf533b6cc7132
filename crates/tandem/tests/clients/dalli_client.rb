# Every operation of Dalli 3, in the binary and in the meta protocol.
require "dalli"

def check(is, what)
  abort what unless is
end

[:binary, :meta].each do |protocol|
  c = Dalli::Client.new("127.0.0.1:#{ARGV[0]}", protocol: protocol, cache_nils: false)
  c.flush
  check c.set("a", { "x" => 1 }, 100), "set"
  check c.get("a") == { "x" => 1 }, "get"
  check c.get("none").nil?, "miss"
  check !c.add("a", 1) && c.add("b", 1), "add"
  check c.replace("b", 2) && [0, false, nil].include?(c.replace("none", 1)), "replace"
  check c.incr("n", 1, 100, 5) == 5 && c.incr("n", 2) == 7 && c.decr("n", 3) == 4, "incr, decr"
  check c.incr("none2").nil?, "incr of nothing"
  c.set("s", "mid", 0, raw: true)
  check c.append("s", ">") && c.prepend("s", "<") && c.get("s", raw: true) == "<mid>", "append, prepend"
  check c.cas("b") { |v| v + 1 } && c.get("b") == 3, "cas"
  value, cas = c.get_cas("b")
  check value == 3 && c.set_cas("b", 4, cas) && !c.set_cas("b", 5, cas), "set_cas"
  check c.replace_cas("b", 6, c.get_cas("b")[1]), "replace_cas"
  check !c.delete_cas("b", 1), "delete_cas of another version"
  check c.get_multi("a", "b", "none") == { "a" => { "x" => 1 }, "b" => 6 }, "get_multi"
  c.multi { 50.times { |i| c.set("q#{i}", i) } }
  check c.get_multi(*(0...50).map { |i| "q#{i}" }).size == 50, "quiet sets"
  check c.touch("a", 50) && !c.touch("none", 1), "touch"
  check c.gat("a", 50) == { "x" => 1 }, "gat"
  check c.fetch("f") { "made" } == "made" && c.get("f") == "made", "fetch"
  c.set("b\u00e9 b", "odd", 0)
  check c.get("b\u00e9 b") == "odd", "a key with a space"
  check c.stats.values.first["curr_items"].to_i > 50, "stats"
  check c.version.values.first, "version"
  check c.delete("a") && !c.delete("a"), "delete"
  c.close
end

// Every operation of memjs (binary protocol, SASL when it has a name).
const assert = require("assert");
const memjs = require("memjs");

(async () => {
  const port = process.argv[2];
  const c = memjs.Client.create("127.0.0.1:" + port, { timeout: 5, retries: 0 });
  await c.flush();
  assert(await c.set("a", "x", { expires: 100 }));
  assert.strictEqual((await c.get("a")).value.toString(), "x");
  assert.strictEqual((await c.get("none")).value, null);
  assert.strictEqual(await c.add("a", "y", {}), false);
  assert(await c.add("b", "y", {}));
  assert(await c.replace("b", "z", {}));
  assert.strictEqual(await c.replace("none", "z", {}), false);
  assert.strictEqual((await c.increment("n", 5, { initial: 10 })).value, 10);
  assert.strictEqual((await c.increment("n", 5, {})).value, 15);
  assert.strictEqual((await c.decrement("n", 6, {})).value, 9);
  assert(await c.append("a", ">"));
  assert.strictEqual((await c.get("a")).value.toString(), "x>");
  // memjs sends the opcode of append.
  assert(await c.prepend("a", "<"));
  assert.strictEqual((await c.get("a")).value.toString(), "x><");
  assert(await c.touch("a", 50));
  assert(await c.delete("a"));
  assert.strictEqual(await c.delete("a"), false);
  await new Promise((done, fail) => c.stats((error, server, stats) => (error ? fail(error) : done(stats))));
  c.quit();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});

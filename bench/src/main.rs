//! Compares Tandem with the programs it stands in for, side by side on this machine.
//!
//! `cargo run -p bench --release -- cache SERVER` where SERVER is the release binary; `routes`,
//! `proxy` and `site` likewise, and after the last two a part of the name of the cases that are wanted. (`bare` and `relay`
//! are those of [`bare`], which the others start.) `sessions` has the session tier beside one memcached. `torture` compares nothing: it looks for broken promises.

#![forbid(unsafe_code)]

mod ab;
mod bare;
mod cache;
mod calls;
mod h2load;
mod load;
mod process;
mod proxy;
mod rounds;
mod routes;
mod sessions;
mod site;
mod stage;
mod table;
mod torture;

/// The release binary, from the top of the repository.
const BUILT: &str = "target/release/tandem";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cache", server] => cache::run(server),
        ["relay", address, origin] => {
            let [address, origin] = [address, origin].map(|text| text.parse().expect("an address"));
            bare::relay(address, origin).expect("it passes on");
        }
        ["bare", address] => {
            let address = address.parse().expect("an address and a port");
            bare::serve(address).expect("it serves");
        }
        ["proxy"] => proxy::run(BUILT, None),
        ["proxy", server] => proxy::run(server, None),
        ["proxy", server, only] => proxy::run(server, Some(only)),
        ["routes"] => routes::run(BUILT),
        ["routes", server] => routes::run(server),
        ["sessions"] => sessions::run(BUILT, false),
        ["sessions", server] => sessions::run(server, false),
        ["sessions", server, "catch-up"] => sessions::run(server, true),
        ["torture", ref words @ ..] => torture::main(BUILT, words),
        ["site"] => site::run_all(BUILT, None),
        ["site", server] => site::run_all(server, None),
        ["site", server, only] => site::run_all(server, Some(only)),
        _ => {
            eprintln!(
                "usage: bench cache PATH-OF-TANDEM\n       bench routes [PATH-OF-TANDEM]\n       bench proxy|site [PATH-OF-TANDEM [CASES]]\n       bench sessions [PATH-OF-TANDEM [catch-up]]\n       bench {}",
                torture::USAGE
            );
            std::process::exit(2);
        }
    }
}

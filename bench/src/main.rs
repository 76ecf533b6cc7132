//! Compares Tandem with the programs it stands in for, side by side on this machine.
//!
//! `cargo run --release --manifest-path bench/Cargo.toml -- cache SERVER` where SERVER is the release binary.

mod cache;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cache", server] => cache::run(server),
        _ => {
            eprintln!("usage: bench cache PATH-OF-TANDEM");
            std::process::exit(2);
        }
    }
}

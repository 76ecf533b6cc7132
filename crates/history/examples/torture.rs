//! Tortures a rehearsal and checks what its clients saw:
//! `cargo run -p tandem-history --release --example torture -- target/release/tandem SECONDS SEED`

use std::process::ExitCode;
use std::time::Duration;

use tandem_history::torture::{Plan, run};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [tandem, seconds, seed] = &args[..] else {
        eprintln!("usage: torture TANDEM SECONDS SEED");
        return ExitCode::from(2);
    };
    let (Ok(seconds), Ok(seed)) = (seconds.parse(), seed.parse()) else {
        eprintln!("seconds and seed are numbers");
        return ExitCode::from(2);
    };
    let dir = std::env::temp_dir().join(format!("tandem-torture-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir_all(&dir) {
        eprintln!("{}: {error}", dir.display());
        return ExitCode::FAILURE;
    }
    let report = run(&Plan {
        tandem: tandem.into(),
        dir: dir.clone(),
        seed,
        length: Duration::from_secs(seconds),
        faults: usize::MAX,
        clients: 16,
    });
    let _ = std::fs::remove_dir_all(&dir);
    match report {
        Ok(report) => {
            print!("{report}");
            if report.holds() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("seed {seed}: {error}");
            ExitCode::FAILURE
        }
    }
}

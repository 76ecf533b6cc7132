//! Ten routes against ten thousand: CPU of the server per request.
//!
//! One worker on each side, everything else the same. Half of the routes name a path, half a host, and each answers
//! itself, so that finding it is as large a part of a request as it can be. Where all ten thousand are asked for in turn,
//! what each route has of its own (its answer, its counters) comes from memory each time; where ten of them are, only the
//! search sees how many there are.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::load::{self, Load};
use crate::process::{Server, free};
use crate::{rounds, table};

const ROUNDS: usize = 9;
/// Routes, and how many of them are asked for.
const SIDES: [(usize, usize); 4] = [(10, 10), (1_000, 1_000), (10_000, 10), (10_000, 10_000)];

struct Side {
    server: Server,
    at: SocketAddr,
    script: String,
}

/// A directory for what the servers write.
struct Stage(PathBuf);

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    fn side(&self, tandem: &str, (routes, asked): (usize, usize)) -> Side {
        let dir = self.0.display();
        let at = free("127.0.0.1");
        let mut file = format!(
            "[cluster]\nworkers = 1\nadmin = false\nstate = \"{dir}/state-{routes}-{asked}\"\n\
             [listener.web]\nbind = \"{at}\"\nlog = \"{dir}/{routes}-{asked}.log\"\nroute = [\n"
        );
        for n in 0..routes / 2 {
            let answer = "respond = { status = 200, body = \"found\" }";
            let _ = writeln!(file, "{{ path = \"/app/{n}/*\", {answer} }},");
            let _ = writeln!(file, "{{ host = \"h{n}.example\", {answer} }},");
        }
        file.push_str("]\n");
        let path = self.0.join(format!("{routes}-{asked}.toml"));
        std::fs::write(&path, file).expect("room for files");
        let mut command = Command::new(tandem);
        command.arg("run").arg(path);
        let script = format!(
            "local n = 0\nlocal host = {{}}\nrequest = function()\n n = (n + 7919) % {asked}\n \
             if n % 2 == 0 then return wrk.format('GET', '/app/' .. n // 2 .. '/page') end\n \
             host['Host'] = 'h' .. n // 2 .. '.example'\n return wrk.format('GET', '/page', host)\nend\n"
        );
        Side {
            server: Server::start(command, &[at]),
            at,
            script: script.replace("n // 2", "math.floor(n / 2)"),
        }
    }
}

/// Compares listeners of `tandem` (a path) with few and with many routes.
pub fn run(tandem: &str) {
    let stage = Stage(std::env::temp_dir().join(format!("bench-routes-{}", std::process::id())));
    std::fs::create_dir_all(&stage.0).expect("a directory for temporary files");
    let mut sides = SIDES.map(|routes| stage.side(tandem, routes));
    let numbers = rounds::compare(&mut sides, ROUNDS, |side| {
        let before = side.server.cpu();
        let answers = load::run(&Load {
            url: format!("http://{}/", side.at),
            script: Some(&side.script),
            fields: &[],
            connections: 32,
            seconds: 1,
            tls: load::Tls::default(),
        });
        (side.server.cpu() - before) as f64 / answers as f64
    });
    table::head(&["routes", "asked for in turn", "us", "ratio", "budget"]);
    for ((routes, asked), number) in SIDES.iter().zip(&numbers) {
        table::row(&[
            routes.to_string(),
            asked.to_string(),
            format!("{:.2}", number / 1_000.0),
            format!("{:.2}", number / numbers[0]),
            if *routes == 10_000 {
                "1.10".into()
            } else {
                String::new()
            },
        ]);
    }
}

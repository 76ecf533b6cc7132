//! A site as clients see it: over a real socket, by raw bytes.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem_http::{Engine, ListenerConfig};
use tandem_model::{Address, Site, Timeouts};
use tandem_net::ClientRule;
use tandem_site::SiteHandler;
use tandem_telemetry::{Telemetry, event::Log};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};

/// A directory with `root` in it, and beside that what nobody may see.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tandem-outside-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("root/sub")).unwrap();
        std::fs::write(path.join("secret"), "the secret").unwrap();
        Self(path)
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Serves a site, and has a client talk to it.
fn serve<F: Future<Output = ()> + 'static>(
    site: Site,
    client: impl FnOnce(SocketAddr) -> F + 'static,
) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    let test = async move {
        let telemetry = Telemetry::new("local", 1, Log::Silent);
        let config = ListenerConfig {
            name: "test".into(),
            handler: Arc::new(SiteHandler::new(&site, 1, telemetry.clone()).unwrap()),
            timeouts: Timeouts::default(),
            rule: ClientRule::default(),
            http2: false,
            limits: tandem_model::Limits::default(),
            admission: Arc::default(),
            internal: false,
            hands_over: false,
            errors: None,
            log: None,
            log_format: tandem_model::AccessFormat::Combined,
            request_id: false,
            meters: tandem_http::ListenerMeters::default(),
            proxy_protocol: false,
            tls: None,
        };
        let engine = Engine::new(0, 1_000, telemetry);
        let mut bound = tandem_net::listen::bind(&Address::tcp("127.0.0.1", 0), 1).unwrap();
        let socket = bound[0].sockets.remove(0);
        let config = Arc::new(ArcSwap::from_pointee(config));
        let _listening = engine.listen(socket, config).unwrap();
        client(bound[0].address.unwrap()).await;
    };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_mins(1), test).await })
        .expect("the test hangs");
}

fn site(directory: &Directory) -> Site {
    Site {
        name: "www".into(),
        root: directory.root(),
        index: vec!["index.html".into()],
        ..Site::default()
    }
}

/// Everything that comes for a target, until the server closes.
async fn get(address: SocketAddr, target: &[u8], fields: &str) -> Vec<u8> {
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut request = [
        b"GET ",
        target,
        b" HTTP/1.1\r\nHost: www\r\nConnection: close\r\n",
    ]
    .concat();
    write!(request, "{fields}\r\n").unwrap();
    client.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    // A broken connection is an answer too.
    let _ = client.read_to_end(&mut answer).await;
    answer
}

#[test]
fn no_trick_of_a_path_reads_what_is_outside() {
    let directory = Directory::new();
    directory.write("a.txt", "inside");
    let out = directory.0.join("secret");
    std::os::unix::fs::symlink("../../secret", directory.root().join("sub/link")).unwrap();
    std::os::unix::fs::symlink(&out, directory.root().join("absolute")).unwrap();
    serve(site(&directory), |address| async move {
        let inside = get(address, b"/sub/../a.txt", "").await;
        assert!(inside.ends_with(b"inside"));
        let steps: [&[u8]; 12] = [
            b"../",
            b"..%2f",
            b"%2e%2e/",
            b"%2e%2e%2f",
            b"%252e%252e%252f",
            b"..\\",
            b"..%5c",
            b"%c0%ae%c0%ae/",
            b"..%c0%af",
            b".%00./",
            b"..;/",
            b"....//",
        ];
        let mut targets: Vec<Vec<u8>> = Vec::new();
        for step in steps {
            for (before, times) in [("/", 1), ("/", 3), ("/sub/", 2), ("//", 1), ("/a.txt/", 2)] {
                targets.push([before.as_bytes(), &step.repeat(times), b"secret"].concat());
            }
        }
        let spelt = out.to_string_lossy().into_owned();
        let more = [
            "/sub/link",
            "/absolute",
            "/a.txt%00/../secret",
            "/sub/link/",
            "/%2F..%2Fsecret",
        ];
        targets.extend(more.map(|target| target.as_bytes().to_vec()));
        targets.push(format!("/{spelt}").into_bytes());
        targets.push(format!("http://www/../{spelt}").into_bytes());
        targets.push(spelt.into_bytes());
        for target in targets {
            let answer = get(address, &target, "").await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let target = String::from_utf8_lossy(&target);
            assert!(answer.starts_with("HTTP/1.1 4"), "{target}: {answer}");
            assert!(!answer.contains("the secret"), "{target}");
        }
    });
}

/// Asks for a file that is too large for the socket's buffers, and reads no more than its head and beginning.
async fn begin(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET /large.bin HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut first = [0; 1_000];
    client.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200 OK\r\n"));
    client
}

const LARGE: usize = 64 << 20;

#[test]
fn a_file_that_shrinks_while_it_is_sent_breaks_the_connection() {
    let directory = Directory::new();
    let file = directory.write("large.bin", vec![b'x'; LARGE]);
    serve(site(&directory), |address| async move {
        let mut client = begin(address).await;
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_len(1_000).unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        assert!(rest.len() < LARGE / 2, "{} bytes came", rest.len());
        // The site goes on.
        let again = get(address, b"/nothing", "").await;
        assert!(again.starts_with(b"HTTP/1.1 404"));
    });
}

#[test]
fn a_file_that_vanishes_while_it_is_sent_is_sent_whole() {
    let directory = Directory::new();
    let file = directory.write("large.bin", vec![b'x'; LARGE]);
    serve(site(&directory), |address| async move {
        let mut client = begin(address).await;
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "another").unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() > LARGE - 1_000 && rest.iter().all(|&b| b == b'x'));
    });
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_sent_as_long_as_was_said() {
    let directory = Directory::new();
    let file = directory.write("large.bin", vec![b'x'; LARGE]);
    serve(site(&directory), |address| async move {
        let mut client = begin(address).await;
        let mut file = std::fs::File::options().append(true).open(file).unwrap();
        file.write_all(&[b'y'; 1_000]).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() <= LARGE && rest.len() > LARGE - 1_000);
        assert!(rest.iter().all(|&b| b == b'x'));
    });
}

#[test]
fn what_a_disk_must_be_asked_for_comes_whole() {
    let directory = Directory::new();
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let file = directory.write("cold.bin", &content);
    serve(site(&directory), |address| async move {
        let cold = || {
            let file = std::fs::File::open(&file).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        };
        cold();
        let whole = get(address, b"/cold.bin", "").await;
        assert!(whole.ends_with(&content));
        cold();
        let part = get(address, b"/cold.bin", "Range: bytes=2000000-2000999\r\n").await;
        assert!(part.ends_with(&content[2_000_000..2_001_000]));
        assert!(part.starts_with(b"HTTP/1.1 206 "));
    });
}

#[test]
fn codings_parts_and_the_status_page_come_over_the_wire() {
    let directory = Directory::new();
    directory.write("a.txt", "0123456789".repeat(100));
    let site = Site {
        compress: true,
        status: Some("/status".into()),
        ..site(&directory)
    };
    serve(site, |address| async move {
        let text = |answer: Vec<u8>| String::from_utf8_lossy(&answer).into_owned();
        let coded = text(get(address, b"/a.txt", "Accept-Encoding: gzip\r\n").await);
        assert!(coded.contains("\r\nContent-Encoding: gzip\r\n"), "{coded}");
        let parts = text(get(address, b"/a.txt", "Range: bytes=1-2,5-6\r\n").await);
        assert!(parts.starts_with("HTTP/1.1 206 "), "{parts}");
        assert!(parts.contains("\r\n\r\n12\r\n--") && parts.contains("\r\n\r\n56\r\n--"));
        let status = text(get(address, b"/status", "").await);
        let last = "Active connections: 1 \nserver accepts handled requests\n 3 3 3 \n\
                    Reading: 0 Writing: 1 Waiting: 0 \n";
        assert!(status.ends_with(last), "{status}");
    });
}

#[test]
fn a_head_that_is_coming_in_is_reading() {
    let directory = Directory::new();
    let site = Site {
        status: Some("/status".into()),
        ..site(&directory)
    };
    serve(site, |address| async move {
        let mut idle = TcpStream::connect(address).await.unwrap();
        let whole = b"GET /nothing HTTP/1.1\r\nHost: www\r\n\r\n";
        idle.write_all(whole).await.unwrap();
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /nothing HTTP/1.1\r\nHo")
            .await
            .unwrap();
        loop {
            // The part of a head arrives when it arrives.
            let page = get(address, b"/status", "").await;
            let page = String::from_utf8(page).unwrap();
            if page.ends_with("Reading: 1 Writing: 1 Waiting: 1 \n") {
                assert!(page.contains("\r\n\r\nActive connections: 3 \n"), "{page}");
                break;
            }
            tokio::task::yield_now().await;
        }
        slow.write_all(b"st: www\r\n\r\n").await.unwrap();
        slow.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
        let page = get(address, b"/status", "").await;
        assert!(page.ends_with(b"Reading: 0 Writing: 1 Waiting: 2 \n"));
    });
}

#[test]
fn a_video_from_the_middle_and_an_error_page_come_over_the_wire() {
    let directory = Directory::new();
    directory.write("a.flv", "x".repeat(100_000));
    directory.write("404.html", "nothing of the kind");
    let site = Site {
        errors: [(404, "404.html".into())].into(),
        ..site(&directory)
    };
    serve(site, |address| async move {
        let answer = get(address, b"/a.flv?start=99000", "").await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 1013\r\n"), "{text}");
        let expected = [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &[b'x'; 1_000]].concat();
        assert!(answer.ends_with(&expected));
        let large = get(address, b"/a.flv?start=1", "").await;
        let body = large.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4;
        assert!(large[body..].starts_with(&expected[..13]));
        assert_eq!(large.len() - body, 13 + 99_999);
        let none = get(address, b"/nothing", "").await;
        let none = String::from_utf8(none).unwrap();
        assert!(none.starts_with("HTTP/1.1 404 Not Found\r\n"), "{none}");
        assert!(none.ends_with("\r\n\r\nnothing of the kind"), "{none}");
    });
}

#[test]
fn options_names_the_methods() {
    let directory = Directory::new();
    serve(site(&directory), |address| async move {
        for target in ["/", "*"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let request =
                format!("OPTIONS {target} HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 204 No Content\r\n"),
                "{answer}"
            );
            assert!(
                answer.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"),
                "{answer}"
            );
        }
    });
}

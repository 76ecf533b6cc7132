//! A scene of a test: an application, what it runs in, and how to look at its processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tandem_app::{AppContext, AppHandle, Instance, Ports, STARTUP};
use tandem_model::{App, Check, Program, Spread, Timeouts};
use tandem_telemetry::{AppInstance, Telemetry, event::Log};

/// A keeper, a server, a parent.
pub const TESTING: &str = env!("CARGO_BIN_EXE_tandem-app-testing");
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Marks all processes of a scene, by their environment.
pub const MARK: &str = "TANDEM_TEST_MARK";

/// An application, where it runs, and a directory for what it writes.
pub struct Scene {
    pub app: App,
    pub context: AppContext,
    pub dir: PathBuf,
    pub mark: String,
}

impl Scene {
    /// A shell script; `$listen` becomes a server.
    pub fn new(script: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mark = format!(
            "tandem-app-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let dir = std::env::temp_dir().join(&mark);
        std::fs::create_dir_all(&dir).unwrap();
        let env = BTreeMap::from([
            (MARK.to_owned(), mark.clone()),
            ("listen".to_owned(), format!("{TESTING} listen")),
        ]);
        let app = App {
            name: "shop".into(),
            on: vec!["app1".into()],
            port: None,
            program: Program::Run {
                command: vec!["sh".into(), "-c".into(), script.into()],
                dir: None,
                env,
                user: None,
                instances: 1,
                stop_timeout: Duration::from_secs(10),
            },
            weight: BTreeMap::new(),
            spread: Spread::default(),
            max_connections: None,
            check: Check::default(),
            send_proxy: None,
            fastcgi: None,
            timeouts: Timeouts::default(),
            rehearse: None,
        };
        let context = AppContext {
            node: "app1".into(),
            host: [127, 0, 0, 1].into(),
            sessions: Some("127.0.0.1:11211".into()),
            session_key: None,
            user: None,
            secrets: Vec::new(),
            keeper: TESTING.into(),
            dir: dir.clone(),
            first_port: None,
            ports: Ports::default(),
            startup: STARTUP,
            telemetry: Telemetry::new("app1", 1, Log::Silent),
        };
        Self {
            app,
            context,
            dir,
            mark,
        }
    }

    pub fn run(
        &mut self,
        set: impl FnOnce(&mut Vec<String>, &mut Option<String>, &mut u16, &mut Duration),
    ) {
        let Program::Run {
            command,
            user,
            instances,
            stop_timeout,
            ..
        } = &mut self.app.program
        else {
            unreachable!("a scene has a program");
        };
        set(command, user, instances, stop_timeout);
    }

    pub fn instances(&mut self, count: u16) {
        self.run(|_, _, instances, _| *instances = count);
    }

    pub fn stop_timeout(&mut self, millis: u64) {
        self.run(|_, _, _, timeout| *timeout = Duration::from_millis(millis));
    }

    pub fn start(&self) -> AppHandle {
        AppHandle::start(&self.app, &self.context).unwrap()
    }

    /// Starts and waits until so many instances accept connections.
    pub async fn up(&self, count: usize) -> AppHandle {
        let handle = self.start();
        self.published(&handle, count).await;
        handle
    }

    pub async fn published(&self, handle: &AppHandle, count: usize) -> Vec<Instance> {
        let mut instances = handle.instances();
        let wait = instances.wait_for(|list| list.len() == count);
        let published = tokio::time::timeout(PATIENCE, wait)
            .await
            .map(|list| list.unwrap().clone());
        published.unwrap_or_else(|_| panic!("never {count} instances: {:?}", self.events()))
    }

    pub fn status(&self, index: usize) -> AppInstance {
        self.context.telemetry.registry.status().apps[0].instances[index].clone()
    }

    pub fn events(&self) -> Vec<String> {
        let events = self.context.telemetry.events.last(usize::MAX);
        events
            .into_iter()
            .map(|event| format!("{}: {}", event.subject, event.what))
            .collect()
    }

    pub async fn event(&self, part: &str) -> String {
        until(part, || {
            self.events().into_iter().find(|event| event.contains(part))
        })
        .await
    }

    /// All living processes of the scene, keepers included.
    pub fn alive(&self) -> Vec<i32> {
        marked(&self.mark)
    }

    pub async fn written(&self, name: &str) -> String {
        let path = self.dir.join(name);
        until(name, || {
            std::fs::read_to_string(&path)
                .ok()
                .filter(|text| text.ends_with('\n'))
        })
        .await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for pid in self.alive() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn marked(mark: &str) -> Vec<i32> {
    let mark = format!("{MARK}={mark}").into_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let has = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|&b| b == 0)
            .any(|variable| variable == mark)
    };
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(has)
        .collect()
}

/// Looks until there is something, with a deadline.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn exists(pid: i32) -> bool {
    // Also for a zombie.
    std::fs::exists(format!("/proc/{pid}")).unwrap()
}

pub fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    after.split_whitespace().nth(1).unwrap().parse().unwrap()
}

pub fn address(instance: &Instance) -> SocketAddr {
    instance.address.to_string().parse().unwrap()
}

pub fn kill(pid: i32) {
    signal_to(pid, Signal::KILL);
}

pub fn signal_to(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A program with a child of it in the same group and one that left it.
pub const FAMILY: &str = "env >env; sleep 1000 & (setsid sleep 1000 &) ; exec $listen";

/// What the parent of [`start_parent`] withholds, whatever its variable is called.
pub const SECRET: &str = "a secret of another name";

/// A Tandem of its own, with a script as its application.
pub fn start_parent(scene: &Scene, script: &str) -> std::process::Child {
    let mut parent = Command::new(TESTING)
        .args(["parent", "sh", "-c", script])
        .current_dir(&scene.dir)
        .env(MARK, &scene.mark)
        .env("listen", format!("{TESTING} listen"))
        .env("TANDEM_KEY", "secret")
        .env("TANDEM_ADMIN_TOKEN", "another secret")
        .env("OF_ANOTHER_NAME", SECRET)
        .env("NO_PART_OF_IT", "of another name")
        .env("NOTIFY_SOCKET", "/nowhere")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let out = parent.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
    assert_eq!(said, "up\n");
    parent
}

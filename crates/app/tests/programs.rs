//! What is promised of programs, kept by real ones.

mod scene;

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use scene::{
    FAMILY, PATIENCE, Scene, address, exists, kill, parent, signal_to, start_parent, until,
};
use tandem_app::{AppHandle, Instance};
use tandem_model::{Address, Program};
use tandem_telemetry::Health;

#[tokio::test]
async fn a_program_is_told_its_place_and_published_once_it_listens() {
    let mut scene = Scene::new("exit 1");
    let script = "echo $PORT,$HOST,$TANDEM_NODE,$TANDEM_INSTANCE,$TANDEM_SESSIONS,$1,$2,$PWD >told; exec $listen";
    scene.run(|command, _, _, _| {
        *command = [
            "sh",
            "-c",
            script,
            "sh",
            "{host}:{port}",
            "{node}/{instance}@{sessions}{x}",
        ]
        .map(String::from)
        .into();
    });
    let handle = scene.up(1).await;
    let published = handle.instances().borrow().clone();
    let address = address(&published[0]);
    assert_eq!(
        (published[0].index, address.ip().to_string().as_str()),
        (0, "127.0.0.1")
    );
    TcpStream::connect(address).unwrap();
    let (port, dir) = (address.port(), scene.dir.canonicalize().unwrap());
    assert_eq!(
        scene.written("told").await,
        format!(
            "{port},127.0.0.1,app1,0,127.0.0.1:11211,127.0.0.1:{port},app1/0@127.0.0.1:11211{{x}},{}\n",
            dir.display()
        )
    );
    let status = scene.status(0);
    assert_eq!((status.health, status.restarts), (Health::Up, 0));
    assert_eq!(status.address, address.to_string());
    let command =
        std::fs::read_to_string(format!("/proc/{}/cmdline", status.pid.unwrap())).unwrap();
    assert!(
        command.contains("listen"),
        "the pid is the program's: {command:?}"
    );
    assert!(scene.events()[0].contains("app shop/0: it accepts connections on 127.0.0.1:"));
    handle.stop().await;
    assert_eq!(scene.alive(), Vec::<i32>::new());
    assert_eq!(scene.status(0).health, Health::Down);
}

#[tokio::test]
async fn a_killed_program_is_withdrawn_and_comes_back_on_its_port() {
    let scene = Scene::new("exec $listen");
    let handle = scene.up(1).await;
    let before = (
        handle.instances().borrow()[0].clone(),
        scene.status(0).pid.unwrap(),
    );
    kill(before.1 as i32);
    scene
        .event("it was killed (SIGKILL); it is started again at once")
        .await;
    let after = scene.published(&handle, 1).await;
    assert_eq!(after[0], before.0);
    let status = until("restart", || {
        Some(scene.status(0)).filter(|status| status.restarts == 1 && status.pid.is_some())
    })
    .await;
    assert_ne!(status.pid.unwrap(), before.1);
    // By way of its control, too.
    let control = scene
        .context
        .telemetry
        .registry
        .find_control("shop/0")
        .unwrap();
    control.kill().unwrap();
    until("restart", || (scene.status(0).restarts == 2).then_some(())).await;
    handle.stop().await;
    assert!(control.kill().is_err());
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn the_withdrawal_does_not_wait_for_what_the_program_left_behind() {
    let scene = Scene::new("setsid sleep 1000 & sleep 1000 & exec $listen");
    let handle = scene.up(1).await;
    let mut instances = handle.instances();
    instances.mark_unchanged();
    kill(scene.status(0).pid.unwrap() as i32);
    tokio::time::timeout(PATIENCE, instances.wait_for(Vec::is_empty))
        .await
        .unwrap()
        .unwrap();
    handle.stop().await;
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn what_forked_twice_to_be_left_alone_dies_with_the_program() {
    let scene = Scene::new(
        "(setsid sh -c 'sleep 1000 & echo $! >far; sleep 1000' & echo $! >near); exec $listen",
    );
    let handle = scene.up(1).await;
    let near: i32 = scene.written("near").await.trim().parse().unwrap();
    let far: i32 = scene.written("far").await.trim().parse().unwrap();
    let program = scene.status(0).pid.unwrap() as i32;
    let keeper = parent(program);
    until("adoption", || (parent(near) == keeper).then_some(())).await;
    kill(program);
    until("death", || {
        (!exists(near) && !exists(far) && !exists(keeper)).then_some(())
    })
    .await;
    scene.published(&handle, 1).await;
    handle.stop().await;
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn nothing_is_left_when_tandem_is_killed() {
    let scene = Scene::new("");
    let mut parent = start_parent(&scene, FAMILY);
    // Parent, keeper, program, two sleepers.
    until("all of it", || (scene.alive().len() == 5).then_some(())).await;
    let told = scene.written("env").await;
    assert!(
        !told.contains("secret") && !told.contains("NOTIFY_SOCKET"),
        "{told}"
    );
    assert!(told.contains("NO_PART_OF_IT"), "{told}");
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("nothing", || scene.alive().is_empty().then_some(())).await;
}

#[tokio::test]
async fn the_program_dies_with_its_keeper_and_is_started_again() {
    let scene = Scene::new("sleep 1000 & exec $listen");
    let handle = scene.up(1).await;
    let program = scene.status(0).pid.unwrap() as i32;
    kill(parent(program));
    scene.event("its keeper was killed").await;
    until("death", || (!exists(program)).then_some(())).await;
    until("restart", || (scene.status(0).restarts == 1).then_some(())).await;
    scene.published(&handle, 1).await;
    handle.stop().await;
    until("nothing", || scene.alive().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_signal_that_is_sent_to_all_processes_of_the_service_ends_no_keeper() {
    // The program heeds them, which are orders to Tandem: to open its logs anew, for one.
    let scene = Scene::new("trap 'echo heard >>heard' USR1 USR2; $listen & while :; do wait; done");
    let handle = scene.up(1).await;
    let program = scene.status(0).pid.unwrap() as i32;
    let keeper = parent(program);
    for signal in [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::VTALARM] {
        signal_to(keeper, signal);
    }
    for signal in [Signal::USR1, Signal::USR2] {
        signal_to(program, signal);
    }
    scene.written("heard").await;
    // It carries out orders as before.
    assert!(exists(keeper) && exists(program));
    assert_eq!(scene.status(0).restarts, 0);
    handle.stop().await;
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn the_program_dies_when_tandem_and_keeper_are_killed_together() {
    let scene = Scene::new("");
    let mut tandem = start_parent(&scene, FAMILY);
    let listens = |pid: &i32| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.contains("\0listen\0")
    };
    let program = until("the program", || scene.alive().into_iter().find(listens)).await;
    let keeper = parent(program);
    let name = std::fs::read_to_string(format!("/proc/{keeper}/comm")).unwrap();
    assert_eq!(
        name, "app-keeper\n",
        "whoever kills by the name of tandem spares it"
    );
    kill(tandem.id() as i32);
    kill(keeper);
    tandem.wait().unwrap();
    until("death", || {
        (!scene.alive().contains(&program)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_program_that_heeds_sigterm_may_finish() {
    let mut scene = Scene::new("trap 'echo bye >bye; exit 0' TERM; $listen & wait");
    scene.stop_timeout(30_000);
    let handle = scene.up(1).await;
    let keeper = parent(scene.status(0).pid.unwrap() as i32);
    let begun = Instant::now();
    handle.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(scene.written("bye").await, "bye\n");
    assert_eq!(scene.alive(), Vec::<i32>::new());
    until("the keeper's end is taken note of", || {
        (!exists(keeper)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn programs_that_ignore_sigterm_are_killed_together_after_the_timeout() {
    let mut scene = Scene::new("trap '' TERM; sleep 1000 & exec $listen");
    scene.instances(3);
    scene.stop_timeout(500);
    let handle = scene.up(3).await;
    let mut ports: Vec<u16> = handle
        .instances()
        .borrow()
        .iter()
        .map(|i| address(i).port())
        .collect();
    ports.dedup();
    assert_eq!(ports.len(), 3);
    let begun = Instant::now();
    handle.stop().await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert_eq!(
        scene
            .events()
            .iter()
            .filter(|event| event.contains("did not stop within 0.5 s"))
            .count(),
        3
    );
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn a_program_that_fails_is_started_again_after_growing_pauses() {
    let scene = Scene::new("exit 3");
    let handle = scene.start();
    for pause in ["at once", "in 100 ms", "in 200 ms", "in 400 ms"] {
        scene
            .event(&format!(
                "app shop/0: it exited with status 3; it is started again {pause}"
            ))
            .await;
    }
    assert!(handle.instances().borrow().is_empty());
    handle.stop().await;
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn a_program_that_goes_into_the_background_is_ended_and_told_to_stay() {
    let scene = Scene::new("(exec setsid $listen) & exit 0");
    let handle = scene.start();
    scene
        .event("app shop/0: it exited with status 0 before it accepted connections (it has to stay in the foreground: ")
        .await;
    handle.stop().await;
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn what_cannot_be_started_is_said() {
    let mut scene = Scene::new("");
    scene.run(|command, _, _, _| *command = vec!["/no/program".into()]);
    let handle = scene.start();
    scene
        .event("it could not be started: /no/program: No such file or directory")
        .await;
    handle.stop().await;
    scene.context.dir = scene.dir.join("missing");
    let handle = scene.start();
    scene.event("missing does not exist").await;
    handle.stop().await;
    scene.context.dir.clone_from(&scene.dir);
    scene.context.keeper = "/no/keeper".into();
    let handle = scene.start();
    scene.event("its keeper /no/keeper cannot be started").await;
    handle.stop().await;
    scene.run(|_, user, _, _| *user = Some("nobody-of-this-name".into()));
    let error = AppHandle::start(&scene.app, &scene.context)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("app \"shop\": there is no user"),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_never_listens_is_killed_and_started_again() {
    let mut scene = Scene::new("exec sleep 1000");
    scene.context.startup = Duration::from_millis(200);
    let begun = Instant::now();
    let handle = scene.start();
    scene.event("does its command use {port}").await;
    scene
        .event("it was killed (SIGKILL); it is started again")
        .await;
    // Also when the program is not even there yet, SIGTERM reaches it.
    handle.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(9));
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn a_flood_of_output_does_not_grow_memory() {
    let scene = Scene::new("");
    let script = "head -c 100000000 /dev/zero; echo >through; yes & exec $listen";
    let mut parent = start_parent(&scene, script);
    // More than it may take has passed through it by now.
    scene.written("through").await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", parent.id())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 48 * 1024, "{peak} KiB");
    parent.kill().unwrap();
    parent.wait().unwrap();
}

#[tokio::test]
async fn a_program_runs_as_its_user_with_the_users_groups() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let mut scene = Scene::new("echo $(id -u),$(id -g),$(id -G),$USER >who; exec sleep 1000");
    std::os::unix::fs::chown(&scene.dir, Some(65_534), None).unwrap();
    scene.run(|_, user, _, _| *user = Some("nobody".into()));
    let handle = scene.start();
    assert_eq!(scene.written("who").await, "65534,65534,65534,nobody\n");
    handle.stop().await;
    assert_eq!(
        scene.alive(),
        Vec::<i32>::new(),
        "root's keeper can kill it"
    );
}

#[tokio::test]
async fn ports_begin_where_they_are_asked_to_if_they_are_free() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut scene = Scene::new("exec $listen");
    scene.context.first_port = Some(free);
    let handle = scene.up(1).await;
    assert_eq!(address(&handle.instances().borrow()[0]).port(), free);
    // Another application of the node, asked to begin there too.
    let other = scene.up(1).await;
    assert_ne!(address(&other.instances().borrow()[0]).port(), free);
    handle.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn what_runs_already_is_published_as_it_is() {
    let mut scene = Scene::new("");
    scene.app.program = Program::Proxy(Address::Unix("/run/app.sock".into()));
    let handle = scene.start();
    let expected = Instance {
        index: 0,
        address: Address::Unix("/run/app.sock".into()),
    };
    assert_eq!(*handle.instances().borrow(), [expected]);
    handle.stop().await;
}

#[tokio::test]
async fn a_dropped_application_is_stopped() {
    let scene = Scene::new("exec $listen");
    drop(scene.up(1).await);
    until("nothing", || scene.alive().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_real_server_of_another_language_is_run() {
    let Ok(found) = Command::new("python3").arg("--version").output() else {
        assert!(
            std::env::var_os("TANDEM_REQUIRE_PEERS").is_none(),
            "python3 is missing"
        );
        eprintln!("skipped: there is no python3");
        return;
    };
    assert!(found.status.success());
    let mut scene = Scene::new("");
    scene.run(|command, _, _, _| {
        *command = ["python3", "-m", "http.server", "--bind", "{host}", "{port}"]
            .map(String::from)
            .into();
    });
    let handle = scene.up(1).await;
    let mut stream = TcpStream::connect(address(&handle.instances().borrow()[0])).unwrap();
    let mut answer = String::new();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    handle.stop().await;
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

fn take_over(scene: &Scene, handed: Vec<tandem_app::Handed>) -> AppHandle {
    AppHandle::take_over(&scene.app.name, &scene.app.program, &scene.context, handed).unwrap()
}

#[tokio::test]
async fn a_program_does_not_notice_that_another_process_watches_it() {
    let mut scene = Scene::new("exec $listen");
    let handle = scene.up(1).await;
    let (before, pid) = (
        handle.instances().borrow().clone(),
        scene.status(0).pid.unwrap(),
    );
    let list = handle.instances();
    let handed = handle.release().await;
    assert_eq!(*list.borrow(), before, "requests still go to it");
    let words = &handed[0].words;
    let run = words.run.as_ref().unwrap();
    assert!(run.accepts && run.pid == Some(pid));
    TcpStream::connect(run.address).unwrap();

    // As another process would have it: with nothing of what was known.
    let telemetry =
        tandem_telemetry::Telemetry::new("app1", 1, tandem_telemetry::event::Log::Silent);
    scene.context.telemetry = telemetry;
    scene.context.ports = tandem_app::Ports::default();
    let handle = take_over(&scene, handed);
    assert_eq!(
        *handle.instances().borrow(),
        before,
        "from the first moment"
    );
    let status = until("it is watched", || {
        Some(scene.status(0)).filter(|status| status.health == Health::Up)
    })
    .await;
    assert_eq!((status.pid, status.restarts), (Some(pid), 0));
    kill(pid as i32);
    until("restart", || {
        Some(scene.status(0)).filter(|status| status.restarts == 1 && status.health == Health::Up)
    })
    .await;
    assert_eq!(scene.published(&handle, 1).await, before, "on its port");
    handle.stop().await;
    assert_eq!(scene.alive(), Vec::<i32>::new());
}

#[tokio::test]
async fn what_is_handed_over_and_taken_by_nobody_is_killed() {
    let scene = Scene::new("exec $listen");
    let handle = scene.up(1).await;
    let handed = handle.release().await;
    assert!(!scene.alive().is_empty());
    drop(handed);
    until("everything is gone", || {
        scene.alive().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_program_that_ends_while_nobody_watches_is_started_again_by_whoever_takes_it_over() {
    let scene = Scene::new("exec $listen");
    let handle = scene.up(1).await;
    let handed = handle.release().await;
    let run = handed[0].words.run.clone().unwrap();
    kill(run.pid.unwrap() as i32);
    until("it is gone", || {
        (!exists(run.pid.unwrap() as i32)).then_some(())
    })
    .await;
    let handle = take_over(&scene, handed);
    scene.event("it was killed (SIGKILL)").await;
    let status = until("restart", || {
        Some(scene.status(0)).filter(|status| status.restarts == 1 && status.pid.is_some())
    })
    .await;
    assert_ne!(status.pid, run.pid);
    handle.stop().await;
}

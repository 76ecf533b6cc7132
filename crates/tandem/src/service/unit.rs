//! What a machine's service manager reads: a unit for systemd, an init script for machines without it.

/// The user that the unit runs as (sysusers.d(5)).
pub const SYSUSERS: &str = "u tandem - \"Tandem web tier\" /var/lib/tandem\n";

/// What `/etc/tandem/environment` begins as.
pub const ENVIRONMENT: &str = "\
# Read by the unit, by `tandem start` and by the other verbs: NAME=value. The environment goes before it.
#
# By which the nodes of the cluster know one another; `tandem key` makes one, the same on every machine.
#TANDEM_KEY=
#
# Which node of the file this machine is, when its address does not say so.
#TANDEM_NODE=
#
# The cluster file.
#TANDEM_FILE=/etc/tandem/cluster.toml
";

/// The unit, for a program at `program`.
pub fn systemd(program: &str) -> String {
    format!(
        "\
# Written by `tandem service install`.
[Unit]
Description=Tandem web tier
Documentation=man:tandem(1)
Wants=network-online.target
After=network-online.target
ConditionPathExists=/etc/tandem/cluster.toml

[Service]
Type=notify
NotifyAccess=main
Environment=TANDEM_FILE=/etc/tandem/cluster.toml
EnvironmentFile=-/etc/tandem/environment
ExecStartPre={program} configtest
ExecStart={program} run ${{TANDEM_FILE}} --pid-file /run/tandem/tandem.pid
ExecReload={program} reload
# A new binary takes over without a gap by `{program} upgrade`: the node tells its new main process (MAINPID) itself.
# Every worker must answer, or the node is started again.
WatchdogSec=30s
Restart=on-failure
RestartSec=1s
TimeoutStartSec=120s
# What is in flight has 30 s; the node says itself when it needs more.
TimeoutStopSec=60s
# Applications are stopped by the node; what it leaves is killed.
KillMode=mixed

User=tandem
StateDirectory=tandem
RuntimeDirectory=tandem
LogsDirectory=tandem
ConfigurationDirectory=tandem
ConfigurationDirectoryMode=0750
LimitNOFILE=1048576

# Ports below 1024, and nothing else of root's.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"
    )
}

/// The init script (LSB Core 5.0, section 22.3), for a program at `program`.
pub fn init_script(program: &str) -> String {
    format!(
        "\
#!/bin/sh
# Written by `tandem service install`.
### BEGIN INIT INFO
# Provides:          tandem
# Required-Start:    $local_fs $remote_fs $network
# Required-Stop:     $local_fs $remote_fs $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Tandem web tier
# Description:       Load balancer, static server, application runner and replicated session store.
### END INIT INFO
# The verbs, their exit codes and /etc/tandem are the program's own.

tandem={program}

[ -x \"$tandem\" ] || {{ echo \"$tandem is not installed\" >&2; exit 5; }}

case \"$1\" in
    start|stop|status|restart|reload|force-reload|configtest|condrestart|try-restart|upgrade)
        exec \"$tandem\" \"$@\"
        ;;
    *)
        echo \"usage: $0 {{start|stop|status|restart|reload|force-reload|configtest|condrestart|try-restart|upgrade}}\" >&2
        exit 2
        ;;
esac
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the package puts the program.
    const PROGRAM: &str = "/usr/bin/tandem";
    const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");

    #[test]
    fn the_packaged_files_are_those_that_install_writes() {
        for (name, text) in [
            ("tandem.service", systemd(PROGRAM)),
            ("tandem.init", init_script(PROGRAM)),
            ("tandem.sysusers", SYSUSERS.to_owned()),
            ("environment", ENVIRONMENT.to_owned()),
        ] {
            let path = format!("{PACKAGING}/{name}");
            if std::env::var_os("TANDEM_WRITE_PACKAGING").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                kept, text,
                "write it anew: TANDEM_WRITE_PACKAGING=1 cargo test -p tandem --bin tandem packaged"
            );
        }
    }
}

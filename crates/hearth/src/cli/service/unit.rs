//! The unit and its settings, as texts.
//!
//! The unit's walls are those that Hearth itself and every sandbox can live within: a wall of a service's holds for all
//! that it starts. Left out with a reason: whatever covers parts of /proc (`ProtectKernelTunables`, `ProtectKernelLogs`,
//! `ProtectProc`), since the kernel then mounts no /proc in any namespace of sandboxes; namespaces, control groups and host
//! names, of which sandboxes are made; memory that is written and run, which Node and Java need.

use std::net::SocketAddr;
use std::path::Path;

/// Capabilities that the spawner uses. The server and sandboxes have none.
pub const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
];

/// `/etc/hearth/hearth.env`.
pub fn settings(data_dir: &Path, listen: SocketAddr, ingress: SocketAddr) -> String {
    format!(
        "# Settings of hearth.service: any of `hearth up --help`, by its name in the environment.\n\
         # After a change: systemctl restart hearth\n\
         HEARTH_DATA_DIR={}\n\
         HEARTH_LISTEN={listen}\n\
         HEARTH_INGRESS={ingress}\n\
         #HEARTH_TLS_CERT=/etc/hearth/cert.pem\n\
         #HEARTH_TLS_KEY=/etc/hearth/key.pem\n\
         #HEARTH_MEMORY=4GB\n\
         #HEARTH_ALLOW_MOUNT=/srv/photos\n",
        data_dir.display()
    )
}

/// `hearth.service`.
pub fn unit() -> String {
    let capabilities = CAPABILITIES.join(" ");
    format!(
        "# Written by `hearth install`; changes belong into a drop-in: systemctl edit hearth\n\
         [Unit]\n\
         Description=Hearth, serverless functions on this machine\n\
         Wants=network-online.target\n\
         After=network-online.target docker.service\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart=/usr/local/bin/hearth up\n\
         # Goes on with the program that is there now, without a call that fails: docs/upgrade.md.\n\
         ExecReload=/usr/local/bin/hearth upgrade\n\
         EnvironmentFile=/etc/hearth/hearth.env\n\
         Restart=on-failure\n\
         RestartSec=1\n\
         # Calls that run are finished first, for up to 30 s; the spawner ends the rest itself.\n\
         KillMode=mixed\n\
         TimeoutStopSec=45\n\
         # One sandbox that is out of memory is not the end of the service.\n\
         OOMPolicy=continue\n\
         # Control groups of its own, one for each sandbox below.\n\
         Delegate=yes\n\
         TasksMax=infinity\n\
         LimitNOFILE=1048576\n\
         \n\
         # What the spawner needs to make sandboxes and nothing else.\n\
         CapabilityBoundingSet={capabilities}\n\
         NoNewPrivileges=yes\n\
         SystemCallArchitectures=native\n\
         SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap\n\
         SystemCallErrorNumber=EPERM\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET\n\
         RestrictRealtime=yes\n\
         KeyringMode=private\n\
         # Functions see this machine's /usr and never change it. A folder below /home that they may write to needs\n\
         # ProtectHome=no in a drop-in.\n\
         ProtectSystem=full\n\
         ProtectHome=read-only\n\
         PrivateTmp=yes\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_has_no_wall_that_sandboxes_cannot_live_within() {
        let unit = unit();
        for wall in [
            "ProtectKernelTunables",
            "ProtectKernelLogs",
            "ProtectProc",
            "ProtectControlGroups",
            "RestrictNamespaces",
            "ProtectHostname",
            "MemoryDenyWriteExecute",
            "PrivateDevices",
            "PrivateUsers",
        ] {
            assert!(!unit.contains(wall), "{wall}");
        }
        assert!(unit.contains("Delegate=yes") && unit.contains("OOMPolicy=continue"));
    }

    #[test]
    fn settings_are_those_that_were_given() {
        let text = settings(Path::new("/srv/h"), "127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        assert!(text.contains("HEARTH_DATA_DIR=/srv/h\nHEARTH_LISTEN=127.0.0.1:1\nHEARTH_INGRESS=[::1]:2\n"), "{text}");
    }
}
